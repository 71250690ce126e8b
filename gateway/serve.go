package gateway

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
// their end and returns nil. With a TLS configuration, which has the certificates, clients
// must speak TLS, of Config.MinTLS at least. To lose nothing, end the context of Run
// when Serve has returned.
func (s *Server) Serve(ctx context.Context, l net.Listener, secure *tls.Config) error {
	door := turnstile.New(l, s.limits.Connections, s.limits.ConnectionsPerAddress, func(ip netip.Addr) bool {
		return contains(s.cfg.Proxies, ip)
	})
	srv := &http.Server{
		ConnState: func(c net.Conn, state http.ConnState) {
			door.Note(c, state)
			switch state {
			case http.StateNew:
				s.metrics.Connected(1)
			case http.StateClosed, http.StateHijacked:
				s.metrics.Connected(-1)
			case http.StateActive, http.StateIdle:
			}
		},
		Handler:           s.handler,
		ReadHeaderTimeout: s.limits.HeaderWait,
		ReadTimeout:       s.limits.BodyWait,
		WriteTimeout:      s.limits.WriteWait,
		IdleTimeout:       s.limits.IdleWait,
		MaxHeaderBytes:    s.limits.HeaderBytes,
		ConnContext:       s.withChains,
		// What goes wrong here is a stranger's doing.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if secure != nil {
		srv.TLSConfig = s.secureConfig(secure)
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
		return errors.Join(fmt.Errorf("serve: %w", err), srv.Close()) // with the connections that are open
	case <-ctx.Done():
	}
	s.stop() // who only waits is answered now
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
