package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/compare"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// Entering by somebody's invite (docs/protocol/invite.md §5).

// joinRow is our wish to enter by a peer's invite, and what came of it.
type joinRow struct {
	ID       string             `json:"id"`
	Key      identity.PublicKey `json:"key"`
	Secret   []byte             `json:"secret,omitempty"` // until the answer
	Epoch    uint32             `json:"epoch"`
	Sequence uint64             `json:"sequence"`
	Places   Places             `json:"places"`
	Intents  []string           `json:"intents,omitempty"`
	Expires  time.Time          `json:"expires"`
	State    string             `json:"state"`
}

// open reports whether there is still to be asked.
func (j *joinRow) open(now time.Time) bool {
	return j.Secret != nil && (j.State == api.JoinWaiting || j.State == api.JoinDeciding) && !now.After(j.Expires)
}

// intent is what the knock asks for.
func (j *joinRow) intent() string {
	if len(j.Intents) > 0 {
		return j.Intents[0]
	}
	return DefaultIntent
}

// brought is the invite's id for a knock with its secret; j may be nil.
func (j *joinRow) brought(secret []byte) string {
	if j == nil || secret == nil {
		return ""
	}
	return j.ID
}

// state is the wish's state at a time.
func (j *joinRow) state(now time.Time) string {
	if j.State == api.JoinWaiting && now.After(j.Expires) {
		return api.JoinExpired
	}
	return j.State
}

// wishes calls f for every peer by whose invite we still want to enter.
func (a *Agent) wishes(r store.Reader, f func(identity.AMID)) error {
	now, prefix := a.expiry.now(), a.key(rowJoin)
	return scanJSON(r, prefix, nil, func(k []byte, row joinRow) bool {
		if row.open(now) {
			f(identity.AMID(k[len(prefix):]))
		}
		return true
	})
}

func (c *clerk) loadWish(r store.Reader) error {
	row, found, err := getJSON[joinRow](r, c.a.key(rowJoin, c.peer[:]))
	c.wish = nil
	if found {
		c.wish = &row
	}
	return err
}

// joins reports whether we want to enter by the peer's invite.
func (c *clerk) joins() bool {
	return c.wish != nil && !c.blocked && c.asked() == nil && c.wish.open(c.a.expiry.now())
}

// aboveFloor checks a bundle against what the peer's invite says of it: an older one is
// not the peer's newest, whoever shows it.
func (c *clerk) aboveFloor(b *identity.Bundle) error {
	if c.wish == nil || c.wish.Secret == nil {
		return nil
	}
	return b.Compare(c.wish.Epoch, c.wish.Sequence, b.ID())
}

// askForKeys knocks at a bundle that nobody has, where an invite is all that we know of
// the peer: the answer brings the right one (invite.md §5.2).
func (c *clerk) askForKeys() error {
	if !c.joins() {
		return nil
	}
	bundle, err := identity.StandIn(rand.Reader, c.wish.Key, c.a.Clock())
	if err != nil {
		return err
	}
	return c.knockAt(&door{bundle: bundle, standIn: true}, peerKeys{})
}

// tellWish notes what came of our wish in the transaction that found it out.
func (c *clerk) tellWish(b *batch, s *session, state string) {
	if s.Invite == "" || c.wish == nil || s.Invite != c.wish.ID {
		return
	}
	next := *c.wish
	next.State = state
	if state != api.JoinDeciding {
		next.Secret = nil
	}
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		*after = append(*after, func() { c.wish = &next }, c.a.changed.broadcast)
		return setJSON(tx, c.a.key(rowJoin, c.peer[:]), next)
	})
}

// Join enters by an invite.
func (a *Agent) Join(ctx context.Context, r api.JoinRequest) (api.Join, error) {
	v, err := a.readInvite(r.Invite)
	if err != nil {
		return api.Join{}, err
	}
	name := ""
	if r.Name != "" {
		if name, err = petname(r.Name); err != nil {
			return api.Join{}, err
		}
	}
	peer := v.AMID()
	start, err := ask(ctx, a, peer, func(c *clerk) (api.Join, error) { return c.join(v, name) })
	if err != nil {
		return api.Join{}, err
	}
	j, err := a.awaitJoin(ctx, peer, time.Duration(r.TimeoutMS)*time.Millisecond, r.Patient)
	j.Invite, j.NoName, j.Repeated = v.ID().String(), start.NoName, start.Repeated
	return j, err
}

// readInvite reads an invite that we may enter by.
func (a *Agent) readInvite(text string) (*identity.Invite, error) {
	v, err := identity.ReadInvite(text)
	switch {
	case errors.Is(err, identity.ErrInviteText):
		return nil, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
			WithHint("it is one string of letters and digits that begins with amesh1")
	case err != nil:
		return nil, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
			WithHint("it came through whole, but is not what its maker wrote: ask for another, on another line")
	case v.SigningKey == a.Key.Public():
		return nil, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "this invite is the agent's own").
			WithHint("hand it to whom you want to let in; they use it with `amesh join`")
	}
	peer := v.AMID()
	if err := a.checkParted(peer); err != nil {
		return nil, err
	}
	if a.Policy().Blocked(peer) {
		p := api.Problemf(http.StatusForbidden, api.CodePolicy, "%s is blocked here", peer).
			WithHint("amesh unblock %s", peer)
		p.Rule = "block"
		return nil, p
	}
	return v, nil
}

