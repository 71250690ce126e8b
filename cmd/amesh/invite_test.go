package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/node/api"
)

func oneInvite() api.Invite {
	return api.Invite{ID: "7f3a2b1c", Agent: "default", State: api.InviteOpen, Text: "amesh1qqqq", Uses: 1, Left: 1, Expires: expires,
		Relays: []string{"wss://relay.example"}, Guests: []api.Guest{}}
}

func TestInviteIsTheOnlyThingOnStandardOutput(t *testing.T) {
	n := newFakeNode()
	n.invites = []api.Invite{oneInvite()}
	r := runFake(t, n, nil, "invite")
	if r.exit != exitOK || r.out != "amesh1qqqq\n" || !strings.Contains(r.err, "lets in 1 agent") || !strings.Contains(r.err, "amesh join") {
		t.Error(r)
	}
	r = runFake(t, n, nil, "invite", "--intent", "a/b", "--intent", "c", "--uses", "3", "--expires", "7d", "--for", "1h", "--messages", "5", "--label", "x y")
	want := api.InviteRequest{Intents: []string{"a/b", "c"}, Uses: 3, ExpiresSeconds: 7 * 24 * 3600, GrantSeconds: 3600, Label: "x y", Limits: api.SessionLimits{Messages: 5}}
	if got := n.asked[1]; r.exit != exitOK || !slices.Equal(got.Intents, want.Intents) || got.Uses != want.Uses || got.ExpiresSeconds != want.ExpiresSeconds ||
		got.GrantSeconds != want.GrantSeconds || got.Label != want.Label || got.Limits != want.Limits {
		t.Errorf("%+v", got)
	}
	if n.asked[0].ExpiresSeconds != 24*3600 || n.asked[0].Uses != 1 {
		t.Errorf("%+v", n.asked[0])
	}
	n.invites[0].Relays = nil
	if r := runFake(t, n, nil, "invite"); !strings.Contains(r.err, "names no relay") {
		t.Error(r)
	}
}

func TestInviteShowsACode(t *testing.T) {
	n := newFakeNode()
	n.invites = []api.Invite{oneInvite()}
	terminal := func(a *app) { a.tty = true }
	for _, c := range []struct {
		set  func(*app)
		args []string
		want bool
	}{
		{nil, []string{"invite"}, false}, {nil, []string{"invite", "--qr"}, true},
		{terminal, []string{"invite"}, true}, {terminal, []string{"invite", "--no-qr"}, false},
	} {
		if r := runFake(t, n, c.set, c.args...); strings.Contains(r.out, "█") != c.want {
			t.Errorf("%v: %s", c.args, r.out)
		}
	}
}

