package relay

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"amesh/internal/store"
)

// speaker is an agent with "ack" on a stage.
type speaker struct {
	*actor
	stage *stage
}

// joinAck connects an agent that offers "ack" and takes the connected frame.
func (s *stage) joinAck(n byte) speaker {
	s.t.Helper()
	a := s.open()
	stamp := s.stamp()
	f := signed(testKey(s.t, n), stamp, stamp)
	f.Extensions = []Extension{ExtensionAck}
	a.say(s.t, string(encode(f)))
	if got := a.next(); !strings.Contains(got, `"extensions":["ack"]`) {
		s.t.Fatalf("connect answered with %s", got)
	}
	return speaker{a, s}
}

// answer sends a text and gives what the relay says to it.
func (p speaker) answer(to byte, text string) string {
	p.stage.t.Helper()
	p.say(p.stage.t, string(encode(sendFrame{
		Type: typeSend, To: testKey(p.stage.t, to).AMID().String(), Payload: text, Kind: KindMessage, ClientID: "7",
	})))
	return p.next()
}

// relayed is answer, which must be relayed.
func (p speaker) relayed(to byte, text string) string {
	p.stage.t.Helper()
	got := p.answer(to, text)
	if !strings.HasPrefix(got, `{"type":"relayed"`) {
		p.stage.t.Fatalf("the send of %s is answered %s", text, got)
	}
	return got
}

// payloads are the messages that an actor was given since it was last asked.
func (a *actor) payloads() (texts []string) {
	for text := a.next(); text != ""; text = a.next() {
		_, rest, found := strings.Cut(text, `"encrypted_payload":"`)
		payload, _, _ := strings.Cut(rest, `"`)
		if found {
			texts = append(texts, payload)
		}
	}
	return texts
}

func (s *stage) wantPayloads(a *actor, when, want string) {
	s.t.Helper()
	if got := strings.Join(a.payloads(), " "); got != want {
		s.t.Errorf("%s: given %q, want %q", when, got, want)
	}
}

// CP 10, CP 12: a sender that repeats what a receiver of 0.2 was given hears relayed
// each time, in the same words, and the receiver nothing: while it is there, when it
// comes back, after crashes of the relay, and when it has learned "ack".
func TestARepeatIsGivenToALegacyReceiverOnce(t *testing.T) {
	for _, online := range []bool{true, false} {
		t.Run(fmt.Sprint("online ", online), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { repeatToLegacy(t, online) })
		})
	}
}

func repeatToLegacy(t *testing.T, online bool) {
	s := newStage(t, DefaultLimits())
	defer s.close()
	alice := s.joinAck(1)
	var bob *actor
	// send has alice send a text while bob is there, or before he comes.
	send := func(when, text, want string) string {
		t.Helper()
		if online && bob == nil {
			bob = s.join(2)
		}
		answer := alice.relayed(2, text)
		if !online {
			bob = s.join(2)
		}
		s.wantPayloads(bob, when, want)
		if !online {
			_ = bob.ws.CloseNow()
			synctest.Wait()
		}
		return answer
	}
	first := send("first", "x", "x")
	repeat := func(when string) {
		t.Helper()
		if again := send(when, "x", ""); again != first {
			t.Errorf("%s: answered %s, first %s", when, again, first)
		}
	}
	repeat("repeated")
	for i := range 2 {
		s.disk.Crash()
		s.restart()
		alice, bob = s.joinAck(1), nil
		repeat(fmt.Sprint("repeated after crash ", i+1))
	}
	send("another", "y", "y")
	wide := s.joinAck(2)
	if again := alice.relayed(2, "x"); again != first {
		t.Errorf(`with "ack": answered %s, first %s`, again, first)
	}
	s.wantPayloads(wide.actor, `with "ack"`, "")
}

// CP 12: a crash at the commit that removes a message loses it or not, and repeating
// it does not give it to anybody twice.
func TestARepeatAfterACrashWhileTaking(t *testing.T) {
	for _, c := range []struct {
		phase store.Phase
		want  string
	}{{store.BeforeCommit, "x"}, {store.AfterCommit, ""}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, DefaultLimits())
			defer s.close()
			first := s.joinAck(1).relayed(2, "x")
			crashNext(s.disk, c.phase)
			s.wantPayloads(s.join(2), "at the crash", "")
			s.restart()
			alice := s.joinAck(1)
			if again := alice.relayed(2, "x"); again != first {
				t.Errorf("phase %d: answered %s, first %s", c.phase, again, first)
			}
			s.wantPayloads(s.join(2), fmt.Sprint("phase ", c.phase), c.want)
			alice.relayed(2, "x")
			s.wantPayloads(s.join(2), fmt.Sprint("phase ", c.phase, " again"), "")
		})
	}
}
