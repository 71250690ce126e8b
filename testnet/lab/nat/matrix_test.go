package nat_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/node/api"
)

const (
	// pairsAtOnce is how many pairs of the matrix talk at a time. They mostly wait.
	pairsAtOnce = 25
	// startsAtOnce is how many nodes start at a time, which is work.
	startsAtOnce = 4
	// tries is how often a path that can be had may be tried until it is there.
	tries = 3
	// rounds is how many messages each of two sends to the other.
	rounds = 5
)

// Every kind of place with every one, itself included, and either of the two asking: a
// path that the address translators permit is taken within three tries, every other
// pair is relayed, and no message of any pair is lost or comes twice.
func TestWithRootEveryPair(t *testing.T) {
	needsRoot(t)
	began := time.Now()
	c := newCity(t)
	askers, asked := c.populate(places)
	t.Logf("%d nodes are up after %.1f s", len(askers)+len(asked), time.Since(began).Seconds())
	pairs := make(map[[2]place]*pair)
	var wg sync.WaitGroup
	turns := make(chan struct{}, pairsAtOnce)
	for a, from := range askers {
		for b, to := range asked {
			p := &pair{a: from, b: to, want: expect(a, b)}
			pairs[[2]place{a, b}] = p
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				p.talk(t.Context())
			})
		}
	}
	wg.Wait()
	t.Logf("all pairs after %.1f s\n%s", time.Since(began).Seconds(), drawn(pairs))
	for key, p := range pairs {
		t.Run(fmt.Sprintf("%s asks %s", key[0], key[1]), func(t *testing.T) {
			if p.err != nil {
				t.Error(p.err)
			}
			if t.Failed() || os.Getenv("AMESH_LAB_TELL") != "" {
				t.Logf("%s, because %s", map[bool]string{true: "direct", false: "relayed"}[p.want.direct], p.want.why)
				for _, w := range p.whys {
					if w.Path != "" {
						t.Log(told(w))
					}
				}
			}
		})
	}
}

// populate has two nodes move in at every place: one that asks, one that is asked.
func (c *city) populate(all []place) (askers, asked map[place]*resident) {
	c.t.Helper()
	if only := os.Getenv("AMESH_LAB_PLACES"); only != "" {
		all = slices.DeleteFunc(slices.Clone(all), func(p place) bool { return !slices.Contains(strings.Split(only, ","), string(p)) })
	}
	askers, asked = make(map[place]*resident), make(map[place]*resident)
	var mu sync.Mutex
	var wg sync.WaitGroup
	turns := make(chan struct{}, startsAtOnce)
	for _, at := range all {
		for _, side := range []struct {
			name string
			into map[place]*resident
		}{{"a", askers}, {"b", asked}} {
			wg.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				r, err := c.moveIn(c.t.Context(), side.name+"-"+string(at), at, false)
				if err != nil {
					c.t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				side.into[at] = r
			})
		}
	}
	wg.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	return askers, asked
}

// pair is two nodes that talk: a asks b.
type pair struct {
	a, b *resident
	want cell

	whys [2]api.Why // as a and b see it, in the end
	took time.Duration
	try  int // the one that did it; 0: none
	err  error
}

// talk has them talk, and looks how.
func (p *pair) talk(ctx context.Context) {
	began := time.Now()
	defer func() { p.took = time.Since(began) }()
	if p.err = p.converse(ctx); p.err != nil {
		return
	}
	if p.try, p.err = p.improve(ctx); p.err != nil {
		return
	}
	for i, ends := range [][2]*resident{{p.a, p.b}, {p.b, p.a}} {
		if p.whys[i], p.err = ends[0].why(ctx, ends[1]); p.err != nil {
			return
		}
		switch {
		case p.want.direct:
			p.err = reaches(p.whys[i], ends[1])
		case p.whys[i].Path != api.PathRelayed:
			p.err = fmt.Errorf("%s to %s is %s at %s, want relayed", ends[0].Name(), ends[1].Name(), p.whys[i].Path, p.whys[i].Remote)
		default:
			p.err = explained(p.whys[i], ends[0], ends[1])
		}
		if p.err != nil {
			return
		}
	}
}

