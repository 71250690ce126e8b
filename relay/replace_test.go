package relay

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// flap connects an agent as often as closes the older connection each time, and once
// more, and returns the last two.
func (h *house) flap(n byte) (mute, newest *raw) {
	h.t.Helper()
	mute, _ = h.join(n)
	for range DefaultLimits().Replacements {
		older := mute
		mute, _ = h.join(n)
		if code := older.closed(); code != CloseReplaced {
			h.t.Fatalf("older closed with %d", code)
		}
	}
	newest, _ = h.join(n)
	return mute, newest
}

// ends reads until the end of a connection, and says with which code it came; no frame may come before.
func (c *raw) ends() websocket.StatusCode {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := c.ws.Read(ctx)
	if err == nil || ctx.Err() != nil {
		c.t.Errorf("heard %q, %v", data, err)
	}
	return websocket.CloseStatus(err)
}

// T51: an app that connects again whenever it is replaced does not replace itself for
// ever. Its older connection says and hears nothing that counts.
func TestT51FlappingEnds(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1)
	mute, newest := h.flap(2)
	mute.writeText(`{"type":"ping","timestamp":"2026-11-20T09:22:47.5+00:00"}`)
	mute.send(alice.who, "of the mute", "")
	mute.writeText(`{"type":"presence","status":"dnd"}`)
	alice.send(newest.who, "hello", "")
	newest.want(object{"type": typeReceive, "encrypted_payload": "hello"})
	newest.quiet()
	alice.quiet()
	h.holds(alice.who, 0)
	alice.writeText(`{"type":"presence_query","amid":"` + newest.who.String() + `"}`)
	alice.want(object{"type": typePresenceReply, "status": "online"})
	h.shut()
	if code := mute.ends(); code != websocket.StatusGoingAway {
		t.Errorf("who was mute is closed with %d", code)
	}
}

func TestMuteConnectionsEnd(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	left, _ := h.flap(1)
	_ = left.ws.Close(websocket.StatusNormalClosure, "")
	h.until("who left is forgotten", func(s *Server) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.open) == 1
	})
	h.shut()
	l := DefaultLimits()
	l.CloseWait, l.MuteWait = 50*time.Millisecond, 50*time.Millisecond
	h.start(newMemory(), l)
	stays, newest := h.flap(2)
	if code := stays.ends(); code != CloseReplaced {
		t.Errorf("closed with %d", code)
	}
	newest.quiet()
}

func TestWhoFlaps(t *testing.T) {
	l := DefaultLimits()
	here, there := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	now := time.Now()
	type step struct {
		from  netip.Prefix
		after time.Duration
		mute  bool
	}
	for name, steps := range map[string][]step{
		"quickly":           {{here, 0, false}, {here, time.Second, false}, {here, time.Second, false}, {here, 8 * time.Second, true}, {here, 0, true}},
		"slowly":            {{here, 0, false}, {here, 4 * time.Second, false}, {here, 4 * time.Second, false}, {here, 4 * time.Second, false}, {here, 0, false}, {here, 0, false}, {here, 0, true}},
		"from two places":   {{here, 0, false}, {there, 0, false}, {here, 0, false}, {there, 0, false}, {here, 0, false}},
		"and then moves on": {{here, 0, false}, {here, 0, false}, {here, 0, false}, {here, 0, true}, {there, 0, false}},
	} {
		var r replacing
		at := now
		for i, s := range steps {
			at = at.Add(s.after)
			var mute bool
			if r, mute = r.again(s.from, at, l); mute != s.mute {
				t.Errorf("%s, replacement %d: mute is %v", name, i+1, mute)
			}
		}
	}
}
