package agent

import (
	"context"

	"amesh/identity"
)

// KeySource asks the node of a peer for one-time keys of that peer. It gives none when
// it cannot ask, or there are none; it may take as long as ctx. What it gives is
// verified here.
type KeySource interface {
	OneTimeKeys(ctx context.Context, peer identity.AMID, rec *identity.AgentRecord) (x25519, kem []byte)
}

// peerKeys are a peer's one-time keys for one knock; nil: none. They are kept nowhere.
type peerKeys struct {
	x25519, kem *identity.OneTimeKey
}

// knockSoon asks the peer's node for one-time keys, where there is somebody to ask, and
// then knocks.
func (c *clerk) knockSoon(to *door) error {
	if c.a.KeySource == nil || to.rec == nil || c.noOneTime || c.wantsResume(c.a.expiry.now()) {
		return c.knockAt(to, peerKeys{})
	}
	c.lookup.running = true
	ctx := c.ctx
	c.a.wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, c.a.Limits.OneTimeTimeout)
		defer cancel()
		x25519, kem := c.a.KeySource.OneTimeKeys(ctx, c.peer, to.rec)
		keys := peerKeys{x25519: c.readOneTime(x25519, to.bundle), kem: c.readOneTime(kem, to.bundle)}
		c.do(func() error { return c.knockNow(to, keys) })
	})
	return nil
}

// readOneTime reads and verifies a key of the agent that a bundle is of; nil for one
// that is not good. That it goes with this very bundle, NewKnock sees to.
func (c *clerk) readOneTime(raw []byte, b *identity.Bundle) *identity.OneTimeKey {
	if len(raw) == 0 {
		return nil
	}
	k, err := identity.ParseOneTimeKey(raw, b.SigningKey)
	if err != nil {
		c.a.Logger.Debug("one-time key not used", "peer", c.peer.Short(), "err", err)
		return nil
	}
	return k
}

// knockNow knocks, unless it is no longer needed. It runs on the clerk's goroutine.
func (c *clerk) knockNow(to *door, keys peerKeys) error {
	c.lookup.running = false
	if err := c.ready(); err != nil {
		return err
	}
	resume := c.wantsResume(c.a.expiry.now())
	if c.asked() != nil || (c.sender() != nil || !c.needsSession()) && !resume && !c.joins() {
		return nil
	}
	if resume {
		keys = peerKeys{} // its answer must not hang on them
	}
	return c.knockAt(to, keys)
}
