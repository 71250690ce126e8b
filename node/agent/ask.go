package agent

import (
	"context"
	"errors"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// The side of a knock that asks (session.md §8.1).

// tendKnock sees to it that a session comes about when messages wait for one, and that
// a knock without an answer ends.
func (c *clerk) tendKnock() (bool, error) {
	now := c.a.expiry.now()
	c.loseHeld(c.a.Uptime())
	s := c.asked()
	resume := s == nil && c.mustKnock(now)
	switch {
	case s != nil && !now.Before(s.Expires.Add(c.a.Limits.Skew)):
		return true, c.giveUpKnock(s, knock.AskExpired)
	case s != nil && (!now.Before(c.giveUpAt(s)) || c.postdated(s)):
		return true, c.giveUpKnock(s, knock.TooOld)
	case c.sender() != nil && !resume, c.lookup.running, c.a.Uptime() < c.lookup.next, now.Before(c.row.NotBefore):
		return false, nil
	case s != nil:
		// No answer for long: perhaps the peer has new keys.
		c.startLookup()
		return true, nil
	case !c.needsSession() && !resume:
		return false, nil
	}
	to, err := c.cached(now)
	if err != nil {
		return false, err
	}
	if to != nil {
		return true, c.knockSoon(to)
	}
	c.startLookup()
	return true, nil
}

// needsSession reports whether something waits that only a session can carry.
func (c *clerk) needsSession() bool {
	return len(c.unsealed()) > 0 && !c.paced() || c.mute && !c.row.Unwanted || c.joins()
}

// mustKnock reports whether a new session is wanted although there is one to send on.
func (c *clerk) mustKnock(now time.Time) bool { return c.wantsResume(now) || c.joins() }

// lookup is the search for the peer's record.
type lookup struct {
	running bool
	next    time.Duration // not before this uptime
	wait    time.Duration
}

// reset forgets the waiting times of a search that is over.
func (l *lookup) reset() { l.next, l.wait = 0, 0 }

func (c *clerk) startLookup() {
	c.lookup.running = true
	if c.asked() == nil {
		c.setReason(api.ReasonNoBundle)
	}
	ctx, timeout := c.ctx, c.a.Limits.LookupTimeout
	if c.joins() {
		timeout = c.a.Limits.JoinLookup
	}
	c.a.wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		rec, err := c.a.Directory.Find(ctx, c.peer)
		c.do(func() error { return c.found(rec, err) })
	})
}

// found takes the answer of a lookup; it runs on the clerk's goroutine.
func (c *clerk) found(rec *identity.AgentRecord, err error) error {
	c.lookup.running = false
	if err := c.ready(); err != nil {
		return err
	}
	if err == nil {
		err = c.keepRecord(rec)
	}
	if err != nil {
		if errors.Is(err, store.ErrPoisoned) || errors.Is(err, store.ErrClosed) {
			return err
		}
		if errors.Is(err, identity.ErrBundleConflict) {
			// Somebody else holds its key, or its state was copied.
			c.a.Logger.Warn("two different bundles of a peer under one number", "peer", c.peer.String())
		}
		c.a.Logger.Debug("no keys of peer", "peer", c.peer.Short(), "err", err)
		c.lookup.wait = min(max(2*c.lookup.wait, c.a.Limits.LookupFirst), c.a.Limits.LookupMost)
		c.lookup.next = c.a.Uptime() + c.lookup.wait
		return c.askForKeys()
	}
	c.lookup.reset()
	if s := c.asked(); s != nil {
		if s.Ask == knock.AskDeciding || s.BundleID == rec.Bundle.ID() {
			c.lookAgain(s)
			return nil
		}
		if err := c.giveUpKnock(s, knock.TooOld); err != nil {
			return err
		}
	}
	resume := c.mustKnock(c.a.expiry.now())
	if (c.sender() != nil || !c.needsSession()) && !resume {
		return nil
	}
	return c.knockSoon(&door{bundle: rec.Bundle, rec: rec})
}

// lookAgain sets the time of the next look at the record of a peer that does not
// answer our knock: ever more seldom.
func (c *clerk) lookAgain(s *session) {
	waited := c.a.expiry.now().Sub(s.Created)
	c.lookup.next = c.a.Uptime() + max(waited, c.a.Limits.LookupMost)
}

