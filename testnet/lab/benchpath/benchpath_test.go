package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"amesh/testnet/lab/bench"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == bareMode { // started by startBare
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// What needs processes, once and without a bar.
func TestSoakCasesOfProcesses(t *testing.T) {
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("builds amesh and starts a dozen nodes; set AMESH_SOAK=1")
	}
	var h house
	defer func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	}()
	binary, err := h.program("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.start(binary)
	if err != nil {
		t.Fatal(err)
	}
	for side, run := range map[string]bench.Run{"floor": c.Floor, "product": c.Product} {
		if took, err := run(1); err != nil || took <= 0 {
			t.Errorf("start: %s: %v, %v", side, took, err)
		}
	}
	k, err := h.countTrips(binary, 1)
	if err != nil {
		t.Fatal(err)
	}
	// Less than the flights that it takes would mean that something went another way.
	if k.stranger[0] < 1.5 || k.grant[0] < 0.5 {
		t.Errorf("round trips %+v, want at least 1.5 and 0.5", k)
	}
	m, err := h.idleMemory(binary, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []footprint{m.node[0], m.bare[0]} {
		if f.Anon <= 0 || f.File <= 0 || f.All < f.Anon+f.File {
			t.Errorf("memory %+v", f)
		}
	}
	for _, asJSON := range []bool{false, true} {
		if err := errors.Join(k.report(t.Output(), asJSON), m.report(t.Output(), asJSON)); err != nil {
			t.Error(err)
		}
	}
}

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
