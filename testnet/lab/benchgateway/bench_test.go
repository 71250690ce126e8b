package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestMissedBarsAreCounted(t *testing.T) {
	var out bytes.Buffer
	r := &report{w: &out}
	turns := func(n ...int) (list []turn) {
		for _, n := range n {
			list = append(list, turn{n: n, took: time.Second})
		}
		return list
	}
	r.ratio("half", turns(50, 40, 60), turns(100, 100, 100), 0.5)
	r.ratio("less", turns(40, 40, 60), turns(100, 100, 100), 0.5)
	r.least("enough", 1000, 1000)
	r.least("too little", 999, 1000)
	r.most("little", 10, 10)
	r.most("too much", 10.1, 10)
	r.late("quick", time.Millisecond-1, time.Millisecond)
	r.late("slow", time.Millisecond, time.Millisecond)
	if r.missed != 4 || strings.Count(out.String(), "missed") != 4 {
		t.Errorf("%d missed:\n%s", r.missed, &out)
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{{"--rounds", "0"}, {"what"}, {"--what"}, {"--slice", "0"}, {"--only", "what"}} {
		var out bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &out); code != 2 || out.Len() == 0 {
			t.Errorf("%q: exit %d, %s", args, code, &out)
		}
	}
}
