package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"
)

// question is something that a stranger may ask.
type question struct {
	name, path string
	status     int
	// follow asks for so many later pages first, and then for the next.
	follow int
}

// questions are what agents ask, and what those ask who want a registry to stop. n is
// how many agents there are.
func questions(n int) []question {
	const old, ours = "/v1/registry/search?capability=", "/v1/amesh/search?"
	long := strings.Repeat("a", 10_000)
	return []question{
		{"0.2: what all have", old + "chat", 200, 0},
		{"0.2: 100 of them", old + "chat&limit=100", 200, 0},
		{"0.2: from the middle", fmt.Sprintf("%schat&limit=100&offset=%d", old, n/2), 200, 0},
		{"0.2: from a quarter", fmt.Sprintf("%schat&limit=100&offset=%d", old, n/4), 200, 0},
		{"0.2: the last", fmt.Sprintf("%schat&limit=100&offset=%d", old, n-100), 200, 0},
		{"0.2: far behind the last", old + "chat&limit=100&offset=4503599627370496", 200, 0},
		{"0.2: all filters", old + "chat&tier_min=1&reputation_min=0.1&status=online&limit=100", 200, 0},
		{"0.2: filters that all pass", old + "chat&tier_min=2&reputation_min=0&limit=100", 200, 0},
		{"0.2: offline, from the middle", fmt.Sprintf("%schat&status=offline&limit=100&offset=%d", old, n/4), 200, 0},
		{"0.2: filters that none passes", old + "chat&tier_min=1&status=dnd", 200, 0},
		{"0.2: what every tenth has", old + "subject3/advice", 200, 0},
		{"0.2: what one has", fmt.Sprintf("%sown%d", old, n/3), 200, 0},
		{"0.2: what nobody has", old + "nothing", 200, 0},
		{"0.2: LIKE's characters", old + "%25_%5C%27", 200, 0},
		{"0.2: NUL", old + "a%00b", 400, 0},
		{"0.2: 10 kB", old + long, 400, 0},
		{"everybody", ours + "limit=50", 200, 0},
		{"everybody, later", ours + "limit=50", 200, 20},
		{"a word that all have", ours + "q=crowd&limit=50", 200, 0},
		{"a word of every tenth", ours + "q=languages&limit=50", 200, 0},
		{"a word of one", fmt.Sprintf("%sq=own%d", ours, n/3), 200, 0},
		{"a word of nobody", ours + "q=nothing", 200, 0},
		{"words of half each, no one both", ours + "q=left+right&limit=50", 200, 0},
		{"the same, later", ours + "q=left+right&limit=50", 200, 5},
		{"eight words that all have", ours + "q=agent+of+the+crowd+chat+advice+side+agent&limit=50", 200, 0},
		{"eight words, half", ours + "q=agent+of+the+crowd+chat+advice+side+left&limit=50", 200, 0},
		{"many conditions", ours + "q=languages+crowd&category=travel&subcategory=flights&action=search&prefix=chat&tier=verified", 200, 0},
		{"category and tier", ours + "category=travel&tier=organization&limit=50", 200, 0},
		{"a prefix of half", ours + "prefix=side/left&limit=50", 200, 0},
		{"a rare tier of the other half", ours + "tier=verified&q=right+languages", 200, 0},
		{"LIKE's characters", ours + "prefix=%25_%5C%27", 200, 0},
		{"10 kB", ours + "q=" + long, 400, 0},
		{"the first page", "/", 200, 0},
		{"the page of a search", "/search?q=crowd", 200, 0},
	}
}

// result is how late the answers to a question were with one database.
type result struct {
	question
	kind  string
	times []time.Duration
}

// yardstick is work that takes a fixed time on this machine when it has nothing else to
// do, and longer when it has: then the answers are late for a reason that is not theirs.
type yardstick struct {
	result
	hashes int
}

// work is how long the yardstick's work takes at best.
const work = 10 * time.Millisecond

