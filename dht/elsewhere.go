package dht

import (
	"context"
	"strconv"
	"sync"

	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
)

// Whoever makes up peer ids until some twenty of them are nearest to an agent's key
// holds its record there, and can hide it from everybody while showing it to its
// owner. So records are also put elsewhere, and looked for there when they are not
// found: at our bootstrap servers, and around mirror keys, each of which would have to
// be surrounded as well.

// mirrorKey is the i-th place of a record besides its own. A server takes a record
// wherever its key is.
func mirrorKey(a identity.AMID, i int) string { return recordKey(a) + "#" + strconv.Itoa(i) }

// elsewhere are the servers besides the nearest ones that have an agent's record.
func (n *Node) elsewhere(ctx context.Context, run running, amid identity.AMID) []peer.ID {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		found = make(map[peer.ID]bool)
	)
	for _, id := range n.anchors() {
		found[id] = true
	}
	// While the table is small, the nearest servers are all that there are.
	if run.table.RoutingTable().Size() >= n.limits.MirrorFrom {
		for i := range n.limits.Mirrors {
			wg.Go(func() {
				near, err := run.table.GetClosestPeers(ctx, mirrorKey(amid, i+1))
				if err != nil {
					n.log.Debug("mirror", "err", err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, p := range near[:min(len(near), n.limits.MirrorCopies)] {
					found[p] = true
				}
			})
		}
	}
	wg.Wait()
	delete(found, n.host.ID())
	list := make([]peer.ID, 0, len(found))
	for id := range found {
		list = append(list, id)
	}
	return list
}

// putElsewhere stores a record at these servers, and returns them.
func (n *Node) putElsewhere(ctx context.Context, run running, e *entry) []peer.ID {
	key := recordKey(e.rec.AMID)
	servers := n.elsewhere(ctx, run, e.rec.AMID)
	var wg sync.WaitGroup
	for _, p := range servers {
		wg.Go(func() {
			if err := run.ask.PutValue(ctx, p, record.MakePutRecord(key, e.raw)); err != nil {
				n.log.Debug("record not taken", "peer", p.String(), "err", err)
			}
		})
	}
	wg.Wait()
	return servers
}
