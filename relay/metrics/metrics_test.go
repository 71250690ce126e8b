package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"amesh/internal/exporter"
	"amesh/internal/ice"
	"amesh/relay"
	"amesh/relay/mailbox"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func numbers(t *testing.T) http.Handler {
	t.Helper()
	e, err := New(Config{
		Relay: func() relay.Stats {
			return relay.Stats{
				Waiting: 1, Ack: 2, Legacy: 3, Polling: 27, Ready: true,
				In:      map[string]relay.Count{"send": {N: 4, Bytes: 5}},
				Out:     map[string]relay.Count{"receive": {N: 6, Bytes: 7}},
				Refused: map[string]relay.Count{"mailbox_full": {N: 8}}, AuthFailed: map[string]relay.Count{"INVALID_SIGNATURE": {N: 9}},
				Shed: 10, Crowded: 11, SlowCut: 12, BanCut: 22, Bans: 23,
				Mailbox:  mailbox.Stats{Messages: 13, Bytes: 14, Strangers: 24, Taken: 26, Quarantined: 25, Expired: 15, ClockJumps: 17},
				Commits:  relay.Durations{N: 3, Sum: 3 * time.Second, UpTo: map[time.Duration]uint64{time.Millisecond: 2, time.Second: 3}},
				Repeated: 16,
			}
		},
		STUN: func() ice.STUNCounts { return ice.STUNCounts{Answered: 18, Refused: 19, Ignored: 20, Limited: 21} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWhatIsShown(t *testing.T) {
	w := httptest.NewRecorder()
	numbers(t).ServeHTTP(w, httptest.NewRequest(http.MethodGet, exporter.Path, nil))
	shown := map[string]bool{}
	for line := range strings.Lines(w.Body.String()) {
		shown[strings.TrimSpace(line)] = true
	}
	for line := range strings.Lines(`
amesh_relay_connections{state="waiting"} 1
amesh_relay_connections{state="ack"} 2
amesh_relay_connections{state="legacy"} 3
amesh_relay_polling 27
amesh_relay_ready 1
amesh_relay_frames_received_total{type="send"} 4
amesh_relay_received_bytes_total{type="send"} 5
amesh_relay_frames_sent_total{type="receive"} 6
amesh_relay_sent_bytes_total{type="receive"} 7
amesh_relay_sends_refused_total{code="mailbox_full"} 8
amesh_relay_connects_refused_total{code="INVALID_SIGNATURE"} 9
amesh_relay_connections_cut_total{reason="room"} 10
amesh_relay_connections_cut_total{reason="address"} 11
amesh_relay_connections_cut_total{reason="slow"} 12
amesh_relay_connections_cut_total{reason="banned"} 22
amesh_relay_bans 23
amesh_relay_mailbox_messages 13
amesh_relay_mailbox_bytes 14
amesh_relay_mailbox_strangers 24
amesh_relay_mailbox_taken_names 26
amesh_relay_mailbox_damaged_total 25
amesh_relay_mailbox_commit_seconds_bucket{le="0.001"} 2
amesh_relay_mailbox_commit_seconds_bucket{le="+Inf"} 3
amesh_relay_mailbox_commit_seconds_sum 3
amesh_relay_mailbox_expired_total 15
amesh_relay_mailbox_repeated_total 16
amesh_relay_clock_jumps_total 17
amesh_relay_stun_requests_total{result="answered"} 18
amesh_relay_stun_requests_total{result="refused"} 19
amesh_relay_stun_requests_total{result="ignored"} 20
amesh_relay_stun_requests_total{result="limited"} 21
`) {
		if line = strings.TrimSpace(line); line != "" && !shown[line] {
			t.Errorf("not shown: %s", line)
		}
	}
	if t.Failed() {
		t.Log(w.Body)
	}
}

func TestNumbersAreSomebodys(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("metrics of nothing")
	}
}
