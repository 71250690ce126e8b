package metrics

import (
	"amesh/relay"

	"github.com/prometheus/client_golang/prometheus"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("amesh_relay_"+name, help, labels, nil)
}

// What is shown. Names and labels are an interface: dashboards depend on them.
var (
	connections  = desc("connections", "Open connections by state: waiting for a name, or of clients with and without ack.", "state")
	polling      = desc("polling", "Connections of agents by long poll, which are among those with and without ack.")
	ready        = desc("ready", "1 while the relay should be given work.")
	framesIn     = desc("frames_received_total", "Frames read, by type.", "type")
	bytesIn      = desc("received_bytes_total", "Bytes of frames read, by type.", "type")
	framesOut    = desc("frames_sent_total", "Frames written, by type.", "type")
	bytesOut     = desc("sent_bytes_total", "Bytes of frames written, by type.", "type")
	refused      = desc("sends_refused_total", "Messages refused, by code.", "code")
	authFailed   = desc("connects_refused_total", "Connect frames refused, by code.", "code")
	cut          = desc("connections_cut_total", "Connections closed by the relay for what they cost, by reason.", "reason")
	bans         = desc("bans", "Bans in force.")
	stored       = desc("mailbox_messages", "Messages in all mailboxes.")
	storedBytes  = desc("mailbox_bytes", "Bytes of the messages in all mailboxes.")
	strangers    = desc("mailbox_strangers", "Messages in all mailboxes that came from strangers.")
	taken        = desc("mailbox_taken_names", "Messages that were handed out for good and are remembered, so that none comes twice.")
	damaged      = desc("mailbox_damaged_total", "Rows of mailboxes that were found damaged and set aside.")
	commits      = desc("mailbox_commit_seconds", "Time from a change of mailboxes to its being on disk.")
	expired      = desc("mailbox_expired_total", "Messages given up because their time was over.")
	repeated     = desc("mailbox_repeated_total", "Messages sent again while they were there.")
	clockJumps   = desc("clock_jumps_total", "Jumps of the wall clock by more than an hour.")
	stunRequests = desc("stun_requests_total", "STUN requests, by what became of them.", "result")
)

type collector struct{ cfg Config }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		connections, polling, ready, framesIn, bytesIn, framesOut, bytesOut, refused, authFailed, cut, bans,
		stored, storedBytes, strangers, taken, damaged, commits, expired, repeated, clockJumps, stunRequests,
	} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := c.cfg.Relay()
	gauge(connections, float64(s.Waiting), "waiting")
	gauge(connections, float64(s.Ack), "ack")
	gauge(connections, float64(s.Legacy), "legacy")
	gauge(polling, float64(s.Polling))
	gauge(ready, truth(s.Ready))
	for _, x := range []struct {
		counts       map[string]relay.Count
		n, bytes     *prometheus.Desc
		withoutBytes bool
	}{
		{counts: s.In, n: framesIn, bytes: bytesIn}, {counts: s.Out, n: framesOut, bytes: bytesOut},
		{counts: s.Refused, n: refused, withoutBytes: true}, {counts: s.AuthFailed, n: authFailed, withoutBytes: true},
	} {
		for name, count := range x.counts {
			counter(x.n, count.N, name)
			if !x.withoutBytes {
				counter(x.bytes, count.Bytes, name)
			}
		}
	}
	counter(cut, s.Shed, "room")
	counter(cut, s.Crowded, "address")
	counter(cut, s.SlowCut, "slow")
	counter(cut, s.BanCut, "banned")
	gauge(bans, float64(s.Bans))
	gauge(stored, float64(s.Mailbox.Messages))
	gauge(storedBytes, float64(s.Mailbox.Bytes))
	gauge(strangers, float64(s.Mailbox.Strangers))
	gauge(taken, float64(s.Mailbox.Taken))
	ch <- prometheus.MustNewConstHistogram(commits, s.Commits.N, s.Commits.Sum.Seconds(), buckets(s.Commits))
	counter(expired, s.Mailbox.Expired)
	counter(repeated, s.Repeated)
	counter(damaged, s.Mailbox.Quarantined)
	counter(clockJumps, s.Mailbox.ClockJumps)
	if c.cfg.STUN != nil {
		n := c.cfg.STUN()
		counter(stunRequests, n.Answered, "answered")
		counter(stunRequests, n.Refused, "refused")
		counter(stunRequests, n.Ignored, "ignored")
		counter(stunRequests, n.Limited, "limited")
	}
}

func buckets(d relay.Durations) map[float64]uint64 {
	all := make(map[float64]uint64, len(d.UpTo))
	for bound, n := range d.UpTo {
		all[bound.Seconds()] = n
	}
	return all
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