// keepRecord remembers the record of a peer, unless its bundle is older than one
// that was seen before.
func (c *clerk) keepRecord(rec *identity.AgentRecord) error {
	now := c.a.expiry.now()
	if rec.AMID != c.peer || rec.AMID == c.a.amid {
		return identity.ErrMismatch
	}
	if c.parted() {
		return identity.ErrRevoked
	}
	if err := c.a.byEitherClock(rec.Bundle.Usable); err != nil {
		return err
	}
	if err := c.aboveFloor(rec.Bundle); err != nil {
		return err
	}
	raw := rec.Raw()
	c.recorded = rec.PeerIDs
	return c.a.Store.Update(c.ctx, func(tx store.Tx) error {
		key := c.a.key(rowContact, c.peer[:])
		old, found, err := getJSON[contactRow](tx, key)
		if err != nil {
			return err
		}
		if found {
			if err := rec.Bundle.Compare(old.Epoch, old.Sequence, old.BundleID); err != nil {
				return err
			}
		}
		return setJSON(tx, key, contactRow{
			Epoch: rec.Bundle.Epoch, Sequence: rec.Bundle.Sequence, BundleID: rec.Bundle.ID(), Record: raw, Fetched: now,
		})
	})
}

// door is what a knock at a peer needs.
type door struct {
	bundle *identity.Bundle
	rec    *identity.AgentRecord // nil when a renew brought the bundle
	// standIn says that nobody has the bundle's private parts: only a renew answers.
	standIn bool
}

// places is where the record says that the peer is, or without one its invite.
func (c *clerk) places(d *door) Places {
	if d.rec == nil && c.wish != nil {
		return c.wish.Places
	}
	if d.rec == nil {
		return Places{}
	}
	return Places{PeerIDs: d.rec.PeerIDs, Addresses: d.rec.Addresses, Relays: d.rec.Relays}
}

// cached is the peer's bundle when it was fetched lately, nil otherwise.
func (c *clerk) cached(now time.Time) (*door, error) {
	var row contactRow
	var found bool
	err := c.a.Store.View(func(r store.Reader) (err error) {
		row, found, err = getJSON[contactRow](r, c.a.key(rowContact, c.peer[:]))
		return err
	})
	if err != nil || !found || now.Sub(row.Fetched) > c.a.Limits.BundleUse || c.lookup.wait > 0 {
		return nil, err
	}
	to := &door{}
	if rec, err := identity.ParseAgentRecord(row.Record); err == nil {
		to.bundle, to.rec = rec.Bundle, rec
	}
	if newer, err := identity.ParseBundle(row.Bundle); err == nil && row.Bundle != nil {
		to.bundle = newer
	}
	if to.bundle == nil || c.a.byEitherClock(to.bundle.Usable) != nil {
		return nil, nil // as good as none: look it up again
	}
	return to, nil
}

