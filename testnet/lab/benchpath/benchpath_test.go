package main

import (
	"bytes"
	"strings"
	"testing"

	"amesh/testnet/lab/bench"
)

func TestStreamRuns(t *testing.T) {
	t.Parallel()
	var h house
	defer func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := h.stream()
	if err != nil {
		t.Fatal(err)
	}
	for side, run := range map[string]bench.Run{"floor": c.Floor, "product": c.Product} {
		for _, n := range []int{1, 600} { // more than may be under way
			if took, err := run(n); err != nil || took <= 0 {
				t.Errorf("%s: %d messages in %v, %v", side, n, took, err)
			}
		}
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"--only", "nothing"}, 1, `no case is called "nothing"`},
		{[]string{"stream"}, 2, `"stream" is no flag`},
		{[]string{"--rounds", "2"}, 2, "2 rounds make no median"},
		{[]string{"--help"}, 2, "--only"},
	} {
		var out, errs bytes.Buffer
		if exit := run(c.args, strings.NewReader(""), &out, &errs); exit != c.exit || !strings.Contains(strings.ReplaceAll(errs.String(), "  -", "  --"), c.says) {
			t.Errorf("%q: exit %d, %q", c.args, exit, errs.String())
		}
	}
}
