package registry

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"amesh/registry/db"
)

// quiet is a server of which only the doors are used.
func quiet(t *testing.T, change func(*Limits)) *Server {
	t.Helper()
	l := DefaultLimits()
	change(&l)
	s, err := New(Config{Open: func(context.Context) (*db.DB, error) { return nil, db.ErrURL }, Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestStoppingLetsRequestsFinish(t *testing.T) {
	s, l := quiet(t, func(*Limits) {}), listen(t)
	begun, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = io.WriteString(w, "finished")
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeBeside(ctx, l, h) }()
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		got <- string(b)
	}()
	<-begun
	stop()
	close(release)
	if text := <-got; text != "finished" {
		t.Errorf("the request that was under way: %s", text)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestStoppingWaitsOnlySoLong(t *testing.T) {
	s, l := quiet(t, func(l *Limits) { l.FinishWait = time.Millisecond }), listen(t)
	begun, release := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.ServeBeside(ctx, l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(begun)
			<-release
		}))
	}()
	failed := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err == nil {
			_ = resp.Body.Close()
		}
		failed <- err
	}()
	<-begun
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-failed; err == nil {
		t.Error("a request outlived the server")
	}
}

// Connections beyond the limit wait until another one is gone.
func TestConnectionsAreBounded(t *testing.T) {
	l := listen(t)
	defer l.Close()
	door := &turnstile{Listener: l, free: make(chan struct{}, 2)}
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	accept := func() net.Conn {
		c, err := door.Accept()
		if err != nil {
			t.Error(err)
		}
		return c
	}
	one, two := accept(), accept()
	var wg sync.WaitGroup
	third := make(chan net.Conn, 1)
	wg.Go(func() { third <- accept() })
	if len(third) != 0 || len(door.free) != 2 {
		t.Error("a third connection was let in")
	}
	_ = one.Close()
	_ = one.Close() // gives its room back once
	c := <-third
	wg.Wait()
	if len(door.free) != 2 {
		t.Errorf("%d rooms taken, want 2", len(door.free))
	}
	_ = two.Close()
	_ = c.Close()
}
