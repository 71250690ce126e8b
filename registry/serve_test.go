package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
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

// A request that is signed for an https URL verifies over HTTP/2, whose request line is
// made of pseudo-headers.
func TestSignedRequestOverHTTP2(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{"": func(t *testing.T, url string) {
		h := start(t, url)
		certified := httptest.NewTLSServer(http.NotFoundHandler())
		secure := &tls.Config{Certificates: certified.TLS.Certificates}
		client := certified.Client()
		client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
		certified.Close()

		l := listen(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.server.Serve(ctx, l, secure) }()
		key := testKey(t, 1)
		body, err := json.Marshal(profile(key))
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest(http.MethodPost, "https://"+l.Addr().String()+"/v1/registry/register?of=Ann%20&x", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if err := wire.SignRequest(r, body, key, h.clock.now()); err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusCreated {
			t.Errorf("%s %d %s", resp.Proto, resp.StatusCode, text)
		}
		client.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}})
}
