package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"amesh/testnet/lab/bench"
)

// The servers are this program, started again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestEveryCaseRuns(t *testing.T) {
	h, err := newHouse(&options{dir: t.TempDir(), idle: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	}()
	var skipped bytes.Buffer
	cases, err := h.cases(&skipped)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(cases) + strings.Count(skipped.String(), "SKIP"); n != len(caseNames)-1 {
		t.Errorf("%d cases, want %d", n, len(caseNames)-1)
	}
	for _, c := range cases {
		for side, run := range map[string]bench.Run{"floor": c.Floor, "product": c.Product} {
			for _, n := range []int{1, 1 + inFlight} {
				if took, err := run(n); err != nil || took <= 0 {
					t.Errorf("%s: %s of %d: %v, %v", c.Name, side, n, took, err)
				}
			}
		}
	}
	if bytes, err := h.idleOnce(); err != nil || bytes == 0 {
		t.Errorf("idle: %d bytes, %v", bytes, err)
	}
}

func TestIdleReport(t *testing.T) {
	for want, m := range map[string]idle{
		"17 ok, aim 8 not reached": {10, []int{9 << 10, 100, 20 << 10}},
		"17 ok, aim 8 reached":     {10, []int{8 << 10, 100, 20 << 10}},
		"17 MISSED":                {10, []int{18 << 10, 100, 20 << 10}},
	} {
		var table, line bytes.Buffer
		if err := errors.Join(m.report(&table, false), m.report(&line, true)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(table.String(), want) || strings.Contains(line.String(), `"missed":true`) != m.missed() {
			t.Errorf("%s%s, want %s", table.String(), line.String(), want)
		}
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	for args, want := range map[string]int{"--only nothing": 1, "more": 2, "--rounds 1": 2, "serve tea x": 1} {
		var out, errs bytes.Buffer
		if got := run(strings.Fields(args), strings.NewReader(""), &out, &errs); got != want || errs.Len() == 0 {
			t.Errorf("%s: %d, %q, want %d", args, got, errs.String(), want)
		}
	}
}
