package agent

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// Invites that we made (docs/protocol/invite.md §4).

// inviteRow is an invite as we keep it: not its secret.
type inviteRow struct {
	Hash    [32]byte       `json:"hash"` // of the secret
	Uses    int            `json:"uses"`
	Left    int            `json:"left"`
	Made    time.Time      `json:"made"`
	Expires time.Time      `json:"expires"`
	Ended   time.Time      `json:"ended"` // by the owner, or with the last use; zero: not yet
	Revoked bool           `json:"revoked,omitempty"`
	Intents []string       `json:"intents,omitempty"`
	Limits  content.Limits `json:"limits"`
	Lasts   time.Duration  `json:"lasts,omitempty"` // of the grant; 0: until taken back
	Label   string         `json:"label,omitempty"`
}

// guestRow is a peer that came in by an invite.
type guestRow struct {
	At   time.Time `json:"at"`
	Gone bool      `json:"gone,omitempty"` // its contact was removed
}

func (i *inviteRow) id() identity.InviteID {
	return identity.InviteID(i.Hash[:len(identity.InviteID{})])
}

// name is the id as a rule has it, empty for no invite.
func (i *inviteRow) name() string {
	if i == nil {
		return ""
	}
	return i.id().String()
}

func (i *inviteRow) state(now time.Time) string {
	switch {
	case i.Revoked:
		return api.InviteRevoked
	case i.Left == 0:
		return api.InviteUsedUp
	case now.After(i.Expires):
		return api.InviteExpired
	}
	return api.InviteOpen
}

// Invite makes an invite that shows the way to places.
func (a *Agent) Invite(ctx context.Context, r api.InviteRequest, at Places) (api.Invite, error) {
	if err := a.checkParted(a.amid); err != nil {
		return api.Invite{}, err
	}
	row, err := a.newInvite(r)
	if err != nil {
		return api.Invite{}, err
	}
	secret, err := identity.NewInviteSecret(a.Rand)
	if err != nil {
		return api.Invite{}, err
	}
	row.Hash = secret.Hash()
	text, err := a.inviteText(secret, row, at)
	if err != nil {
		return api.Invite{}, err
	}
	id := row.id()
	err = a.Store.Update(ctx, func(tx store.Tx) error {
		if err := a.roomForInvite(tx, id); err != nil {
			return err
		}
		return setJSON(tx, a.key(rowInvite, id[:]), row)
	})
	if err != nil {
		return api.Invite{}, a.storageProblem(err)
	}
	v := a.inviteView(row, nil)
	v.Text, v.Relays = text, at.Relays
	return v, nil
}

// newInvite checks what the owner wants.
func (a *Agent) newInvite(r api.InviteRequest) (inviteRow, error) {
	bad := func(format string, args ...any) (inviteRow, error) {
		return inviteRow{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, format, args...)
	}
	lasts, err := grantLife(r.GrantSeconds)
	if err != nil {
		return inviteRow{}, err
	}
	uses := max(r.Uses, 1)
	life := a.Limits.InviteLife
	if r.ExpiresSeconds != 0 {
		life = time.Duration(min(r.ExpiresSeconds, 1<<32)) * time.Second
	}
	switch {
	case r.Uses < 0 || uses > api.MostInviteUses:
		return bad("%d uses, want 1 to %d", r.Uses, api.MostInviteUses)
	case life <= 0 || life > identity.InviteLife:
		return bad("a life of %s, want at most %s", life, identity.InviteLife)
	case len(r.Intents) > identity.MaxInviteIntents:
		return bad("%d intents, want at most %d", len(r.Intents), identity.MaxInviteIntents)
	case len(r.Label) > 100 || !utf8.ValidString(r.Label):
		return bad("the label is longer than 100 bytes, or not UTF-8")
	}
	var intents []string
	for _, s := range r.Intents {
		if err := content.CheckIntent(s); err != nil {
			return bad("%v", err)
		}
		if !slices.Contains(intents, s) {
			intents = append(intents, s)
		}
	}
	if err := a.opensSomething(intents); err != nil {
		return inviteRow{}, err
	}
	wall := a.Clock().UTC()
	return inviteRow{
		Uses: uses, Left: uses, Made: wall, Expires: wall.Add(life).Truncate(time.Second), Intents: intents, Lasts: lasts, Label: r.Label,
		Limits: content.Limits{Messages: r.Limits.Messages, Bytes: r.Limits.Bytes, Seconds: r.Limits.TTLSeconds},
	}, nil
}

