package store

import (
	"errors"
	"testing"
	"time"

	"amesh/gateway/amtp"
)

func testAgents(t *testing.T, url string) {
	s := running(t, url)
	version := func() int64 {
		t.Helper()
		v, err := s.AgentsVersion(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	want := Agent{
		Address: "Bob@b.test", Mode: Push, PushTarget: "https://bob.test/", Headers: map[string]string{"X": "y"}, PushSecret: "s",
		KeyHash: []byte{1, 2}, Schemas: []string{"agntcy:a.b.v1"}, RequiresSchema: true, Role: "clerk", Description: "d",
		Capabilities: []string{"c"}, Created: noon, LastAccess: noon.Add(time.Hour),
	}
	list := func(want ...Agent) {
		t.Helper()
		got, err := s.Agents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		same(t, "agents", want, got)
	}
	v := version()
	must(t, s.AddAgent(t.Context(), want, false))
	list(want)
	if err := s.AddAgent(t.Context(), Agent{Address: "bOB@b.test", Created: noon}, false); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if version() != v+1 {
		t.Error("an addition is no new version")
	}
	must(t, s.SetAgentKey(t.Context(), "bob@b.test", []byte{3}, noon))
	changed := want
	changed.KeyHash, changed.KeyExpires, changed.Mode, changed.Headers, changed.Schemas = []byte{3}, noon, Pull, nil, nil
	old := changed
	old.KeyHash, old.Created = want.KeyHash, noon.Add(-time.Hour)
	must(t, s.UpdateAgent(t.Context(), old))
	list(changed)
	if version() != v+3 {
		t.Error("a change is no new version")
	}
	must(t, s.Touch(t.Context(), []Touched{{"bob@b.test", noon}, {"nobody@b.test", noon}}))
	list(changed)
	must(t, s.Touch(t.Context(), []Touched{{"BOB@b.test", noon.Add(2 * time.Hour)}}))
	changed.LastAccess = noon.Add(2 * time.Hour)
	list(changed)
	if version() != v+3 {
		t.Error("an access is a new version")
	}
	accept(t, s, newMessage(message(t), pull("Bob@b.test")))
	must(t, s.RemoveAgent(t.Context(), "bob@b.test"))
	list()
	same(t, "inbox of the next", []string{}, inbox(t, s, "bob@b.test"))
	for name, err := range map[string]error{
		"update": s.UpdateAgent(t.Context(), want), "key": s.SetAgentKey(t.Context(), "bob@b.test", nil, noon), "remove": s.RemoveAgent(t.Context(), "bob@b.test"),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of nobody: %v", name, err)
		}
	}
}

// A gateway that does not know yet that bob was removed takes one more message for him.
func testNamesake(t *testing.T, url string) {
	s := running(t, url)
	bob := Agent{Address: "Bob@b.test", Mode: Pull, Created: noon}
	for _, heir := range []bool{false, true} {
		must(t, s.AddAgent(t.Context(), bob, heir))
		must(t, s.RemoveAgent(t.Context(), bob.Address))
		late := accept(t, s, newMessage(message(t, key(amtp.NewKey())), pull("Bob@b.test"), pull("cid@b.test"))).MessageID
		must(t, s.AddAgent(t.Context(), bob, heir))
		want := []string{}
		if heir {
			want = []string{late}
		}
		same(t, "inbox of the next bob", want, inbox(t, s, "bob@b.test"))
		must(t, s.RemoveAgent(t.Context(), bob.Address))
	}
	if n := len(inbox(t, s, "cid@b.test")); n != 2 {
		t.Errorf("cid has %d messages", n)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testAdmin(t *testing.T, url string) {
	s := running(t, url)
	v := Schema{ID: "agntcy:a.b.v1", Definition: []byte(`{}`), Checksum: "c", Signature: "s", Published: noon, Updated: noon}
	must(t, s.AddSchema(t.Context(), v))
	if err := s.AddSchema(t.Context(), v); !errors.Is(err, ErrExists) {
		t.Errorf("schema twice: %v", err)
	}
	next := v
	next.Definition, next.Published, next.Updated = []byte(`{"a":1}`), noon.Add(time.Hour), noon.Add(time.Hour)
	must(t, s.PutSchema(t.Context(), next))
	next.Published = noon
	got, err := s.Schema(t.Context(), v.ID)
	must(t, err)
	same(t, "schema", next, got)
	all, err := s.Schemas(t.Context())
	must(t, err)
	same(t, "schemas", []Schema{next}, all)
	must(t, s.RemoveSchema(t.Context(), v.ID))
	if _, err := s.Schema(t.Context(), v.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
	if err := s.RemoveSchema(t.Context(), v.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}

	k := APIKey{ID: "k1", Hash: []byte{1}, Name: "n", Domain: "d.test", Scopes: []string{"send"}, Created: noon}
	must(t, s.AddAPIKey(t.Context(), k))
	if err := s.AddAPIKey(t.Context(), k); !errors.Is(err, ErrExists) {
		t.Errorf("key twice: %v", err)
	}
	must(t, s.TouchAPIKeys(t.Context(), map[string]time.Time{"k1": noon.Add(time.Hour)}))
	k.Expires, k.Name = noon.Add(time.Hour), "m"
	must(t, s.UpdateAPIKey(t.Context(), k))
	k.LastUsed = noon.Add(time.Hour)
	keys, err := s.APIKeys(t.Context())
	must(t, err)
	same(t, "keys", []APIKey{k}, keys)
	must(t, s.RemoveAPIKey(t.Context(), "k1"))
	if err := errors.Join(s.UpdateAPIKey(t.Context(), k)); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed: %v", err)
	}

	d := Domain{Name: "d.test", State: DomainKnown, Updated: noon}
	must(t, s.PutDomain(t.Context(), d))
	d.State, d.Note = DomainBlocked, "spam"
	must(t, s.PutDomain(t.Context(), d))
	domains, err := s.Domains(t.Context())
	must(t, err)
	same(t, "domains", []Domain{d}, domains)
	must(t, s.RemoveDomain(t.Context(), "d.test"))
	if err := s.RemoveDomain(t.Context(), "d.test"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}