func newYardstick() *yardstick {
	y := &yardstick{result: result{question: question{name: "10 ms of work, to compare"}, kind: "-"}, hashes: 1000}
	for range 20 { // the least of many is what the machine can do
		if took := y.run(); took < work {
			y.hashes = int(float64(y.hashes) * float64(work) / float64(max(took, time.Microsecond)))
		}
	}
	return y
}

func (y *yardstick) run() time.Duration {
	var block [sha256.Size]byte
	start := time.Now()
	for range y.hashes {
		block = sha256.Sum256(block[:])
	}
	return time.Since(start)
}

// ask asks everything in rounds. Within a round the databases take turns, so that both
// have the same good and bad moments of the machine.
func ask(ctx context.Context, sides []*side, o options) ([]*result, error) {
	var results []*result
	for _, q := range questions(o.agents) {
		for _, s := range sides {
			r := &result{question: q, kind: s.kind}
			var err error
			if r.path, err = s.later(ctx, q); err != nil {
				return nil, err
			}
			results = append(results, r)
		}
	}
	y := newYardstick()
	for round := range o.rounds {
		y.times = append(y.times, y.run())
		for i := range results {
			// Who begins changes, so that neither always comes after the other.
			at := i
			if len(sides) == 2 && round%2 == 1 {
				at = i ^ 1
			}
			r := results[at]
			took, _, err := sides[at%len(sides)].get(ctx, r.path, r.status)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", r.kind, r.name, err)
			}
			r.times = append(r.times, took)
		}
	}
	return append(results, &y.result), nil
}

// later is the path of a later page of a question.
func (s *side) later(ctx context.Context, q question) (string, error) {
	path := q.path
	for range q.follow {
		_, body, err := s.get(ctx, path, q.status)
		if err != nil {
			return "", fmt.Errorf("%s, %s: %w", s.kind, q.name, err)
		}
		var page struct{ Next string }
		if err := json.Unmarshal(body, &page); err != nil {
			return "", fmt.Errorf("%s, %s: %w", s.kind, q.name, err)
		}
		if page.Next == "" { // of few agents
			return path, nil
		}
		path = q.path + "&cursor=" + page.Next
	}
	return path, nil
}

// get makes one request, from parsing its path to the last byte of the answer, but for
// the network.
func (s *side) get(ctx context.Context, path string, status int) (time.Duration, []byte, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	start := time.Now()
	s.handler.ServeHTTP(w, r)
	took := time.Since(start)
	if w.Code != status {
		return 0, nil, fmt.Errorf("status %d, want %d: %.200s", w.Code, status, w.Body)
	}
	return took, w.Body.Bytes(), nil
}

// percentile is the time within which so many of a hundred answers came.
func (r *result) percentile(n int) time.Duration {
	sorted := slices.Sorted(slices.Values(r.times))
	return sorted[(len(sorted)*n+99)/100-1]
}

// report prints the table and counts the bars that were missed.
func report(w io.Writer, results []*result) (missed int) {
	fmt.Fprintf(w, "%-34s %-9s %9s %9s %9s\n", "question", "database", "p50 ms", "p95 ms", "max ms")
	for _, r := range results {
		mark := ""
		if r.percentile(95) > bar {
			missed++
			mark = fmt.Sprintf("  misses %s", bar)
		}
		ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
		fmt.Fprintf(w, "%-34s %-9s %9.2f %9.2f %9.2f%s\n", r.name, r.kind, ms(r.percentile(50)), ms(r.percentile(95)), ms(r.percentile(100)), mark)
	}
	fmt.Fprintf(w, "bar: p95 of %s for every question; missed: %d\n", bar, missed)
	if y := results[len(results)-1]; y.kind == "-" && y.percentile(95) > 2*work {
		fmt.Fprintf(w, "the machine was busy: %s of work took it up to %s; measure again when it is not\n", work, y.percentile(95).Round(time.Millisecond))
	}
	return missed
}
