package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// What a connection was owed when the relay began to stop is written before the
// close frame.
func TestStopWritesWhatWaits(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	ann, _ := h.join(1, ExtensionAck)
	bob, _ := h.join(2, ExtensionAck)
	text := strings.Repeat("x", 60_000)
	const n = 16 // fits the queue and no socket's buffer knows how many
	for i := range n {
		ann.send(bob.who, fmt.Sprintf("%d %s", i, text), fmt.Sprint(i))
		ann.want(object{"type": typeRelayed})
	}
	h.until("all of it is handed to the connection", func(s *Server) bool {
		c := s.find(bob.who)
		return c.credit.room().Messages <= DefaultLimits().Credit.Messages-n
	})
	go h.shut()
	for i := range n {
		if got := bob.want(object{"type": typeReceive}); !strings.HasPrefix(got["encrypted_payload"].(string), fmt.Sprint(i, " ")) {
			t.Fatalf("message %d is %.10v", i, got["encrypted_payload"])
		}
	}
	if code := bob.closed(); code != websocket.StatusGoingAway {
		t.Errorf("closed with %d", code)
	}
}

// A reader who does not read does not keep the relay from stopping, and its mail stays.
func TestStopDoesNotWaitForTheDeaf(t *testing.T) {
	l := DefaultLimits()
	l.FinishWait, l.CloseWait = 50*time.Millisecond, 50*time.Millisecond
	l.Credit = Size{Messages: 1000, Bytes: 64 << 20}
	h, disk := startRelay(t, l)
	ann, _ := h.join(1, ExtensionAck)
	deaf, _ := h.join(2, ExtensionAck)
	text := strings.Repeat("x", 60_000)
	for i := range 300 {
		ann.send(deaf.who, fmt.Sprintf("%d%s", i, text), fmt.Sprint(i))
		ann.want(object{"type": typeRelayed})
	}
	h.shut()
	h.start(disk, Limits{})
	h.holds(deaf.who, 300)
}

func TestDrain(t *testing.T) {
	l := DefaultLimits()
	l.QuietFor = 300 * time.Millisecond
	d := openDoor(t, ServerConfig{Limits: l})
	legacy := d.join(1, "127.0.0.1")
	modern, _, err := d.ws("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	stamp := jsStamp()
	f := signed(testKey(t, 2), stamp, stamp)
	f.Extensions = []Extension{ExtensionAck}
	modern.who = testKey(t, 2).AMID()
	modern.write(f)
	modern.want(object{"type": typeConnected})

	type end struct {
		left int
		err  error
	}
	done := make(chan end, 1)
	go func() {
		left, err := d.server.Drain(t.Context(), patience)
		done <- end{left, err}
	}()
	modern.want(object{"type": typeDraining, "within_s": patience.Seconds()})
	if why := d.server.Stats().NotReady; why != "draining" {
		t.Errorf("readiness: %q", why)
	}
	_, resp, err := d.ws("127.0.0.3")
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new connection: %v, %v", resp, err)
	}
	// Mail is taken and handed out all the same.
	legacy.send(modern.who, "last words", "")
	modern.want(object{"type": typeReceive, "encrypted_payload": "last words"})
	modern.ack(EnvelopeID([]byte("last words")).String())
	legacy.quiet() // was told nothing that a 0.2 client does not know
	if got := <-done; got.left != 2 || got.err != nil {
		t.Errorf("drained: %+v", got)
	}
}

func TestDrainEndsWithTheLastConnectionOrItsTime(t *testing.T) {
	l := DefaultLimits()
	l.QuietFor = time.Hour
	d := openDoor(t, ServerConfig{Limits: l})
	ann := d.join(1, "127.0.0.1")
	if left, err := d.server.Drain(t.Context(), time.Millisecond); left != 1 || err != nil {
		t.Errorf("in a moment: %d, %v", left, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if left, err := d.server.Drain(ctx, time.Hour); left != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %d, %v", left, err)
	}
	_ = ann.ws.Close(websocket.StatusNormalClosure, "")
	if left, err := d.server.Drain(t.Context(), time.Hour); left != 0 || err != nil {
		t.Errorf("with nobody there: %d, %v", left, err)
	}
}