// explained checks the reason that is given for a relayed path. Another attempt may be
// under way.
func explained(w api.Why, own, peer *resident) error {
	want := api.WhyNATs
	switch {
	case !traitsOf[own.at].udp:
		want = api.WhyUDPBlocked
	case !traitsOf[peer.at].udp:
		want = api.WhyPeerUDP
	}
	if w.Reason != want && w.Reason != api.WhyTrying {
		return fmt.Errorf("%s to %s is relayed because of %s (%s), want %s", own.Name(), peer.Name(), w.Reason, w.Text, want)
	}
	return nil
}

// converse sends messages both ways and checks that all came.
func (p *pair) converse(ctx context.Context) error {
	there, back := p.there(), p.back()
	for i := range rounds {
		if err := p.a.tell(ctx, p.b, there[i]); err != nil {
			return err
		}
		if err := p.b.tell(ctx, p.a, back[i]); err != nil {
			return err
		}
	}
	if err := p.b.heard(ctx, p.a, there); err != nil {
		return err
	}
	return p.a.heard(ctx, p.b, back)
}

// there and back are what the two say.
func (p *pair) there() []string { return said(p.a, p.b) }
func (p *pair) back() []string  { return said(p.b, p.a) }

func said(from, to *resident) (texts []string) {
	for i := range rounds {
		texts = append(texts, fmt.Sprintf("%s to %s %d", from.Name(), to.Name(), i))
	}
	return texts
}

// improve waits until both ends have a direct path, and says at which try they had it: 0
// for never. The conversation began an attempt, and nodes try again by themselves; where
// nobody is at it, improve has it tried. Where a direct path cannot be had, one
// attempt at punching that failed is enough.
func (p *pair) improve(ctx context.Context) (try int, err error) {
	enough := 1
	if p.want.direct {
		enough = tries
	}
	err = await(ctx, "a direct path, or the end of the attempts at one", func() (bool, error) {
		a, err := p.a.api.Why(ctx, "", p.b.amid)
		if err != nil {
			return false, err
		}
		b, err := p.b.api.Why(ctx, "", p.a.amid)
		if err != nil {
			return false, err
		}
		failed := max(inVain(a), inVain(b))
		switch {
		case isDirect(a) && isDirect(b):
			try = failed + 1
			return true, nil
		case failed >= enough:
			return true, nil
		case trying(a) || trying(b):
			return false, nil
		}
		_, err = p.a.api.TryDirect(ctx, "", p.b.amid)
		return false, err
	})
	return try, err
}

func trying(w api.Why) bool {
	return w.Reason == api.WhyTrying || slices.ContainsFunc(w.Attempts, func(a api.Attempt) bool { return a.Outcome == api.OutcomeRunning })
}

// inVain counts attempts at punching that failed.
func inVain(w api.Why) (n int) {
	for _, a := range w.Attempts {
		if a.Kind == api.AttemptICE && (a.Outcome == api.OutcomeFailed || a.Outcome == api.OutcomeDeclined) {
			n++
		}
	}
	return n
}

// drawn is the matrix: who asks to the left, who is asked above.
func drawn(pairs map[[2]place]*pair) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%-16s", "")
	for _, b := range places {
		fmt.Fprintf(&out, "%-18s", b)
	}
	for _, a := range places {
		fmt.Fprintf(&out, "\n%-16s", a)
		for _, b := range places {
			p := pairs[[2]place{a, b}]
			if p == nil {
				fmt.Fprintf(&out, "%-18s", "")
				continue
			}
			text := string(p.whys[0].Path)
			if p.try > 1 {
				text += fmt.Sprintf(" try %d", p.try)
			}
			text += fmt.Sprintf(" %.1f s", p.took.Seconds())
			if p.err != nil {
				text = "✗ " + text
			}
			fmt.Fprintf(&out, "%-18s", text)
		}
	}
	return out.String()
}

// told is what explains a path, short.
func told(w api.Why) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s to %s at %q limited %v: %s (%s)", w.Path, w.Peer, w.Remote, w.Limited, w.Reason, w.Text)
	if w.Own != nil {
		fmt.Fprintf(&out, "\n  own NAT %s %v", w.Own.Type, w.Own.Public)
	}
	for _, a := range w.Attempts {
		fmt.Fprintf(&out, "\n  %s %s after %.0f ms %s %s", a.Kind, a.Outcome, a.TookMS, a.Target, a.Error)
		for _, p := range a.Pairs {
			fmt.Fprintf(&out, "\n    %s %s → %s %s: %s, %d asked, %d answered", p.LocalType, p.Local, p.RemoteType, p.Remote, p.State, p.Requests, p.Responses)
		}
	}
	return out.String()
}
