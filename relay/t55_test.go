package relay

import (
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// T55: whatever two agents do with one another, no line of the log, not even of its
// debug level, has both of their names.
func TestT55LogHasNoPairs(t *testing.T) {
	var log lockedBuffer
	d := openDoor(t, ServerConfig{Logger: debugLogger(&log)})
	ann, bob := d.join(1, "127.0.0.1", "User-Agent", "ann"), d.join(2, "127.0.0.2")
	to, from := bob.who.String(), ann.who.String()
	for _, frame := range []string{
		`{"type":"send","to":"TO","encrypted_payload":"x","message_type":"message"}`,
		`{"type":"send","to":"TO","encrypted_payload":"FROM","message_type":"knock"}`,
		`{"type":"send","to":"TO","encrypted_payload":"` + strings.Repeat("x", 64<<10+1) + `","message_type":"message"}`,
		`{"type":"send","to":"TO and more","encrypted_payload":"x","message_type":"message"}`,
		`{"type":"send","to":"TO","encrypted_payload":"x","message_type":"FROM"}`,
		`{"type":"send","to":"TO"}`,
		`{"type":"knock_with_message","to":"TO","knock_payload":"k","message_payload":"m"}`,
		`{"type":"ice_offer","to":"TO","sdp":"v=0","candidates":[]}`,
		`{"type":"ice_answer","to":"TO","sdp":"v=0","candidates":"TO"}`,
		`{"type":"presence_query","amid":"TO"}`,
		`{"type":"p2p_established","peer":"TO"}`,
		`{"type":"TO FROM"}`,
		`TO FROM`,
	} {
		frame = strings.ReplaceAll(strings.ReplaceAll(frame, "TO", to), "FROM", from)
		ann.writeText(frame)
	}
	ann.writeText(`{"type":"ping","timestamp":"2026-11-20T09:22:47.5+00:00"}`)
	for ann.next()["type"] != typePong {
	}
	newer := d.join(1, "127.0.0.1")
	ann.closed()
	_ = bob.ws.Close(websocket.StatusNormalClosure, to+" "+from)
	_ = newer.ws.CloseNow()
	until(t, "both are gone", func() bool { s := d.server.Stats(); return s.Ack+s.Legacy+s.Waiting == 0 })
	seen := 0
	for line := range strings.Lines(log.String()) {
		has, hasTo := strings.Contains(line, from), strings.Contains(line, to)
		if has && hasTo {
			t.Errorf("a pair: %s", line)
		}
		if has || hasTo {
			seen++
		}
	}
	if seen < 4 {
		t.Errorf("only %d lines name anybody, so the test proves little:\n%s", seen, log.String())
	}
}
