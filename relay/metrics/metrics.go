// Package metrics shows the numbers of a relay to Prometheus, on a listener of its
// own. Labels hold words of closed lists only: no name of an agent and no address
// ever becomes one.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"amesh/internal/ice"
	"amesh/relay"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Path is where the numbers are.
const Path = "/metrics"

const (
	// headerWait and answerWait bound a request and its answer.
	headerWait = 5 * time.Second
	answerWait = 10 * time.Second
	// inFlight is how many requests are answered at a time.
	inFlight = 4
)

// Config says whose numbers are shown.
type Config struct {
	// Relay counts what the server does. Required.
	Relay func() relay.Stats
	// STUN counts what the STUN server does; nil if there is none.
	STUN func() ice.STUNCounts
	// Logger gets what goes wrong; nil is silence.
	Logger *slog.Logger
}

// Exporter answers GET /metrics.
type Exporter struct {
	handler http.Handler
	log     *slog.Logger
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Exporter, error) {
	if cfg.Relay == nil {
		return nil, errors.New("metrics need a relay")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collector{cfg}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	log := slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn)
	return &Exporter{log: cfg.Logger, handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: log, MaxRequestsInFlight: inFlight, Timeout: answerWait,
	})}, nil
}

// ServeHTTP implements http.Handler.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != Path || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	e.handler.ServeHTTP(w, r)
}

// Serve answers on l until ctx ends, then it closes l and returns nil.
func (e *Exporter) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: e, ReadHeaderTimeout: headerWait, ReadTimeout: headerWait, WriteTimeout: 2 * answerWait,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}
