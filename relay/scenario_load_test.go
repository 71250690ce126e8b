package relay

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// join connects an agent of 0.2 and takes the connected frame.
func (s *stage) join(n byte) *actor {
	s.t.Helper()
	a := s.open()
	stamp := s.stamp()
	a.say(s.t, string(encode(signed(testKey(s.t, n), stamp, stamp))))
	synctest.Wait()
	<-a.heard
	return a
}

// stamp is a timestamp as the JavaScript SDK writes it, never the same twice.
func (s *stage) stamp() string {
	s.stamps++
	return time.Now().Add(time.Duration(s.stamps) * time.Millisecond).UTC().Format("2006-01-02T15:04:05.000Z")
}

func (a *actor) say(t *testing.T, text string) {
	t.Helper()
	if err := a.ws.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// Weakness 20: whoever asks too much is answered slowly, all of it and without an
// error, which the JavaScript SDK would take for the end.
func TestQueriesAreHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, DefaultLimits())
		defer s.close()
		a := s.join(1)
		asked := make(chan struct{})
		const questions = 1000
		go func() {
			defer close(asked)
			for i := range questions {
				a.say(t, fmt.Sprintf(`{"type":"presence_query","amid":"%d"}`, i))
			}
		}()
		// 200 at once, then 50 a second.
		time.Sleep(15 * time.Second)
		if n := len(a.heard); n < 900 || n == questions {
			t.Errorf("%d answers after 15 s", n)
		}
		time.Sleep(2 * time.Second)
		<-asked
		for i := range questions {
			if got, want := a.next(), fmt.Sprintf(`{"type":"presence_response","amid":"%d","status":"offline"}`, i); got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	})
}

// T47: a reader that does not read is cut; its mail stays, and who writes to it is not
// held up.
func TestSlowReaderIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := DefaultLimits()
		s := newStage(t, l)
		defer s.close()
		sender, slow := s.joinAck(1), testKey(t, 2).AMID()
		s.deaf(2, ExtensionAck)
		text := strings.Repeat("x", 1000)
		const sent = 400
		for i := range sent {
			sender.relayed(2, fmt.Sprint(i, text))
		}
		if s.server.Load().find(slow) == nil {
			t.Fatal("cut too early")
		}
		time.Sleep(cutWithin(l))
		if s.server.Load().find(slow) != nil {
			t.Error("the slow reader is still here")
		}
		if used := usage(t, s.server.Load().box, slow); used.Messages != sent {
			t.Errorf("%d messages of %d are left", used.Messages, sent)
		}
		sender.relayed(2, "one more")
	})
}

// cutWithin is when a reader who stopped reading is gone: what left of a batch before
// the socket was full gives the frame behind it a time of its own.
func cutWithin(l Limits) time.Duration { return 2*l.WriteWait + l.CloseWait }

// T47, weakness 19: a reader of 0.2 that does not read is cut after the time for one
// frame, and loses what was on its way to it and no more than its queue and a batch beside; the
// rest comes on its next connection.
func TestSlowLegacyReaderIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := DefaultLimits()
		l.LegacySends, l.Mailbox.LegacyBox.Messages = 1000, 1000
		l.Mailbox.LegacyShare = l.Mailbox.LegacyBox
		s := newStage(t, l)
		defer s.close()
		sender, slow := s.join(1), s.deaf(2)
		const sent = 400
		for i := range sent {
			sender.say(t, string(encode(sendFrame{Type: typeSend, To: testKey(t, 2).AMID().String(), Payload: fmt.Sprint(i), Kind: KindMessage})))
		}
		synctest.Wait()
		if s.server.Load().find(testKey(t, 2).AMID()) == nil {
			t.Fatal("cut too early")
		}
		time.Sleep(cutWithin(l))
		if s.server.Load().find(testKey(t, 2).AMID()) != nil {
			t.Error("the slow reader is still here")
		}
		m := &mishap{stage: s, seen: map[string]bool{}}
		slow.listen()
		synctest.Wait()
		m.hear(slow)
		read := len(m.seen)
		again := s.join(2)
		synctest.Wait()
		m.hear(again)
		const written = 1 // the frame that stood half in the socket when it was cut
		if lost := sent - len(m.seen); lost > l.QueueFrames+l.LegacyBatch+written {
			t.Errorf("%d messages were lost, %d came", lost, len(m.seen))
		}
		if read == 0 || read == sent || len(sender.heard) != 0 {
			t.Errorf("%d came before the cut, the sender heard %d frames: the test proves nothing", read, len(sender.heard))
		}
	})
}

// deaf connects an agent that does not read; its socket takes what it can hold.
func (s *stage) deaf(n byte, extensions ...Extension) *actor {
	s.t.Helper()
	a := s.openDeaf(s.network.dial)
	f := signed(testKey(s.t, n), "2026-02-01T12:00:00Z", "2026-02-01T12:00:00Z")
	f.Extensions = extensions
	a.say(s.t, string(encode(f)))
	return a
}
