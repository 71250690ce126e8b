package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"amesh/internal/turnstile"
)

// Serve serves the API on l until ctx ends, then it closes l, lets requests come to
// their end and returns nil. With a TLS configuration clients must speak TLS.
func (s *Server) Serve(ctx context.Context, l net.Listener, secure *tls.Config) error {
	return s.serveOn(ctx, l, s.handler, secure)
}

// ServeBeside serves another handler, without TLS, on a door of its own.
func (s *Server) ServeBeside(ctx context.Context, l net.Listener, h http.Handler) error {
	return s.serveOn(ctx, l, h, nil)
}

func (s *Server) serveOn(ctx context.Context, l net.Listener, h http.Handler, secure *tls.Config) error {
	door := turnstile.New(l, s.limits.Connections, s.limits.ConnectionsPerAddress, func(ip netip.Addr) bool {
		return s.exempt(ip) || contains(s.cfg.Proxies, ip)
	})
	srv := &http.Server{
		ConnState:         door.Note,
		Handler:           h,
		ReadHeaderTimeout: s.limits.HeaderWait,
		ReadTimeout:       s.limits.BodyWait,
		WriteTimeout:      s.limits.BodyWait + 2*s.limits.AnswerWait,
		IdleTimeout:       s.limits.IdleWait,
		MaxHeaderBytes:    s.limits.HeaderBytes,
		TLSConfig:         secure,
		// What goes wrong here is a stranger's doing.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		if secure != nil {
			ended <- srv.ServeTLS(door, "", "")
		} else {
			ended <- srv.Serve(door)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.FinishWait)
	defer cancel()
	if err := srv.Shutdown(finish); err != nil {
		_ = srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
