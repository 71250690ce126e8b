package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
)

// Serve serves HTTP on l until ctx ends, then it closes l and returns nil. It keeps
// to the limits of admission, which the Server as a bare http.Handler leaves to
// whoever serves it. With a TLS configuration clients must speak TLS. Upgraded
// connections are Run's to close.
func (s *Server) Serve(ctx context.Context, l net.Listener, secure *tls.Config) error {
	l = gate{Listener: l, a: s.admission}
	if secure != nil {
		// A WebSocket begins as HTTP/1.1.
		secure = secure.Clone()
		secure.NextProtos = append([]string{"http/1.1"}, secure.NextProtos...)
		// TLS costs so much more than net/http that there is no need of an entrance.
		return s.serve(ctx, tls.NewListener(l, secure), s)
	}
	e := newEntrance(l, s)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(e.run)
	return s.serve(ctx, e, s)
}

// ServeBeside serves another handler, without TLS, on a door of its own, and counts who
// comes there like those who come to Serve's.
func (s *Server) ServeBeside(ctx context.Context, l net.Listener, h http.Handler) error {
	return s.serve(ctx, gate{Listener: l, a: s.admission}, h)
}

func (s *Server) serve(ctx context.Context, l net.Listener, h http.Handler) error {
	limits := s.limits.Admission
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: limits.HeaderWait,
		// A body is read at most to throw it away. Neither holds after an upgrade.
		ReadTimeout:    2 * limits.HeaderWait,
		WriteTimeout:   2 * limits.HeaderWait,
		IdleTimeout:    limits.IdleWait,
		MaxHeaderBytes: limits.HeaderBytes,
		ConnContext:    withGuest,
		// What goes wrong here is a stranger's doing.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
