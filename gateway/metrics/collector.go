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
	open     = desc("connections", "Open connections of the API.")
	failures = desc("errors_total", "Requests refused or failed, by code.", "code")
	messages = desc("message_seconds", "Time to take messages, by their state in the answer, and whether a reply was in it.", "state", "reply")
	sizes    = desc("message_bytes", "Sizes of messages taken.")
	results  = desc("deliveries_total", "Tries to deliver, by what came of them for a recipient.", "result")
	notices  = desc("notices_total", "Messages of the gateway itself: notices of failures, and replies that webhooks gave at once.", "kind")
	paused   = desc("targets_paused", "Domains and agents that are left alone because they do not answer.")
	lookups  = desc("discovery_total", "Lookups of domains' gateways, by result.", "result")
	queue    = desc("queue", "Recipients in the queue, jobs under way and dead letters.", "state")
	oldest   = desc("queue_oldest_timestamp_seconds", "When the oldest in the queue was accepted; 0: the queue is empty.")
)

// Exporter shows the numbers, and those of the process, to Prometheus.
func (m *Metrics) Exporter(log *slog.Logger) (*exporter.Exporter, error) {
	return exporter.New(collector{m}, log)
}

type collector struct{ m *Metrics }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requests, inFlight, open, failures, messages, sizes, results, notices, paused, lookups, queue, oldest} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	m := c.m
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(inFlight, float64(m.inFlight.Load()))
	gauge(open, float64(m.open.Load()))
	counter := func(d *prometheus.Desc, n uint64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
	}
	if d, ok := m.sources.Deliveries(); ok {
		counter(results, d.Delivered, "delivered")
		counter(results, d.HandedOn, "handed_on")
		counter(results, d.Retried, "retried")
		counter(results, d.Failed, "failed")
		counter(notices, d.Notices, "failure")
		counter(notices, d.Replies, "reply")
		gauge(paused, float64(d.Paused))
	}
	d := m.sources.Discovery()
	counter(lookups, d.Hits, "cached")
	counter(lookups, d.Lookups, "asked")
	counter(lookups, d.Absent, "absent")
	counter(lookups, d.Failures, "failed")
	counter(lookups, d.Stale, "stale")
	if q, ok := m.sources.Queue(); ok {
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
		counter(failures, n, string(code))
	}
	for k, d := range m.messages {
		ch <- d.histogram(messages, string(k.state), strconv.FormatBool(k.reply))
	}
	ch <- prometheus.MustNewConstSummary(sizes, m.sizes.n, m.sizes.sum, nil)
}

func (d *series) histogram(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	for i, b := range bounds {
		buckets[b] = d.buckets[i]
	}
	return prometheus.MustNewConstHistogram(desc, d.n, d.sum, buckets, labels...)
}