// knockAt asks the peer for a session. The knock is on disk before it leaves.
func (c *clerk) knockAt(to *door, keys peerKeys) error {
	intent := DefaultIntent
	rows := c.unsealed()
	if len(rows) > 0 {
		intent = rows[0].Intent
	}
	terms, err := c.askFor(rows)
	if err != nil {
		return err
	}
	b := c.begin()
	own := c.a.prekeys.current()
	cert, err := own.certificate(c.a.Key)
	if err != nil {
		return err
	}
	request := content.Request{
		Intent: intent, SessionType: terms.Type, Mode: terms.Mode, Limits: terms.Limits, FirstSeq: c.firstSeq(),
		Prev: c.lastSession(), TierCertificate: c.certificate(),
	}
	if c.joins() {
		request.Intent, request.Invite = c.wish.intent(), c.wish.Secret
	}
	if to.standIn {
		request.Invite, rows = nil, nil // nobody is to open it
	}
	if c.wantsResume(b.now) {
		request.Resume = c.nameLost(b, b.now)
	}
	if _, err := c.a.Rand.Read(request.Nonce[:]); err != nil {
		return err
	}
	issued := b.wall.Truncate(time.Second)
	asked, err := knock.NewKnock(c.a.Rand, knock.Asking{
		Key: c.a.Key, Certificate: cert, Exchange: own.exchange, Peer: to.bundle, Request: request,
		OneTime: keys.x25519, OneTimeKEM: keys.kem, Issued: issued, Expires: issued.Add(c.a.Limits.KnockLife),
	})
	if err != nil && keys != (peerKeys{}) {
		c.a.Logger.Debug("one-time keys not used", "peer", c.peer.Short(), "err", err)
		return c.knockAt(to, peerKeys{})
	}
	if err != nil {
		c.a.Logger.Warn("cannot knock", "peer", c.peer.Short(), "err", err)
		c.lookup.wait = c.a.Limits.LookupMost
		c.lookup.next = b.up + c.lookup.wait
		return nil
	}
	state, _, err := knock.AskWanted.Next(knock.GotBundle)
	if err != nil {
		return err
	}
	s := &session{r: asked.Session, sessionMeta: sessionMeta{
		Sid: sidText(asked.Session), Asker: true, Ask: state, KnockHash: asked.Hash, Prev: request.Prev, BundleID: to.bundle.ID(),
		Resume: len(request.Resume) > 0, Lost: request.Resume, Intent: request.Intent, Type: uint8(terms.Type), Mode: uint8(terms.Mode), Limits: terms.Limits,
		PeerEpoch: to.bundle.Epoch, Invite: c.wish.brought(request.Invite),
		Created: b.wall, Used: b.wall, Expires: issued.Add(c.a.Limits.KnockLife),
		sessionProof: proofFrom(terms.Mode, to.bundle.SigningKey, asked.Bytes),
	}}
	c.noOneTime = false
	b.add(s)
	b.prune()
	envelope, err := c.sealTail(b, s, asked, rows)
	if err != nil {
		return err
	}
	f := b.fly(flightKnock, envelope, b.wall.Add(c.a.KnockLimits.RelayWindow))
	f.Sid = s.Sid
	row := knockRow{
		Hash: asked.Hash, Peer: c.peer, Out: true, Intent: s.Intent, Type: s.Type, Mode: s.Mode, State: knockSent, Sid: s.Sid, At: b.wall, Expires: s.Expires,
	}
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		*after = append(*after, c.a.changed.broadcast)
		if to.standIn {
			return nil // it asks for keys, and the owner asked for something else
		}
		return setJSON(tx, c.a.key(rowKnock, row.Hash[:]), row)
	})
	if !to.standIn {
		c.setReason(api.ReasonKnockSent)
	}
	b.then(func() {
		c.a.Carrier.Learn(c.peer, c.places(to), false)
		c.lookAgain(s)
	})
	return c.commit(b)
}

// certificate is what our knock has to say of us. One that fits into no knock is left out.
func (c *clerk) certificate() []byte {
	raw := c.a.Certificate()
	if len(raw) > content.MaxTierCertificate {
		return nil
	}
	return raw
}

// lastSession names the session that a new one is to replace, zeros for none.
func (c *clerk) lastSession() (hash [32]byte) {
	var last time.Time
	for _, s := range c.sess {
		if s.accepted() && !s.Created.Before(last) {
			hash, last = s.KnockHash, s.Created
		}
	}
	return hash
}

