package httpapi

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/node/api"
)

// story is a use of a node in which every method of Backend occurs, some of them
// in vain. It returns what each call said.
func story(t *testing.T, b api.Backend, agent string) []any {
	ctx := t.Context()
	var said []any
	note := func(method string) func(any, error) {
		return func(v any, err error) {
			var p *api.Problem
			if err != nil && !errors.As(err, &p) {
				t.Errorf("%s: %v is no problem", method, err)
			}
			said = append(said, method, v, p)
		}
	}
	note("Status")(b.Status(ctx, agent))
	note("Identity")(b.Identity(ctx, agent))
	note("Peers")(b.Peers(ctx, agent))

	full := api.SendRequest{To: bobAMID.DID(), Intent: "travel/flights", Body: []byte("LIS\x00\xff"), ContentType: "text/plain", FileName: "a b.txt",
		Thread: "th", ReplyTo: "out-1", TTLSeconds: 60, Via: "relayed", Type: "stream", Wait: api.StateAccepted, TimeoutMS: 10}
	for _, r := range []api.SendRequest{full, full, {To: bobAMID.String()}, {To: "nobody"}} {
		note("Send")(b.Send(ctx, agent, r, "key-"+r.Thread))
	}
	for _, limit := range []int{0, 1} {
		note("Messages")(b.Messages(ctx, agent, limit))
	}
	for _, id := range []string{"out-2", "none", "a/b?c=d", "..", "ü %2f"} {
		note("Message")(b.Message(ctx, agent, id, "", 0))
	}
	note("Message, in vain")(b.Message(ctx, agent, "out-2", api.StateHandled, time.Millisecond))
	for range 2 {
		note("Cancel")(b.Cancel(ctx, agent, "out-2"))
	}

	for _, q := range []api.InboxQuery{{}, {All: true, Limit: 1}, {Cursor: "in-1"}, {From: eveAMID.String()}} {
		page, err := b.Inbox(ctx, agent, q)
		if len(page.Items) == 0 {
			page.Items = nil // an empty list and no list are the same
		}
		note("Inbox")(page, err)
	}
	note("Lease")(b.Lease(ctx, agent, api.LeaseRequest{Max: 1, LeaseSeconds: 30}))
	for _, d := range []time.Duration{0, time.Minute} {
		note("Read")(b.Read(ctx, agent, "in-2", d))
	}
	none, err := b.Lease(ctx, agent, api.LeaseRequest{})
	note("Lease, nothing left")(len(none), err)
	for range 2 {
		note("Nack")(b.Nack(ctx, agent, "in-2"))
	}
	for _, outcome := range []api.InboxState{"", api.InboxHandled, api.InboxFailed} {
		note("Ack")(b.Ack(ctx, agent, "in-1", api.AckRequest{Outcome: outcome, Text: "gratias"}))
	}

	note("Contacts")(b.Contacts(ctx, agent))
	for _, matches := range []bool{true, false} {
		note("Verify")(b.Verify(ctx, agent, bobAMID.String(), api.VerifyRequest{Matches: matches}))
		note("Compare")(b.Compare(ctx, agent, bobAMID.String()))
	}
	note("Verify, nobody")(b.Verify(ctx, agent, "nobody", api.VerifyRequest{Matches: true}))
	note("RotateKeys")(b.RotateKeys(ctx, agent))
	issued := start.Add(time.Minute)
	leave := api.RevokeRequest{Reason: "superseded", Issued: &issued, Successor: "key", Consent: []byte{0, 255}}
	for range 2 {
		note("Revoke")(b.Revoke(ctx, agent, leave))
	}
	note("Keys")(b.Keys(ctx, agent))
	note("Knocks")(b.Knocks(ctx, agent))
	note("Decide")(b.Decide(ctx, agent, "k-1", true, api.DecideRequest{TTLSeconds: 3600}))
	note("Decide")(b.Decide(ctx, agent, "k-1", true, api.DecideRequest{}))
	note("Decide")(b.Decide(ctx, agent, "k-2", false, api.DecideRequest{}))
	for _, peer := range []string{"", bobAMID.String(), eveAMID.DID(), "nobody"} {
		note("Sessions")(b.Sessions(ctx, agent, peer))
	}
	for range 2 {
		note("Kill")(b.Kill(ctx, agent, bobAMID.DID()))
	}
	for _, blocked := range []bool{true, false} {
		note("Block")(b.Block(ctx, agent, bobAMID.DID(), blocked))
		note("Block")(b.Block(ctx, agent, "nobody", blocked))
	}
	introductions(ctx, b, agent, note)
	diagnosis(ctx, b, agent, note)
	note("Policy")(b.Policy(ctx, agent))
	note("SetPolicy")(b.SetPolicy(ctx, agent, api.PolicyChange{Key: "strangers", Value: "reject"}))
	note("SetPolicy")(b.SetPolicy(ctx, agent, api.PolicyChange{Key: "mood", Value: ""}))
	note("Backup")(b.Backup(ctx, api.BackupRequest{File: "/b.age", Passphrase: "open sesame"}))
	note("Backup")(b.Backup(ctx, api.BackupRequest{File: "/c.age", Recipients: []string{"age1one", "age1two"}}))
	note("Backup")(b.Backup(ctx, api.BackupRequest{File: "/taken"}))
	directoryStory(ctx, b, agent, note)
	note("Identity of nobody")(b.Identity(ctx, "nobody"))
	return said
}

