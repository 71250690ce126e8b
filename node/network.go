package node

import (
	"context"

	"amesh/dht"
)

// watchNetwork has everything tried again at once when the machine's network is another
// one: why relays and peers were out of reach may be over, and connections may be dead.
func (m *mesh) watchNetwork(ctx context.Context) error {
	dht.WatchAddrs(ctx, m.host, m.networkChanged)
	return nil
}

// networkChanged is told of every change, some of them twice.
func (m *mesh) networkChanged() {
	m.node.cfg.Logger.Debug("the network is another one")
	if m.punching != nil {
		m.punching.NetworkChanged()
	}
	for _, r := range m.rooms {
		r.relays.retry()
		r.paths.moved()
		r.agent.PlacesChanged()
	}
}
