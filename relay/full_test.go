package relay

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// CP 34: a full mailbox refuses with the time after which to try again, and holds up
// nobody else: not the sender's messages to others, and not the others' to theirs.
// When there is room again what was refused is taken, and comes once and in order.
func TestAFullMailboxHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := DefaultLimits()
		l.Mailbox.LegacyBox.Messages, l.Mailbox.Box.Messages = 2, 2
		s := newStage(t, l)
		defer s.close()
		alice, dave := s.joinAck(1), s.joinAck(4)
		alice.relayed(2, "0")
		dave.relayed(2, "1")
		for range 2 {
			for _, from := range []speaker{alice, dave} {
				if got := from.answer(2, "2"); !strings.Contains(got, `"code":"mailbox_full","retry_after_s":30`) {
					t.Errorf("a full mailbox answers %s", got)
				}
			}
			time.Sleep(l.FullRetry)
		}
		alice.relayed(2, "0") // what is there already is not refused
		alice.relayed(3, "to another")
		dave.relayed(1, "to the sender")
		s.wantPayloads(alice.actor, "the sender", "to the sender")
		s.wantPayloads(s.joinAck(3).actor, "another", "to another")

		bob := s.joinAck(2)
		ids := bob.ids()
		if len(ids) != 2 {
			t.Fatalf("%d messages wait", len(ids))
		}
		bob.say(t, string(encode(ackFrame{Type: typeAck, IDs: ids[:1]})))
		synctest.Wait()
		alice.relayed(2, "2")
		if got := dave.answer(2, "3"); !strings.Contains(got, `"code":"mailbox_full"`) {
			t.Errorf("full again, it answers %s", got)
		}
		s.wantPayloads(bob.actor, "when there was room", "2")
		bob.say(t, string(encode(ackFrame{Type: typeAck, IDs: ids[1:]})))
		synctest.Wait()
		dave.relayed(2, "3")
		s.wantPayloads(bob.actor, "at last", "3")
	})
}

// ids are the ids of the messages that a speaker was given since it was last asked.
func (p speaker) ids() (ids []string) {
	for text := p.next(); text != ""; text = p.next() {
		if _, rest, found := strings.Cut(text, `"id":"`); found {
			id, _, _ := strings.Cut(rest, `"`)
			ids = append(ids, id)
		}
	}
	return ids
}