// opensSomething refuses an invite whose intents the policy lets nobody in with: it would
// be found out only by the guest.
func (a *Agent) opensSomething(intents []string) error {
	if len(intents) == 0 {
		intents = []string{DefaultIntent}
	}
	for _, s := range intents {
		// Not of anybody's, so that no list has it.
		d := a.Policy().Evaluate(knock.Facts{Intent: s, Invite: "new"})
		if d.Verdict != knock.Accept {
			p := api.Problemf(http.StatusForbidden, api.CodePolicy, "the policy lets nobody in with the intent %s", s).
				WithHint("name other intents, or change accepted_intents and rejected_intents with `amesh policy set`")
			p.Rule = d.Rule
			return p
		}
	}
	return nil
}

// inviteText signs an invite and writes it as it is handed over.
func (a *Agent) inviteText(secret identity.InviteSecret, row inviteRow, at Places) (string, error) {
	current := a.prekeys.current().bundle
	v := identity.Invite{
		Secret: secret, Expires: row.Expires, Epoch: current.Epoch, Sequence: current.Sequence, Intents: row.Intents,
		Relays: at.Relays[:min(len(at.Relays), identity.MaxInviteRelays)],
	}
	if name, err := petname(a.Name); err == nil && name != unnamed {
		v.Name = name
	}
	if len(at.PeerIDs) > 0 && len(at.Addresses) > 0 {
		v.PeerID, v.Addresses = at.PeerIDs[0], at.Addresses[:min(len(at.Addresses), identity.MaxInviteAddresses)]
	}
	raw, err := identity.SignInvite(a.Key, v)
	if err != nil {
		return "", api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
			WithHint("name fewer or shorter intents")
	}
	return identity.InviteText(raw), nil
}

// unnamed is the name of an agent whose owner gave it none.
const unnamed = "default"

var errSameInvite = errors.New("an invite with this id is there already")

// roomForInvite refuses one too many.
func (a *Agent) roomForInvite(r store.Reader, id identity.InviteID) error {
	if _, err := r.Get(a.key(rowInvite, id[:])); err == nil {
		return errSameInvite // one in four thousand million
	}
	n := 0
	err := r.Scan(a.key(rowInvite), nil, func(_, _ []byte) bool { n++; return true })
	if err == nil && n >= a.Limits.Invites {
		err = api.Problemf(http.StatusConflict, api.CodeConflict, "%d invites are kept already", n).
			WithHint("those that ended are forgotten after %d days; make one with more --uses instead of many", a.Limits.InviteKeep/(24*time.Hour))
	}
	return err
}

// Invites lists the invites that we made, newest first.
func (a *Agent) Invites() ([]api.Invite, error) {
	list := []api.Invite{}
	err := a.Store.View(func(r store.Reader) error {
		var rows []inviteRow
		err := scanJSON(r, a.key(rowInvite), nil, func(_ []byte, row inviteRow) bool {
			rows = append(rows, row)
			return true
		})
		for _, row := range rows {
			guests, bad := a.guestsOf(r, row.id())
			err = errors.Join(err, bad)
			list = append(list, a.inviteView(row, guests))
		}
		return err
	})
	slices.SortStableFunc(list, func(x, y api.Invite) int { return y.Made.Compare(x.Made) })
	return list, err
}

