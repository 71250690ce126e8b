package dht

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// listener is a log that calls back, before whoever logs goes on.
type listener struct {
	slog.Handler
	heard func(message string)
}

func (l listener) Enabled(context.Context, slog.Level) bool { return true }

func (l listener) Handle(_ context.Context, r slog.Record) error {
	l.heard(r.Message)
	return nil
}

// A server whose connection was lost and made again may be another process, without a
// record in its memory: it is told of as back, whether that happens while its keeper
// waits or in the moment before.
func TestServerThatCameBackUnseenIsTold(t *testing.T) {
	for _, atOnce := range []bool{true, false} {
		server := newHost(t, plain(t))
		start(t, server, ModeServer, quick())
		h := newHost(t, plain(t))
		replace := func() {
			if err := h.Network().ClosePeer(server.ID()); err != nil {
				t.Error(err)
			}
			if err := h.Connect(budget(t), info(server)); err != nil {
				t.Error(err)
			}
		}
		connected := make(chan struct{}, 8)
		first := true
		limits := quick()
		limits.ProbeEvery = time.Hour // it looks again when it is kicked, and then only
		n, _ := startWith(t, h, Config{Mode: ModeClient, Limits: limits, Logger: slog.New(listener{slog.DiscardHandler, func(message string) {
			if message != "dht server connected" {
				return
			}
			if first && atOnce {
				first = false
				replace()
			}
			connected <- struct{}{}
		}})})
		ctx, stop := context.WithCancel(t.Context())
		kick := make(chan struct{}, 1)
		var keeper sync.WaitGroup
		keeper.Go(func() { n.keep(ctx, info(server), kick) })
		<-connected
		if !atOnce {
			replace()
		}
		kick <- struct{}{}
		select {
		case <-connected:
		case <-time.After(20 * time.Second):
			t.Errorf("replaced at once %v: the server is not told of", atOnce)
		}
		stop()
		keeper.Wait()
	}
}
