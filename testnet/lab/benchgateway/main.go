// Benchgateway measures an AMTP gateway against what the machine can do at best: a bare
// JSON handler, and plain inserts into the same database. Product and floor take turns,
// so that both have the same good and bad moments. It exits with 1 when a bar is missed.
// "make bench-gateway" runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// part is what is measured together.
type part struct {
	name    string
	measure func(context.Context, options, *report) error
}

var parts = []part{
	{"memory", inMemory}, {"agents", manyAgents}, {"inbox", emptyInbox}, {"queue", memoryOfQueue}, {"sqlite", inSQLite}, {"postgres", inPostgres},
}

// options are what the command line says.
type options struct {
	rounds, clients  int
	agents, messages int
	queued           int
	slice            time.Duration
	dir, postgres    string
	only             string
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "serve" {
		if err := serve(ctx, args[1:], stdin, stdout); err != nil {
			fmt.Fprintln(stderr, "benchgateway:", err)
			return 1
		}
		return 0
	}
	fs := flag.NewFlagSet("benchgateway", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var o options
	fs.IntVar(&o.rounds, "rounds", 5, "let product and floor take turns `n` times")
	fs.IntVar(&o.clients, "clients", 16, "send with `n` clients at a time")
	fs.IntVar(&o.agents, "agents", 5000, "compare one agent with `n`")
	fs.IntVar(&o.messages, "messages", 50_000, "look into an empty inbox beside `n` messages")
	fs.IntVar(&o.queued, "queued", 10_000, "queue `n` messages and look at the memory")
	fs.DurationVar(&o.slice, "slice", 2*time.Second, "let each take a turn of this `time`")
	fs.StringVar(&o.dir, "dir", os.TempDir(), "make the files in this `folder`; it should be on a real disk")
	fs.StringVar(&o.postgres, "postgres", "", "use the empty database at this `URL` and start no PostgreSQL")
	fs.StringVar(&o.only, "only", "", "measure this `part` only: memory, agents, inbox, queue, sqlite or postgres")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if o.only != "" && !slices.ContainsFunc(parts, func(p part) bool { return p.name == o.only }) {
		fmt.Fprintf(stderr, "benchgateway: there is no part %q\n", o.only)
		return 2
	}
	if fs.NArg() > 0 || min(o.rounds, o.clients, o.agents, o.messages, o.queued) < 1 || o.slice < time.Millisecond {
		fmt.Fprintln(stderr, "benchgateway: want flags only, with positive numbers")
		return 2
	}
	debug.SetGCPercent(800) // who measures shall not be in the way
	missed, err := measure(ctx, o, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "benchgateway:", err)
		return 1
	}
	if missed > 0 {
		fmt.Fprintf(stderr, "benchgateway: bars missed: %d\n", missed)
		return 1
	}
	return 0
}

func measure(ctx context.Context, o options, stdout io.Writer) (missed int, err error) {
	if o.dir, err = os.MkdirTemp(o.dir, "amesh-bench-gateway"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	r := &report{w: stdout}
	r.head()
	for _, p := range parts {
		if o.only != "" && o.only != p.name {
			continue
		}
		if err := p.measure(ctx, o, r); err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	r.foot()
	return r.missed, nil
}
