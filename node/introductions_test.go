package node

import (
	"testing"

	"amesh/identity"
	"amesh/node/api"
)

func (r *running) invite(req api.InviteRequest) (api.Invite, *identity.Invite) {
	r.t.Helper()
	v, err := r.api.Invite(r.t.Context(), "", req)
	if err != nil {
		r.t.Fatal(err)
	}
	read, err := identity.ReadInvite(v.Text)
	if err != nil {
		r.t.Fatal(err)
	}
	return v, read
}

func (r *running) join(text string) api.Join {
	r.t.Helper()
	j, err := r.api.Join(r.t.Context(), "", api.JoinRequest{Invite: text, TimeoutMS: 20_000})
	if err != nil {
		r.t.Fatal(err)
	}
	return j
}

// T66: an invite tells where a node is only if its owner said so.
func TestInviteTellsNoAddresses(t *testing.T) {
	s := newStation(t)
	for announce, told := range map[string]bool{AnnounceNone: false, AnnouncePublic: true} {
		a := startNode(t, Config{Relays: []string{s.url}, Announce: announce})
		v, read := a.invite(api.InviteRequest{})
		if len(v.Relays) != 1 || v.Relays[0] != s.url || len(read.Relays) != 1 {
			t.Errorf("announce %s: relays %q, %q", announce, v.Relays, read.Relays)
		}
		if got := read.PeerID != "" || len(read.Addresses) > 0; got != told {
			t.Errorf("announce %s: peer id %q, addresses %q", announce, read.PeerID, read.Addresses)
		}
	}
}

// The relay of the invite is enough: no DHT, and no relay in common.
func TestJoinThroughTheInvitesRelay(t *testing.T) {
	here, there := newStation(t), newStation(t)
	a, b := startNode(t, Config{Relays: []string{here.url}}), startNode(t, Config{Relays: []string{there.url}})
	for _, n := range []*running{a, b} {
		n.set("strangers", "reject")
	}
	v, _ := b.invite(api.InviteRequest{})
	if j := a.join(v.Text); j.State != api.JoinAccepted || j.Peer != b.amid {
		t.Fatalf("%+v", j)
	}
	if m := b.send(a, "welcome", api.SendRequest{}); m.State != api.StateDelivered {
		t.Errorf("%s (%s)", m.State, m.Reason)
	}
}

// An announced address is enough, too: no relay at all.
func TestJoinWithoutARelay(t *testing.T) {
	a, b := startNode(t, Config{}), startNode(t, Config{Announce: AnnouncePublic})
	b.set("strangers", "reject")
	v, read := b.invite(api.InviteRequest{})
	if len(read.Addresses) == 0 || len(read.Relays) != 0 {
		t.Fatalf("%+v", read)
	}
	if j := a.join(v.Text); j.State != api.JoinAccepted || j.Path != api.PathDirect {
		t.Fatalf("%+v", j)
	}
}

// The inviter was off when the guest came, and both restart before the other is there.
func TestJoinWaitsAtTheRelay(t *testing.T) {
	s := newStation(t)
	cfg := Config{Relays: []string{s.url}}
	a, b := startNode(t, cfg), startNode(t, cfg)
	b.set("strangers", "reject")
	v, _ := b.invite(api.InviteRequest{})
	b.end()
	j, err := a.api.Join(t.Context(), "", api.JoinRequest{Invite: v.Text, TimeoutMS: 1000})
	if err != nil || j.State != api.JoinWaiting {
		t.Fatalf("%+v, %v", j, err)
	}
	a.end()
	a.start()
	b.start()
	if j := a.join(v.Text); j.State != api.JoinAccepted || !j.Repeated {
		t.Fatalf("%+v", j)
	}
}

// A name goes wherever an AMID may, also where the node and not the mailroom is asked.
func TestNameOfAPeer(t *testing.T) {
	a := startNode(t, Config{})
	other := startNode(t, Config{}).amid
	if _, err := a.api.AddContact(t.Context(), "", api.ContactRequest{AMID: other.String(), Name: "Other"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.api.Block(t.Context(), "", "other", true); err != nil {
		t.Fatal(err)
	}
	c, err := a.api.Contact(t.Context(), "", "other")
	if err != nil || !c.Blocked || c.AMID != other {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := a.api.Block(t.Context(), "", "nobody", true); problemCode(err) != api.CodeNotFound {
		t.Error(err)
	}
}
