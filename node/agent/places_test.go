package agent

import (
	"slices"
	"testing"

	"amesh/internal/store"
	"amesh/node/api"
)

// Peers are told where we are now although nothing is under way with them.
func TestIdlePeersHearOfAMove(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	quiet(t, bob, ann.AMID())
	w.sb.moved.Store(true)
	ann.PlacesChanged()
	amid := ann.AMID()
	until(t, bob, "ann's new places", func() bool {
		var row peerRow
		err := bob.mem.View(func(r store.Reader) (err error) {
			row, _, err = getJSON[peerRow](r, bob.Agent.key(rowPeer, amid[:]))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Equal(row.Places.Relays, line{s: w.sb}.Places().Relays)
	})
}