// takeAnswer moves our knock on (session.md §8.1) and does what the machine says.
// apply does what only this answer knows; nil for none.
func (c *clerk) takeAnswer(b *batch, s *session, hash [32]byte, e knock.AskEvent, arr arrival, apply func()) error {
	if !s.Asker || hash != s.KnockHash {
		return nil
	}
	next, actions, err := s.Ask.Next(e)
	if err != nil {
		return nil // the peer sent an answer that does not fit; it changes nothing
	}
	before := s.Ask
	s.Ask = next
	if e == knock.GotAccept && before == knock.AskAccepted {
		c.owe(b, dueRow{Envelope: arr.id, At: b.wall})
	}
	if next != before && apply != nil {
		apply()
	}
	if next != before && !s.waiting() {
		b.then(c.lookup.reset) // the next time, it is looked up at once
	}
	for _, action := range actions {
		switch action {
		case knock.StopResending:
			c.landKnock(b, s)
		case knock.SendReceipt:
			c.owe(b, dueRow{Envelope: arr.id, At: b.wall})
		case knock.KeepGrant:
			c.supplant(b, s)
			c.setKnockState(b, s.KnockHash, knockAccepted)
			c.tellWish(b, s, api.JoinAccepted)
		case knock.ReleaseRows:
			c.letTailGo(b, s)
			c.setReason("")
			b.then(func() { c.hold.ready = true })
		case knock.ShowDeciding:
			c.setKnockState(b, s.KnockHash, knockPending)
			c.tellWish(b, s, api.JoinDeciding)
			c.setReason(api.ReasonOwner)
		case knock.RefuseRows:
			c.takeTailBack(b, s)
			c.setKnockState(b, s.KnockHash, knockRejected)
			c.tellWish(b, s, api.JoinRejected)
			b.erase(s)
			if other := c.asked(); c.sender() == nil && (other == nil || other.Sid == s.Sid) {
				b.write(func(_ store.Tx, row *peerRow, _ *[]func()) error {
					row.Refused, row.Unwanted = c.seen, true
					return nil
				})
				c.setReason("")
			}
		}
	}
	return nil
}

func (c *clerk) takeAccept(b *batch, s *session, arr arrival, ct *content.Accept) error {
	if !s.accepted() && !s.terms().AnsweredBy(ct) {
		return nil // not what we asked for, so no answer
	}
	return c.takeAnswer(b, s, ct.Knock, knock.GotAccept, arr, func() {
		s.Intents, s.Limits, s.FirstSeq, s.Since = ct.Intents, ct.Limits, ct.FirstSeq, b.wall
		s.Resume = s.Resume && ct.Features&content.FeatureResumed != 0
		g := Grant{Peer: c.peer, Intents: ct.Intents, Since: b.wall, Policy: c.a.Policy().Version(), Return: true}
		if ct.GrantExpires.Unix() > 0 {
			g.Expires = ct.GrantExpires
		}
		c.keepGrant(b, s, rowReturn, g)
		if s.Resume {
			b.then(func() { c.lost.ids = nil }) // all of it is sealed again
		}
	})
}

// takeBusy ends a knock that the peer could not take for now. Another one follows.
func (c *clerk) takeBusy(b *batch, s *session, ct *content.Reject) error {
	if !s.Asker || ct.Knock != s.KnockHash {
		return nil
	}
	next, _, err := s.Ask.Next(knock.GotBusy)
	if err != nil {
		return nil // the peer has said something final before
	}
	s.Ask = next
	c.landKnock(b, s)
	c.setKnockState(b, s.KnockHash, knockExpired)
	b.erase(s)
	c.takeTailBack(b, s)
	again := b.now.Add(max(time.Duration(ct.RetryAfter)*time.Second, c.a.Limits.LookupMost))
	b.write(func(_ store.Tx, row *peerRow, _ *[]func()) error {
		row.NotBefore = again
		return nil
	})
	c.nameAgain(b, s.Lost)
	b.then(c.lookup.reset)
	return nil
}

// giveUpKnock stops waiting for an answer. The session stays, for a late accept.
func (c *clerk) giveUpKnock(s *session, e knock.AskEvent) error {
	b := c.begin()
	s = b.session(s)
	next, _, err := s.Ask.Next(e)
	if err != nil {
		return err
	}
	s.Ask = next
	c.landKnock(b, s)
	c.takeTailBack(b, s)
	c.setKnockState(b, s.KnockHash, knockExpired)
	b.then(c.lookup.reset)
	return c.commit(b)
}

func (c *clerk) landKnock(b *batch, s *session) {
	for _, f := range c.flights {
		if f.Class == flightKnock && f.Sid == s.Sid {
			b.land(f)
		}
	}
}

func (c *clerk) setKnockState(b *batch, hash [32]byte, state string) {
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		key := c.a.key(rowKnock, hash[:])
		row, found, err := getJSON[knockRow](tx, key)
		if err != nil || !found {
			return err
		}
		row.State = state
		*after = append(*after, c.a.changed.broadcast)
		return setJSON(tx, key, row)
	})
}
