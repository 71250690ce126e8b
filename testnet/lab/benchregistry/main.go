// Benchregistry asks a registry of many agents what a stranger may ask, and times the
// answers with both databases, which take turns. It exits with 1 when an answer is too
// late for its bar. "make bench-registry" runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"amesh/registry/db/dbtest"
)

// bar is how late 19 of 20 answers may be, whatever is asked (T76).
const bar = 50 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are what the command line says.
type options struct {
	agents, rounds int
	dir, postgres  string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("benchregistry", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var o options
	fs.IntVar(&o.agents, "agents", 100_000, "register `n` agents")
	fs.IntVar(&o.rounds, "rounds", 40, "ask everything `n` times")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "make the SQLite file in this `folder`; it should be on a real disk")
	fs.StringVar(&o.postgres, "postgres", "", "use the empty database at this `URL` and start no PostgreSQL")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if fs.NArg() > 0 || o.agents < 100 || o.rounds < 20 {
		fmt.Fprintln(stderr, "benchregistry: want flags only, at least 100 agents and 20 rounds")
		return 2
	}
	missed, err := measure(ctx, o, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "benchregistry:", err)
		return 1
	}
	if missed > 0 {
		fmt.Fprintf(stderr, "benchregistry: bars missed: %d\n", missed)
		return 1
	}
	return 0
}

func measure(ctx context.Context, o options, stdout io.Writer) (missed int, err error) {
	dir, err := os.MkdirTemp(o.dir, "amesh-bench-registry")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	urls := []string{"sqlite://" + filepath.Join(dir, "registry.db")}
	if o.postgres == "" {
		server, err := dbtest.Start()
		if err != nil {
			fmt.Fprintf(stdout, "SKIP postgres: %v\n", err)
		} else {
			defer func() { err = errors.Join(err, server.Close()) }()
			o.postgres = server.URL()
		}
	}
	if o.postgres != "" {
		urls = append(urls, o.postgres)
	}
	sides, stop, err := startAll(ctx, urls, o.agents, stdout)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return 0, err
	}
	results, err := ask(ctx, sides, o)
	if err != nil {
		return 0, err
	}
	return report(stdout, results), nil
}
