// Command amesh gives an AI agent an identity, a durable mailbox and an
// end-to-end encrypted line to other agents.
//
// It is one binary with many verbs; each verb has a file of its own here, and
// none does more than wiring: servers are put together from their packages, and
// the verbs that talk to a running node do so through node/api. What all verbs
// share is in app.go (streams, flags, output), config.go (flags, environment,
// config.yaml) and exit.go (which error ends in which exit code).
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/libp2p/go-libp2p/gologshim"
)

// version is set by the linker, see the Makefile.
var version = "devel"

func main() {
	os.Exit(run())
}

func run() int {
	// The first signal ends the work in an orderly way. It also gives the signals
	// back their usual meaning, so that the second one kills.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	quietLibp2p(os.Getenv)
	a := &app{
		in:     os.Stdin,
		out:    os.Stdout,
		err:    os.Stderr,
		tty:    isTerminal(os.Stdout),
		colour: isTerminal(os.Stderr) && os.Getenv("NO_COLOR") == "",
		getenv: os.Getenv,
		args:   os.Args[1:],
	}
	return a.main(ctx)
}

// quietLibp2p takes libp2p's own lines off standard error: they are about strangers'
// connections and have another form than ours. Whoever sets the variable that libp2p
// reads for its level gets them.
func quietLibp2p(getenv func(string) string) {
	if getenv("GOLOG_LOG_LEVEL") == "" {
		gologshim.SetDefaultHandler(slog.DiscardHandler)
	}
}

// isTerminal takes every character device for a terminal. That includes the null
// device, where nobody sees the difference.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
