package metrics

import (
	"log/slog"
	"strconv"

	"amesh/internal/exporter"

	"github.com/prometheus/client_golang/prometheus"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("amesh_gateway_"+name, help, labels, nil)
}

// What is shown. Names and labels are an interface: dashboards depend on them.
var (
	requests = desc("request_seconds", "Time to answer requests, by endpoint and status.", "method", "path", "status")
	inFlight = desc("requests_in_flight", "Requests that are being answered.")
	failures = desc("errors_total", "Requests refused or failed, by code.", "code")
	messages = desc("message_seconds", "Time to take messages, by their state in the answer, and whether a reply was in it.", "state", "reply")
	sizes    = desc("message_bytes", "Sizes of messages taken.")
	attempts = desc("attempt_seconds", "Time of attempts to deliver, by the way of delivery and the state after them.", "mode", "state")
	queue    = desc("queue", "Recipients in the queue, jobs under way and dead letters.", "state")
	oldest   = desc("queue_oldest_timestamp_seconds", "When the oldest in the queue was accepted; 0: the queue is empty.")
)

// Exporter shows the numbers, and those of the process, to Prometheus.
func (m *Metrics) Exporter(log *slog.Logger) (*exporter.Exporter, error) {
	return exporter.New(collector{m}, log)
}

type collector struct{ m *Metrics }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requests, inFlight, failures, messages, sizes, attempts, queue, oldest} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	m := c.m
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(inFlight, float64(m.inFlight.Load()))
	if q, ok := m.queue(); ok {
		gauge(queue, float64(q.Queued), "queued")
		gauge(queue, float64(q.Retrying), "retrying")
		gauge(queue, float64(q.Leased), "leased")
		gauge(queue, float64(q.Dead), "dead")
		if q.Oldest.IsZero() {
			gauge(oldest, 0)
		} else {
			gauge(oldest, float64(q.Oldest.UnixMilli())/1000)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, d := range m.requests {
		ch <- d.histogram(requests, k.method, k.path, strconv.Itoa(k.status))
	}
	for code, n := range m.failed {
		ch <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(n), string(code))
	}
	for k, d := range m.messages {
		ch <- d.histogram(messages, string(k.state), strconv.FormatBool(k.reply))
	}
	for k, d := range m.attempts {
		ch <- d.histogram(attempts, string(k.mode), string(k.state))
	}
	ch <- prometheus.MustNewConstSummary(sizes, m.sizes.n, m.sizes.sum, nil)
}

func (d *durations) histogram(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	for i, b := range bounds {
		buckets[b] = d.buckets[i]
	}
	return prometheus.MustNewConstHistogram(desc, d.n, d.sum, buckets, labels...)
}
