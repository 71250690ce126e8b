// Package metrics has the numbers of a registry for Prometheus (internal/exporter).
package metrics

import (
	"errors"
	"log/slog"
	"strconv"

	"amesh/internal/exporter"
	"amesh/registry"

	"github.com/prometheus/client_golang/prometheus"
)

// What is shown. Names and labels are an interface: dashboards depend on them.
var (
	ready    = prometheus.NewDesc("amesh_registry_ready", "1 while the database answers.", nil, nil)
	requests = prometheus.NewDesc("amesh_registry_requests_total", "Requests by endpoint, and by the class of the answer.",
		[]string{"method", "path", "class"}, nil)
)

// New makes an exporter of what stats counts. It starts nothing.
func New(stats func() registry.Stats, log *slog.Logger) (*exporter.Exporter, error) {
	if stats == nil || log == nil {
		return nil, errors.New("metrics need a registry and a logger")
	}
	return exporter.New(collector{stats}, log)
}

type collector struct{ stats func() registry.Stats }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- ready
	ch <- requests
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
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