func TestInviteTypedWrong(t *testing.T) {
	n := newFakeNode()
	n.invites = []api.Invite{oneInvite()}
	for _, args := range [][]string{
		{"--uses", "0"}, {"--uses", "1001"}, {"--expires", "0s"}, {"--for", "0s"}, {"--qr", "--no-qr"}, {"lsit"}, {"revoke"},
	} {
		if r := runFake(t, n, nil, append([]string{"invite"}, args...)...); r.exit != exitUsage {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if len(n.asked) != 0 {
		t.Errorf("%+v", n.asked)
	}
}

func TestInvitesAreListed(t *testing.T) {
	n := newFakeNode()
	if r := runFake(t, n, nil, "invite", "list"); r.out != "no invites\n" {
		t.Error(r.out)
	}
	v := oneInvite()
	v.State, v.Left, v.Label = api.InviteUsedUp, 0, "the \x1b[31mred"
	v.Guests = []api.Guest{{AMID: peer(2), Name: "bob", At: expires, Gone: true}}
	n.invites = []api.Invite{v}
	r := runFake(t, n, nil, "invite", "list")
	for _, want := range []string{"7f3a2b1c  used up   0 of 1 left", "every intent", peer(2).String(), "bob  removed since"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in %q", want, r.out)
		}
	}
	if strings.Contains(r.out, "\x1b") {
		t.Error("a label reaches the terminal as it is")
	}
	if r := runFake(t, n, nil, "invite", "revoke", "7f3a2b1c"); r.exit != exitOK || !strings.Contains(r.out, "revoked") {
		t.Error(r)
	}
	if r := runFake(t, n, nil, "invite", "revoke", "00000000"); r.exit != exitNotFound {
		t.Error(r)
	}
}

// Every end of a join has its exit code and a next step.
func TestJoinOutcomes(t *testing.T) {
	for state, want := range map[string]struct {
		exit int
		says string
	}{
		api.JoinAccepted: {exitOK, "knock    accepted (rule: invite/7f3a2b1c)  path: direct\n"},
		api.JoinRejected: {exitRefused, "the inviter refused"},
		api.JoinExpired:  {exitNotFound, "expired before bob answered"},
		api.JoinDeciding: {exitUndelivered, "the owner of bob is being asked"},
		api.JoinWaiting:  {exitUndelivered, "no answer of bob yet; it is asked by way of wss://relay.example"},
	} {
		n := newFakeNode()
		n.join = api.Join{Peer: peer(2), Name: "bob", Invite: "7f3a2b1c", State: state, Path: api.PathDirect, Expires: expires, Words: []string{"a", "b"},
			Relays: []string{"wss://relay.example"}, Reason: api.ReasonNoBundle, Intents: []string{"travel"}, Granted: &expires}
		r := runFake(t, n, nil, "join", "amesh1qq", "qq", "--name", "bob", "--timeout", "3s")
		if r.exit != want.exit || !strings.Contains(r.out+r.err, want.says) {
			t.Errorf("%s: %+v", state, r)
		}
		if r.exit != exitOK && !strings.Contains(r.err, "next: ") {
			t.Errorf("%s: no next step in %q", state, r.err)
		}
		if got := n.joins[0]; got.Invite != "amesh1qq qq" || got.Name != "bob" || got.TimeoutMS != 3000 || got.Patient {
			t.Errorf("%+v", got)
		}
		if r := runFake(t, n, nil, "join", "amesh1qqqq", "--json"); !strings.Contains(r.out, `"state":"`+state+`"`) {
			t.Errorf("%s: %s", state, r.out)
		}
	}
}

func TestJoinFromStandardInput(t *testing.T) {
	n := newFakeNode()
	n.join = api.Join{Peer: peer(2), State: api.JoinAccepted, NoName: "taken", Words: []string{"a"}}
	r := runFake(t, n, func(a *app) { a.in = strings.NewReader("amesh1q\nqqq\n") }, "join", "-", "--wait")
	if r.exit != exitOK || n.joins[0].Invite != "amesh1q\nqqq\n" || !n.joins[0].Patient || n.joins[0].TimeoutMS != joinRound.Milliseconds() {
		t.Errorf("%+v, %+v", r, n.joins)
	}
	if !strings.Contains(r.out, "taken; name it with: amesh contacts rename "+peer(2).String()) {
		t.Error(r.out)
	}
	for _, args := range [][]string{{"join"}, {"join", ""}, {"join", "amesh1q", "--timeout", "-1s"}} {
		if r := runFake(t, n, nil, args...); r.exit != exitUsage {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

// All that "amesh invite" prints may be pasted, and only what may be the invite is handed on.
func TestJoinTakesAPaste(t *testing.T) {
	n := newFakeNode()
	n.join = api.Join{Peer: peer(2), State: api.JoinAccepted, Words: []string{"a"}}
	in := strings.Repeat("█▀ ", 2000) + "\namesh join amesh1qqqq\n" + strings.Repeat("█▀ ", 5000)
	r := runFake(t, n, func(a *app) { a.in = strings.NewReader(in) }, "join", "-")
	if r.exit != exitOK || !strings.HasPrefix(n.joins[0].Invite, "amesh1qqqq\n") || len(n.joins[0].Invite) > identity.MaxInvitePaste {
		t.Errorf("%+v, %d bytes", r, len(n.joins[0].Invite))
	}
	if r := runFake(t, n, nil, "join", strings.Repeat("long garbage ", 5000)); r.exit != exitUsage || len(n.joins) != 1 ||
		!strings.Contains(r.err, "an invite begins with amesh1") || !strings.Contains(r.err, "next: ") {
		t.Errorf("%+v", r)
	}
}

func TestJoinIsInterrupted(t *testing.T) {
	n := newFakeNode()
	n.joinErr = fmt.Errorf("POST: %w", context.Canceled)
	r := runFake(t, n, nil, "join", "amesh1qqqq", "--wait")
	if r.exit != exitInterrupted || strings.Contains(r.err, "context") || !strings.Contains(r.err, "next: your node goes on") {
		t.Errorf("%+v", r)
	}
}

func TestContactBook(t *testing.T) {
	n := newFakeNode()
	n.contacts = []api.Contact{{AMID: peer(2), Name: "bob", Source: "invite", Granted: true, Grants: []api.ContactGrant{
		{From: "owner", Intents: []string{"travel"}, Limits: api.SessionLimits{Messages: 5}, Expires: &expires, Invite: "7f3a2b1c", Label: "for bob"},
		{From: "return"},
	}}}
	seen := time.Now().Add(-time.Minute)
	n.contacts[0].LastSeen = &seen
	r := runFake(t, n, nil, "contacts")
	if !strings.Contains(r.out, peer(2).String()+"  bob  not verified, granted (invite/7f3a2b1c)\n") {
		t.Error(r.out)
	}
	r = runFake(t, n, nil, "contacts", "show", "bob")
	for _, want := range []string{"name       bob\n", "source     invite\n", "travel, 5 messages a session, until 2026-11-2", "(invite/7f3a2b1c, for bob)\n",
		"every intent, until taken back (it let us in)\n", "last seen  1m", "amesh contacts verify"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in %q", want, r.out)
		}
	}
	if r := runFake(t, n, nil, "contacts", "rename", "bob", "rob"); r.exit != exitOK || n.contacts[0].Name != "rob" {
		t.Error(r)
	}
	if r := runFake(t, n, nil, "contacts", "add", peer(3).String(), "--name", "cid"); r.exit != exitOK || len(n.contacts) != 2 {
		t.Error(r)
	}
	if r := runFake(t, n, nil, "contacts", "add", peer(3).String()); r.exit != exitUsage {
		t.Error(r)
	}
	if r := runFake(t, n, nil, "contacts", "remove", "rob"); r.exit != exitOK || r.out != "rob  removed\n" || len(n.contacts) != 1 {
		t.Error(r)
	}
	if r := runFake(t, n, nil, "contacts", "show", "rob"); r.exit != exitNotFound {
		t.Error(r)
	}
}
