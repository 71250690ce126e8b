package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/ratchet"
)

// Renewing (session.md §8.5): a knock whose prekeys fail is answered with newer ones.

// renewCode says what a knock's keys failed with. ok is false for failures that are
// not answered.
func renewCode(err error) (code identity.RenewCode, ok bool) {
	switch {
	case errors.Is(err, errOneTimeUnknown):
		return identity.RenewOneTime, true
	case errors.Is(err, knock.ErrPrekeyUnknown):
		return identity.RenewErased, true
	case errors.Is(err, identity.ErrBundleExpired):
		return identity.RenewExpired, true
	}
	return 0, false
}

// renew answers a knock that was dropped because its keys failed, as often as the limits
// let. The bytes are kept under the knock's envelope id: a repeat of it gets them again.
// It returns why, the reason, when there is nothing to answer.
func (c *clerk) renew(b *batch, arr arrival, why error) error {
	code, ok := renewCode(why)
	if !ok || !c.a.guard.allowRenew(c.peer, c.a.passed()) {
		return why
	}
	prefix := ratchet.Prefix(ratchet.TypeRenew)
	raw, err := identity.SignRenew(c.a.Key, prefix[:], identity.Renew{
		To: c.peer, Knock: arr.know.Hash(), Code: code, Bundle: c.a.prekeys.current().bundle,
	})
	if err != nil {
		return err
	}
	id := ratchet.EnvelopeID(raw)
	if !c.a.isKnown(c.peer) {
		// A stranger has no other way back. One that is known has, and anybody may have
		// sent its old knock again to lead us astray.
		c.cameBy(b, arr)
	}
	b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error {
		if err := setJSON(tx, c.a.key(rowReceipt, id[:]), receiptRow{Peer: c.peer, At: b.wall, Data: raw}); err != nil {
			return err
		}
		return setJSON(tx, c.a.key(rowOpened, arr.id[:]), openedRow{Peer: c.peer, At: b.wall, Receipt: id})
	})
	b.then(func() {
		c.a.Carrier.Carry(Envelope{From: c.a.amid, To: c.peer, ID: id, Data: raw}, func(Outcome) {})
	})
	return nil
}

// takeRenew knocks again with the bundle of a renew, if it answers our knock. The knock
// that it answers will never be opened: it goes, with its session.
func (c *clerk) takeRenew(b *batch, arr arrival) error {
	if c.parted() {
		return fmt.Errorf("%w: %w", errDropped, identity.ErrRevoked)
	}
	s := c.outstanding(b, arr.Data)
	if s == nil {
		return fmt.Errorf("%w: a renew that answers no knock of ours", errDropped)
	}
	n, err := identity.ParseRenew(arr.Data, ratchet.PrefixSize)
	if err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	if n.From != c.peer || n.To != c.a.amid || n.Knock != s.KnockHash {
		return fmt.Errorf("%w: a renew of another knock", errDropped)
	}
	if err := c.a.byEitherClock(n.Bundle.Usable); err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	if err := errors.Join(c.notBelow(n.Bundle), c.aboveFloor(n.Bundle)); err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	next, _, err := s.Ask.Next(knock.GotRenew)
	if err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	b.session(s).Ask = next
	c.landKnock(b, s)
	c.setKnockState(b, s.KnockHash, knockExpired)
	b.erase(s)
	c.takeTailBack(b, s)
	recent := slices.DeleteFunc(slices.Clone(c.row.Renewed), func(t time.Time) bool { return b.now.Sub(t) >= time.Hour })
	wait := time.Duration(0)
	if len(recent) >= c.a.Limits.RenewFollow {
		wait = recent[0].Add(time.Hour).Sub(b.now)
	}
	b.write(func(tx store.Tx, row *peerRow, _ *[]func()) error {
		row.Renewed, row.NotBefore = append(recent, b.now), b.now.Add(wait)
		if err := setJSON(tx, c.a.key(rowOpened, arr.id[:]), openedRow{Peer: c.peer, At: b.wall}); err != nil {
			return err
		}
		return c.keepBundle(tx, n.Bundle, b.now)
	})
	b.then(func() {
		c.lookup.reset()
		c.noOneTime = true
	})
	return nil
}

// outstanding finds the session whose unanswered knock an envelope of type renew names.
// It looks at nothing but the hash: signatures of strangers cost more.
func (c *clerk) outstanding(b *batch, raw []byte) *session {
	const at = ratchet.PrefixSize + 2*identity.AMIDSize
	if len(raw) < at+32 {
		return nil
	}
	for _, s := range b.list() {
		if s.waiting() && s.KnockHash == [32]byte(raw[at:]) {
			return s
		}
	}
	return nil
}

// notBelow checks a bundle against the highest that was ever seen of the peer.
func (c *clerk) notBelow(bundle *identity.Bundle) error {
	return c.a.Store.View(func(r store.Reader) error {
		old, found, err := getJSON[contactRow](r, c.a.key(rowContact, c.peer[:]))
		if err != nil || !found {
			return err
		}
		return bundle.Compare(old.Epoch, old.Sequence, old.BundleID)
	})
}

// keepBundle remembers a bundle that did not come in a record.
func (c *clerk) keepBundle(tx store.Tx, bundle *identity.Bundle, now time.Time) error {
	key := c.a.key(rowContact, c.peer[:])
	row, _, err := getJSON[contactRow](tx, key)
	if err != nil {
		return err
	}
	row.Epoch, row.Sequence, row.BundleID = bundle.Epoch, bundle.Sequence, bundle.ID()
	row.Bundle, row.Fetched = bundle.Raw(), now
	return setJSON(tx, key, row)
}
