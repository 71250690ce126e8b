package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"amesh/node/api"
)

// Config is what a server needs.
type Config struct {
	Backend     api.Backend
	Credentials Credentials
	Hosts       []string // the host:port values under which the TCP door answers, such as 127.0.0.1:7777
	Version     string   // of the node, shown in the OpenAPI document
	Logger      *slog.Logger
	Limits      Limits // zero: DefaultLimits
}

// Server offers a node's backend over HTTP. It is safe for concurrent use.
type Server struct {
	cfg    Config
	mux    *http.ServeMux
	routes map[string]access // by pattern of the mux

	document func() (json.RawMessage, error) // OpenAPI
}

// New checks the configuration and builds the routes.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Backend == nil:
		return nil, errors.New("local api: no backend")
	case cfg.Logger == nil:
		return nil, errors.New("local api: no logger")
	case cfg.Credentials.owner == digest{}:
		return nil, errors.New("local api: no credentials")
	}
	for _, h := range cfg.Hosts {
		if host, port, err := net.SplitHostPort(h); err != nil || host == "" || port == "" {
			return nil, fmt.Errorf("local api: host %q is not host:port", h)
		}
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), routes: make(map[string]access)}
	if err := s.register(); err != nil {
		return nil, fmt.Errorf("local api: %w", err)
	}
	return s, nil
}

// SocketHandler serves the unix socket. It must run on a server of HTTPServer,
// which asks the kernel who calls; elsewhere it refuses everybody.
func (s *Server) SocketHandler() http.Handler {
	return s.through(door{check: func(*http.Request) *api.Problem { return nil }, known: s.bySocket})
}

// TCPHandler serves the TCP address.
func (s *Server) TCPHandler() http.Handler {
	return s.through(door{check: s.fromHere, known: s.byToken})
}

// HTTPServer returns a server with our timeouts for one of the handlers. It has no
// deadline for whole requests, since some wait for long; the handlers set one for
// reading a body and one for writing an answer.
func (s *Server) HTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: s.cfg.Limits.HeaderTimeout,
		IdleTimeout:       s.cfg.Limits.IdleTimeout,
		MaxHeaderBytes:    s.cfg.Limits.MaxHeader,
		ConnContext:       withUser,
		// "OPTIONS *" would be answered past the checks of the door.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

// Serve answers on l until ctx ends. Then waits end, requests under way are
// finished, and it returns nil; it returns an error when l fails or when a request
// does not end in Limits.ShutdownGrace. It closes l in any case.
func (s *Server) Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := s.HTTPServer(h)
	srv.BaseContext = func(net.Listener) context.Context { return ctx }
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("local api on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Limits.ShutdownGrace)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = fmt.Errorf("local api on %s: requests did not end: %w", l.Addr(), errors.Join(err, srv.Close()))
	}
	<-done
	return err
}
