package gateway

import (
	"context"
	"net/http"
	"strings"

	"amesh/gateway/delivery"
	"amesh/gateway/store"
	"amesh/internal/exporter"
)

// metricsSubject shows numbers, where the configuration wants it.
func (s *Server) metricsSubject() {
	if !s.cfg.Metrics {
		return
	}
	may := anyone
	if s.cfg.MetricsKey {
		may = s.admins
	}
	s.routes = append(s.routes, route{method: http.MethodGet, path: "/metrics", may: may, answer: s.numbers, early: true})
}

// Exporter shows the gateway's numbers to Prometheus, on a listener of its own.
func (s *Server) Exporter() *exporter.Exporter { return s.exporter }

// numbers are JSON for those who ask as they ask agentry, and Prometheus's text for those
// who ask for text.
func (s *Server) numbers(r *request) (reply, error) {
	if !wantsText(r.Request) {
		return reply{body: s.metrics.JSON(r.now)}, nil
	}
	return reply{handler: s.exporter}, nil
}

// wantsText reports whether a request asks for Prometheus's text.
func wantsText(hr *http.Request) bool {
	switch hr.URL.Query().Get("format") {
	case "prometheus":
		return true
	case "json":
		return false
	}
	accept := strings.Join(hr.Header.Values("Accept"), ",")
	return !strings.Contains(accept, "application/json") &&
		(strings.Contains(accept, "text/plain") || strings.Contains(accept, "application/openmetrics-text"))
}

// queued is what is in the queue, if that can be said soon. It does not hold the gate, since
// a request for it does already: a store that is being closed only says that it is.
func (s *Server) queued() (store.QueueStats, bool) {
	p := s.parts.Load()
	if p == nil {
		return store.QueueStats{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.limits.ProbeWait)
	defer cancel()
	q, err := p.store.QueueStats(ctx)
	return q, err == nil
}

// deliveries are what was delivered since Run has begun.
func (s *Server) deliveries() (delivery.Stats, bool) {
	if p := s.parts.Load(); p != nil {
		return p.delivery.Stats(), true
	}
	return delivery.Stats{}, false
}
