package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"amesh/gateway"
	"amesh/gateway/auth"
	"amesh/gateway/discovery"
	"amesh/gateway/store"
	"amesh/internal/outward"
	"amesh/internal/trim"
)

const (
	domain   = "north.test"
	dead     = "dead.test" // whose gateway does not answer
	adminKey = "bench-admin-key-0123456789"
)

// serve is one server in a process of its own, so that its memory and its garbage are
// its own: "bare", "memory", or a gateway on the database at a URL. It prints where it
// listens, and ends with its standard input.
func serve(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 2 {
		return errors.New("serve wants what, and a folder")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	if args[0] == "bare" {
		fmt.Fprintln(stdout, "http://"+l.Addr().String())
		srv := &http.Server{Handler: http.HandlerFunc(bare), ReadHeaderTimeout: time.Minute}
		go func() { <-ctx.Done(); _ = srv.Close() }()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
	return serveGateway(ctx, args[0], args[1], l, stdout)
}

// bare is the least that a server does with a message: it reads its JSON and answers
// with some.
func bare(w http.ResponseWriter, r *http.Request) {
	var m struct {
		MessageID  string          `json:"message_id"`
		Key        string          `json:"idempotency_key"`
		Sender     string          `json:"sender"`
		Recipients []string        `json:"recipients"`
		Subject    string          `json:"subject"`
		Payload    json.RawMessage `json:"payload"`
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	type recipient struct {
		Address   string    `json:"address"`
		Status    string    `json:"status"`
		Timestamp time.Time `json:"timestamp"`
	}
	answer := struct {
		MessageID  string      `json:"message_id"`
		Status     string      `json:"status"`
		Recipients []recipient `json:"recipients"`
	}{m.Key, "delivered", nil}
	for _, to := range m.Recipients {
		answer.Recipients = append(answer.Recipients, recipient{to, "delivered", time.Now().UTC()})
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func serveGateway(ctx context.Context, what, dir string, l net.Listener, stdout io.Writer) error {
	trim.Busy() // as amesh gateway does
	keys := filepath.Join(dir, "admin.keys")
	if err := os.WriteFile(keys, []byte(adminKey+"\n"), 0o600); err != nil {
		return err
	}
	loopback := outward.Config{HTTP: true, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	s, err := gateway.New(gateway.Config{
		Domain: domain,
		Open: func(ctx context.Context) (*store.Store, error) {
			if what == "memory" {
				return store.OpenMemory(ctx, dir)
			}
			return store.Open(ctx, what)
		},
		Admins: auth.NewAdminKeys(keys, time.Now), Rates: gateway.Rates{Off: true},
		Discovery: discovery.Config{Mock: true, AllowHTTP: true, MockRecords: map[string]string{dead: "v=amtp1;gateway=http://127.0.0.1:1"}},
		Peers:     loopback, Hooks: loopback,
	})
	if err != nil {
		return err
	}
	// The server ends before its store, as it does in amesh gateway.
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ran := make(chan error, 1)
	go func() { ran <- s.Run(running) }()
	select {
	case <-s.Ready():
	case err := <-ran:
		return err
	}
	fmt.Fprintln(stdout, "http://"+l.Addr().String())
	err = s.Serve(ctx, l, nil)
	end()
	return errors.Join(err, <-ran)
}