func (a *Agent) inviteView(row inviteRow, guests []api.Guest) api.Invite {
	if guests == nil {
		guests = []api.Guest{}
	}
	return api.Invite{
		ID: row.id().String(), Agent: a.Name, State: row.state(a.expiry.now()), Label: row.Label, Intents: row.Intents,
		Limits: limitsView(row.Limits), Uses: row.Uses, Left: row.Left, Made: row.Made, Expires: row.Expires,
		GrantSeconds: int64(row.Lasts / time.Second), Guests: guests,
	}
}

func limitsView(l content.Limits) api.SessionLimits {
	return api.SessionLimits{Messages: l.Messages, Bytes: l.Bytes, TTLSeconds: l.Seconds}
}

func (a *Agent) guestsOf(r store.Reader, id identity.InviteID) ([]api.Guest, error) {
	var guests []api.Guest
	prefix := a.key(rowGuest, id[:])
	err := scanJSON(r, prefix, nil, func(k []byte, g guestRow) bool {
		guests = append(guests, api.Guest{AMID: identity.AMID(k[len(prefix):]), At: g.At, Gone: g.Gone})
		return true
	})
	for i := range guests {
		name, bad := a.nameOf(r, guests[i].AMID)
		guests[i].Name, err = name, errors.Join(err, bad)
	}
	slices.SortFunc(guests, func(x, y api.Guest) int { return x.At.Compare(y.At) })
	return guests, err
}

// RevokeInvite ends an invite. Who came in by it stays.
func (a *Agent) RevokeInvite(ctx context.Context, text string) (v api.Invite, err error) {
	id, err := identity.ParseInviteID(strings.TrimPrefix(text, "invite/"))
	if err != nil {
		return v, noInvite(text)
	}
	err = a.Store.Update(ctx, func(tx store.Tx) error {
		row, found, err := getJSON[inviteRow](tx, a.key(rowInvite, id[:]))
		if err != nil {
			return err
		}
		if !found {
			return noInvite(text)
		}
		if row.Left > 0 && !row.Revoked {
			row.Revoked, row.Ended = true, a.Clock()
		}
		guests, err := a.guestsOf(tx, id)
		v = a.inviteView(row, guests)
		return errors.Join(err, setJSON(tx, a.key(rowInvite, id[:]), row))
	})
	return v, a.storageProblem(err)
}

func noInvite(id string) error {
	return api.Problemf(http.StatusNotFound, api.CodeNotFound, "no invite with the id %.40q", id).
		WithHint("`amesh invite list` shows them")
}

// What can be wrong with the secret that a knock brings. The owner reads it.
var (
	errInviteUnknown = errors.New("invite: unknown")
	errInviteIntent  = errors.New("invite: another intent")
	errInviteOver    = errors.New("invite: over") // the peer was removed since it came in
	errInviteEnded   = errors.New("invite")       // wrapped with the state it is in
)

// fits finds the invite that a secret opens for a peer, and whether it takes a use. It
// returns one of the errors above for a secret that counts as none.
func (a *Agent) fits(r store.Reader, secret []byte, peer identity.AMID, intent string, now time.Time) (row inviteRow, uses bool, err error) {
	var s identity.InviteSecret
	if len(secret) != len(s) {
		return row, false, errInviteUnknown
	}
	copy(s[:], secret)
	id, hash := s.ID(), s.Hash()
	row, found, err := getJSON[inviteRow](r, a.key(rowInvite, id[:]))
	if err != nil {
		return row, false, err
	}
	// Also of a row that is not there, so that the time tells nothing.
	if subtle.ConstantTimeCompare(row.Hash[:], hash[:]) != 1 || !found {
		return row, false, errInviteUnknown
	}
	guest, known, err := getJSON[guestRow](r, a.key(rowGuest, id[:], peer[:]))
	if err != nil {
		return row, false, err
	}
	state := row.state(now)
	switch {
	case guest.Gone:
		return row, false, errInviteOver
	case state == api.InviteUsedUp && known && !now.After(row.Expires):
		// It has paid.
	case state != api.InviteOpen:
		return row, false, fmt.Errorf("%w: %s", errInviteEnded, strings.ReplaceAll(state, "_", " "))
	}
	if len(row.Intents) > 0 && !slices.Contains(row.Intents, intent) {
		return row, false, errInviteIntent
	}
	return row, !known, nil
}

