package agent

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// States of a knock's row.
const (
	knockSent     = "sent"
	knockPending  = "pending"
	knockAccepted = "accepted"
	knockRejected = "rejected"
	knockExpired  = "expired"
)

// knockGuard bounds how many knocks get as far as the check of a signature.
type knockGuard struct {
	limits knock.Limits

	mu      sync.Mutex
	limiter *knock.Limiter
}

// allow counts a knock. The owner's policy says how many of one sender are taken; a
// change of it starts the count anew.
func (g *knockGuard) allow(peer identity.AMID, perSender int, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limiter == nil || g.limits.PerSender != perSender {
		g.limits.PerSender = perSender
		g.limiter = knock.NewLimiter(g.limits)
	}
	return g.limiter.Allow(peer, now)
}

// screen makes the cheap checks of a knock and then the signature's, before any
// state is looked at (session.md §8.2, steps 1 to 7).
func (a *Agent) screen(data []byte) (*knock.Knock, error) {
	now := a.Clock()
	k, err := knock.ParseKnock(data)
	if err != nil {
		return nil, err
	}
	if err := k.CheckRecipient(a.amid); err != nil {
		return nil, err
	}
	if err := k.CheckTimes(now); err != nil {
		return nil, err
	}
	policy := a.Policy()
	if policy.Blocked(k.From) {
		return nil, errors.New("blocked")
	}
	if !a.guard.allow(k.From, policy.KnocksPerMinute, now) {
		return nil, errors.New("rate_limited")
	}
	return k, k.VerifySignature()
}

// takeKnock answers a knock. Session, replay key, decision and the sealed bytes of
// the answer are one transaction (CP 23).
func (c *clerk) takeKnock(b *batch, arr arrival) error {
	k := arr.know
	hash := k.Hash()
	set := c.a.prekeys.named(k.BundleID)
	if set == nil {
		return fmt.Errorf("%w: %w", errDropped, knock.ErrPrekeyUnknown)
	}
	keys := knock.ResponderKeys{Bundle: set.bundle, Exchange: set.exchange, SignedPrekey: set.signed, KEM: set.kem}
	th0, err := k.ReplayKey(keys)
	if err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	facts, err := c.knockFacts(b.now, hash, th0, k)
	if err != nil {
		return err
	}
	if facts.replayed || k.Epoch < c.row.InEpoch {
		return fmt.Errorf("%w: replayed or of an old epoch", errDropped)
	}
	opened, err := k.Open(keys, b.now, c.a.Rand)
	if err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	d := c.a.Policy().Evaluate(knock.Facts{
		Peer: c.peer, Intent: opened.Request.Intent, Granted: facts.grant.Valid(b.now) && facts.grant.Covers(opened.Request.Intent),
		NoOneTimeKey: k.NoOneTimeKey(), Mode: opened.Request.Mode,
	})
	event := map[knock.Verdict]knock.AnswerEvent{
		knock.Accept: knock.PolicyAccepts, knock.Ask: knock.PolicyAsks, knock.Reject: knock.PolicyRejects,
	}[d.Verdict]
	if event == knock.PolicyAsks && facts.pending >= c.a.KnockLimits.PendingStrangers {
		event, d.Rule = knock.PendingFull, "strangers-ask: too many wait already"
	}
	s := &session{r: opened.Session, sessionMeta: sessionMeta{
		Sid: sidText(opened.Session), KnockHash: hash, Prev: opened.Request.Prev,
		Intent: opened.Request.Intent, Limits: opened.Request.Limits, Type: uint8(opened.Request.SessionType),
		PeerEpoch: k.Epoch, FirstSeq: opened.Request.FirstSeq, Created: b.now, Used: b.now, Expires: k.Expires,
	}}
	row := knockRow{
		Hash: hash, Peer: c.peer, Intent: s.Intent, Rule: d.Rule, Sid: s.Sid, At: b.now, Expires: k.Expires,
	}
	b.add(s)
	if err := c.answer(b, s, &row, event, time.Time{}); err != nil {
		return err
	}
	b.prune()
	until := set.bundle.Expires.Add(c.a.Limits.PrekeyGrace)
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		opened := openedRow{Peer: c.peer, At: b.now, Receipt: row.Answer}
		if err := setJSON(tx, c.a.key(rowOpened, arr.id[:]), opened); err != nil {
			return err
		}
		return setJSON(tx, c.a.key(rowReplay, th0[:]), replayRow{Hash: hash, Until: until})
	})
	c.cameBy(b, arr)
	return nil
}

type knockFacts struct {
	replayed bool
	grant    *Grant
	pending  int
}

