package agent

import (
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

// The side of a knock that answers (session.md §8.2).

// States of a knock's row.
const (
	knockSent     = "sent"
	knockPending  = "pending"
	knockAccepted = "accepted"
	knockRejected = "rejected"
	knockExpired  = "expired"
)

// knockGuard bounds how many knocks cost us anything. In all, before the signature is
// looked at; of one sender after it, or anybody could use up another's knocks by
// forging them.
type knockGuard struct {
	limits knock.Limits

	mu        sync.Mutex
	all       *knock.Limiter
	perSender *knock.Limiter
	renews    *knock.Limiter
	most      int // perSender counts to this
}

func (g *knockGuard) init(l knock.Limits, renewPeer, renewAll int) {
	g.limits = l
	g.renews = knock.NewLimiter(knock.Limits{PerSender: renewPeer, Total: renewAll, Window: time.Hour})
	whole := l
	whole.PerSender = l.Total
	g.all = knock.NewLimiter(whole)
}

// allow counts a knock before its signature was looked at.
func (g *knockGuard) allow(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all.Allow(identity.AMID{}, now)
}

// allowRenew counts a knock that is to be answered with a renew.
func (g *knockGuard) allowRenew(peer identity.AMID, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.renews.Allow(peer, now)
}

// allowSender counts a knock that its sender really made. The owner's policy says how
// many are taken; a change of it starts the count anew.
func (g *knockGuard) allowSender(peer identity.AMID, most int, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.perSender == nil || g.most != most {
		l := g.limits
		l.PerSender = most
		g.perSender, g.most = knock.NewLimiter(l), most
	}
	return g.perSender.Allow(peer, now)
}

var errRateLimited = errors.New("rate_limited")

// screen makes the cheap checks of a knock and then the signature's, before any
// state is looked at (session.md §8.2, steps 1 to 7).
func (a *Agent) screen(data []byte) (*knock.Knock, error) {
	k, err := knock.ParseKnock(data)
	if err != nil {
		return nil, err
	}
	if err := k.CheckRecipient(a.amid); err != nil {
		return nil, err
	}
	if err := a.byEitherClock(k.CheckTimes); err != nil {
		return nil, err
	}
	policy := a.Policy()
	if policy.Blocked(k.From) {
		return nil, errors.New("blocked")
	}
	if a.parted(k.From) {
		return nil, identity.ErrRevoked
	}
	now := a.passed()
	if !a.guard.allow(now) {
		return nil, errRateLimited
	}
	if err := k.VerifySignature(); err != nil {
		return nil, err
	}
	if !a.guard.allowSender(k.From, policy.KnocksPerMinute, now) {
		return nil, errRateLimited
	}
	return k, nil
}

// takeKnock answers a knock. Session, replay key, decision and the sealed bytes of
// the answer are one transaction (CP 23).
func (c *clerk) takeKnock(b *batch, arr arrival) error {
	k := arr.know
	if c.parted() {
		return fmt.Errorf("%w: %w", errDropped, identity.ErrRevoked)
	}
	hash := k.Hash()
	if err := c.checkTaken(b, hash); err != nil {
		return err
	}
	set := c.a.prekeys.named(k.BundleID)
	if highest, err := c.highestEpoch(); err != nil {
		return err
	} else if k.Epoch < highest {
		return fmt.Errorf("%w: a knock of an old epoch", errDropped)
	}
	if set == nil {
		return fmt.Errorf("%w: %w", errDropped, knock.ErrPrekeyUnknown)
	}
	keys := knock.ResponderKeys{Bundle: set.bundle, Exchange: set.exchange, SignedPrekey: set.signed, KEM: set.kem}
	if err := c.a.oneTime.named(b, k, &keys); errors.Is(err, errOneTimeUnknown) {
		return fmt.Errorf("%w: %w", errDropped, err)
	} else if err != nil {
		return err
	}
	th0, err := k.ReplayKey(keys)
	if err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	facts, err := c.knockFacts(b.now, th0)
	if err != nil {
		return err
	}
	if facts.replayed {
		return fmt.Errorf("%w: replayed", errDropped)
	}
	opened, err := k.Open(keys, b.wall, c.a.Rand)
	if err != nil {
		return fmt.Errorf("%w: %w", errDropped, err)
	}
	granted, err := c.grantedNow(opened.Request.Intent, b.now)
	if err != nil {
		return err
	}
	invite, remark, err := c.invited(opened.Request, b.now)
	if err != nil {
		return err
	}
	var tier knock.Tier
	if raw := opened.Request.TierCertificate; len(raw) > 0 {
		tier = c.a.Prove(raw, k.SigningKey())
	}
	d := c.a.Policy().Evaluate(knock.Facts{
		Peer: c.peer, Intent: opened.Request.Intent, Granted: granted, Invite: invite.name(), Tier: tier,
		NoOneTimeKey: k.NoOneTimeKey(), Mode: opened.Request.Mode,
	})
	event := map[knock.Verdict]knock.AnswerEvent{
		knock.Accept: knock.PolicyAccepts, knock.Ask: knock.PolicyAsks, knock.Reject: knock.PolicyRejects,
	}[d.Verdict]
	if event == knock.PolicyAsks && facts.pending >= c.a.KnockLimits.PendingStrangers {
		event, d.Rule = knock.PendingFull, "strangers-ask: too many wait already"
	}
	resumes, retry, err := c.resumes(opened.Request.Resume, b.now)
	if err != nil {
		return err
	}
	switch {
	case resumes && retry > 0:
		event, d.Rule = knock.PolicyRejects, "resume: too often"
	case resumes:
		event, d.Rule, retry = knock.PolicyAccepts, "resume", 0
		c.tookResume(b)
	}
	s := &session{r: opened.Session, sessionMeta: sessionMeta{
		Sid: sidText(opened.Session), KnockHash: hash, Resume: resumes, Prev: opened.Request.Prev,
		Intent: opened.Request.Intent, Limits: opened.Request.Limits, Type: uint8(opened.Request.SessionType),
		Mode: uint8(opened.Request.Mode), Tier: tier,
		PeerEpoch: k.Epoch, FirstSeq: opened.Request.FirstSeq, Created: b.wall, Used: b.wall, Expires: k.Expires,
		sessionProof: proofFrom(opened.Request.Mode, k.SigningKey(), k.Bytes()),
	}}
	row := knockRow{
		Hash: hash, Peer: c.peer, Intent: s.Intent, Type: s.Type, Mode: s.Mode, Rule: d.Rule, Sid: s.Sid, At: b.wall, Expires: k.Expires,
		Envelope: arr.id, Retry: retry, Remark: remark, Tier: tier,
	}
	if invite != nil && d.Rule == knock.InviteRule(invite.name()) {
		row.by = invite
		c.useInvite(b, opened.Request)
	}
	b.add(s)
	c.supersede(b, facts.mine)
	if err := c.answer(b, s, &row, event, time.Time{}); err != nil {
		return err
	}
	b.prune()
	until := set.bundle.Expires.Add(c.a.Limits.PrekeyGrace)
	b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error {
		return setJSON(tx, c.a.key(rowReplay, th0[:]), replayRow{Hash: hash, Until: until})
	})
	c.a.oneTime.use(b, k)
	c.cameBy(b, arr)
	return c.takeTail(b, s, arr)
}

