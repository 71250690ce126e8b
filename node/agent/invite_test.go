package agent

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// hide takes a person out of the directory: nobody can find him there.
func (w *world) hide(p *person) {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	delete(w.book.recs, p.AMID())
}

// invite has a person invite somebody; its places are the switchboard's.
func invite(t *testing.T, p *person, r api.InviteRequest) api.Invite {
	t.Helper()
	v, err := p.Invite(t.Context(), r, line{}.Places())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func join(t *testing.T, p *person, text string) api.Join {
	t.Helper()
	j, err := p.Join(t.Context(), api.JoinRequest{Invite: text, TimeoutMS: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// only is the one invite that a person made.
func only(t *testing.T, p *person) api.Invite {
	t.Helper()
	list, err := p.Invites()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d invites, %v", len(list), err)
	}
	return list[0]
}

// knockOf is the last knock of a peer, as its receiver's owner sees it.
func knockOf(t *testing.T, p, peer *person) api.Knock {
	t.Helper()
	list, err := p.Knocks()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(k api.Knock) bool { return k.Peer == peer.AMID() && k.Direction == "in" })
	if i < 0 {
		t.Fatalf("no knock of %s", peer.name)
	}
	return list[i]
}

// One string makes two contacts, whatever the policy says of strangers, and also where
// no directory knows the inviter.
func TestJoinByInvite(t *testing.T) {
	for _, found := range []bool{true, false} {
		t.Run(fmt.Sprintf("in the directory %t", found), func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "reject"), w.person("bob", "reject")
			if !found {
				w.hide(bob)
				w.hide(ann)
			}
			v := invite(t, bob, api.InviteRequest{Label: "for ann"})
			j := join(t, ann, v.Text)
			if j.State != api.JoinAccepted || j.Peer != bob.AMID() || j.Invite != v.ID || j.Name != "bob" || j.Path != api.PathRelayed || len(j.Words) != 12 {
				t.Fatalf("%+v", j)
			}
			if k := knockOf(t, bob, ann); k.Rule != "invite/"+v.ID || k.State != "accepted" || k.Remark != "" {
				t.Errorf("bob's owner sees %+v", k)
			}
			if got := only(t, bob); got.State != api.InviteUsedUp || got.Left != 0 || len(got.Guests) != 1 || got.Guests[0].AMID != ann.AMID() || got.Text != "" {
				t.Errorf("bob's invite is %+v", got)
			}
			c, err := bob.Contact(ann.AMID().String())
			if err != nil || c.Source != "invite" || len(c.Grants) != 1 || c.Grants[0].Invite != v.ID || c.Grants[0].Label != "for ann" {
				t.Errorf("bob's contact: %+v, %v", c, err)
			}
			if c, err := ann.Contact("bob"); err != nil || c.Source != "invite" || len(c.Grants) != 1 || c.Grants[0].From != "return" {
				t.Errorf("ann's contact: %+v, %v", c, err)
			}
			for _, pair := range [][2]*person{{ann, bob}, {bob, ann}} {
				if m := w.send(pair[0], pair[1], "hello", api.StateDelivered); m.State != api.StateDelivered {
					t.Errorf("%s to %s: %s (%s)", pair[0].name, pair[1].name, m.State, m.Reason)
				}
			}
			if out, err := ann.Knocks(); err != nil || len(out) != 1 {
				t.Errorf("ann's owner sees %d knocks, %v", len(out), err)
			}
			notOnDisk(t, bob, v.Text)
			notOnDisk(t, ann, v.Text)
		})
	}
}

