package node

import (
	"context"

	"amesh/dht"
)

// watchNetwork has the relays tried again at once when the machine's addresses change:
// why they were out of reach may be over.
func (m *mesh) watchNetwork(ctx context.Context) error {
	dht.WatchAddrs(ctx, m.host, func() {
		for _, r := range m.rooms {
			r.relays.retry()
		}
	})
	return nil
}