// join makes the wish; it runs on the clerk's goroutine.
func (c *clerk) join(v *identity.Invite, name string) (api.Join, error) {
	none := api.Join{}
	if err := c.ready(); err != nil {
		return none, err
	}
	now := c.a.expiry.now()
	held, err := c.grants()
	if err != nil {
		return none, err
	}
	again := c.wish != nil && c.wish.ID == v.ID().String()
	let := slices.ContainsFunc(held, func(g Grant) bool { return g.Valid(now) && covers(g.Intents, v.Intents) })
	switch {
	case again && (let || c.wish.open(now)):
		return api.Join{Repeated: true}, c.a.nameOnly(c.ctx, c.peer, name)
	case let:
		return none, api.Problemf(http.StatusConflict, api.CodeConflict, "%s is a contact already", c.a.called(c.peer)).
			WithHint("write to it; if it does not let you in any more, amesh contacts remove it and join again")
	}
	if err := v.Valid(now); err != nil {
		return none, api.Problemf(http.StatusGone, api.CodeExpired, "the invite expired at %s", v.Expires.Format(time.RFC3339)).
			WithHint("ask for another")
	}
	secret := v.Secret
	row := joinRow{
		ID: v.ID().String(), Key: v.SigningKey, Secret: secret[:], Epoch: v.Epoch, Sequence: v.Sequence,
		Places:  Places{Relays: v.Relays, Addresses: v.Addresses},
		Intents: v.Intents, Expires: v.Expires, State: api.JoinWaiting,
	}
	if v.PeerID != "" {
		row.Places.PeerIDs = []string{v.PeerID}
	}
	return c.wishFor(v, row, name)
}

// wishFor puts the wish on disk, with the contact's name.
func (c *clerk) wishFor(v *identity.Invite, row joinRow, name string) (api.Join, error) {
	b := c.begin()
	if s := c.asked(); s != nil {
		// It was made without this invite, and would only be in the way, also where the
		// peer's owner is being asked because of it: there the next one takes its place.
		s = b.session(s)
		next, _, err := s.Ask.Next(knock.AskExpired)
		if err != nil {
			return api.Join{}, err
		}
		s.Ask = next
		c.landKnock(b, s)
		c.takeTailBack(b, s)
		c.setKnockState(b, s.KnockHash, knockExpired)
	}
	var j api.Join
	b.write(func(tx store.Tx, row2 *peerRow, after *[]func()) error {
		row2.NotBefore = time.Time{}
		had, err := c.a.nameOf(tx, c.peer)
		if err != nil {
			return err
		}
		if name == "" && had == "" {
			name, j.NoName = c.a.proposal(tx, v.Name, c.peer)
		}
		if name != "" {
			if err := c.a.setName(tx, c.peer, name); err != nil {
				return err
			}
		}
		*after = append(*after, func() {
			c.wish = &row
			c.lookup.reset()
			c.a.Carrier.Learn(c.peer, row.Places, false)
		})
		return setJSON(tx, c.a.key(rowJoin, c.peer[:]), row)
	})
	return j, c.commit(b)
}

// covers reports whether intents that were granted hold all that are wanted; none are
// every intent.
func covers(granted, wanted []string) bool {
	if len(granted) == 0 {
		return true
	}
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(s string) bool { return !slices.Contains(granted, s) })
}

// nameOnly gives a contact a name that was asked for.
func (a *Agent) nameOnly(ctx context.Context, peer identity.AMID, name string) error {
	if name == "" {
		return nil
	}
	return a.Store.Update(ctx, func(tx store.Tx) error { return a.setName(tx, peer, name) })
}

// called is a peer's name here, or its AMID.
func (a *Agent) called(peer identity.AMID) string {
	name := ""
	err := a.Store.View(func(r store.Reader) (err error) {
		name, err = a.nameOf(r, peer)
		return err
	})
	if err != nil || name == "" {
		return peer.String()
	}
	return name
}

// awaitJoin answers when the wish has come to an end, or the time is over.
func (a *Agent) awaitJoin(ctx context.Context, peer identity.AMID, timeout time.Duration, patient bool) (api.Join, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		changed := a.changed.wait()
		j, err := a.joinView(peer)
		if err != nil || timeout <= 0 || j.State != api.JoinWaiting && (j.State != api.JoinDeciding || !patient) {
			return j, err
		}
		select {
		case <-changed:
		case <-timer.C:
			timeout = 0
		case <-ctx.Done():
			return j, nil
		}
	}
}

func (a *Agent) joinView(peer identity.AMID) (api.Join, error) {
	j := api.Join{Agent: a.Name, Peer: peer, Path: api.PathNone}
	err := a.Store.View(func(r store.Reader) error {
		row, found, err := getJSON[joinRow](r, a.key(rowJoin, peer[:]))
		if err != nil {
			return err
		}
		if !found {
			return api.Problemf(http.StatusConflict, api.CodeConflict, "the contact was removed meanwhile")
		}
		j.State, j.Expires, j.Relays = row.state(a.expiry.now()), row.Expires, row.Places.Relays
		j.Words = compare.Of(a.Key.Public(), row.Key).Words()
		if j.Name, err = a.nameOf(r, peer); err != nil || j.State != api.JoinAccepted {
			return err
		}
		g, found, err := getJSON[Grant](r, a.key(rowReturn, peer[:]))
		if found {
			j.Intents = g.Intents
			if !g.Expires.IsZero() {
				j.Granted = &g.Expires
			}
		}
		return err
	})
	a.mu.Lock()
	c := a.clerks[peer]
	a.mu.Unlock()
	if c != nil {
		j.Reason, j.Path = c.why()
	}
	if j.State != api.JoinWaiting {
		j.Reason = ""
	}
	return j, err
}
