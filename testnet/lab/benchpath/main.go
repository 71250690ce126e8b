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
)

var caseNames = []string{caseStream, caseStart}

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
	cases, err := h.cases(o)
	if err != nil {
		return err
	}
	if err := h.startProfile(o.profile); err != nil {
		return err
	}
	results, err := bench.Measure(cases, o.Rounds)
	if err != nil {
		return err
	}
	if !o.JSON {
		fmt.Fprintf(stdout, "Paths between nodes: %d rounds in turn; %s\n\n", o.Rounds, bench.Machine())
	}
	missed, err := o.Report(stdout, results)
	if err == nil && missed > 0 {
		err = fmt.Errorf("bars missed: %d", missed)
	}
	return err
}

// cases starts what the cases with a floor need.
func (h *house) cases(o *options) (all []bench.Case, err error) {
	if o.wants(caseStream) {
		c, err := h.stream()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", caseStream, err)
		}
		all = append(all, c)
	}
	if !o.wants(caseStart) {
		return all, nil
	}
	binary, err := h.program(o.binary)
	if err != nil {
		return nil, err
	}
	c, err := h.start(binary)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caseStart, err)
	}
	return append(all, c), nil
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
