package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
)

// What is learnt of a peer elsewhere than from itself: at the DHT or at a registry.
// Nothing of it is believed that the peer has not signed.

var (
	// ErrNotRunning is returned by methods that need Run.
	ErrNotRunning = errors.New("the agent is not running")
	// ErrOwnKey reports a revocation of the agent's own key that this node did not make:
	// somebody else holds the key.
	ErrOwnKey = errors.New("a revocation of our own key that this node did not make")
)

// CheckRecord says whether a peer's record may be used: its bundle is not older than
// one that was seen before, and its key has not left. It returns what Bundle.Compare
// returns, identity.ErrRevoked, or an error of the store.
func (a *Agent) CheckRecord(rec *identity.AgentRecord) error {
	if a.parted(rec.AMID) {
		return identity.ErrRevoked
	}
	return a.Store.View(func(r store.Reader) error {
		row, found, err := getJSON[contactRow](r, a.key(rowContact, rec.AMID[:]))
		if err != nil || !found {
			return err
		}
		return rec.Bundle.Compare(row.Epoch, row.Sequence, row.BundleID)
	})
}

// RememberedRecord is the last good record of a peer and when it was fetched; nil for
// none. It may have expired.
func (a *Agent) RememberedRecord(peer identity.AMID) (rec *identity.AgentRecord, fetched time.Time, err error) {
	err = a.Store.View(func(r store.Reader) error {
		row, found, err := getJSON[contactRow](r, a.key(rowContact, peer[:]))
		if err != nil || !found || row.Record == nil {
			return err
		}
		fetched = row.Fetched
		rec, err = identity.ParseAgentRecord(row.Record)
		return err
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("record of %s: %w", peer, err)
	}
	return rec, fetched, nil
}

// OwnRevocation is the statement by which the agent's own key left, nil while it is in
// use.
func (a *Agent) OwnRevocation() *identity.Revocation { return a.left.of(a.amid) }

// Concerns reports whether the end of a key would be news to this agent: its own key is
// in use, or the peer is remembered and not known to have left.
func (a *Agent) Concerns(key identity.AMID) (yes bool, err error) {
	if a.left.of(key) != nil {
		return false, nil
	}
	if key == a.amid {
		return true, nil
	}
	err = a.Store.View(func(r store.Reader) error {
		all, err := a.remembered(r)
		yes = slices.Contains(all, key)
		return err
	})
	return yes, err
}

// LearnRevocation takes a statement by which a peer's key has left, wherever it was
// found, as if the peer had said it in a session (session.md §2.8). It waits until that
// is on disk. It returns ErrOwnKey for one of the agent's own key, and ErrNotRunning.
func (a *Agent) LearnRevocation(ctx context.Context, v *identity.Revocation) error {
	if v.AMID == a.amid {
		own := a.left.of(a.amid)
		if own != nil {
			return nil
		}
		return ErrOwnKey
	}
	if old := a.left.of(v.AMID); old != nil && old.Counts(v) {
		return nil
	}
	var failed error
	err := a.onClerk(ctx, v.AMID, func(c *clerk) error {
		failed = c.learn(v)
		return failed
	})
	if err != nil {
		return err
	}
	return failed
}

// learn runs on the clerk's goroutine.
func (c *clerk) learn(v *identity.Revocation) error {
	if err := c.ready(); err != nil {
		return err
	}
	b := c.begin()
	if err := c.takeRevocation(b, &content.Revocation{Statement: v.Raw()}); err != nil {
		return err
	}
	return c.commit(b)
}
