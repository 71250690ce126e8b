// Benchsession says how far the session protocol (package ratchet) is from what its
// cryptography costs, and what it costs to keep its state on disk. It exits with 1
// when a bar is missed. "make bench-session" runs it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"amesh/testnet/lab/bench"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("benchsession", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var opt bench.Options
	opt.Register(fs)
	dir := fs.String("dir", os.TempDir(), "make the `folder` of the durable sessions in this one; it should be on a real disk")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(stderr, "benchsession: %q is no flag\n", fs.Arg(0))
		return 2
	}
	missed, err := measure(opt, *dir, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "benchsession:", err)
		return 1
	}
	if missed > 0 {
		fmt.Fprintf(stderr, "benchsession: bars missed: %d\n", missed)
		return 1
	}
	return 0
}

func measure(opt bench.Options, dir string, stdout io.Writer) (missed int, err error) {
	d, err := openDisk(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	cases, err := memoryCases()
	if err != nil {
		return 0, err
	}
	durable, err := durableCases(d, sessionCount)
	if err != nil {
		return 0, err
	}
	sync, err := d.syncTime()
	if err != nil {
		return 0, err
	}
	results, err := bench.Measure(append(cases, durable...), opt.Rounds)
	if err != nil {
		return 0, err
	}
	if !opt.JSON {
		fmt.Fprintf(stdout, "Session protocol against its floor: %d rounds in turn; %s, sync of 4 KiB %d µs\n\n",
			opt.Rounds, bench.Machine(), sync.Microseconds())
	}
	return opt.Report(stdout, results)
}
