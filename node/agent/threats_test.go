package agent

import (
	"testing"

	"amesh/node/api"
)

// heldUp blocks a peer's clerk until the returned function is called, so that what
// arrives meanwhile comes to it at once.
func heldUp(c *clerk) (release func()) {
	gate, in := make(chan struct{}), make(chan struct{})
	c.do(func() error { close(in); <-gate; return nil })
	<-in
	return func() { close(gate) }
}

// T19, T33: a tail is not signed, so anybody on the line can make another envelope of a
// knock. Both together, in one round of the clerk, are still one knock; or the second
// answer would put its keys in the place of the first one's.
func TestKnockWithTwoTails(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "accept")
	key := newKey(t)
	first := handKnock(t, w, key, bob)
	again := append(append([]byte(nil), first...), noise(82+40+256)...)
	release := heldUp(bob.clerk(key.AMID()))
	var acked [2]chan struct{}
	for i, data := range [][]byte{first, again} {
		acked[i] = make(chan struct{})
		bob.Receive(Incoming{From: key.AMID(), Data: data, Path: api.PathRelayed, Ack: func() { close(acked[i]) }})
	}
	release()
	<-acked[0]
	<-acked[1]
	if opened, kept := count(t, bob, rowOpened), count(t, bob, rowReceipt); opened != 1 || kept != 1 {
		t.Errorf("%d envelopes opened, %d answers kept", opened, kept)
	}
}
