package dht

import (
	"context"
	"fmt"
	"sync"
	"time"

	kad "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
)

// Find returns the newest record that the servers asked have for an agent, or the one
// that was found before while it holds. It is verified here, whoever sent it.
// ErrNotFound means that servers answered and have none, ErrNoServer that nobody
// answered in time, ErrOlder that they have only what is older than what was found
// before.
func (n *Node) Find(ctx context.Context, amid identity.AMID) (*identity.AgentRecord, error) {
	rec, err := n.find(ctx, amid)
	if err != nil {
		if old := n.remembered(amid); old != nil {
			n.log.Debug("record found before", "agent", amid.String(), "err", err)
			return old, nil
		}
		return nil, fmt.Errorf("find %s: %w", amid, err)
	}
	return rec, nil
}

func (n *Node) find(ctx context.Context, amid identity.AMID) (*identity.AgentRecord, error) {
	ctx, run, leave, err := n.enter(ctx, n.limits.FindTimeout)
	if err != nil {
		return nil, err
	}
	defer leave()
	for {
		if n.cfg.Mode != ModeServer { // a server has records of its own to look at
			if err := n.awaitServers(ctx, run.table); err != nil {
				return nil, err
			}
		}
		raw, answered := n.lookup(ctx, run, amid)
		switch {
		case raw != nil:
			return n.newest(raw, amid)
		case answered:
			return nil, ErrNotFound
		}
		select { // all we knew were dead; the bootstrap loop is at work
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNoServer, ctx.Err())
		case <-time.After(n.limits.MinBackoff):
		}
	}
}

// lookup returns the newest record found, else whether somebody said that there
// is none. The library says "not found" also when every server was dead, so its
// no is checked by asking again, and elsewhere too.
func (n *Node) lookup(ctx context.Context, run running, amid identity.AMID) ([]byte, bool) {
	// Servers around the key that let everybody wait shall not use up the time.
	near, cancel := context.WithTimeout(ctx, n.limits.FindTimeout/3)
	defer cancel()
	raw, err := run.table.GetValue(near, recordKey(amid), kad.Quorum(n.limits.Answers))
	if len(raw) > 0 { // even with an error: a late answer more or less doesn't matter
		return raw, true
	}
	n.log.Debug("record not found", "agent", amid.String(), "err", err)
	got := n.askAgain(ctx, run, amid)
	var best []byte
	for _, r := range got.records {
		if best == nil || identity.Newer(r, best) > 0 {
			best = r
		}
	}
	// A server has looked into its own store above and may be the only one.
	return best, got.answered > 0 || (n.cfg.Mode == ModeServer && ctx.Err() == nil)
}

// askAgain asks the servers nearest to an agent's key, and those elsewhere.
func (n *Node) askAgain(ctx context.Context, run running, amid identity.AMID) answers {
	var near, far answers
	var wg sync.WaitGroup
	wg.Go(func() {
		short, cancel := context.WithTimeout(ctx, n.limits.FindTimeout/3)
		defer cancel()
		var err error
		if near, err = n.askNear(short, run, amid); err != nil {
			n.log.Debug("dht servers not asked", "err", err)
		}
	})
	wg.Go(func() { far = n.askAll(ctx, run, n.elsewhere(ctx, run, amid), amid) })
	wg.Wait()
	return answers{near.answered + far.answered, append(near.records, far.records...)}
}

// awaitServers returns when the routing table holds somebody. Right after a
// connection it is empty, because the other side is asked first whether it
// serves.
func (n *Node) awaitServers(ctx context.Context, table *kad.IpfsDHT) error {
	if table.RoutingTable().Size() > 0 {
		return nil
	}
	if len(n.kicks) == 0 && len(n.host.Network().Peers()) == 0 {
		return ErrNoServer
	}
	tick := time.NewTicker(n.limits.TablePoll)
	defer tick.Stop()
	for table.RoutingTable().Size() == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrNoServer, ctx.Err())
		}
	}
	return nil
}

// answers are what the servers nearest to a key say.
type answers struct {
	answered int      // servers
	records  [][]byte // valid ones
}

// askNear asks the servers nearest to an agent's key one by one, without the
// library's GetValue, which would be satisfied with our own copy.
func (n *Node) askNear(ctx context.Context, run running, amid identity.AMID) (answers, error) {
	key := recordKey(amid)
	near, err := run.table.GetClosestPeers(ctx, key)
	if err != nil && len(near) == 0 {
		return answers{}, err
	}
	return n.askAll(ctx, run, near, amid), nil
}

// askAll asks servers one by one.
func (n *Node) askAll(ctx context.Context, run running, servers []peer.ID, amid identity.AMID) answers {
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		got answers
	)
	for _, p := range servers {
		if p == n.host.ID() {
			continue
		}
		wg.Go(func() {
			raw, err := n.askOne(ctx, run, p, amid)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				got.answered++
			}
			if raw != nil {
				got.records = append(got.records, raw)
			}
		})
	}
	wg.Wait()
	return got
}

// askOne returns the valid record that p has for an agent, nil if none.
func (n *Node) askOne(ctx context.Context, run running, p peer.ID, amid identity.AMID) ([]byte, error) {
	rec, _, err := run.ask.GetValue(ctx, p, recordKey(amid))
	if err != nil {
		n.log.Debug("dht server gave no answer", "peer", p.String(), "err", err)
		return nil, err
	}
	raw := rec.GetValue()
	if _, err := checkRecord(raw, amid, n.cfg.Clock()); err != nil {
		return nil, nil // the same as having none
	}
	return raw, nil
}
