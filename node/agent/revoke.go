package agent

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// What happens when a signing key leaves for ever (session.md §2.8): our own, which
// the owner revokes, or a peer's, which said so inside a session. Between two agents
// of whom one has left nothing passes any more but receipts and the farewell itself.

// revokedRow is a revocation that was verified; our own stands under our own name.
type revokedRow struct {
	Statement []byte    `json:"statement"`
	Known     time.Time `json:"known"`
}

// farewell is how far a peer knows that our key has left.
type farewell struct {
	ID   ratchet.ID `json:"id"` // the envelope that says so
	At   time.Time  `json:"at"`
	Done bool       `json:"done"` // its receipt came
}

// leavers are the revocations that are known, in memory: knocks are held against them
// before anything else of theirs is looked at.
type leavers struct {
	mu    sync.RWMutex
	known map[identity.AMID]*identity.Revocation
}

func (l *leavers) of(amid identity.AMID) *identity.Revocation {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.known[amid]
}

// add notes a revocation that is on disk.
func (l *leavers) add(v *identity.Revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known == nil {
		l.known = make(map[identity.AMID]*identity.Revocation)
	}
	l.known[v.AMID] = v
}

func (a *Agent) loadRevocations() error {
	var bad error
	err := a.Store.View(func(r store.Reader) error {
		return scanJSON(r, a.key(rowRevoked), nil, func(_ []byte, row revokedRow) bool {
			var v *identity.Revocation
			if v, bad = identity.ParseRevocation(row.Statement); bad == nil {
				a.left.add(v)
			}
			return bad == nil
		})
	})
	return errors.Join(err, bad)
}

// parted reports whether the key of one side has left.
func (a *Agent) parted(peer identity.AMID) bool {
	return a.left.of(a.amid) != nil || a.left.of(peer) != nil
}

// checkParted is the problem of a caller who wants something of the peer.
func (a *Agent) checkParted(peer identity.AMID) error {
	switch {
	case a.left.of(a.amid) != nil:
		return api.Problemf(http.StatusConflict, api.CodeRevoked, "the agent's own key was revoked").
			WithHint("use the agent that took its place; `amesh key show` names it")
	case a.left.of(peer) != nil:
		return api.Problemf(http.StatusConflict, api.CodeRevoked, "the key of %s was revoked", peer).
			WithHint("`amesh contacts` shows the successor it named; make sure of it before you write to it")
	}
	return nil
}

// revocation is what the API shows of an agent's revocation, nil when there is none.
func (a *Agent) revocation(amid identity.AMID) *api.Revocation {
	v := a.left.of(amid)
	if v == nil {
		return nil
	}
	out := &api.Revocation{AMID: v.AMID, Issued: v.Issued, Reason: v.Reason.String()}
	if v.HasSuccessor() {
		heir := v.Successor.AMID()
		out.Successor = &heir
	}
	return out
}

// Revoked is the revocation of the agent's own key, nil as long as it is in use.
func (a *Agent) Revoked() *api.Revocation { return a.revocation(a.amid) }

// Revoke makes the agent's key leave for ever: from now on the agent neither knocks
// nor sends nor accepts, and every peer with a session is told.
func (a *Agent) Revoke(ctx context.Context, req api.RevokeRequest) (api.Revocation, error) {
	v, err := a.newRevocation(req)
	if err != nil {
		return api.Revocation{}, err
	}
	err = a.Store.Update(ctx, func(tx store.Tx) error {
		key := a.key(rowRevoked, a.amid[:])
		if _, found, err := getJSON[revokedRow](tx, key); err != nil || found {
			if err != nil {
				return err
			}
			return api.Problemf(http.StatusConflict, api.CodeConflict, "the key was revoked before").
				WithHint("`amesh key show` has the revocation")
		}
		if err := a.expireKnocks(tx); err != nil {
			return err
		}
		return setJSON(tx, key, revokedRow{Statement: v.Raw(), Known: a.Clock()})
	})
	if err != nil {
		return api.Revocation{}, a.storageProblem(err)
	}
	a.left.add(v)
	a.Logger.Warn("the agent's key was revoked", "agent", a.Name, "reason", v.Reason.String())
	peers, err := a.findPeers()
	if err != nil {
		return api.Revocation{}, a.storageProblem(err)
	}
	for peer := range peers {
		a.wake(peer)
	}
	a.changed.broadcast()
	return *a.Revoked(), nil
}

// expireKnocks ends the knocks that wait for the owner: nobody can be let in any more.
func (a *Agent) expireKnocks(tx store.Tx) error {
	var waiting []knockRow
	err := scanJSON(tx, a.key(rowKnock), nil, func(_ []byte, row knockRow) bool {
		if !row.Out && row.State == knockPending {
			waiting = append(waiting, row)
		}
		return true
	})
	for _, row := range waiting {
		row.State = knockExpired
		err = errors.Join(err, setJSON(tx, a.key(rowKnock, row.Hash[:]), row))
	}
	return err
}

// newRevocation signs what the owner asked for.
func (a *Agent) newRevocation(req api.RevokeRequest) (*identity.Revocation, error) {
	invalid := func(hint, format string, args ...any) error {
		return api.Problemf(http.StatusBadRequest, api.CodeInvalid, format, args...).WithHint("%s", hint)
	}
	reason, err := identity.ParseRevocationReason(req.Reason)
	if err != nil {
		return nil, invalid("the reason is superseded, compromised or retired", "%v", err)
	}
	now := a.Clock()
	v := identity.Revocation{Issued: now, Reason: reason}
	if req.Issued != nil {
		v.Issued = *req.Issued
	}
	if off := v.Issued.Sub(now).Abs(); off > a.Limits.Skew {
		return nil, invalid("look at the clock", "issued %s away from now", off.Truncate(time.Second))
	}
	if req.Successor != "" {
		if v.Successor, err = identity.ParsePublicKeyText(req.Successor); err != nil {
			return nil, invalid("it is the base64 of a signing key", "successor: %v", err)
		}
	}
	raw, err := identity.SignRevocation(a.Key, v, req.Consent)
	if err != nil {
		return nil, invalid("the successor signs the same second, reason and keys", "%v", err)
	}
	return identity.ParseRevocation(raw)
}

