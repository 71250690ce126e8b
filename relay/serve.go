package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
)

// Serve serves HTTP on l until ctx ends, then it closes l and returns nil. It keeps
// to the limits of admission, which the Server as a bare http.Handler leaves to
// whoever serves it. With a TLS configuration clients must speak TLS. Upgraded
// connections are Run's to close.
func (s *Server) Serve(ctx context.Context, l net.Listener, secure *tls.Config) error {
	limits := s.limits.Admission
	srv := &http.Server{
		Handler:           s,
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
	l = gate{Listener: l, a: s.admission}
	if secure != nil {
		// A WebSocket begins as HTTP/1.1.
		secure = secure.Clone()
		secure.NextProtos = append([]string{"http/1.1"}, secure.NextProtos...)
		l = tls.NewListener(l, secure)
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