// checkTaken drops a knock that was taken before, perhaps under another tail. Its th0
// would not tell: that cannot be computed without the one-time keys it used up.
func (c *clerk) checkTaken(b *batch, hash [32]byte) error {
	found := false
	for _, s := range b.sessions {
		found = found || s.KnockHash == hash
	}
	err := c.a.Store.View(func(r store.Reader) error {
		_, stored, err := getJSON[knockRow](r, c.a.key(rowKnock, hash[:]))
		found = found || stored
		return err
	})
	if err == nil && found {
		return fmt.Errorf("%w: replayed", errDropped)
	}
	return err
}

type knockFacts struct {
	replayed bool
	pending  int        // knocks of other peers that wait for the owner
	mine     []knockRow // this peer's that wait
}

func (c *clerk) knockFacts(now time.Time, th0 [32]byte) (f knockFacts, err error) {
	err = c.a.Store.View(func(r store.Reader) error {
		if _, f.replayed, err = getJSON[replayRow](r, c.a.key(rowReplay, th0[:])); err != nil {
			return err
		}
		return scanJSON(r, c.a.key(rowKnock), nil, func(_ []byte, row knockRow) bool {
			if row.Out || row.State != knockPending || !now.Before(row.Expires) {
				return true
			}
			if row.Peer == c.peer {
				f.mine = append(f.mine, row)
			} else {
				f.pending++
			}
			return true
		})
	})
	return f, err
}

// highestEpoch is the highest epoch of the peer that was ever seen, in a session or in
// a bundle.
func (c *clerk) highestEpoch() (uint32, error) {
	var row contactRow
	err := c.a.Store.View(func(r store.Reader) (err error) {
		row, _, err = getJSON[contactRow](r, c.a.key(rowContact, c.peer[:]))
		return err
	})
	return max(row.Epoch, c.row.InEpoch), err
}

func (c *clerk) grantedNow(intent string, now time.Time) (granted bool, err error) {
	err = c.a.Store.View(func(r store.Reader) error {
		granted, err = c.a.granted(r, c.peer, intent, now)
		return err
	})
	return granted, err
}

// supersede ends the peer's older knocks that wait for the owner: one place for one
// peer, or a single stranger could take them all.
func (c *clerk) supersede(b *batch, older []knockRow) {
	for _, row := range older {
		if s := c.find(row.Sid); s != nil {
			b.erase(s)
		}
		c.setKnockState(b, row.Hash, knockExpired)
	}
}

