package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/event"
)

// watchNetwork has the relays tried again at once when the machine's addresses change:
// why they were out of reach may be over.
func (m *mesh) watchNetwork(ctx context.Context) error {
	sub, err := m.host.EventBus().Subscribe(new(event.EvtLocalAddressesUpdated))
	if err != nil {
		return fmt.Errorf("watch addresses: %w", err)
	}
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-sub.Out():
			if !ok {
				return nil
			}
			if changed, ok := e.(event.EvtLocalAddressesUpdated); ok && addressesChanged(changed) {
				for _, r := range m.rooms {
					r.relays.retry()
				}
			}
		}
	}
}

// addressesChanged tells a change from the first listing.
func addressesChanged(e event.EvtLocalAddressesUpdated) bool {
	had := func(a event.UpdatedAddress) bool { return a.Action == event.Maintained }
	came := func(a event.UpdatedAddress) bool { return a.Action == event.Added }
	return len(e.Removed) > 0 || slices.ContainsFunc(e.Current, had) && slices.ContainsFunc(e.Current, came)
}
