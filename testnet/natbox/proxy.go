package natbox

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// proxy carries connections to port 443, and does nothing else that HTTP knows.
type proxy struct {
	login  string // USER:PASSWORD; empty: none
	port   string // the only one that it connects to
	dialer net.Dialer
	log    *slog.Logger
	places chan struct{} // one for each connection that may be open
}

func newProxy(login, port string, log *slog.Logger) *proxy {
	return &proxy{login: login, port: port, log: log,
		dialer: net.Dialer{Timeout: proxyPatience}, places: make(chan struct{}, proxyConns)}
}

// serve takes over the listener until ctx ends, and returns when the last connection
// is closed.
func (p *proxy) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           p,
		ReadHeaderTimeout: proxyPatience,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err := server.Serve(l)
	// Hijacked connections are not the server's any more. Who has all places knows
	// that the last is closed.
	for range cap(p.places) {
		p.places <- struct{}{}
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("proxy: %w", err)
}

// ServeHTTP answers CONNECT host:443 and refuses the rest.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch _, port, err := net.SplitHostPort(r.Host); {
	case !p.knows(r):
		w.Header().Set("Proxy-Authenticate", `Basic realm="natbox"`)
		http.Error(w, "who are you", http.StatusProxyAuthRequired)
	case r.Method != http.MethodConnect:
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
	case err != nil || port != p.port:
		http.Error(w, "only port "+p.port, http.StatusForbidden)
	default:
		p.connect(w, r)
	}
}

// knows checks the login, where there is one.
func (p *proxy) knows(r *http.Request) bool {
	if p.login == "" {
		return true
	}
	encoded, ok := strings.CutPrefix(r.Header.Get("Proxy-Authorization"), "Basic ")
	login, err := base64.StdEncoding.DecodeString(encoded)
	return ok && err == nil && subtle.ConstantTimeCompare(login, []byte(p.login)) == 1
}

// connect carries one connection until either end, or the server, closes it.
func (p *proxy) connect(w http.ResponseWriter, r *http.Request) {
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	default:
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	far, err := p.dialer.DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		p.log.Debug("proxy cannot connect", "addr", r.Host, "err", err)
		http.Error(w, "nobody there", http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "cannot", http.StatusInternalServerError)
		return
	}
	defer near.Close()
	p.log.Debug("proxy connects", "addr", r.Host)
	if near.SetDeadline(time.Time{}) != nil { // that of the request's header
		return
	}
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	both := func() { near.Close(); far.Close() }
	stop := context.AfterFunc(r.Context(), both)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { defer both(); _, _ = io.Copy(far, buffered) })
	_, _ = io.Copy(near, far)
	both()
}