// notOnDisk makes sure that nothing of a person's holds the secret in the end.
func notOnDisk(t *testing.T, p *person, text string) {
	t.Helper()
	v, err := identity.ReadInvite(text)
	if err != nil {
		t.Fatal(err)
	}
	err = p.mem.View(func(r store.Reader) error {
		return r.Scan(nil, nil, func(k, val []byte) bool {
			text := base64.StdEncoding.EncodeToString(v.Secret[:]) // as it stands in a row
			if bytes.Contains(val, v.Secret[:]) || bytes.Contains(val, []byte(text)) {
				t.Errorf("row %q has the secret", k[identity.AMIDSize])
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An invite whose maker is away is used as soon as he is back.
func TestJoinWhileTheInviterIsAway(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "reject"), w.person("bob", "reject")
	v := invite(t, bob, api.InviteRequest{})
	w.hide(bob)
	w.end(bob)
	j, err := ann.Join(t.Context(), api.JoinRequest{Invite: v.Text})
	if err != nil || j.State != api.JoinWaiting {
		t.Fatalf("%+v, %v", j, err)
	}
	until(t, ann, "the knock left", func() bool { return count(t, ann, rowFlight) == 1 })
	if s := sessionsOf(t, ann, bob); len(s) != 1 || s[0].Invite != "" {
		t.Error("the knock that asks for keys brings the secret")
	}
	w.sb.mu.Lock()
	clear(w.sb.public)
	w.sb.mu.Unlock()
	restart(t, w, ann) // the wish is on disk, and so is the way
	until(t, ann, "the way of the knock", func() bool {
		onClerk(t, ann, bob.AMID(), func(*clerk) error { return nil })
		w.sb.mu.Lock()
		defer w.sb.mu.Unlock()
		return slices.Equal(w.sb.public[bob.AMID()].Relays, []string{"ws://127.0.0.1:1"})
	})
	w.begin(bob)
	w.sb.plug(bob.Agent)
	if j := join(t, ann, v.Text); j.State != api.JoinAccepted || !j.Repeated {
		t.Fatalf("%+v", j)
	}
}

// What waits for a stranger goes with the knock that brings the invite.
func TestInviteTakesTheFirstMessageAlong(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "reject")
	w.hide(bob)
	m := w.send(ann, bob, "may I?", api.StateAccepted)
	v := invite(t, bob, api.InviteRequest{})
	w.sb.only(func(e Envelope) bool { return e.Knock || e.From == bob.AMID() })
	if j := join(t, ann, v.Text); j.State != api.JoinAccepted {
		t.Fatalf("%+v", j)
	}
	if got := w.take(bob, 1)[0]; got.ID != m.ID || string(got.Body) != "may I?" {
		t.Errorf("%+v", got)
	}
	w.sb.only(func(Envelope) bool { return true })
	if m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 10*time.Second); err != nil || !m.State.Reached(api.StateDelivered) {
		t.Errorf("%+v, %v", m, err)
	}
}

// A record from before the invite is as good as none, whoever shows it.
func TestInviteBarsOlderBundles(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "reject") // the directory keeps this bundle of bob
	old, err := w.book.Find(t.Context(), bob.AMID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.RotateKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := invite(t, bob, api.InviteRequest{})
	if j := join(t, ann, v.Text); j.State != api.JoinAccepted {
		t.Fatalf("%+v", j)
	}
	err = ann.mem.View(func(r store.Reader) error {
		peer := bob.AMID()
		row, _, err := getJSON[contactRow](r, ann.Agent.key(rowContact, peer[:]))
		if row.Sequence <= old.Bundle.Sequence {
			t.Errorf("knocked at bundle %d, and the invite says more than %d", row.Sequence, old.Bundle.Sequence)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A secret that does not fit counts as none: the policy decides, and the owner sees what
// was wrong.
func TestInviteThatDoesNotFit(t *testing.T) {
	for name, c := range map[string]struct {
		strangers string
		spoil     func(t *testing.T, w *world, ann, bob *person, v *api.Invite)
		state     string
		rule      string
		remark    string
	}{
		"used up": {"reject", func(t *testing.T, w *world, _, _ *person, v *api.Invite) {
			join(t, w.person("cid", "ask"), v.Text)
		}, api.JoinRejected, "strangers-reject", "invite: used up"},
		"used up, owner asked": {"ask", func(t *testing.T, w *world, _, _ *person, v *api.Invite) {
			join(t, w.person("cid", "ask"), v.Text)
		}, api.JoinDeciding, "strangers-ask", "invite: used up"},
		"revoked": {"reject", func(t *testing.T, _ *world, _, bob *person, v *api.Invite) {
			if got, err := bob.RevokeInvite(t.Context(), v.ID); err != nil || got.State != api.InviteRevoked {
				t.Fatalf("%+v, %v", got, err)
			}
		}, api.JoinRejected, "strangers-reject", "invite: revoked"},
		"somebody else's": {"reject", func(t *testing.T, _ *world, _, bob *person, v *api.Invite) {
			forged := *mustRead(t, v.Text)
			forged.Secret[0] ^= 1
			raw, err := identity.SignInvite(bob.key, forged)
			if err != nil {
				t.Fatal(err)
			}
			v.Text = identity.InviteText(raw)
		}, api.JoinRejected, "strangers-reject", "invite: unknown"},
		"another intent": {"reject", func(t *testing.T, _ *world, _, bob *person, v *api.Invite) {
			wide := *mustRead(t, v.Text)
			wide.Intents = []string{"weather"}
			raw, err := identity.SignInvite(bob.key, wide)
			if err != nil {
				t.Fatal(err)
			}
			v.Text = identity.InviteText(raw)
		}, api.JoinRejected, "strangers-reject", "invite: another intent"},
		"barred intent": {"accept", func(t *testing.T, _ *world, _, bob *person, _ *api.Invite) {
			bob.change(t, "rejected_intents", "travel/*")
		}, api.JoinRejected, "rejected_intents: travel/*", ""},
		"on the allow list": {"reject", func(t *testing.T, _ *world, ann, bob *person, _ *api.Invite) {
			bob.change(t, "allow", ann.AMID().String())
		}, api.JoinAccepted, "allow", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "ask"), w.person("bob", c.strangers)
			v := invite(t, bob, api.InviteRequest{Intents: []string{"travel/flights"}})
			c.spoil(t, w, ann, bob, &v)
			j := join(t, ann, v.Text)
			if j.State != c.state {
				t.Errorf("%+v", j)
			}
			if k := knockOf(t, bob, ann); k.Rule != c.rule || k.Remark != c.remark {
				t.Errorf("rule %q, remark %q", k.Rule, k.Remark)
			}
			if c.state == api.JoinAccepted {
				return
			}
			if j := join(t, ann, invite(t, bob, api.InviteRequest{}).Text); j.State != api.JoinAccepted || j.Repeated {
				t.Errorf("a fresh one after it: %+v", j)
			}
		})
	}
}

// An agent whose knock waits for the inviter's owner is let in at once by an invite that
// fits: the knock with the secret takes the place of the one without.
func TestInviteOvertakesAPendingKnock(t *testing.T) {
	revoked := func(t *testing.T, _ *world, ann, bob *person) {
		v := invite(t, bob, api.InviteRequest{})
		if _, err := bob.RevokeInvite(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
		if j := join(t, ann, v.Text); j.State != api.JoinDeciding || j.Repeated {
			t.Fatalf("a revoked invite: %+v", j)
		}
		if k := knockOf(t, bob, ann); k.State != "pending" || k.Remark != "invite: revoked" {
			t.Fatalf("bob's owner sees %+v", k)
		}
	}
	for name, c := range map[string]struct {
		pending func(t *testing.T, w *world, ann, bob *person)
		remarks []string // of the knocks that were overtaken
	}{
		"of a message": {func(*testing.T, *world, *person, *person) {}, []string{""}},
		"of a message, after a restart": {func(t *testing.T, w *world, ann, _ *person) {
			restart(t, w, ann)
		}, []string{""}},
		"of a revoked invite": {revoked, []string{"", "invite: revoked"}},
		"of an invite that is used up": {func(t *testing.T, w *world, ann, bob *person) {
			v := invite(t, bob, api.InviteRequest{})
			join(t, w.person("cid", "ask"), v.Text)
			if j := join(t, ann, v.Text); j.State != api.JoinDeciding {
				t.Fatalf("%+v", j)
			}
		}, []string{"", "invite: used up"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
			m := w.send(ann, bob, "may I?", api.StateAccepted)
			until(t, ann, "bob's owner is asked", func() bool {
				s := sessionsOf(t, ann, bob)
				return len(s) == 1 && s[0].Ask == knock.AskDeciding
			})
			c.pending(t, w, ann, bob)
			v := invite(t, bob, api.InviteRequest{})
			if j := join(t, ann, v.Text); j.State != api.JoinAccepted || j.Repeated {
				t.Fatalf("%+v", j)
			}
			if got := w.take(bob, 1)[0]; got.ID != m.ID || string(got.Body) != "may I?" {
				t.Errorf("%+v", got)
			}
			overtaken(t, bob, ann, v, c.remarks)
		})
	}
}

// overtaken checks what an owner sees of a guest whose earlier knocks waited for it.
func overtaken(t *testing.T, p, guest *person, v api.Invite, remarks []string) {
	t.Helper()
	list, err := p.Knocks()
	if err != nil {
		t.Fatal(err)
	}
	let, over := 0, []string{}
	for _, k := range list {
		switch {
		case k.Peer != guest.AMID():
		case k.State == "accepted" && k.Rule == "invite/"+v.ID:
			let++
		case k.State == "expired":
			over = append(over, k.Remark)
		default:
			t.Errorf("the owner sees %+v", k)
		}
	}
	slices.Sort(over)
	if let != 1 || !slices.Equal(over, remarks) {
		t.Errorf("%d let in by the invite, overtaken %q, want %q", let, over, remarks)
	}
	invites, err := p.Invites()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(invites, func(got api.Invite) bool { return got.ID == v.ID })
	if i < 0 || invites[i].Left != 0 || len(invites[i].Guests) != 1 || invites[i].Guests[0].AMID != guest.AMID() {
		t.Errorf("invites are %+v", invites)
	}
}

// What the inviter's owner says to a knock that the guest gave up for an invite changes
// nothing for the invite.
func TestOwnerAnswersAKnockThatAnInviteOvertook(t *testing.T) {
	for _, approve := range []bool{true, false} {
		t.Run(fmt.Sprintf("approved %t", approve), func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
			m := w.send(ann, bob, "may I?", api.StateAccepted)
			until(t, ann, "bob's owner is asked", func() bool {
				s := sessionsOf(t, ann, bob)
				return len(s) == 1 && s[0].Ask == knock.AskDeciding
			})
			old := sessionsOf(t, ann, bob)[0].Sid
			w.sb.only(func(e Envelope) bool { return !e.Knock })
			j, err := ann.Join(t.Context(), api.JoinRequest{Invite: invite(t, bob, api.InviteRequest{}).Text})
			if err != nil || j.State != api.JoinWaiting {
				t.Fatalf("%+v, %v", j, err)
			}
			if _, err := bob.Decide(t.Context(), knockOf(t, bob, ann).ID, approve, api.DecideRequest{}); err != nil {
				t.Fatal(err)
			}
			until(t, ann, "the owner's word came", func() bool {
				return !slices.ContainsFunc(sessionsOf(t, ann, bob), func(s *session) bool { return s.Sid == old && !s.accepted() })
			})
			w.sb.only(func(Envelope) bool { return true })
			until(t, ann, "the invite let in", func() bool {
				j, err := ann.joinView(bob.AMID())
				return err == nil && j.State == api.JoinAccepted
			})
			if got := w.take(bob, 1)[0]; got.ID != m.ID {
				t.Errorf("%+v", got)
			}
		})
	}
}

func mustRead(t *testing.T, text string) *identity.Invite {
	t.Helper()
	v, err := identity.ReadInvite(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The block list beats an invite: the knock is not even answered.
func TestBlockBeatsInvite(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	v := invite(t, bob, api.InviteRequest{})
	bob.change(t, "block", ann.AMID().String())
	j, err := ann.Join(t.Context(), api.JoinRequest{Invite: v.Text, TimeoutMS: 200})
	if err != nil || j.State != api.JoinWaiting {
		t.Fatalf("%+v, %v", j, err)
	}
	if got := only(t, bob); got.Left != 1 {
		t.Errorf("%+v", got)
	}
	bob.change(t, "block", "")
	ann.change(t, "block", bob.AMID().String())
	var p *api.Problem
	if _, err := ann.Join(t.Context(), api.JoinRequest{Invite: v.Text}); !errors.As(err, &p) || p.Code != api.CodePolicy || p.Rule != "block" {
		t.Errorf("joining whom we block: %v", err)
	}
}

// Time ends an invite on both sides.
func TestInviteExpires(t *testing.T) {
	w := newWorld(t)
	var c clock
	w.clock = c.now
	ann, bob := w.person("ann", "ask"), w.person("bob", "reject")
	v := invite(t, bob, api.InviteRequest{ExpiresSeconds: 600})
	c.move(601 * time.Second)
	if got := only(t, bob); got.State != api.InviteExpired {
		t.Errorf("%+v", got)
	}
	var p *api.Problem
	if _, err := ann.Join(t.Context(), api.JoinRequest{Invite: v.Text}); !errors.As(err, &p) || p.Code != api.CodeExpired {
		t.Errorf("%v", err)
	}
	late := *mustRead(t, v.Text) // whose clock is behind
	late.Expires = late.Expires.Add(time.Hour)
	raw, err := identity.SignInvite(bob.key, late)
	if err != nil {
		t.Fatal(err)
	}
	if j := join(t, ann, identity.InviteText(raw)); j.State != api.JoinRejected {
		t.Errorf("%+v", j)
	}
	if k := knockOf(t, bob, ann); k.Remark != "invite: expired" {
		t.Errorf("%+v", k)
	}
}

// Who came in once comes in again without another use, until he is removed.
func TestGuestComesAgain(t *testing.T) {
	w := newWorld(t)
	var c clock
	w.clock = c.now
	ann, bob := w.person("ann", "ask"), w.person("bob", "reject")
	v := invite(t, bob, api.InviteRequest{GrantSeconds: 60, Uses: 2})
	if j := join(t, ann, v.Text); j.State != api.JoinAccepted || j.Granted == nil {
		t.Fatalf("%+v", j)
	}
	if j := join(t, ann, v.Text); j.State != api.JoinAccepted || !j.Repeated {
		t.Fatalf("the same again: %+v", j)
	}
	c.move(2 * time.Minute) // both grants are over
	if j := join(t, ann, v.Text); j.State != api.JoinAccepted || j.Repeated {
		t.Fatalf("when the grant is over: %+v", j)
	}
	if got := only(t, bob); got.Left != 1 || len(got.Guests) != 1 {
		t.Fatalf("%+v", got)
	}
	if _, err := bob.RemoveContact(t.Context(), ann.AMID().String()); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.RemoveContact(t.Context(), "bob"); err != nil {
		t.Fatal(err)
	}
	if j := join(t, ann, v.Text); j.State != api.JoinRejected {
		t.Fatalf("after she was removed: %+v", j)
	}
	if k := knockOf(t, bob, ann); k.Remark != "invite: over" {
		t.Errorf("%+v", k)
	}
	if got := only(t, bob); got.Left != 1 || !got.Guests[0].Gone {
		t.Errorf("%+v", got)
	}
}

// The grant is what the invite says, and limits what a session carries.
func TestInviteTerms(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "reject")
	v := invite(t, bob, api.InviteRequest{Intents: []string{"travel/flights", "travel/flights", "weather"}, Limits: api.SessionLimits{Messages: 5}, GrantSeconds: 3600})
	j := join(t, ann, v.Text)
	if j.State != api.JoinAccepted || !slices.Equal(j.Intents, []string{"travel/flights", "weather"}) || j.Granted == nil {
		t.Fatalf("%+v", j)
	}
	list, err := bob.Sessions("")
	if err != nil || len(list) != 1 || list[0].Limits.Messages != 5 {
		t.Errorf("%+v, %v", list, err)
	}
	c, err := bob.Contact(ann.AMID().String())
	if err != nil || len(c.Grants) != 1 || c.Grants[0].Limits.Messages != 5 || c.Grants[0].Expires == nil {
		t.Errorf("%+v, %v", c, err)
	}
	m, err := ann.Send(t.Context(), api.SendRequest{To: "bob", Intent: "gossip", Body: []byte("x"), Wait: api.StateDelivered, TimeoutMS: 10_000}, "")
	if err != nil || m.State != api.StateRefused {
		t.Errorf("another intent: %+v, %v", m, err)
	}
}

// Two come at the same time for one use: one gets in, whoever it is, and the other one
// does not.
func TestTwoJoinAtOnce(t *testing.T) {
	for round := range 10 {
		w := newWorld(t)
		bob := w.person("bob", "reject")
		v := invite(t, bob, api.InviteRequest{})
		const n = 4
		var got [n]api.Join
		var wg sync.WaitGroup
		for i := range n {
			p := w.person(fmt.Sprint("guest", i), "ask")
			wg.Go(func() {
				var err error
				if got[i], err = p.Join(t.Context(), api.JoinRequest{Invite: v.Text, TimeoutMS: 10_000}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		in := 0
		for _, j := range got {
			switch j.State {
			case api.JoinAccepted:
				in++
			case api.JoinRejected:
			default:
				t.Errorf("round %d: %+v", round, j)
			}
		}
		if got := only(t, bob); in != 1 || got.Left != 0 || len(got.Guests) != 1 {
			t.Fatalf("round %d: %d got in, the invite is %+v", round, in, got)
		}
	}
}

// The look at an invite and the counting of its use are two moments. What ends it in
// between is found out.
func TestInviteEndsBetweenLookAndUse(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "reject")
	v := invite(t, bob, api.InviteRequest{})
	secret := mustRead(t, v.Text).Secret
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		b := c.begin()
		req := &content.Request{Intent: DefaultIntent, Invite: secret[:]}
		if found, remark, err := c.invited(req, b.now); err != nil || found == nil || remark != "" {
			t.Errorf("%+v, %q, %v", found, remark, err)
		}
		c.useInvite(b, req)
		if _, err := bob.RevokeInvite(t.Context(), strings.ToUpper(v.ID)); err != nil {
			t.Error(err)
		}
		if err := c.commit(b); !errors.Is(err, errInviteGone) || !c.bear(err) {
			t.Errorf("%v", err)
		}
		return nil
	})
	if got := only(t, bob); got.Left != 1 || len(got.Guests) != 0 {
		t.Errorf("%+v", got)
	}
}

// CP 23: a crash before and after every commit of either side. The guest gets in, and
// one use is counted: never none, never two.
func TestCrashAtEveryCommitOfAJoin(t *testing.T) {
	for _, found := range []bool{true, false} {
		for _, who := range []string{"ann", "bob"} {
			for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
				for n := 1; n <= 40; n++ {
					done := false
					t.Run(fmt.Sprintf("found %t, %s at commit %d phase %v", found, who, n, phase), func(t *testing.T) {
						done = crashJoin(t, found, who, n, phase)
					})
					if done || testing.Short() && n > 8 {
						break
					}
				}
			}
		}
	}
}

// crashJoin reports whether the join was over before the crash point was reached.
func crashJoin(t *testing.T, found bool, who string, n int, phase store.Phase) bool {
	w := newWorld(t)
	ann, bob := w.person("ann", "reject"), w.person("bob", "reject")
	v := invite(t, bob, api.InviteRequest{Uses: 2})
	if !found {
		w.hide(bob)
	}
	victim := ann
	if who == "bob" {
		victim = bob
	}
	victim.mem.CrashAt(n, phase)
	back := func() {
		restart(t, w, victim)
		if !found {
			w.hide(bob)
		}
	}
	for end := time.Now().Add(20 * time.Second); ; {
		// A clerk that dies answers nobody; its caller's request ends with the node.
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		j, err := ann.Join(ctx, api.JoinRequest{Invite: v.Text, TimeoutMS: 100})
		cancel()
		if err == nil && j.State == api.JoinAccepted {
			break
		}
		select {
		case err := <-victim.done:
			victim.done <- err
			back()
		default:
			if err != nil && victim == bob && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if j.State == api.JoinRejected || time.Now().After(end) {
			t.Fatalf("%+v, %v", j, err)
		}
	}
	select {
	case err := <-victim.done: // in its last commit
		victim.done <- err
		back()
	default:
	}
	list, err := bob.Invites()
	if err != nil {
		restart(t, w, bob)
		list, err = bob.Invites()
	}
	if err != nil || len(list) != 1 || list[0].Left != 1 || len(list[0].Guests) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	return victim.mem.Commits() < n
}

// A state that was put back has no invites: their uses may have been used.
func TestRollbackEndsInvites(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "reject")
	v := invite(t, bob, api.InviteRequest{})
	w.end(bob)
	before := copyOf(t, bob)
	w.start(bob)
	if j := join(t, ann, v.Text); j.State != api.JoinAccepted {
		t.Fatalf("%+v", j)
	}
	putBack(t, w, bob, before)
	if list, err := bob.Invites(); err != nil || len(list) != 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	if j := join(t, w.person("cid", "ask"), v.Text); j.State != api.JoinRejected {
		t.Errorf("%+v", j)
	}
}

func TestJoinRefused(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	own, theirs := invite(t, ann, api.InviteRequest{}), invite(t, bob, api.InviteRequest{Uses: 3})
	other := invite(t, bob, api.InviteRequest{})
	if _, err := ann.AddContact(t.Context(), api.ContactRequest{AMID: newKey(t).AMID().String(), Name: "b0b"}); err != nil {
		t.Fatal(err)
	}
	j := join(t, ann, theirs.Text)
	if j.State != api.JoinAccepted || j.Name != "" || !strings.Contains(j.NoName, "b0b") {
		t.Fatalf("%+v", j)
	}
	for name, c := range map[string]struct {
		text, called string
		want         api.Code
	}{
		"nonsense":          {"hello", "", api.CodeInvalid},
		"mistyped":          {other.Text[:50] + other.Text[51:], "", api.CodeInvalid},
		"her own":           {own.Text, "", api.CodeInvalid},
		"a contact already": {other.Text, "", api.CodeConflict},
		"a bad name":        {other.Text, "no/name", api.CodeInvalid},
		"a name like b0b's": {theirs.Text, "bob", api.CodeNameLike},
		"b0b's name":        {theirs.Text, "b0b", api.CodeNameTaken},
	} {
		_, err := ann.Join(t.Context(), api.JoinRequest{Invite: c.text, Name: c.called})
		if problemCode(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if p, _ := errors.AsType[*api.Problem](err); p == nil || p.Hint == "" {
			t.Errorf("%s: no next step in %v", name, err)
		}
	}
	if j := join(t, ann, theirs.Text); !j.Repeated {
		t.Errorf("%+v", j)
	}
}

func TestInviteRequestRefused(t *testing.T) {
	w := newWorld(t)
	bob := w.person("bob", "ask")
	bob.change(t, "accepted_intents", "travel/*")
	long := strings.Repeat("a", 101)
	for name, r := range map[string]api.InviteRequest{
		"a life of years":  {ExpiresSeconds: 400 * 24 * 3600, Intents: []string{"travel/x"}},
		"a negative life":  {ExpiresSeconds: -1, Intents: []string{"travel/x"}},
		"too many uses":    {Uses: 1001, Intents: []string{"travel/x"}},
		"negative uses":    {Uses: -1, Intents: []string{"travel/x"}},
		"no intent":        {Intents: []string{"Travel"}},
		"nine intents":     {Intents: strings.Split("travel/a,travel/b,travel/c,travel/d,travel/e,travel/f,travel/g,travel/h,travel/i", ",")},
		"a long label":     {Label: long, Intents: []string{"travel/x"}},
		"a negative grant": {GrantSeconds: -1, Intents: []string{"travel/x"}},
		"too long in all": {Intents: func() (l []string) {
			for i := range 8 {
				l = append(l, "travel/"+string(rune('a'+i))+strings.Repeat("x", 119))
			}
			return l
		}()},
	} {
		if v, err := bob.Invite(t.Context(), r, Places{}); problemCode(err) != api.CodeInvalid {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	for name, r := range map[string]api.InviteRequest{"everything": {}, "the weather": {Intents: []string{"weather"}}} {
		if _, err := bob.Invite(t.Context(), r, Places{}); problemCode(err) != api.CodePolicy {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := bob.RevokeInvite(t.Context(), "7f3a7f3a"); problemCode(err) != api.CodeNotFound {
		t.Error(err)
	}
	if _, err := bob.RevokeInvite(t.Context(), "nonsense"); problemCode(err) != api.CodeNotFound {
		t.Error(err)
	}
}

// Invites that are over are forgotten, and there is an end to how many there are.
func TestInvitesAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.limits.Invites = 3
	var c clock
	w.clock = c.now
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	join(t, ann, invite(t, bob, api.InviteRequest{}).Text)
	for range 2 {
		invite(t, bob, api.InviteRequest{ExpiresSeconds: 3600})
	}
	if _, err := bob.Invite(t.Context(), api.InviteRequest{}, Places{}); problemCode(err) != api.CodeConflict {
		t.Fatal(err)
	}
	c.move(29 * 24 * time.Hour)
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := bob.Invites(); err != nil || len(list) != 3 {
		t.Fatalf("%d, %v", len(list), err)
	}
	c.move(3 * 24 * time.Hour)
	if err := bob.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := bob.Invites(); err != nil || len(list) != 0 || count(t, bob, rowGuest) != 0 {
		t.Fatalf("%d, %v", len(list), err)
	}
}