func (c *clerk) knockFacts(now time.Time, hash, th0 [32]byte, k *knock.Knock) (f knockFacts, err error) {
	err = c.a.Store.View(func(r store.Reader) error {
		if _, f.replayed, err = getJSON[replayRow](r, c.a.key(rowReplay, th0[:])); err != nil {
			return err
		}
		if f.grant, err = c.a.grant(r, c.peer); err != nil {
			return err
		}
		return scanJSON(r, c.a.key(rowKnock), nil, func(_ []byte, row knockRow) bool {
			if !row.Out && row.State == knockPending && now.Before(row.Expires) {
				f.pending++
			}
			return true
		})
	})
	return f, err
}

func (a *Agent) grant(r store.Reader, peer identity.AMID) (*Grant, error) {
	g, found, err := getJSON[Grant](r, a.key(rowGrant, peer[:]))
	if err != nil || !found {
		return nil, err
	}
	return &g, nil
}

// answer moves the knock of a session on (session.md §8.2) and does what the machine
// says: it seals the answer and queues the rows. b knows the session already.
func (c *clerk) answer(b *batch, s *session, row *knockRow, e knock.AnswerEvent, until time.Time) error {
	next, actions, err := s.Answer.Next(e)
	if err != nil {
		return err
	}
	s.Answer = next
	for _, action := range actions {
		switch action {
		case knock.KeepGrant:
			c.keepGrant(b, s, Grant{Peer: c.peer, Since: b.now, Expires: until, Policy: c.a.Policy().Version()})
		case knock.SealAccept:
			err = c.sealAnswer(b, s, row, knockAccepted, flightControl, &content.Accept{
				Knock: s.KnockHash, SessionType: content.SessionType(s.Type), Mode: content.Private, Limits: s.Limits,
				FirstSeq: c.firstSeq(), GrantExpires: orEpoch(until),
			})
		case knock.SealPending:
			until := row.Expires.Truncate(time.Second)
			err = c.sealAnswer(b, s, row, knockPending, flightAnswer, &content.Pending{Knock: s.KnockHash, Until: until})
		case knock.SealReject:
			err = c.sealAnswer(b, s, row, knockRejected, flightAnswer, &content.Reject{Knock: s.KnockHash, Code: content.Rejected})
			b.erase(s) // the keys go; the answer's bytes stay for repeats
		case knock.AskOwner, knock.EraseRequest:
			// The row shows the knock to the owner; a request is kept nowhere else.
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// orEpoch writes "no end" as 1970, the zero of the wire.
func orEpoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

// sealAnswer seals an answer and keeps its bytes for repeats of the knock.
func (c *clerk) sealAnswer(b *batch, s *session, row *knockRow, state string, class flightClass, ct content.Content) error {
	f, err := b.seal(s, class, ct)
	if err != nil {
		return err
	}
	row.State, row.Answer = state, f.ID
	r := *row
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		*after = append(*after, c.a.changed.broadcast)
		kept := receiptRow{Peer: c.peer, At: b.now, Data: f.Data}
		if err := setJSON(tx, c.a.key(rowReceipt, f.ID[:]), kept); err != nil {
			return err
		}
		return setJSON(tx, c.a.key(rowKnock, r.Hash[:]), r)
	})
	return nil
}

// keepGrant remembers the yes, on whichever side it was said, and where the peer's
// sequence starts.
func (c *clerk) keepGrant(b *batch, s *session, g Grant) {
	first := s.FirstSeq
	b.write(func(tx store.Tx, row *peerRow, _ *[]func()) error {
		row.LastSeen = b.now
		startSequence(row, s.PeerEpoch, first)
		return setJSON(tx, c.a.key(rowGrant, c.peer[:]), g)
	})
}

// startSequence takes the peer's first_seq: we start there when we know less, and
// never go back within an epoch (session.md §9.1).
func startSequence(row *peerRow, epoch uint32, first uint64) {
	if epoch > row.InEpoch {
		row.InEpoch, row.InNext = epoch, 0
	}
	row.InNext = max(row.InNext, first)
}

// wantSession sees to it that a session comes about when messages wait for one.
func (c *clerk) wantSession() (bool, error) {
	now := c.a.Clock()
	if s := c.asked(); s != nil {
		switch {
		case !now.Before(s.Expires.Add(c.a.Limits.Skew)):
			return true, c.giveUpKnock(s, knock.AskExpired)
		case s.Ask == knock.AskKnocked && !now.Before(s.Created.Add(c.a.KnockLimits.RelayWindow)):
			return true, c.giveUpKnock(s, knock.TooOld)
		case !c.lookup.running && !c.lookup.next.IsZero() && !now.Before(c.lookup.next):
			// No answer for long: perhaps the peer has new keys.
			c.startLookup()
			return true, nil
		}
		return false, nil
	}
	if len(c.unsealed()) == 0 || c.lookup.running || now.Before(c.lookup.next) {
		return false, nil
	}
	rec, err := c.cachedRecord(now)
	if err != nil {
		return false, err
	}
	if rec != nil {
		return true, c.knockAt(rec)
	}
	c.startLookup()
	return true, nil
}

// lookup is the search for the peer's record.
type lookup struct {
	running bool
	next    time.Time
	wait    time.Duration
}

func (c *clerk) startLookup() {
	c.lookup.running = true
	if c.asked() == nil {
		c.setReason(api.ReasonNoBundle)
	}
	ctx := c.ctx
	c.a.wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, c.a.Limits.LookupTimeout)
		defer cancel()
		rec, err := c.a.Directory.Find(ctx, c.peer)
		c.do(func() error { return c.found(rec, err) })
	})
}

