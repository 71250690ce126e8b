// Package exporter shows a server's numbers to Prometheus, on a listener of its own,
// beside those of the process. What is shown is the collector's: labels hold words of
// closed lists only, so that no name of an agent and no address ever becomes one.
package exporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

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

// Exporter answers GET of Path.
type Exporter struct {
	handler http.Handler
	log     *slog.Logger
}

// New makes an exporter of what c collects. It starts nothing. A nil logger is silence.
func New(c prometheus.Collector, log *slog.Logger) (*Exporter, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	all := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := all.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return &Exporter{log: log, handler: promhttp.HandlerFor(all, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: inFlight, Timeout: answerWait,
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
