// Benchrelay says what the relay (package relay) does beside its peers: NATS for
// forwarding, JetStream for keeping, mosquitto for handing out, and a plain WebSocket
// server for connecting. Every server is a process of its own, all clients are in
// this one, product and peer take turns. It exits with 1 when a bar is missed. "make
// bench-relay" runs it. It is a module of its own, because nats-server would move
// versions that the product uses.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"amesh/testnet/lab/bench"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// options are what one run is told.
type options struct {
	bench.Options
	dir, only, profile string
	idle               int
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	err := error(nil)
	if len(args) > 1 && args[0] == "serve" {
		err = serve(args[1], args[2:], stdin, stdout)
	} else {
		var o options
		fs := flag.NewFlagSet("benchrelay", flag.ContinueOnError)
		fs.SetOutput(stderr)
		o.Register(fs)
		fs.StringVar(&o.dir, "dir", os.TempDir(), "make the `folder` of the mailboxes in this one; it should be on a real disk")
		fs.StringVar(&o.only, "only", "", "run the cases whose `name`s begin so: "+strings.Join(caseNames, ", "))
		fs.StringVar(&o.profile, "profile", "", "write the relay's processor profile to `FILE`")
		fs.IntVar(&o.idle, "connections", 10_000, "`number` of idle connections")
		if fs.Parse(args) != nil {
			return 2
		}
		if fs.NArg() > 0 {
			fmt.Fprintf(stderr, "benchrelay: %q is no flag\n", fs.Arg(0))
			return 2
		}
		err = measure(&o, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "benchrelay:", err)
		return 1
	}
	return 0
}

// The cases, in the order of the table.
const (
	caseForward = "forward"
	caseLatency = "latency"
	caseDurable = "durable"
	caseDrain   = "drain"
	caseConnect = "connect"
	caseIdle    = "idle"
)

var caseNames = []string{caseForward, caseLatency, caseDurable, caseDrain, caseConnect, caseIdle}

func measure(o *options, stdout io.Writer) (err error) {
	h, err := newHouse(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	cases, err := h.cases(stdout)
	if err != nil {
		return err
	}
	sync, err := syncTime(h.dir)
	if err != nil {
		return err
	}
	results, err := bench.Measure(cases, o.Rounds)
	if err != nil {
		return err
	}
	if !o.JSON && len(results) > 0 {
		fmt.Fprintf(stdout, "Relay against its peers: %d rounds in turn; %s, sync of 4 KiB %d µs\n\n",
			o.Rounds, bench.Machine(), sync.Microseconds())
	}
	missed := 0
	if len(results) > 0 {
		if missed, err = o.Report(stdout, results); err != nil {
			return err
		}
	}
	if h.wants(caseIdle) {
		idle, err := h.idleMemory()
		if err != nil {
			return err
		}
		if err := idle.report(stdout, o.JSON); err != nil {
			return err
		}
		if idle.missed() {
			missed++
		}
	}
	if missed > 0 {
		return fmt.Errorf("bars missed: %d", missed)
	}
	return nil
}

// house is where the servers and their clients live.
type house struct {
	o      *options
	dir    string
	toStop []func() error
}

func newHouse(o *options) (*house, error) {
	if o.only != "" && !slices.ContainsFunc(caseNames, func(n string) bool { return strings.HasPrefix(n, o.only) }) {
		return nil, fmt.Errorf("no case is called %q", o.only)
	}
	dir, err := os.MkdirTemp(o.dir, "benchrelay-")
	if err != nil {
		return nil, err
	}
	h := &house{o: o, dir: dir}
	h.atEnd(func() error { return os.RemoveAll(dir) })
	return h, nil
}

func (h *house) wants(name string) bool { return strings.HasPrefix(name, h.o.only) }

func (h *house) atEnd(f func() error) { h.toStop = append(h.toStop, f) }

func (h *house) close() error {
	var all []error
	for _, f := range slices.Backward(h.toStop) {
		all = append(all, f())
	}
	return errors.Join(all...)
}

// cases starts what the cases need.
func (h *house) cases(stdout io.Writer) ([]bench.Case, error) {
	if h.o.only == caseIdle {
		return nil, nil
	}
	relay, err := h.start("relay", h.o.profile)
	if err != nil {
		return nil, err
	}
	var cases []bench.Case
	for name, make := range map[string]func(relay *server) (bench.Case, error){
		caseForward: h.forward, caseLatency: h.latency, caseDurable: h.durable, caseDrain: h.drain, caseConnect: h.connect,
	} {
		if !h.wants(name) {
			continue
		}
		c, err := make(relay)
		if errors.Is(err, errNotHere) {
			fmt.Fprintf(stdout, "SKIP %s: %v\n", name, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		cases = append(cases, c)
	}
	slices.SortFunc(cases, func(a, b bench.Case) int { return place(a) - place(b) })
	return cases, nil
}

func place(c bench.Case) int {
	return slices.IndexFunc(caseNames, func(n string) bool { return strings.HasPrefix(c.Name, n) })
}
