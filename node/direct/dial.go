package direct

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"amesh/dht"
)

// Target says where a peer might be: what its record or its paths message says.
type Target struct {
	PeerIDs   []string
	Addresses []string // multiaddrs; one with /p2p/ is for that peer id only
}

// Dial opens a path to one of the target's peer ids and returns which. It returns
// only after a pong; an open path is echoed once more, so that a nil error always
// means a peer that answered just now. Peer ids are tried at the same time.
// Addresses that the rules of package dht forbid, malformed ones and ourselves
// are skipped; ErrNoAddress means that nothing was left.
func (t *Transport) Dial(ctx context.Context, target Target) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, t.limits.DialTimeout)
	defer cancel()
	t.mu.Lock()
	run, ok := t.ctx, t.state == stateRunning
	t.mu.Unlock()
	if !ok {
		return "", fmt.Errorf("dial: %w", ErrClosed)
	}
	defer context.AfterFunc(run, cancel)()

	peers := t.candidates(target)
	if len(peers) == 0 {
		return "", fmt.Errorf("dial: %w: no usable peer id", ErrNoAddress)
	}
	return t.race(ctx, cancel, peers)
}

// race returns the first peer that answers; the attempts at the others end.
func (t *Transport) race(ctx context.Context, cancel context.CancelFunc, peers []peer.AddrInfo) (string, error) {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		winner string
		errs   []error
	)
	for _, p := range peers {
		wg.Go(func() {
			err := t.dialOne(ctx, p)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("dial %s: %w", p.ID, err))
			case winner == "":
				winner = p.ID.String()
				cancel()
			}
		})
	}
	wg.Wait()
	if winner == "" {
		return "", errors.Join(errs...)
	}
	return winner, nil
}

// candidates reads a target. What a stranger wrote is skipped where it is wrong.
func (t *Transport) candidates(target Target) []peer.AddrInfo {
	rules := dht.LocalRules(t.host)
	var addrs []ma.Multiaddr
	for _, text := range first(target.Addresses, t.limits.Addresses) {
		a, err := ma.NewMultiaddr(text)
		if err != nil || !rules.Allow(a) {
			t.log.Debug("address skipped", "addr", text)
			continue
		}
		addrs = append(addrs, a)
	}
	var peers []peer.AddrInfo
	seen := map[peer.ID]bool{t.host.ID(): true} // never dial ourselves
	for _, text := range first(target.PeerIDs, t.limits.PeerIDs) {
		id, err := peer.Decode(text)
		if err != nil || seen[id] {
			continue
		}
		seen[id] = true
		info := peer.AddrInfo{ID: id}
		for _, a := range addrs {
			if plain, whose := peer.SplitAddr(a); whose == "" || whose == id {
				info.Addrs = append(info.Addrs, plain)
			}
		}
		peers = append(peers, info)
	}
	return peers
}

func first(list []string, n int) []string { return list[:min(n, len(list))] }

// dialOne proves a path to p, by what is there already if possible.
func (t *Transport) dialOne(ctx context.Context, p peer.AddrInfo) error {
	leave, err := t.enter(ctx, p.ID)
	if err != nil {
		return err
	}
	defer leave()
	if s := t.sending(p.ID); s != nil {
		if err := await(ctx, s, s.ask()); err == nil || ctx.Err() != nil {
			return err
		}
	}
	if t.host.Network().Connectedness(p.ID) == network.Connected {
		if t.openOld(ctx, p.ID) == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if len(p.Addrs) == 0 && len(t.host.Peerstore().Addrs(p.ID)) == 0 {
		return ErrNoAddress
	}
	// Whoever asks to dial has a reason to believe that the peer is back.
	dht.ClearDialBackoff(t.host, p.ID)
	if err := t.host.Connect(network.WithForceDirectDial(ctx, "direct path"), p); err != nil {
		return err
	}
	return t.open(ctx, p.ID)
}

// openOld tries the connections that exist. They may lead to a peer that was
// killed, which looks alive for 30 s; then they are closed to make way for a dial.
func (t *Transport) openOld(ctx context.Context, id peer.ID) error {
	old := t.host.Network().ConnsToPeer(id)
	short, cancel := context.WithTimeout(ctx, t.limits.PongTimeout)
	defer cancel()
	err := t.open(short, id)
	if err != nil && ctx.Err() == nil {
		for _, c := range old { // not one that the peer made meanwhile
			_ = c.Close()
		}
	}
	return err
}

// open makes a stream on a connection and waits for its proof.
func (t *Transport) open(ctx context.Context, id peer.ID) error {
	raw, err := t.host.NewStream(network.WithNoDial(ctx, "dialled before"), id, Protocol)
	if err != nil {
		return err
	}
	s, err := t.add(raw, true)
	if err != nil {
		_ = raw.Reset()
		return err
	}
	go t.serve(s)
	if err := await(ctx, s, s.first); err != nil {
		s.fail(err)
		return err
	}
	return nil
}

// await returns nil when p came back, or why s died, after its connection was
// closed where that was the reason: what follows shall not find it again.
func await(ctx context.Context, s *stream, p *ping) error {
	select {
	case <-p.done:
		return nil
	case <-s.gone:
		return s.cause()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn lets one Dial at a time work on a peer.
type turn struct {
	token chan struct{}
	users int
}

func (t *Transport) enter(ctx context.Context, id peer.ID) (func(), error) {
	t.mu.Lock()
	d := t.dials[id]
	if d == nil {
		d = &turn{token: make(chan struct{}, 1)}
		t.dials[id] = d
	}
	d.users++
	t.mu.Unlock()

	forget := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if d.users--; d.users == 0 {
			delete(t.dials, id)
		}
	}
	select {
	case d.token <- struct{}{}:
		return func() { <-d.token; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
