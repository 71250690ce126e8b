package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// fixed is a Run of which every operation takes d, and that says when it ran.
func fixed(d time.Duration, ran func()) Run {
	return func(n int) (time.Duration, error) {
		ran()
		return time.Duration(n) * d, nil
	}
}

func TestFloorAndProductTakeTurns(t *testing.T) {
	var order []string
	results, err := Measure([]Case{{
		Name:    "twice as slow",
		Slice:   roundTime / 4,
		Floor:   fixed(time.Millisecond, func() { order = append(order, "floor") }),
		Product: fixed(2*time.Millisecond, func() { order = append(order, "product") }),
	}}, minRounds)
	if err != nil {
		t.Fatal(err)
	}
	round := []string{"floor", "product", "product", "floor"}
	next := []string{"product", "floor", "floor", "product"}
	want := slices.Concat(round, next, round, next, round)
	if got := order[len(order)-len(want):]; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	r := results[0]
	if r.Ratio() != 0.5 || len(r.FloorTimes) != minRounds || len(r.ProductTimes) != minRounds {
		t.Errorf("ratio %v of %v and %v, want 0.5", r.Ratio(), r.FloorTimes, r.ProductTimes)
	}
}

func TestMeasureFails(t *testing.T) {
	bad := errors.New("bad")
	works := fixed(time.Second, func() {})
	broken := func(int) (time.Duration, error) { return 0, bad }
	later := func() Run {
		runs := 0
		return func(n int) (time.Duration, error) {
			if runs++; runs > 2 {
				return 0, bad
			}
			return works(n)
		}
	}
	for name, c := range map[string]Case{
		"floor":              {Name: name0, Floor: broken, Product: works},
		"product":            {Name: name0, Floor: works, Product: broken},
		"product in a round": {Name: name0, Floor: works, Product: later()},
	} {
		if _, err := Measure([]Case{c}, minRounds); !errors.Is(err, bad) || !strings.HasPrefix(err.Error(), name0) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

const name0 = "the case"

// A machine that was slow for one round was slow for both.
func TestRatioIsOfTheRounds(t *testing.T) {
	r := Result{
		FloorTimes:   []time.Duration{10, 100, 10, 30, 10},
		ProductTimes: []time.Duration{20, 200, 20, 60, 100},
	}
	if r.Ratio() != 0.5 {
		t.Errorf("ratio %v of %v, want 0.5", r.Ratio(), r.Ratios())
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []time.Duration
		want time.Duration
	}{
		{[]time.Duration{3}, 3},
		{[]time.Duration{9, 1, 5}, 5},
		{[]time.Duration{4, 3, 2, 1}, 2},
	} {
		if got := Median(c.in); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.in, got, c.want)
		}
	}
}

func TestTooFewRoundsForAMedian(t *testing.T) {
	for text, ok := range map[string]bool{"5": true, "4": false, "-7": false, "many": false} {
		var opt Options
		fs := flag.NewFlagSet("bench", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		opt.Register(fs)
		if err := fs.Parse([]string{"--rounds", text}); (err == nil) != ok {
			t.Errorf("--rounds %s: %v", text, err)
		}
	}
}

func result(name string, floor, product time.Duration, bar, aim float64) Result {
	return Result{
		Case:       Case{Name: name, Bar: bar, Aim: aim},
		FloorTimes: slices.Repeat([]time.Duration{floor}, 5), ProductTimes: slices.Repeat([]time.Duration{product}, 5),
	}
}

func TestReport(t *testing.T) {
	results := []Result{
		result("quick", 10*time.Microsecond, 10*time.Microsecond, 0.8, 0.9),
		result("not so quick", 8*time.Microsecond, 10*time.Microsecond, 0.8, 0.9),
		result("slow", 7*time.Microsecond, 10*time.Microsecond, 0.8, 0.9),
		result("only told", 1234*time.Microsecond, 10*time.Millisecond, 0, 0),
	}
	var table, lines bytes.Buffer
	for _, c := range []struct {
		opt Options
		out *bytes.Buffer
	}{{Options{}, &table}, {Options{JSON: true}, &lines}} {
		if missed, err := c.opt.Report(c.out, results); err != nil || missed != 1 {
			t.Errorf("JSON %v: %d missed, %v; want 1", c.opt.JSON, missed, err)
		}
	}
	rows := strings.Split(table.String(), "\n")
	for i, want := range [][]string{
		{"quick", "10.0 (10.0 to 10.0)", "1.00", "0.80 ok", "0.90 reached"},
		{"not so quick", "8.00 (", "0.80", "0.80 ok", "0.90 not reached"},
		{"slow", "0.70", "0.80 MISSED", "0.90 not reached"},
		{"only told", "1234 (", "10000 (", "0.12", "-"},
	} {
		for _, w := range want {
			if !strings.Contains(rows[i+1], w) {
				t.Errorf("row %q lacks %q", rows[i+1], w)
			}
		}
	}
	dec := json.NewDecoder(&lines)
	for _, want := range results {
		var got struct {
			Name    string
			Ratio   float64
			Missed  bool
			FloorNS []int64 `json:"floor_ns"`
		}
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if got.Name != want.Name || got.Ratio != want.Ratio() || got.Missed != want.Missed() || len(got.FloorNS) != 5 {
			t.Errorf("got %+v of %s", got, want.Name)
		}
	}
}
