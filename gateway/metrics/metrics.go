// Package metrics counts what a gateway does. It shows the numbers in two forms: to
// Prometheus (internal/exporter), and as agentry's JSON for what reads that. Labels are
// words of closed lists only, so that no stranger can make the numbers grow: endpoints,
// methods, status codes, error codes, states.
package metrics

import (
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
	"amesh/gateway/discovery"
	"amesh/gateway/store"
)

// Metrics are the counts. All methods are safe for concurrent use.
type Metrics struct {
	begun    time.Time
	sources  Sources
	inFlight atomic.Int64 // requests
	taking   atomic.Int64 // messages
	open     atomic.Int64 // connections

	mu       sync.Mutex
	requests map[request]*series
	failed   map[amtp.Code]uint64
	messages map[message]*series
	sizes    series // of messages, in bytes
}

// Sources count elsewhere. Those with a second result may not know just now.
type Sources struct {
	Queue      func() (store.QueueStats, bool)
	Deliveries func() (delivery.Stats, bool)
	Discovery  func() discovery.Stats
}

// request is an endpoint and what it answered.
type request struct {
	method, path string
	status       int
}

// message is what became of a message by the time of its answer.
type message struct {
	state amtp.State
	reply bool
}

// series is how often something was measured, and what came out: seconds, or bytes.
type series struct {
	n             uint64
	sum, min, max float64
	buckets       [len(bounds)]uint64 // each with what is in those before it
}

// bounds are those of the buckets, in seconds: sizes are shown without.
var bounds = [...]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func (d *series) add(v float64) {
	if d.n == 0 || v < d.min {
		d.min = v
	}
	d.max = max(d.max, v)
	d.n++
	d.sum += v
	for i := len(bounds) - 1; i >= 0 && v <= bounds[i]; i-- {
		d.buckets[i]++
	}
}

// add counts under a key of a map.
func add[K comparable](m map[K]*series, k K, v float64) {
	d := m[k]
	if d == nil {
		d = new(series)
		m[k] = d
	}
	d.add(v)
}

// New starts to count at a time. All sources are required.
func New(now time.Time, from Sources) *Metrics {
	return &Metrics{
		begun: now, sources: from, requests: map[request]*series{}, failed: map[amtp.Code]uint64{}, messages: map[message]*series{},
	}
}

// Begin counts a request that has begun; End must follow.
func (m *Metrics) Begin() { m.inFlight.Add(1) }

// End counts a request that was answered. The path is the route's pattern, "" for none; the
// code is empty where there was no error.
func (m *Metrics) End(method, path string, status int, took time.Duration, code amtp.Code) {
	m.inFlight.Add(-1)
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = "OTHER"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	add(m.requests, request{method, path, status}, took.Seconds())
	if code != "" {
		m.failed[code]++
	}
}

// Connected counts a connection that was opened, 1, or is closed, -1.
func (m *Metrics) Connected(n int64) { m.open.Add(n) }

// Taking counts a message that is being taken, 1, or no longer, -1.
func (m *Metrics) Taking(n int64) { m.taking.Add(n) }

// Message counts a message that was taken.
func (m *Metrics) Message(state amtp.State, reply bool, size int, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	add(m.messages, message{state, reply}, took.Seconds())
	m.sizes.add(float64(size))
}

// summary is a series as agentry writes it.
type summary struct {
	Avg   float64 `json:"avg"`
	Count uint64  `json:"count"`
	Max   float64 `json:"max"`
	Min   float64 `json:"min"`
	Sum   float64 `json:"sum"`
}

func (d *series) summary() summary {
	return summary{d.sum / float64(max(d.n, 1)), d.n, d.max, d.min, d.sum}
}

// JSON is everything in agentry's form: the same members at the top.
func (m *Metrics) JSON(now time.Time) map[string]any {
	httpRequests, httpTook := map[string]uint64{}, map[string]summary{}
	total, took := map[string]uint64{}, map[string]summary{}
	failed := map[string]uint64{}
	m.mu.Lock()
	for k, d := range m.requests {
		name := k.method + ":" + colons(k.path) + ":" + strconv.Itoa(k.status)
		httpRequests[name], httpTook[name] = d.n, d.summary()
	}
	for k, d := range m.messages {
		name := string(k.state) + ":" + k.path()
		total[name], took[name] = d.n, d.summary()
	}
	for code, n := range m.failed {
		failed["server:"+string(code)+":client_error"] = n
	}
	sizes := m.sizes.summary()
	m.mu.Unlock()
	return map[string]any{
		"timestamp":      now.Unix(),
		"uptime_seconds": now.Sub(m.begun).Seconds(),
		"http":           map[string]any{"requests": httpRequests, "durations": httpTook, "in_flight": m.inFlight.Load()},
		"messages":       map[string]any{"total": total, "durations": took, "in_flight": m.taking.Load(), "sizes": map[string]any{"bytes": sizes}},
		"deliveries":     m.deliveries(),
		"discovery":      m.discovery(),
		"errors":         failed,
		"system":         m.system(),
	}
}

func (k message) path() string {
	if k.reply {
		return "reply"
	}
	return "immediate"
}

func (m *Metrics) deliveries() map[string]any {
	total := map[string]uint64{}
	retries := map[string]uint64{}
	if d, ok := m.sources.Deliveries(); ok {
		total["delivered"], total["handed_on"], total["failed"] = d.Delivered, d.HandedOn, d.Failed
		retries["retried"] = d.Retried
	}
	queue := map[string]int{}
	if q, ok := m.sources.Queue(); ok {
		queue["queued"], queue["retrying"], queue["leased"], queue["dead"] = q.Queued, q.Retrying, q.Leased, q.Dead
	}
	return map[string]any{"attempts": map[string]any{}, "durations": map[string]any{}, "retries": retries, "total": total, "queue": queue}
}

func (m *Metrics) discovery() map[string]any {
	d := m.sources.Discovery()
	return map[string]any{
		"cache_hits": map[string]uint64{"dns": d.Hits}, "durations": map[string]any{},
		"total": map[string]uint64{"lookups": d.Lookups, "absent": d.Absent, "failures": d.Failures, "stale": d.Stale},
	}
}

func (m *Metrics) system() map[string]any {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return map[string]any{
		"connections_active": m.open.Load(), "gc_cycles": mem.NumGC, "goroutines_active": runtime.NumGoroutine(),
		"memory_total_bytes": mem.Sys, "memory_usage_bytes": mem.Alloc,
	}
}

// colons writes the names in a pattern as agentry does: /v1/messages/:id.
func colons(pattern string) string {
	if pattern == "" {
		return "unknown"
	}
	return strings.NewReplacer("{", ":", "...}", "", "}", "").Replace(pattern)
}
