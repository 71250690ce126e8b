package metrics

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
	"amesh/gateway/discovery"
	"amesh/gateway/store"
)

func some() *Metrics {
	m := New(time.Unix(1000, 0), Sources{
		Queue:      func() (store.QueueStats, bool) { return store.QueueStats{Queued: 3, Dead: 1}, true },
		Deliveries: func() (delivery.Stats, bool) { return delivery.Stats{Delivered: 7}, true },
		Discovery:  func() discovery.Stats { return discovery.Stats{Hits: 5} },
	})
	m.Begin()
	m.End("GET", "/v1/messages/{id}/status", 404, 3*time.Millisecond, amtp.CodeMessageNotFound)
	m.Connected(1)
	m.Taking(1)
	m.Message(amtp.Delivered, false, 1024, time.Millisecond)
	return m
}

// Checklist 111: the JSON has agentry's members at its top.
func TestJSONHasAgentrysMembers(t *testing.T) {
	b, err := json.Marshal(some().JSON(time.Unix(1060, 0)))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Timestamp     int64
		UptimeSeconds float64 `json:"uptime_seconds"`
		HTTP          struct {
			Requests  map[string]int
			Durations map[string]struct {
				Count int
				Max   float64
			}
			InFlight int `json:"in_flight"`
		}
		Messages          struct{ Total map[string]int }
		Deliveries        struct{ Total, Queue map[string]int }
		Discovery, System map[string]any
		Errors            map[string]int
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	const path = "GET:/v1/messages/:id/status:404"
	if got.HTTP.Requests[path] != 1 || got.HTTP.Durations[path].Max != .003 || got.HTTP.InFlight != 0 {
		t.Errorf("http: %+v", got.HTTP)
	}
	if got.UptimeSeconds != 60 || got.Messages.Total["delivered:immediate"] != 1 || got.Deliveries.Queue["queued"] != 3 || got.Deliveries.Total["delivered"] != 7 ||
		got.Errors["server:MESSAGE_NOT_FOUND:client_error"] != 1 || got.Discovery == nil || got.System == nil {
		t.Errorf("got %s", b)
	}
}

// Checklist 111: Prometheus reads the text.
func TestPrometheusReadsTheNumbers(t *testing.T) {
	e, err := some().Exporter(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	b, _ := io.ReadAll(w.Result().Body)
	for _, want := range []string{
		`amesh_gateway_request_seconds_bucket{method="GET",path="/v1/messages/{id}/status",status="404",le="0.005"} 1`,
		`amesh_gateway_request_seconds_bucket{method="GET",path="/v1/messages/{id}/status",status="404",le="0.0025"} 0`,
		`amesh_gateway_errors_total{code="MESSAGE_NOT_FOUND"} 1`,
		`amesh_gateway_queue{state="dead"} 1`,
		`amesh_gateway_deliveries_total{result="delivered"} 7`,
		`amesh_gateway_discovery_total{result="cached"} 5`,
		`amesh_gateway_message_bytes_sum 1024`,
		`amesh_gateway_connections 1`,
	} {
		if !strings.Contains(string(b), want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
}

// What strangers ask for does not make the numbers grow.
func TestStrangersDoNotGrowTheNumbers(t *testing.T) {
	m := some()
	for i := range 1000 {
		m.Begin()
		m.End(fmt.Sprintf("M%d", i), "", 404, 0, amtp.CodeNotFound)
	}
	if len(m.requests) != 2 {
		t.Errorf("%d kinds of requests, want 2", len(m.requests))
	}
}
