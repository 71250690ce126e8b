// Package metrics shows the numbers of a registry to Prometheus, on a listener of its
// own. Labels hold words of closed lists only: no name of an agent and no address ever
// becomes one.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"amesh/registry"

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

// What is shown. Names and labels are an interface: dashboards depend on them.
var (
	ready    = prometheus.NewDesc("amesh_registry_ready", "1 while the database answers.", nil, nil)
	requests = prometheus.NewDesc("amesh_registry_requests_total", "Requests by endpoint, and by the class of the answer.",
		[]string{"method", "path", "class"}, nil)
)

// Exporter answers GET /metrics.
type Exporter struct {
	stats   func() registry.Stats
	handler http.Handler
	log     *slog.Logger
}

// New makes an exporter of what stats counts. It starts nothing.
func New(stats func() registry.Stats, log *slog.Logger) (*Exporter, error) {
	if stats == nil || log == nil {
		return nil, errors.New("metrics need a registry and a logger")
	}
	e := &Exporter{stats: stats, log: log}
	all := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		e, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := all.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	e.handler = promhttp.HandlerFor(all, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: inFlight, Timeout: answerWait,
	})
	return e, nil
}

// Describe implements prometheus.Collector.
func (e *Exporter) Describe(ch chan<- *prometheus.Desc) {
	ch <- ready
	ch <- requests
}

// Collect implements prometheus.Collector.
func (e *Exporter) Collect(ch chan<- prometheus.Metric) {
	s := e.stats()
	up := 0.0
	if s.Ready {
		up = 1
	}
	ch <- prometheus.MustNewConstMetric(ready, prometheus.GaugeValue, up)
	for _, r := range s.Requests {
		ch <- prometheus.MustNewConstMetric(requests, prometheus.CounterValue, float64(r.N),
			r.Method, r.Path, strconv.Itoa(r.Class)+"xx")
	}
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
