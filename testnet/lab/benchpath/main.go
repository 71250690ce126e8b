// Benchpath says what the paths between nodes cost: messages on a direct stream against
// raw quic-go, a node's start against that of a bare libp2p host, round trips until the
// first message, and the memory of a node that does nothing. It exits with 1 when a bar
// is missed. "make bench-path" runs it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"strings"

	"amesh/testnet/lab/bench"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// options are what one run is told.
type options struct {
	bench.Options
	only, profile, binary string
}

// The cases, in the order of the table.
const (
	caseStream = "stream"
	caseStart  = "start"
	caseKnock  = "knock"
	caseMemory = "memory"
)

var caseNames = []string{caseStream, caseStart, caseKnock, caseMemory}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == bareMode {
		return exit(bareHost(args[1], stdin, stdout), stderr)
	}
	var o options
	fs := flag.NewFlagSet("benchpath", flag.ContinueOnError)
	fs.SetOutput(stderr)
	o.Register(fs)
	fs.StringVar(&o.only, "only", "", "run the cases whose `name`s begin so: "+strings.Join(caseNames, ", "))
	fs.StringVar(&o.binary, "binary", "", "measure this `FILE` instead of building amesh")
	fs.StringVar(&o.profile, "profile", "", "write this process's processor profile to `FILE`")
	if fs.Parse(args) != nil {
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(stderr, "benchpath: %q is no flag\n", fs.Arg(0))
		return 2
	}
	return exit(measure(&o, stdout), stderr)
}

func exit(err error, stderr io.Writer) int {
	if err != nil {
		fmt.Fprintln(stderr, "benchpath:", err)
		return 1
	}
	return 0
}

func (o *options) wants(name string) bool { return strings.HasPrefix(name, o.only) }

func measure(o *options, stdout io.Writer) (err error) {
	if !slices.ContainsFunc(caseNames, o.wants) {
		return fmt.Errorf("no case is called %q", o.only)
	}
	var h house
	defer func() { err = errors.Join(err, h.close()) }()
	binary := ""
	if o.wants(caseStart) || o.wants(caseKnock) || o.wants(caseMemory) {
		if binary, err = h.program(o.binary); err != nil {
			return err
		}
	}
	if !o.JSON {
		fmt.Fprintf(stdout, "Paths between nodes: %d rounds in turn; %s\n\n", o.Rounds, bench.Machine())
	}
	missed, err := h.against(o, binary, stdout)
	if err != nil {
		return err
	}
	if o.wants(caseKnock) {
		k, err := h.countTrips(binary, o.Rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", caseKnock, err)
		}
		if err := k.report(stdout, o.JSON); err != nil {
			return err
		}
		missed += k.missed()
	}
	if o.wants(caseMemory) {
		m, err := h.idleMemory(binary, o.Rounds, idleFor)
		switch {
		case errors.Is(err, errNotTold):
			fmt.Fprintf(stdout, "SKIP %s: %v\n", caseMemory, err)
			err = nil
		case err == nil:
			err = m.report(stdout, o.JSON)
			if m.missed() {
				missed++
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", caseMemory, err)
		}
	}
	if missed > 0 {
		return fmt.Errorf("bars missed: %d", missed)
	}
	return nil
}

// against measures the cases that have a floor.
func (h *house) against(o *options, binary string, stdout io.Writer) (missed int, err error) {
	var cases []bench.Case
	for _, one := range []struct {
		name string
		make func() (bench.Case, error)
	}{{caseStream, h.stream}, {caseStart, func() (bench.Case, error) { return h.start(binary) }}} {
		if !o.wants(one.name) {
			continue
		}
		c, err := one.make()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", one.name, err)
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		return 0, nil
	}
	if err := h.startProfile(o.profile); err != nil {
		return 0, err
	}
	results, err := bench.Measure(cases, o.Rounds)
	if err != nil {
		return 0, err
	}
	return o.Report(stdout, results)
}

// startProfile does nothing without a file.
func (h *house) startProfile(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	h.atEnd(f.Close)
	h.atEnd(func() error { pprof.StopCPUProfile(); return nil })
	return pprof.StartCPUProfile(f)
}

// house is where what was opened is closed.
type house struct{ toStop []func() error }

func (h *house) atEnd(f func() error) { h.toStop = append(h.toStop, f) }

func (h *house) close() error {
	var all []error
	for _, f := range slices.Backward(h.toStop) {
		all = append(all, f())
	}
	return errors.Join(all...)
}
