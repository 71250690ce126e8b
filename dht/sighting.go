package dht

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify/pb"
	"github.com/libp2p/go-msgio/pbio"
	ma "github.com/multiformats/go-multiaddr"
)

// sighting is where a relay of ours sees our QUIC socket. It serves where STUN does not,
// and is the relay's word alone: it is told to nobody but accepted peers, who send a
// bounded number of packets there.
type sighting struct {
	addr ma.Multiaddr
	at   time.Time
}

// seen returns where our relays see us, each address once. Those that were asked a moment
// ago are not asked again.
func (c *Circuits) seen(ctx context.Context, now time.Time) []ma.Multiaddr {
	h := c.owner()
	var asking sync.WaitGroup
	for _, r := range c.cfg.Relays {
		c.mu.Lock()
		fresh := now.Sub(c.observed[r.ID].at) < c.limits.Sighting
		c.mu.Unlock()
		if fresh || directTo(h, r.ID) == nil {
			continue
		}
		asking.Go(func() {
			addr, err := observedBy(ctx, h, r.ID)
			if err != nil {
				c.log.Debug("circuit relay does not say where it sees us", "peer", r.ID.String(), "err", err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.observed[r.ID] = sighting{addr: addr, at: now}
		})
	}
	asking.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []ma.Multiaddr
	for _, r := range c.cfg.Relays {
		if s := c.observed[r.ID]; s.addr != nil && now.Sub(s.at) < c.limits.Sighting && !slices.ContainsFunc(list, s.addr.Equal) {
			list = append(list, s.addr)
		}
	}
	return list
}

// maxIdentify is the longest answer that is read, in bytes.
const maxIdentify = 8 << 10

// observedBy asks a peer where it sees us, in identify. An answer over TCP is an error: the
// port of that leads to nothing.
func observedBy(ctx context.Context, h host.Host, p peer.ID) (ma.Multiaddr, error) {
	s, err := impatient{h}.NewStream(ctx, p, identify.ID)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Scope().ReserveMemory(maxIdentify, network.ReservationPriorityAlways); err != nil {
		_ = s.Reset()
		return nil, err
	}
	defer s.Scope().ReleaseMemory(maxIdentify)
	var said pb.Identify
	if err := pbio.NewDelimitedReader(s, maxIdentify).ReadMsg(&said); err != nil {
		_ = s.Reset()
		return nil, fmt.Errorf("identify: %w", err)
	}
	addr, err := ma.NewMultiaddrBytes(said.GetObservedAddr())
	if err != nil {
		return nil, fmt.Errorf("identify: %w", err)
	}
	if _, err := addr.ValueForProtocol(ma.P_QUIC_V1); err != nil || !transportOK(addr) {
		return nil, errors.New("no address of QUIC")
	}
	return addr, nil
}
