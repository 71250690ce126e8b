package dht

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
)

// entry is a record we keep alive.
type entry struct {
	rec       *identity.AgentRecord
	raw       []byte
	confirmed time.Time
}

// Publish puts a signed record into the table and keeps it there while Run runs,
// until a newer one takes its place, it expires or it is withdrawn. It returns
// nil only after another node handed the same bytes back. ErrUnconfirmed means
// that the record is remembered and will be tried again; any other error that it
// was refused: ErrRecord, ErrOlder, ErrClosed.
func (n *Node) Publish(ctx context.Context, raw []byte) error {
	e, err := n.remember(raw)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := n.put(ctx, e); err != nil {
		if errors.Is(err, ErrUnconfirmed) {
			signal(n.soon)
		}
		return fmt.Errorf("publish %s: %w", e.rec.AMID, err)
	}
	return nil
}

func (n *Node) remember(raw []byte) (*entry, error) {
	rec, err := identity.ParseAgentRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if err := rec.Valid(n.cfg.Clock()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state == stateClosed {
		return nil, ErrClosed
	}
	old := n.published[rec.AMID]
	if old != nil {
		switch identity.Newer(raw, old.raw) {
		case 0:
			return old, nil
		case -1:
			return nil, fmt.Errorf("%w: sequence %d after %d", ErrOlder, rec.Sequence, old.rec.Sequence)
		}
	}
	e := &entry{rec: rec, raw: bytes.Clone(raw)}
	n.published[rec.AMID] = e
	return e, nil
}

// Withdraw stops keeping an agent's record alive. Copies at servers remain until
// the record expires: a signed statement can't be unsaid.
func (n *Node) Withdraw(amid identity.AMID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.published, amid)
}

// Confirmed returns when the agent's present record was last read back from
// another node, and whether it ever was.
func (n *Node) Confirmed(amid identity.AMID) (time.Time, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.published[amid]
	if e == nil || e.confirmed.IsZero() {
		return time.Time{}, false
	}
	return e.confirmed, true
}

// Status returns a snapshot.
func (n *Node) Status() Status {
	s := Status{Mode: n.cfg.Mode, Serving: slices.Contains(n.host.Mux().Protocols(), protocolPrefix+kadProtocol), Chosen: int(n.chosen.Load()), Requests: n.requests.Load()}
	for id := range n.kicks {
		if n.host.Network().Connectedness(id) == network.Connected {
			s.Servers++
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state == stateRunning {
		s.Peers = n.running.table.RoutingTable().Size()
	}
	s.LastConfirmed = n.confirmed
	for _, e := range n.published {
		s.Published = append(s.Published, Published{
			AMID: e.rec.AMID, Sequence: e.rec.Sequence, Expires: e.rec.Expires, Confirmed: e.confirmed,
		})
	}
	slices.SortFunc(s.Published, func(a, b Published) int { return strings.Compare(a.AMID.String(), b.AMID.String()) })
	return s
}

// put stores one record at the servers nearest to its key and reads it back.
func (n *Node) put(ctx context.Context, e *entry) error {
	ctx, run, leave, err := n.enter(ctx, n.limits.PutTimeout)
	if errors.Is(err, ErrClosed) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	defer leave()
	if n.cfg.Mode != ModeServer {
		if err := n.awaitServers(ctx, run.table); err != nil {
			return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
		}
	}
	// Its error is only a hint: it is nil with every server dead, and not nil when
	// one server of many was slow. What counts is what can be read back.
	putErr := run.table.PutValue(ctx, recordKey(e.rec.AMID), e.raw)
	others := n.putElsewhere(ctx, run, e)
	if err := n.readBack(ctx, run, e, others); err != nil {
		if errors.Is(err, ErrOlder) {
			n.forget(e) // trying again can't help, the sequence must be raised
		}
		return errors.Join(err, putErr)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.confirmed = time.Now()
	e.confirmed = n.confirmed
	return nil
}

// readBack believes a publication when somebody else has it: a server near the key, or
// where those let us down, one of the others to which it was brought.
func (n *Node) readBack(ctx context.Context, run running, e *entry, others []peer.ID) error {
	near, err := n.askNear(ctx, run, e.rec.AMID)
	same, older := compareAll(near.records, e.raw)
	if !same && !older && len(others) > 0 {
		far := n.askAll(ctx, run, others, e.rec.AMID)
		near.answered += far.answered
		same, older = compareAll(far.records, e.raw)
	}
	switch {
	case older: // signed by the same key, perhaps before a restore
		return ErrOlder
	case same:
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	}
	return fmt.Errorf("%w: none of the %d servers that answered has it", ErrUnconfirmed, near.answered)
}

// compareAll reports whether one of the records is ours, and whether ours is older than
// one of them.
func compareAll(records [][]byte, ours []byte) (same, older bool) {
	for _, raw := range records {
		switch identity.Newer(raw, ours) {
		case 1:
			older = true
		case 0:
			same = true
		}
	}
	return same, older
}

// republish keeps all records alive: at once when a server came back, soon while
// one is unconfirmed, else at the period.
func (n *Node) republish(ctx context.Context) {
	wait := n.newBackoff()
	timer := time.NewTimer(n.limits.RepublishEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.soon:
			timer.Reset(wait.NextBackOff())
			continue
		case <-n.again:
			wait.Reset()
		case <-timer.C:
		}
		if n.putAll(ctx) {
			wait.Reset()
			timer.Reset(n.limits.RepublishEvery)
		} else {
			timer.Reset(wait.NextBackOff())
		}
	}
}

// putAll publishes every record and leaves every card once, and reports whether all were confirmed.
func (n *Node) putAll(ctx context.Context) bool {
	all := true
	for _, e := range n.due() {
		err := n.put(ctx, e)
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, ErrOlder):
			n.log.Warn("newer agent record found, ours no longer published", "agent", e.rec.AMID.String())
		default:
			all = false
			n.log.Debug("record not confirmed", "agent", e.rec.AMID.String(), "err", err)
		}
	}
	return n.leaveAll(ctx) && all
}

// due returns the records to publish and drops those that expired.
func (n *Node) due() []*entry {
	now := n.cfg.Clock()
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*entry
	for amid, e := range n.published {
		if e.rec.Valid(now) != nil {
			n.log.Warn("agent record expired, no longer published", "agent", amid.String())
			delete(n.published, amid)
			continue
		}
		list = append(list, e)
	}
	return list
}

func (n *Node) forget(e *entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.published[e.rec.AMID] == e {
		delete(n.published, e.rec.AMID)
	}
}

func (n *Node) newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = n.limits.MinBackoff, n.limits.MaxBackoff, 2
	b.Reset()
	return b
}

// signal leaves a note in a channel of one; a second note adds nothing.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
