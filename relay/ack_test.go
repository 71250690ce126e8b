package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"amesh/internal/timestamp"
	"amesh/relay/mailbox"
)

func TestAckedMail(t *testing.T) {
	h, disk := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	bob := testKey(t, 2).AMID()
	envelope := mailbox.EnvelopeText([]byte(Magic + "sealed"))
	id := EnvelopeID([]byte(Magic + "sealed")).String()

	alice.send(bob, envelope, "first")
	first := alice.want(object{"type": typeRelayed, "client_id": "first", "id": id})
	before := disk.Hash()
	alice.send(bob, envelope, "again")
	alice.want(object{"type": typeRelayed, "client_id": "again", "id": id, "expires": first["expires"]})
	if disk.Hash() != before {
		t.Error("a repeated send changed the store")
	}
	expires, err := timestamp.Parse(first["expires"].(string))
	if err != nil || time.Until(expires) < 71*time.Hour || time.Until(expires) > 73*time.Hour {
		t.Errorf("expires %v", first["expires"])
	}

	b, connected := h.join(2, ExtensionAck)
	if connected["pending_messages"] != 1.0 {
		t.Errorf("connected: %v", connected)
	}
	b.want(object{"type": typeReceive, "id": id, "encrypted_payload": envelope})
	b.quiet()
	b.leave(h)
	b, _ = h.join(2, ExtensionAck)
	b.want(object{"type": typeReceive, "id": id})
	b.ack("unknown", id, id)
	h.holds(bob, 0)
	b.leave(h)
	b, connected = h.join(2, ExtensionAck)
	if connected["pending_messages"] != 0.0 {
		t.Errorf("after the ack: %v", connected)
	}
	b.quiet()
}

func TestSendsAreRefusedWithACode(t *testing.T) {
	l := DefaultLimits()
	l.Mailbox.LegacyBox.Messages = 1
	h, _ := startRelay(t, l)
	alice, _ := h.join(1, ExtensionAck)
	bob := testKey(t, 2).AMID()
	alice.send(bob, "1", "1")
	alice.want(object{"type": typeRelayed, "client_id": "1"})
	alice.send(bob, "2", "2")
	alice.want(object{"type": typeRefused, "client_id": "2", "code": "mailbox_full", "retry_after_s": 30.0})
	alice.send(bob, strings.Repeat("x", 64<<10+1), "3")
	alice.want(object{"type": typeRefused, "client_id": "3", "code": "too_large"})
	alice.writeText(`{"type":"send","to":"nobody","encrypted_payload":"x","message_type":"message","client_id":"4"}`)
	alice.want(object{"type": typeRefused, "client_id": "4", "code": "invalid"})
	alice.writeText(`{"type":"send","to":"` + bob.String() + `","encrypted_payload":"x","message_type":"shout","client_id":"5"}`)
	alice.want(object{"type": typeRefused, "client_id": "5", "code": "invalid"})
	// Without client_id the words of 0.2.
	alice.send(bob, "6", "")
	alice.want(object{"type": typeError, "code": CodeRecipientOffline})
	// Now bob shows that it speaks ack and has a bigger box.
	l.Mailbox.Box.Messages = 2
	b, _ := h.join(2, ExtensionAck)
	b.want(object{"encrypted_payload": "1"})
	b.leave(h)
	alice.send(bob, "2", "7")
	alice.want(object{"type": typeRelayed, "client_id": "7"})
}

func TestRateOfAckClients(t *testing.T) {
	l := DefaultLimits()
	l.SendRate, l.SendBurst, l.MaxDelay = 0.01, 3, time.Millisecond
	h, _ := startRelay(t, l)
	alice, _ := h.join(1, ExtensionAck)
	bob := testKey(t, 2).AMID()
	for i := range 3 {
		alice.send(bob, fmt.Sprint(i), fmt.Sprint(i))
		alice.want(object{"type": typeRelayed})
	}
	alice.leave(h)
	alice, _ = h.join(1, ExtensionAck)
	alice.send(bob, "4", "4")
	got := alice.want(object{"type": typeRefused, "client_id": "4", "code": "rate_limited"})
	if after, _ := got["retry_after_s"].(float64); after < 1 || after > 100 {
		t.Errorf("retry after: %v", got)
	}
}

func TestCreditWindow(t *testing.T) {
	l := DefaultLimits()
	l.Credit = Size{Messages: 4, Bytes: 1 << 20}
	h, _ := startRelay(t, l)
	alice, _ := h.join(1, ExtensionAck)
	b, _ := h.join(2, ExtensionAck)
	for i := range 10 {
		alice.send(b.who, fmt.Sprint(i), fmt.Sprint(i))
		alice.want(object{"type": typeRelayed, "client_id": fmt.Sprint(i)})
	}
	var ids []string
	take := func(i int) {
		t.Helper()
		got := b.want(object{"type": typeReceive, "encrypted_payload": fmt.Sprint(i)})
		ids = append(ids, got["id"].(string))
	}
	for i := range 4 {
		take(i)
	}
	b.quiet()
	b.ack(ids[2])
	take(4)
	b.quiet()
	b.ack(ids[0], ids[1], ids[3], ids[4])
	for i := 5; i < 9; i++ {
		take(i)
	}
	b.quiet()
	b.ack(ids[5:]...)
	take(9)
	h.holds(b.who, 1)
}

func TestCreditWindowCountsBytes(t *testing.T) {
	l := DefaultLimits()
	l.Credit = Size{Messages: 100, Bytes: 25}
	h, _ := startRelay(t, l)
	alice, _ := h.join(1, ExtensionAck)
	b, _ := h.join(2, ExtensionAck)
	for i := range 4 {
		alice.send(b.who, fmt.Sprintf("%010d", i), fmt.Sprint(i))
		alice.want(object{"type": typeRelayed})
	}
	first := b.want(object{"encrypted_payload": "0000000000"})
	b.want(object{"encrypted_payload": "0000000001"})
	// What is left of the credit lets one more pass, whatever its size.
	b.want(object{"encrypted_payload": "0000000002"})
	b.quiet()
	b.ack(first["id"].(string))
	b.want(object{"encrypted_payload": "0000000003"})
}

// A copy of somebody's envelope, sent first, does not take the original with it.
func TestAckNamesOneDelivery(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	mallory, _ := h.join(3, ExtensionAck)
	bob := testKey(t, 2).AMID()
	mallory.send(bob, "same", "1")
	mallory.want(object{"type": typeRelayed})
	alice.send(bob, "same", "1")
	alice.want(object{"type": typeRelayed})
	b, _ := h.join(2, ExtensionAck)
	got := b.want(object{"from": mallory.who.String()})
	b.want(object{"from": alice.who.String(), "id": got["id"]})
	b.ack(got["id"].(string))
	h.holds(bob, 1)
	b.leave(h)
	b, _ = h.join(2, ExtensionAck)
	b.want(object{"from": alice.who.String()})
}
