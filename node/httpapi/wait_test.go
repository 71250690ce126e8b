package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/node/api"
)

// wire is a listener in memory, so that a server can run under fake time.
type wire struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newWire() *wire { return &wire{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error   { close(w.closed); return nil }
func (w *wire) Addr() net.Addr { return &net.UnixAddr{Name: "wire", Net: "pipe"} }

func (w *wire) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	w.conns <- theirs
	return ours, nil
}

// inTime runs do against a TCP door under fake time.
func inTime(t *testing.T, do func(t *testing.T, h *house, w *wire, stop func())) {
	h := newHouse(t)
	synctest.Test(t, func(t *testing.T) {
		h.t = t
		h.node.moved = make(chan struct{}) // a channel of this bubble
		h.build(h.server.cfg.Credentials, slow{h.node})
		w := newWire()
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- h.server.Serve(ctx, w, h.server.TCPHandler()) }()
		do(t, h, w, stop)
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func (h *house) overWire(w *wire) *http.Client {
	t := &http.Transport{DialContext: w.dial}
	h.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// slow is a node that needs an hour to give a message back.
type slow struct{ *memory }

func (s slow) Nack(ctx context.Context, agent, id string) (api.InboxItem, error) {
	select {
	case <-time.After(time.Hour):
		return api.InboxItem{ID: id}, nil
	case <-ctx.Done():
		return api.InboxItem{}, ctx.Err()
	}
}

// The time that a body may take must not end the work that follows it.
func TestWorkOutlivesTheBodyDeadline(t *testing.T) {
	inTime(t, func(t *testing.T, h *house, w *wire, _ func()) {
		web := h.overWire(w)
		auth := []string{"Authorization", "Bearer " + h.tokens["alice"]}
		if h.server.cfg.Limits.BodyTimeout >= time.Hour {
			t.Fatal("a body may take an hour: this test says nothing")
		}
		for _, row := range []struct {
			path, body string
			status     int
		}{
			{"/v1/messages", `{"to":"` + bobAMID.String() + `","body":"","wait":"handled","timeout_ms":3600000}`, 202},
			{"/v1/inbox/in-1/nack", "", 200},
			{"/v1/inbox/in-1/nack", "{}", 200},
		} {
			began := time.Now()
			got := h.ask(web, "POST", row.path, row.body, auth...)
			if took := time.Since(began); got.status != row.status || took != time.Hour {
				t.Errorf("%s with %q: status %d after %s, want %d after an hour", row.path, row.body, got.status, took, row.status)
			}
			// The connection is as good as new.
			if got := h.ask(web, "GET", "/v1/node", "", auth...); got.status != 200 {
				t.Errorf("next request: %d", got.status)
			}
		}
		web.CloseIdleConnections()
	})
}

func TestBodyThatNeverComes(t *testing.T) {
	inTime(t, func(t *testing.T, h *house, w *wire, _ func()) {
		web := h.overWire(w)
		body, never := io.Pipe()
		defer never.Close()
		req, err := http.NewRequest("POST", "http://"+h.host+"/v1/messages", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+h.tokens["alice"])
		began := time.Now()
		resp, err := web.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got := h.see(resp, "POST")
		if took := time.Since(began); got.status != 408 || took != h.server.cfg.Limits.BodyTimeout {
			t.Errorf("status %d after %s, want 408 after %s", got.status, took, h.server.cfg.Limits.BodyTimeout)
		}
		web.CloseIdleConnections()
	})
}

// A caller who left is not waited for.
func TestCallerLeaves(t *testing.T) {
	inTime(t, func(t *testing.T, h *house, w *wire, _ func()) {
		web := h.overWire(w)
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+h.host+"/v1/messages/out-1?wait=handled&timeout_ms=3600000", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+h.tokens["alice"])
		began := time.Now()
		left := make(chan error, 1)
		go func() {
			resp, err := web.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			left <- err
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller got %v", err)
		}
		synctest.Wait()
		if strings.Contains(h.log.String(), "level=ERROR") || time.Since(began) != 0 {
			t.Errorf("after %s, log: %s", time.Since(began), h.log)
		}
	})
}

// A node that stops ends the waits and says so.
func TestStopEndsWaits(t *testing.T) {
	inTime(t, func(t *testing.T, h *house, w *wire, stop func()) {
		web := h.overWire(w)
		began := time.Now()
		go func() {
			synctest.Wait()
			stop()
		}()
		got := h.ask(web, "GET", "/v1/messages/out-1?wait=handled&timeout_ms=60000", "", "Authorization", "Bearer "+h.tokens["alice"])
		if got.status != 503 || got.problem.Code != api.CodeBusy || time.Since(began) != 0 {
			t.Errorf("%d %s after %s, want 503 %s at once", got.status, got.problem.Code, time.Since(began), api.CodeBusy)
		}
		web.CloseIdleConnections()
	})
}

// The answer to a wait comes when the state is reached, not when time is over.
func TestWaitIsAnsweredByTheState(t *testing.T) {
	inTime(t, func(t *testing.T, h *house, w *wire, _ func()) {
		web := h.overWire(w)
		began := time.Now()
		go func() {
			synctest.Wait()
			h.node.move("alice", "out-1", api.StateDelivered)
		}()
		got := h.ask(web, "GET", "/v1/messages/out-1?wait=delivered&timeout_ms=60000", "", "Authorization", "Bearer "+h.tokens["alice"])
		if !strings.Contains(string(got.body), `"state":"delivered"`) || time.Since(began) != 0 {
			t.Errorf("%s after %s, want delivered at once", got.body, time.Since(began))
		}
		web.CloseIdleConnections()
	})
}

// stubborn is a node that does not let go of a request.
type stubborn struct {
	*memory
	release chan struct{}
}

func (s stubborn) Identity(context.Context, string) (api.Identity, error) {
	<-s.release
	return api.Identity{}, nil
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	h := newHouse(t)
	synctest.Test(t, func(t *testing.T) {
		h.t = t
		node := stubborn{h.node, make(chan struct{})}
		h.build(h.server.cfg.Credentials, node)
		w := newWire()
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- h.server.Serve(ctx, w, h.server.TCPHandler()) }()
		go func() {
			req, _ := http.NewRequest("GET", "http://"+h.host+"/v1/identity", nil)
			req.Header.Set("Authorization", "Bearer "+h.tokens["owner"])
			if resp, err := h.overWire(w).Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		began := time.Now()
		stop()
		err := <-done
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != h.server.cfg.Limits.ShutdownGrace {
			t.Errorf("%v after %s, want a deadline after %s", err, time.Since(began), h.server.cfg.Limits.ShutdownGrace)
		}
		close(node.release)
	})
}

func TestServeReportsItsListener(t *testing.T) {
	h := newHouse(t)
	l := h.listenTCP()
	l.Close()
	if err := h.server.Serve(t.Context(), l, h.server.TCPHandler()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want %v", err, net.ErrClosed)
	}
}