// found takes the answer of a lookup; it runs on the clerk's goroutine.
func (c *clerk) found(rec *identity.AgentRecord, err error) error {
	c.lookup.running = false
	if !c.loaded {
		if err := c.load(); err != nil {
			return err
		}
	}
	if err == nil {
		err = c.keepRecord(rec)
	}
	if err != nil {
		if errors.Is(err, store.ErrPoisoned) || errors.Is(err, store.ErrClosed) {
			return err
		}
		c.a.Logger.Debug("no keys of peer", "peer", c.peer.Short(), "err", err)
		c.lookup.wait = min(max(2*c.lookup.wait, c.a.Limits.LookupFirst), c.a.Limits.LookupMost)
		c.lookup.next = c.a.Clock().Add(c.lookup.wait)
		return nil
	}
	c.lookup.wait, c.lookup.next = 0, time.Time{}
	if s := c.asked(); s != nil {
		if s.Ask == knock.AskDeciding || s.BundleID == rec.Bundle.ID() {
			c.lookAgain(s)
			return nil
		}
		if err := c.giveUpKnock(s, knock.TooOld); err != nil {
			return err
		}
	}
	if c.sender() != nil || len(c.unsealed()) == 0 {
		return nil
	}
	return c.knockAt(rec)
}

// lookAgain sets the time of the next look at the record of a peer that does not
// answer our knock: ever more seldom.
func (c *clerk) lookAgain(s *session) {
	now := c.a.Clock()
	c.lookup.next = now.Add(max(now.Sub(s.Created), c.a.Limits.LookupMost))
}