// A node seen through the client and the server is the node.
func TestClientIsTheBackend(t *testing.T) {
	for _, agent := range []string{"", "alice", "carol"} {
		want := story(t, newMemory(), agent)
		named := make(map[string]bool)
		for i := 0; i < len(want); i += 3 {
			named[strings.Split(want[i].(string), ",")[0]] = true
		}
		backend := reflect.TypeFor[api.Backend]()
		for i := range backend.NumMethod() {
			if name := backend.Method(i).Name; !named[name] {
				t.Errorf("%s does not occur in the story", name)
			}
		}
		tcp, socket := openHouse(t), openHouse(t)
		for door, c := range map[string]*api.Client{
			"tcp":    tcp.client(api.ClientConfig{URL: "http://" + tcp.host + "/", Token: tcp.tokens["owner"]}),
			"socket": socket.client(api.ClientConfig{Socket: socket.socket}),
		} {
			got := story(t, c, agent)
			// A path that does not exist has its own words.
			sameWords := cmp.FilterPath(func(p cmp.Path) bool {
				return p.Last().String() == ".Detail" || p.Last().String() == ".Hint"
			}, cmp.Comparer(func(a, b string) bool {
				return a == b || a == `no message ".."` || b == `no message ".."` || strings.HasSuffix(a, "lists all") || strings.HasSuffix(b, "lists all")
			}))
			if diff := cmp.Diff(want, got, sameWords); diff != "" {
				t.Errorf("%s, agent %q (-node +client):\n%s", door, agent, diff)
			}
		}
	}
}

func TestConfiguredAgentIsMeant(t *testing.T) {
	h := openHouse(t)
	c := h.client(api.ClientConfig{Socket: h.socket, Agent: "carol"})
	for asked, want := range map[string]string{"": "carol", "alice": "alice"} {
		if got, err := c.Identity(t.Context(), asked); err != nil || got.Name != want {
			t.Errorf("asked for %q: %q (%v), want %q", asked, got.Name, err, want)
		}
	}
}

func TestIdempotencyKeyPassesThrough(t *testing.T) {
	h := openHouse(t)
	c := h.client(api.ClientConfig{Socket: h.socket})
	r := api.SendRequest{To: bobAMID.String(), Body: []byte("once")}
	var ids []string
	for _, key := range []string{"k1", "k1", "k2", "", ""} {
		m, err := c.Send(t.Context(), "alice", r, key)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.ID)
	}
	if want := []string{"out-2", "out-2", "out-3", "out-4", "out-5"}; !slices.Equal(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
	for _, key := range []string{"two words", "two\nlines", "ключ", strings.Repeat("k", 129)} {
		if _, err := c.Send(t.Context(), "alice", r, key); codeOf(err) != api.CodeInvalid {
			t.Errorf("key %q: %v, want %s", key, err, api.CodeInvalid)
		}
	}
}

func TestSendAnswers202(t *testing.T) {
	h := openHouse(t)
	got := h.ask(h.raw("socket"), "POST", "/v1/messages", fmt.Sprintf(`{"to":%q,"body":""}`, bobAMID))
	if got.status != 202 {
		t.Errorf("status %d, want 202", got.status)
	}
}
