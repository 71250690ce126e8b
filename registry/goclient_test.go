package registry

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/client"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

// Everything that the Go client can do, against the server for which it is made.
func TestGoClient(t *testing.T)             { dbtest.SQLite(t, goClientCases) }
func TestWithPostgresGoClient(t *testing.T) { dbtest.Postgres(t, goClientCases) }

var goClientCases = dbtest.Cases{
	"an agent's life":             goClientLife,
	"session keys":                goClientKeys,
	"a card that is sought":       goClientCard,
	"committed to whole requests": goClientStrict,
}

func (h *harness) client() *client.Client {
	h.t.Helper()
	c, err := client.New(client.Config{URL: h.url, Clock: h.clock.now})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(c.Close)
	return c
}

func anyKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	k, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var anyExchange = [identity.ExchangeKeySize]byte{9}

func goClientLife(t *testing.T, url string) {
	h := start(t, url)
	c, key := h.client(), anyKey(t)
	ctx := t.Context()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	reg := client.Registration{Exchange: anyExchange, Name: "Bot", Capabilities: []string{"chat"}, Relay: "wss://r.example/v1/connect"}
	check("register", c.Register(ctx, key, reg))
	if c.Kind() != client.KindAmesh {
		t.Errorf("taken for %s", c.Kind())
	}
	reg.Name = "Bot the second"
	check("register again", c.Register(ctx, key, reg))
	check("status", c.SetStatus(ctx, key, wire.StatusOnline))
	check("capabilities", c.SetCapabilities(ctx, key, []string{"chat", "mail"}))
	a, err := c.Lookup(ctx, key.AMID())
	check("lookup", err)
	if a.Name != "Bot the second" || len(a.Capabilities) != 2 || a.Status != wire.StatusOnline || a.Key != key.Public() || a.Exchange != anyExchange || a.LastSeen.IsZero() {
		t.Errorf("looked up %+v", a)
	}
	found, lied, err := c.SearchExact(ctx, "mail", 10)
	check("search", err)
	if len(found) != 1 || lied != 0 || found[0].AMID != key.AMID() {
		t.Errorf("found %+v, %d lied", found, lied)
	}
	if s, err := c.Stats(ctx); err != nil || s.TotalAgents != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := c.Health(ctx); err != nil || s.Version != wire.Protocol {
		t.Errorf("%+v, %v", s, err)
	}
	if raw, got, err := c.Document(ctx, key.AMID()); err != nil || got != key.Public() || !json.Valid(raw) {
		t.Errorf("document %s, %v", raw, err)
	}
	_, err = c.Lookup(ctx, anyKey(t).AMID())
	if !errors.Is(err, client.ErrNotFound) {
		t.Errorf("a stranger: %v", err)
	}
	pre := client.Prekeys{SignedID: 1, Signed: anyExchange, Signature: key.SignTimestamp(string(anyExchange[:])), OneTime: []client.Prekey{{ID: 5, Key: [32]byte{10}}}}
	if done, err := c.PutPrekeys(ctx, key, pre); err != nil || done.OneTimePrekeysStored != 1 {
		t.Errorf("prekeys: %+v, %v", done, err)
	}
	for _, want := range []int{1, 0} {
		if k, err := c.Prekeys(ctx, key.Public()); err != nil || k.Signed != anyExchange || len(k.OneTime) != want {
			t.Errorf("prekeys: %+v, %v, want %d one-time", k, err, want)
		}
	}
}

func goClientKeys(t *testing.T, url string) {
	h := start(t, url)
	c, key, asker := h.client(), anyKey(t), anyKey(t)
	ctx, now := t.Context(), h.clock.now()
	if _, err := c.Record(ctx, key.AMID()); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("no record yet: %v", err)
	}
	if err := c.Register(ctx, key, client.Registration{Exchange: anyExchange}); err != nil {
		t.Fatal(err)
	}
	raw := record(t, key, now, 1)
	if err := c.PutRecord(ctx, key, raw); err != nil {
		t.Fatal(err)
	}
	rec, err := c.Record(ctx, key.AMID())
	if err != nil || string(rec.Raw()) != string(raw) {
		t.Fatalf("record: %v", err)
	}
	one, err := identity.SignOneTimeKey(key, identity.OneTimeKey{Epoch: 1, Kind: identity.KindOneTime, ID: 7, Created: now, Expires: now.Add(time.Hour), Public: anyExchange[:]})
	if err != nil {
		t.Fatal(err)
	}
	if left, err := c.PutOneTimeKeys(ctx, key, [][]byte{one}); err != nil || left.X25519 != 1 || left.KEM != 0 {
		t.Errorf("left %+v, %v", left, err)
	}
	for _, want := range []bool{true, false} { // a stranger, and once only
		got, err := c.TakeOneTimeKeys(ctx, asker, key.AMID())
		if err != nil || (string(got.X25519) == string(one)) != want || got.KEM != nil {
			t.Errorf("taken %v, want %t, %v", got.X25519 != nil, want, err)
		}
	}
	if left, err := c.PutOneTimeKeys(ctx, key, nil); err != nil || left.X25519 != 0 {
		t.Errorf("left %+v, %v", left, err)
	}
	if err := c.PutRecord(ctx, asker, raw); err == nil {
		t.Error("a stranger leaves somebody's record")
	}
}

func goClientCard(t *testing.T, url string) {
	h := start(t, url)
	c, key := h.client(), anyKey(t)
	ctx, now := t.Context(), h.clock.now()
	if err := c.Register(ctx, key, client.Registration{Exchange: anyExchange}); err != nil {
		t.Fatal(err)
	}
	raw := card(t, key, now, 1)
	if err := c.PutCard(ctx, key, raw); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Card(ctx, key.AMID()); err != nil || string(got.Raw()) != string(raw) {
		t.Errorf("card: %v", err)
	}
	for name, q := range map[string]wire.SearchQuery{"words": {Q: "reise überall"}, "prefix": {Prefix: "travel"}, "category": {Category: "travel", Limit: 5}} {
		page, err := c.Search(ctx, q)
		if err != nil || len(page.Items) != 1 || page.Items[0].AMID != key.AMID().String() || page.Items[0].Name != "Reisebüro" {
			t.Errorf("%s: %+v, %v", name, page, err)
		}
	}
	if page, err := c.Search(ctx, wire.SearchQuery{Q: "nothing of the kind"}); err != nil || len(page.Items) != 0 {
		t.Errorf("%+v, %v", page, err)
	}
}

// An agent that once signed a whole request is not touched by a bare timestamp any more,
// which is what makes it safe at a legacy relay.
func goClientStrict(t *testing.T, url string) {
	h := start(t, url)
	key := anyKey(t)
	if err := h.client().Register(t.Context(), key, client.Registration{Exchange: anyExchange}); err != nil {
		t.Fatal(err)
	}
	got := h.post("/v1/registry/status", key, byTimestamp, object{"amid": key.AMID().String(), "status": "offline"})
	if got.status != 401 || got.body["code"] != string(wire.CodeSignatureRequired) {
		t.Errorf("%d %s", got.status, got.raw)
	}
}
