package relay

import (
	"fmt"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/internal/timestamp"
	"amesh/relay/mailbox"
)

// caughtUp waits until the relay knows that there is no mail for a receiver.
func (h *house) caughtUp(c *raw) {
	h.t.Helper()
	h.until("the mailbox was looked at", func(s *Server) bool {
		there := s.find(c.who)
		return there != nil && there.takesDirectly()
	})
}

// A 0.2 frame for somebody who is there goes from socket to socket.
func TestOnlineFrameIsNotStored(t *testing.T) {
	h, disk := startRelay(t, Limits{})
	alice, _ := h.join(1)
	bob, _ := h.join(2)
	bob.quiet()
	h.caughtUp(bob)
	before := disk.Commits()
	for i := range 40 {
		alice.send(bob.who, fmt.Sprint(i), "")
	}
	for i := range 40 {
		got := bob.want(object{"type": typeReceive, "from": alice.who.String(), "encrypted_payload": fmt.Sprint(i), "message_type": "message"})
		if _, err := timestamp.Parse(got["timestamp"].(string)); err != nil || len(got) != 5 {
			t.Fatalf("got %v", got)
		}
	}
	bob.quiet()
	if after := disk.Commits(); after != before {
		t.Errorf("%d commits", after-before)
	}
}

// Frames that find no room go through the mailbox, and those behind them wait for
// them; so does everything for a receiver with "ack".
func TestOrderOfBothWays(t *testing.T) {
	l := DefaultLimits()
	l.LegacySends, l.QueueFrames, l.LegacyBatch = 1_000_000, 4, 2
	l.WriteWait = patience // the receiver reads when all was sent, on a busy machine late
	const count = 400
	for name, extensions := range map[string][]Extension{"without ack": nil, "with ack": {ExtensionAck}} {
		t.Run(name, func(t *testing.T) {
			l.Mailbox.LegacyBox.Messages, l.Mailbox.LegacyShare.Messages, l.Credit = count, count, Size{Messages: count, Bytes: 1 << 30}
			h, disk := startRelay(t, l)
			alice, _ := h.join(1)
			bob, _ := h.join(2, extensions...)
			before := disk.Commits()
			// Longer than sockets are deep, so that the queue fills while nobody reads.
			pad := strings.Repeat("x", 30_000)
			for i := range count {
				alice.send(bob.who, fmt.Sprint(i, pad), "")
			}
			for i := range count {
				got := bob.want(object{"type": typeReceive})["encrypted_payload"].(string)
				if want := fmt.Sprint(i, pad); got != want {
					t.Fatalf("got %.10s, want %.10s", got, want)
				}
			}
			bob.quiet()
			if disk.Commits() == before {
				t.Error("nothing went through the mailbox: the test proves nothing")
			}
		})
	}
}

// Rates count whichever way a frame takes.
func TestRateOfOnlineFrames(t *testing.T) {
	l := DefaultLimits()
	l.LegacySends, l.LegacyKnocks = 3, 2
	h, _ := startRelay(t, l)
	alice, _ := h.join(1)
	bob, _ := h.join(2)
	h.caughtUp(bob)
	for _, kind := range []Kind{KindMessage, KindKnock, KindMessage, KindKnock, KindMessage} {
		alice.write(sendFrame{Type: typeSend, To: bob.who.String(), Payload: "x", Kind: kind})
		bob.want(object{"message_type": string(kind)})
	}
	for _, kind := range []Kind{KindMessage, KindKnock} {
		alice.write(sendFrame{Type: typeSend, To: bob.who.String(), Payload: "x", Kind: kind})
		alice.want(object{"type": typeError, "code": CodeRateLimited})
	}
	bob.quiet()
}

// To a newer connection of the receiver, not to the older one.
func TestOnlineFrameFindsTheNewestConnection(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1)
	var older *conn
	for i := range 3 {
		bob, _ := h.join(2)
		h.until("the newer connection is known", func(s *Server) bool {
			now := s.find(bob.who)
			known := now != nil && now != older
			if known {
				older = now
			}
			return known
		})
		alice.send(bob.who, fmt.Sprint(i), "")
		bob.want(object{"encrypted_payload": fmt.Sprint(i)})
	}
}

// An allow list that the receiver once set holds for its 0.2 connection as well.
func TestOnlineFrameOfAStranger(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1)
	bob, _ := h.join(2)
	if err := h.server.box.Allow(t.Context(), bob.who, &mailbox.AllowList{}); err != nil {
		t.Fatal(err)
	}
	h.caughtUp(bob)
	alice.send(bob.who, "hello", "")
	h.until("the stranger was heard", func(s *Server) bool { return s.counts.commits.read().N > 0 })
	if err := h.server.box.Allow(t.Context(), bob.who, nil); err != nil {
		t.Fatal(err)
	}
	alice.send(bob.who, "hello again", "")
	bob.want(object{"encrypted_payload": "hello again"})
}

func TestGuardedForgetsNobodyInSilence(t *testing.T) {
	g := newGuarded(nil)
	for i := range maxGuarded + 1 {
		g.note(identity.AMID{byte(i), byte(i >> 8), byte(i >> 16)})
	}
	if len(g.owners) != 1 || !g.has(identity.AMID{}) {
		t.Errorf("%d remembered, and the first of them: %v", len(g.owners), g.has(identity.AMID{}))
	}
}
