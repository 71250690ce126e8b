package dht

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// announced are the words under which this node was announced, and when.
type announced struct {
	mu sync.Mutex
	at map[string]bool
}

func (n *Node) unannounced(topic string) bool {
	n.announced.mu.Lock()
	defer n.announced.mu.Unlock()
	return !n.announced.at[topic]
}

// announce tells the table under which words cards are kept here: all words from time
// to time and when a server came back, new ones soon.
func (n *Node) announce(ctx context.Context) {
	every := time.NewTimer(n.cards.AnnounceSoon)
	defer every.Stop()
	soon := time.NewTimer(n.cards.AnnounceEvery)
	defer soon.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-n.newTopics:
			soon.Reset(n.cards.AnnounceSoon)
			continue
		case <-n.allTopics:
			all = true
		case <-every.C:
			all = true
		case <-soon.C:
		}
		if all {
			every.Reset(n.cards.AnnounceEvery)
		}
		n.announceTopics(ctx, all)
	}
}

func (n *Node) announceTopics(ctx context.Context, all bool) {
	topics := n.desk.keeper.Topics(n.cfg.Clock())
	topics = topics[:min(len(topics), n.cards.Topics)]
	for _, topic := range topics {
		if !all && !n.unannounced(topic) {
			continue
		}
		if err := n.provide(ctx, topicKey(topic)); err != nil {
			n.log.Debug("cards not announced", "topic", topic, "err", err)
			continue
		}
		n.announced.mu.Lock()
		n.announced.at[topic] = true
		n.announced.mu.Unlock()
	}
	n.announced.mu.Lock()
	defer n.announced.mu.Unlock()
	for topic := range n.announced.at {
		if len(n.announced.at) <= n.cards.Topics {
			break
		}
		delete(n.announced.at, topic)
	}
}

// provide puts this node among the providers of a key: here, since we may be the one
// who is asked, and at the servers nearest to it.
func (n *Node) provide(ctx context.Context, key []byte) error {
	ctx, run, leave, err := n.enter(ctx, n.limits.PutTimeout)
	if err != nil {
		return err
	}
	defer leave()
	self := peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}
	if err := run.table.ProviderStore().AddProvider(ctx, key, self); err != nil {
		n.log.Debug("own provider store", "err", err)
	}
	if run.table.RoutingTable().Size() == 0 {
		return nil
	}
	near, err := run.table.GetClosestPeers(ctx, string(key))
	if err != nil && len(near) == 0 {
		return err
	}
	var wg sync.WaitGroup
	for _, p := range near {
		wg.Go(func() {
			if err := run.ask.PutProviderAddrs(ctx, p, key, self); err != nil {
				n.log.Debug("provider not taken", "peer", p.String(), "err", err)
			}
		})
	}
	wg.Wait()
	return nil
}

// providers are those who say that they have an answer under a key: what the servers
// nearest to it know, and we.
func (n *Node) providers(ctx context.Context, run running, key []byte) map[peer.ID]peer.AddrInfo {
	found := make(map[peer.ID]peer.AddrInfo)
	var mu sync.Mutex
	add := func(list []*peer.AddrInfo) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range list {
			if p.ID != n.host.ID() {
				found[p.ID] = *p
			}
		}
	}
	if own, err := run.table.ProviderStore().GetProviders(ctx, key); err == nil {
		for _, p := range own {
			add([]*peer.AddrInfo{&p})
		}
	}
	if run.table.RoutingTable().Size() == 0 {
		return found
	}
	near, err := run.table.GetClosestPeers(ctx, string(key))
	if err != nil {
		n.log.Debug("providers", "err", err)
	}
	var wg sync.WaitGroup
	for _, p := range near {
		wg.Go(func() {
			list, _, err := run.ask.GetProviders(ctx, p, key)
			if err != nil {
				n.log.Debug("providers", "peer", p.String(), "err", err)
			}
			add(list)
		})
	}
	wg.Wait()
	return found
}

// anchors are the bootstrap servers that are connected now.
func (n *Node) anchors() []peer.ID {
	var list []peer.ID
	for id := range n.kicks {
		if n.host.Network().Connectedness(id) == network.Connected {
			list = append(list, id)
		}
	}
	return list
}