// misfit reports whether an error is a secret's that counts as none.
func misfit(err error) bool {
	for _, e := range []error{errInviteUnknown, errInviteIntent, errInviteOver, errInviteEnded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// errInviteGone ends the transaction of a knock whose invite was used or revoked since
// it was looked at. The knock is looked at once more.
var errInviteGone = errors.New("the invite has ended meanwhile")

// invited finds the invite that a knock brings; nil for none that fits, with a remark
// for the owner where it brings one that does not.
func (c *clerk) invited(req *content.Request, now time.Time) (found *inviteRow, remark string, err error) {
	if len(req.Invite) == 0 {
		return nil, "", nil
	}
	err = c.a.Store.View(func(r store.Reader) error {
		row, _, err := c.a.fits(r, req.Invite, c.peer, req.Intent, now)
		found = &row
		return err
	})
	if misfit(err) {
		return nil, err.Error(), nil
	}
	if err != nil {
		return nil, "", err
	}
	return found, "", nil
}

// useInvite counts a use in the transaction that accepts the knock.
func (c *clerk) useInvite(b *batch, req *content.Request) {
	secret, intent := req.Invite, req.Intent
	b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error {
		row, uses, err := c.a.fits(tx, secret, c.peer, intent, b.now)
		if misfit(err) {
			return errInviteGone
		}
		if err != nil || !uses {
			return err
		}
		id := row.id()
		if row.Left--; row.Left == 0 {
			row.Ended = b.wall
		}
		if err := setJSON(tx, c.a.key(rowInvite, id[:]), row); err != nil {
			return err
		}
		return setJSON(tx, c.a.key(rowGuest, id[:], c.peer[:]), guestRow{At: b.wall})
	})
}

// grant is what an invite gives to a peer.
func (i *inviteRow) grant(peer identity.AMID, now time.Time, policy string) Grant {
	g := Grant{Peer: peer, Intents: i.Intents, Since: now, Policy: policy, Limits: i.Limits, Invite: i.id().String(), Label: i.Label}
	if i.Lasts > 0 {
		g.Expires = now.Add(i.Lasts).Truncate(time.Second)
	}
	return g
}

// sendGuestAway has the invites that a peer came in by let it in no more.
func (a *Agent) sendGuestAway(tx store.Tx, peer identity.AMID) error {
	prefix := a.key(rowGuest)
	var keys [][]byte
	err := tx.Scan(prefix, nil, func(k, _ []byte) bool {
		if bytes.HasSuffix(k, peer[:]) {
			keys = append(keys, bytes.Clone(k))
		}
		return true
	})
	for _, k := range keys {
		row, _, bad := getJSON[guestRow](tx, k)
		row.Gone = true
		err = errors.Join(err, bad, setJSON(tx, k, row))
	}
	return err
}

// doomedInvites finds invites that ended long ago, with their guests, and what is left of
// wishes that came to nothing.
func (a *Agent) doomedInvites(r store.Reader, now time.Time, add func([]byte, bool) bool) error {
	over := now.Add(-a.Limits.InviteKeep)
	var gone []identity.InviteID
	err := scanJSON(r, a.key(rowInvite), nil, func(k []byte, row inviteRow) bool {
		end := row.Expires
		if !row.Ended.IsZero() && row.Ended.Before(end) {
			end = row.Ended
		}
		// One that is used up still lets its guests in, until it expires.
		if row.Expires.Before(over) || row.Revoked && end.Before(over) {
			gone = append(gone, row.id())
			return add(k, true)
		}
		return true
	})
	for _, id := range gone {
		err = errors.Join(err, r.Scan(a.key(rowGuest, id[:]), nil, func(k, _ []byte) bool { return add(k, true) }))
	}
	return errors.Join(err, scanJSON(r, a.key(rowJoin), nil, func(k []byte, row joinRow) bool {
		return add(k, row.Secret != nil && row.Expires.Before(over))
	}))
}