// keepRecord remembers the record of a peer, unless its bundle is older than one
// that was seen before.
func (c *clerk) keepRecord(rec *identity.AgentRecord) error {
	now := c.a.Clock()
	if rec.AMID != c.peer || rec.AMID == c.a.amid {
		return identity.ErrMismatch
	}
	if err := rec.Bundle.Usable(now); err != nil {
		return err
	}
	raw := rec.Raw()
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

// cachedRecord is the peer's record when it was fetched lately, nil otherwise.
func (c *clerk) cachedRecord(now time.Time) (*identity.AgentRecord, error) {
	var row contactRow
	var found bool
	err := c.a.Store.View(func(r store.Reader) (err error) {
		row, found, err = getJSON[contactRow](r, c.a.key(rowContact, c.peer[:]))
		return err
	})
	if err != nil || !found || now.Sub(row.Fetched) > c.a.Limits.BundleUse || c.lookup.wait > 0 {
		return nil, err
	}
	rec, err := identity.ParseAgentRecord(row.Record)
	if err != nil || rec.Bundle.Usable(now) != nil {
		return nil, nil // as good as none: look it up again
	}
	return rec, nil
}

// knockAt asks the peer for a session. The knock is on disk before it leaves.
func (c *clerk) knockAt(rec *identity.AgentRecord) error {
	first := c.unsealed()[0]
	b := c.begin()
	own := c.a.prekeys.current()
	cert, err := own.certificate(c.a.Key)
	if err != nil {
		return err
	}
	request := content.Request{
		Intent: first.Intent, SessionType: content.Conversation, Mode: content.Private, FirstSeq: c.firstSeq(),
	}
	if _, err := c.a.Rand.Read(request.Nonce[:]); err != nil {
		return err
	}
	issued := b.now.Truncate(time.Second)
	asked, err := knock.NewKnock(c.a.Rand, knock.Asking{
		Key: c.a.Key, Certificate: cert, Exchange: own.exchange, Peer: rec.Bundle, Request: request,
		Issued: issued, Expires: issued.Add(c.a.Limits.KnockLife),
	})
	if err != nil {
		c.a.Logger.Warn("cannot knock", "peer", c.peer.Short(), "err", err)
		c.lookup.wait = c.a.Limits.LookupMost
		c.lookup.next = b.now.Add(c.lookup.wait)
		return nil
	}
	state, _, err := knock.AskWanted.Next(knock.GotBundle)
	if err != nil {
		return err
	}
	s := &session{r: asked.Session, sessionMeta: sessionMeta{
		Sid: sidText(asked.Session), Asker: true, Ask: state, KnockHash: asked.Hash, BundleID: rec.Bundle.ID(),
		Intent: request.Intent, Type: uint8(request.SessionType), PeerEpoch: rec.Bundle.Epoch,
		Created: b.now, Used: b.now, Expires: issued.Add(c.a.Limits.KnockLife),
	}}
	b.add(s)
	b.prune()
	f := b.fly(flightKnock, asked.Bytes, b.now.Add(c.a.KnockLimits.RelayWindow))
	f.Sid = s.Sid
	row := knockRow{
		Hash: asked.Hash, Peer: c.peer, Out: true, Intent: s.Intent, State: knockSent, Sid: s.Sid, At: b.now, Expires: s.Expires,
	}
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		*after = append(*after, c.a.changed.broadcast)
		return setJSON(tx, c.a.key(rowKnock, row.Hash[:]), row)
	})
	c.setReason(api.ReasonKnockSent)
	places := Places{PeerIDs: rec.PeerIDs, Addresses: rec.Addresses, Relays: rec.Relays}
	b.then(func() {
		c.a.Carrier.Learn(c.peer, places, false)
		c.lookAgain(s)
	})
	return c.commit(b)
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
		c.owe(b, dueRow{Envelope: arr.id, At: b.now})
	}
	if next != before && apply != nil {
		apply()
	}
	for _, action := range actions {
		switch action {
		case knock.StopResending:
			c.landKnock(b, s)
		case knock.SendReceipt:
			c.owe(b, dueRow{Envelope: arr.id, At: b.now})
		case knock.KeepGrant:
			c.setKnockState(b, s.KnockHash, knockAccepted)
		case knock.ReleaseRows:
			c.setReason("")
			b.then(func() { c.hold.ready = true })
		case knock.ShowDeciding:
			c.setKnockState(b, s.KnockHash, knockPending)
			c.setReason(api.ReasonOwner)
		case knock.RefuseRows:
			c.setKnockState(b, s.KnockHash, knockRejected)
			b.erase(s)
			if c.sender() == nil {
				c.endWaiting(b, api.StateRefused, api.ReasonRejected)
				c.setReason("")
			}
		}
	}
	return nil
}

func (c *clerk) takeAccept(b *batch, s *session, arr arrival, ct *content.Accept) error {
	return c.takeAnswer(b, s, ct.Knock, knock.GotAccept, arr, func() {
		s.Intents, s.Limits, s.FirstSeq = ct.Intents, ct.Limits, ct.FirstSeq
		g := Grant{Peer: c.peer, Intents: ct.Intents, Since: b.now, Policy: c.a.Policy().Version(), Return: true}
		if ct.GrantExpires.Unix() > 0 {
			g.Expires = ct.GrantExpires
		}
		c.keepGrant(b, s, g)
	})
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
	c.setKnockState(b, s.KnockHash, knockExpired)
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

// decide gives the owner's answer to a pending knock; it runs on the clerk's
// goroutine.
func (c *clerk) decide(hash [32]byte, approve bool, ttl time.Duration) (knockRow, error) {
	if !c.loaded {
		if err := c.load(); err != nil {
			return knockRow{}, err
		}
	}
	var row knockRow
	err := c.a.Store.View(func(r store.Reader) (err error) {
		row, _, err = getJSON[knockRow](r, c.a.key(rowKnock, hash[:]))
		return err
	})
	if err != nil {
		return row, err
	}
	b := c.begin()
	s := c.find(row.Sid)
	if row.State != knockPending || s == nil || b.now.After(row.Expires) {
		return row, api.Problemf(http.StatusConflict, api.CodeConflict, "the knock is %s", row.State).
			WithHint("`amesh knocks` lists what waits for you")
	}
	s = b.session(s)
	event, until := knock.OwnerRefuses, time.Time{}
	row.Rule = "owner"
	if approve {
		event = knock.OwnerApproves
		if ttl > 0 {
			until = b.now.Add(ttl).Truncate(time.Second)
		}
	}
	if err := c.answer(b, s, &row, event, until); err != nil {
		return row, err
	}
	return row, c.commit(b)
}

// knockID is what a person types: the first 16 hex digits of the knock hash.
func knockID(hash [32]byte) string { return hex.EncodeToString(hash[:8]) }