func (c *clerk) parted() bool { return c.a.parted(c.peer) }

// takeRevocation believes a peer that says its own key has left. What it says about
// the keys of others is nothing to us.
func (c *clerk) takeRevocation(b *batch, ct *content.Revocation) error {
	v, err := identity.ParseRevocation(ct.Statement)
	if err != nil || v.AMID != c.peer {
		c.a.Logger.Debug("revocation not taken", "peer", c.peer.Short(), "err", err)
		return nil
	}
	old := c.a.left.of(c.peer)
	if old != nil && old.Counts(v) {
		return nil
	}
	facts, err := c.knockFacts(b.now, [32]byte{})
	if err != nil {
		return err
	}
	c.supersede(b, facts.mine)
	for _, s := range b.list() {
		b.session(s).Closed = true
	}
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		*after = append(*after, func() {
			c.a.left.add(v)
			c.a.Logger.Warn("a peer's key was revoked", "peer", c.peer.String(), "reason", v.Reason.String())
			c.a.changed.broadcast()
		})
		return setJSON(tx, c.a.key(rowRevoked, c.peer[:]), revokedRow{Statement: v.Raw(), Known: b.wall})
	})
	return nil
}

// takeParted takes what still counts between two of whom one has left.
func (c *clerk) takeParted(b *batch, s *session, arr arrival, ct content.Content) error {
	switch ct := ct.(type) {
	case *content.Receipts:
		b.write(func(_ store.Tx, row *peerRow, _ *[]func()) error {
			row.Farewell.Done = row.Farewell.Done || slices.Contains(ct.Envelopes, row.Farewell.ID)
			return nil
		})
		return c.takeReceipts(b, ct)
	case *content.Revocation:
		if s.accepted() {
			c.owe(b, dueRow{Envelope: arr.id, At: b.wall})
			return c.takeRevocation(b, ct)
		}
	}
	return nil
}

// sendParted ends what is under way with a peer when one of the two keys has left, and
// sends what still passes.
func (c *clerk) sendParted() (bool, error) {
	worked, err := c.endParted()
	if err != nil {
		return worked, err
	}
	c.setReason("")
	for _, step := range []struct {
		session func() *session
		seal    func(*batch, *session) (bool, error)
	}{{c.receiptSession, c.sealReceipts}, {c.controlSession, c.sealFarewell}} {
		s := step.session()
		if s == nil {
			continue
		}
		b := c.begin()
		did, err := step.seal(b, s)
		if err != nil {
			return worked, err
		}
		if err := c.commit(b); err != nil {
			return worked, err
		}
		worked = worked || did
	}
	// No session will come that could carry what is owed, or open what is held.
	c.mute, c.hold, c.lost.ids = false, hold{}, nil
	return c.handOver() || worked, nil
}

// endParted ends knocks, messages and control envelopes, as much as fits into one
// transaction, and reports whether there was anything. A message that the peer has
// stays open for its last word.
func (c *clerk) endParted() (bool, error) {
	if s := c.asked(); s != nil {
		return true, c.giveUpKnock(s, knock.NoRows)
	}
	b := c.begin()
	room := c.batch
	for _, f := range c.flights {
		if room > 0 && f.Class != flightReceipt && f.ID != c.row.Farewell.ID {
			b.land(f)
			room--
		}
	}
	for _, o := range c.open {
		if room == 0 || rankOf[o.State] >= rankOf[api.StateDelivered] {
			continue
		}
		room--
		row := *o
		row.State, row.Reason, row.Where = api.StateDead, api.ReasonRevoked, ""
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error { return c.advance(tx, row, b.wall, after) })
	}
	return !b.empty(), c.commit(b)
}

// sealFarewell tells the peer that our key has left. When the envelope ran out of time
// without a receipt, it is sealed again once the peer was heard of.
func (c *clerk) sealFarewell(b *batch, s *session) (bool, error) {
	own, f := c.a.left.of(c.a.amid), c.row.Farewell
	switch {
	case own == nil, f.Done, c.byID[f.ID] != nil, s.Control >= c.a.Limits.Window:
		return false, nil
	case !f.At.IsZero() && !c.row.LastSeen.After(f.At):
		return false, nil
	}
	sealed, err := b.seal(s, flightControl, &content.Revocation{Statement: own.Raw()})
	if err != nil {
		return false, err
	}
	b.write(func(_ store.Tx, row *peerRow, _ *[]func()) error {
		row.Farewell = farewell{ID: sealed.ID, At: b.wall}
		return nil
	})
	return true, nil
}

// unparted adds the peers that are still to be told that our key has left.
func (a *Agent) unparted(r store.Reader, busy map[identity.AMID]bool) error {
	if a.left.of(a.amid) == nil {
		return nil
	}
	prefix := a.key(rowPeer)
	return scanJSON(r, prefix, nil, func(k []byte, row peerRow) bool {
		peer := identity.AMID(k[len(prefix):])
		if !row.Farewell.Done && a.isKnown(peer) {
			busy[peer] = true
		}
		return true
	})
}
