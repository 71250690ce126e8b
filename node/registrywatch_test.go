package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/node/api"
	"amesh/registry/client"
	rwire "amesh/registry/wire"
)

// pipes is a listener without a network, for a bubble of synctest.
type pipes struct {
	waiting chan net.Conn
	ended   chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.waiting:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.ended); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// quietRegistry runs a line of a node without agents, to a registry that has nothing to tell
// and is there as long as away is false.
func quietRegistry(t *testing.T) (l *registryLine, away *atomic.Bool) {
	t.Helper()
	away = &atomic.Bool{}
	road := &pipes{waiting: make(chan net.Conn), ended: make(chan struct{})}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/revocations") {
			sayJSON(w, 200, rwire.RevocationFeed{Changes: []rwire.RevocationChange{}})
			return
		}
		sayJSON(w, 404, rwire.Errorf(404, rwire.CodeNoRoute, "no such endpoint"))
	})}
	srv.SetKeepAlivesEnabled(false)
	go func() { _ = srv.Serve(road) }()
	c, err := client.New(client.Config{URL: "http://registry.test", Dial: func(context.Context, string, string) (net.Conn, error) {
		if away.Load() {
			return nil, errors.New("connection refused")
		}
		here, there := net.Pipe()
		road.waiting <- there
		return here, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	l = &registryLine{
		registryHouse: registryHouse{rooms: func() []*room { return nil }, clock: time.Now, log: log},
		client:        c, book: &registryBook{}, warnings: &warnings{url: c.URL(), log: log},
		poke: make(chan struct{}, 1), back: make(chan struct{}, 1), state: "trying",
		enrolments: make(map[identity.AMID]*enrolment),
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- l.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.Close()
		_ = srv.Close()
	})
	return l, away
}

// An idle node finds out that its registry is gone, and soon that it is back; until then it
// says when it tries again.
func TestIdleNodeWatchesItsRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, away := quietRegistry(t)
		synctest.Wait()
		if s := l.status(); s.State != "ok" || s.NextTry != nil {
			t.Fatalf("%+v", s)
		}
		away.Store(true)
		time.Sleep(lookEvery + lookEvery/4)
		synctest.Wait()
		if s := l.status(); s.State != "failing" || s.NextTry == nil || !s.NextTry.After(time.Now()) {
			t.Fatalf("gone: %+v", s)
		}
		time.Sleep(time.Hour)
		away.Store(false)
		time.Sleep(awayMost + awayMost/4)
		synctest.Wait()
		if s := l.status(); s.State != "ok" || s.NextTry != nil || s.Error != "" {
			t.Errorf("back: %+v", s)
		}
	})
}

// What somebody waits for tells at once that a registry is gone, and that it is back.
func TestAQuestionTellsOfItsRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, away := quietRegistry(t)
		ask := func() {
			_, err := l.Find(t.Context(), identity.AMID{})
			if err == nil {
				t.Error("a record of nobody")
			}
			synctest.Wait()
		}
		synctest.Wait()
		ask()
		if s := l.status(); s.State != "ok" {
			t.Fatalf("a no is an answer: %+v", s)
		}
		away.Store(true)
		ask()
		if s := l.status(); s.State != "failing" {
			t.Fatalf("gone: %+v", s)
		}
		away.Store(false)
		ask()
		if s := l.status(); s.State != "ok" {
			t.Errorf("back: %+v", s)
		}
	})
}

// A search that a registry does not answer is among the problems of the node at once.
func TestFailedSearchIsInTheStatus(t *testing.T) {
	_, h, cfg := town(t)
	a := startNode(t, cfg)
	h.has(a.amid)
	h.srv.Close()
	if _, err := a.api.Search(t.Context(), "", api.SearchQuery{Words: "weather"}); err != nil {
		t.Fatal(err)
	}
	st, err := a.api.Status(t.Context(), "")
	if err != nil || st.Registries[0].State != "failing" ||
		!slices.ContainsFunc(st.Degraded, func(d string) bool { return strings.HasPrefix(d, "the registry "+h.url+" does not work") }) {
		t.Errorf("%+v, %q, %v", st.Registries, st.Degraded, err)
	}
}