// answer moves the knock of a session on (session.md §8.2) and does what the machine
// says: it seals the answer and queues the rows. b knows the session already.
func (c *clerk) answer(b *batch, s *session, row *knockRow, e knock.AnswerEvent, until time.Time) error {
	next, actions, err := s.Answer.Next(e)
	if err != nil {
		return err
	}
	s.Answer = next
	var g Grant
	for _, action := range actions {
		switch action {
		case knock.KeepGrant:
			c.supplant(b, s)
			if g, err = c.grantFor(e, s.Intent, until, b.now); err == nil && row.by != nil {
				g = row.by.grant(c.peer, b.now, c.a.Policy().Version())
			}
			if err == nil {
				c.keepGrant(b, s, g.row(), g)
			}
		case knock.SealAccept:
			s.Since, s.Limits = b.wall, s.Limits.Min(c.a.Policy().SessionLimits).Min(g.Limits)
			err = c.sealAnswer(b, s, row, knockAccepted, flightControl, &content.Accept{
				Knock: s.KnockHash, SessionType: content.SessionType(s.Type), Mode: content.Mode(s.Mode), Limits: s.Limits,
				Features: resumed(s), FirstSeq: c.firstSeq(), GrantExpires: orEpoch(g.Expires), Intents: g.Intents,
			})
		case knock.SealPending:
			until := row.Expires.Truncate(time.Second)
			err = c.sealAnswer(b, s, row, knockPending, flightAnswer, &content.Pending{Knock: s.KnockHash, Until: until})
		case knock.SealReject:
			reject := &content.Reject{Knock: s.KnockHash}
			if row.Retry > 0 {
				reject.Code, reject.RetryAfter = content.Busy, uint32(row.Retry/time.Second)+1
			} else if reject.Code, err = c.rejectCode(); err != nil {
				return err
			}
			err = c.sealAnswer(b, s, row, knockRejected, flightAnswer, reject)
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

// resumed is the feature bit of an accept that took the named envelopes seriously.
func resumed(s *session) uint32 {
	if s.Resume {
		return content.FeatureResumed
	}
	return 0
}

// orEpoch writes "no end" as 1970, the zero of the wire.
func orEpoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0)
	}
	return t
}

// sealAnswer seals an answer and keeps its bytes: a repeat of the knock gets the newest.
func (c *clerk) sealAnswer(b *batch, s *session, row *knockRow, state string, class flightClass, ct content.Content) error {
	f, err := b.seal(s, class, ct)
	if err != nil {
		return err
	}
	row.State, row.Answer = state, f.ID
	r := *row
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		*after = append(*after, c.a.changed.broadcast)
		kept := receiptRow{Peer: c.peer, Sid: s.Sid, At: b.wall, Data: f.data}
		if err := setJSON(tx, c.a.key(rowReceipt, f.ID[:]), kept); err != nil {
			return err
		}
		opened := openedRow{Peer: c.peer, At: b.wall, Receipt: f.ID}
		if err := setJSON(tx, c.a.key(rowOpened, r.Envelope[:]), opened); err != nil {
			return err
		}
		return setJSON(tx, c.a.key(rowKnock, r.Hash[:]), r)
	})
	return nil
}

// keepGrant remembers a yes, in the row of the side that said it, and where the peer's
// sequence starts.
func (c *clerk) keepGrant(b *batch, s *session, kind byte, g Grant) {
	first := s.FirstSeq
	b.write(func(tx store.Tx, row *peerRow, _ *[]func()) error {
		row.LastSeen, row.Refused, row.Unwanted = b.wall, 0, false
		startSequence(row, s.PeerEpoch, first)
		return setJSON(tx, c.a.key(kind, c.peer[:]), g)
	})
	b.then(func() { c.trusted = true })
	if content.SessionType(s.Type) != content.RequestResponse {
		c.wantDirect(b, s)
	}
}

// startSequence takes the peer's first_seq: we start there when we know less, and
// never go back within an epoch (session.md §9.1).
func startSequence(row *peerRow, epoch uint32, first uint64) {
	if epoch > row.InEpoch {
		// What is held of the old epoch waits for nothing any more.
		row.Showing = row.InEpoch != 0
		row.InEpoch, row.InNext, row.HoleSince, row.Gap = epoch, 0, time.Time{}, 0
	}
	if epoch == row.InEpoch {
		row.InNext = max(row.InNext, first)
	}
}

// decide gives the owner's answer to a pending knock; it runs on the clerk's
// goroutine.
func (c *clerk) decide(hash [32]byte, approve bool, ttl time.Duration) (knockRow, error) {
	if err := c.ready(); err != nil {
		return knockRow{}, err
	}
	if err := c.a.checkParted(c.peer); err != nil {
		return knockRow{}, err
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
			until = b.wall.Add(ttl).Truncate(time.Second)
		}
	}
	if err := c.answer(b, s, &row, event, until); err != nil {
		return row, err
	}
	return row, c.commit(b)
}

// knockID is what a person types: the first 16 hex digits of the knock hash.
func knockID(hash [32]byte) string { return hex.EncodeToString(hash[:8]) }
