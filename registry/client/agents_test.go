package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// described is an agent as a registry should describe it.
func described(key identity.PrivateKey) wire.LookupReply {
	name := "Bot"
	return wire.LookupReply{Agent: wire.Agent{
		AMID: key.AMID().String(), Tier: wire.TierAnonymous, DisplayName: &name, SigningPublicKey: key.Public().Text(),
		ExchangePublicKey: base64.StdEncoding.EncodeToString(exchange[:]), Capabilities: []string{"chat"}, RelayEndpoint: "wss://r.example/v1/connect",
		Status: wire.StatusOnline, ReputationScore: 0.5, LastSeen: wire.Time{Time: noon},
	}, ReputationStatus: wire.Rated, RatingsCount: 7}
}

// The name is computed from the key, whatever else a registry says of it, and keys may
// have the prefix of 0.2 or not.
func TestLookupBelievesOnlyTheKey(t *testing.T) {
	key, other := newKey(t), newKey(t)
	for name, c := range map[string]struct {
		change func(*wire.LookupReply)
		want   error
	}{
		"as it should be": {func(*wire.LookupReply) {}, nil},
		"prefixed keys": {func(r *wire.LookupReply) {
			r.SigningPublicKey, r.ExchangePublicKey = "ed25519:"+r.SigningPublicKey, "x25519:"+r.ExchangePublicKey
		}, nil},
		"no name, no exchange prefix": {func(r *wire.LookupReply) { r.DisplayName = nil }, nil},
		"another's key":               {func(r *wire.LookupReply) { r.SigningPublicKey = other.Public().Text() }, ErrLie},
		"another agent": {func(r *wire.LookupReply) {
			r.AMID, r.SigningPublicKey = other.AMID().String(), other.Public().Text()
		}, ErrLie},
		"a small-order key": {func(r *wire.LookupReply) {
			r.SigningPublicKey = base64.StdEncoding.EncodeToString(make([]byte, 32))
		}, ErrLie},
		"a low-order exchange key": {func(r *wire.LookupReply) { r.ExchangePublicKey = base64.StdEncoding.EncodeToString(make([]byte, 32)) }, ErrLie},
		"no AMID":                  {func(r *wire.LookupReply) { r.AMID = "x" }, ErrMalformed},
		"an unknown tier":          {func(r *wire.LookupReply) { r.Tier = "great" }, ErrMalformed},
		"a score beyond 1":         {func(r *wire.LookupReply) { r.ReputationScore = 1.5 }, ErrMalformed},
		"an unknown status":        {func(r *wire.LookupReply) { r.Status = "dancing" }, ErrMalformed},
	} {
		h := newHouse(t, false)
		said := described(key)
		c.change(&said)
		h.say("GET /v1/registry/lookup", 200, said)
		a, err := h.client(nil).Lookup(t.Context(), key.AMID())
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || a.AMID != key.AMID() || a.Key != key.Public() || a.Exchange != exchange || !a.Rated) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		h.say("GET /v1/registry/search", 200, map[string]any{"results": []any{said, "x", described(key)}, "total": 3})
		found, lied, err := h.client(nil).SearchExact(t.Context(), "chat", 20)
		want := 1 // of the text
		if c.want != nil && name != "another agent" {
			want = 2
		}
		if err != nil || lied != want || len(found) != 3-want {
			t.Errorf("%s: found %d, %d lied, %v", name, len(found), lied, err)
		}
	}
	h := newHouse(t, true)
	h.say("GET /v1/registry/lookup", 404, map[string]any{"error": "Agent not found"})
	if _, err := h.client(nil).Lookup(t.Context(), key.AMID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
}

// Texts of strangers are bounded before anybody sees them.
func TestLookupIsBounded(t *testing.T) {
	key := newKey(t)
	h := newHouse(t, false)
	said := described(key)
	long := strings.Repeat("x", 70_000)
	said.DisplayName, said.Certificate, said.Flags = &long, long, make([]string, 100)
	said.Capabilities = append(make([]string, 1000), long)
	h.say("GET /v1/registry/lookup", 200, said)
	a, err := h.client(nil).Lookup(t.Context(), key.AMID())
	if err != nil || a.Name != "" || a.Certificate != "" || len(a.Flags) > mostFlags || len(a.Capabilities) > mostWords {
		t.Errorf("%d capabilities, %d flags, name of %d, %v", len(a.Capabilities), len(a.Flags), len(a.Name), err)
	}
}

// 0.2 answers 409 to an agent that it knows, which is success; ours says whether it took
// what changed.
func TestRegisterAgain(t *testing.T) {
	for name, c := range map[string]struct {
		legacy bool
		status int
		reply  wire.RegisterReply
		ok     bool
	}{
		"new":           {false, 201, wire.RegisterReply{Success: true}, true},
		"known to 0.2":  {true, 409, wire.RegisterReply{Error: "AMID already registered"}, true},
		"known to ours": {false, 409, wire.RegisterReply{Updated: true, Error: "AMID already registered", Code: wire.CodeConflict}, true},
		"not taken":     {false, 409, wire.RegisterReply{Error: "no", Code: wire.CodeConflict}, false},
		"refused":       {false, 401, wire.RegisterReply{Error: "no", Code: wire.CodeSignatureInvalid}, false},
	} {
		h := newHouse(t, c.legacy)
		h.say("POST /v1/registry/register", c.status, c.reply)
		key := newKey(t)
		err := h.client(allowed).Register(t.Context(), key, Registration{Exchange: exchange, Name: "Bot", Capabilities: []string{"chat"}, Relay: "wss://r"})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		var b wire.RegisterRequest
		if err := json.Unmarshal(h.last().body, &b); err != nil || b.AMID != key.AMID().String() || b.SigningPublicKey != key.Public().Text() ||
			*b.DisplayName != "Bot" || b.RelayEndpoint != "wss://r" || (b.Signature != "") != c.legacy {
			t.Errorf("%s: sent %s", name, h.last().body)
		}
	}
}

// DID documents are read in every spelling that the mesh has seen, and hold only with the
// agent's key in them.
func TestDocuments(t *testing.T) {
	key, other := newKey(t), newKey(t)
	did := key.AMID().DID()
	document := func(multibase string) string {
		return fmt.Sprintf(`{"@context":["x"],"id":%q,"controller":%q,"created":"2026-02-01T12:00:00.123456+00:00","updated":"2026-02-01T12:00:00+00:00",
			"unknown":{"a":1},"verificationMethod":[{"id":"%s#signing-key","type":"Ed25519VerificationKey2020","controller":%q,"publicKeyMultibase":%q}]}`,
			did, did, did, did, multibase)
	}
	right := identity.NewDIDDocument(key.Public(), exchange, "", noon, noon).VerificationMethod[0].PublicKeyMultibase
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"multibase":        {document(right), nil},
		"as 0.2 writes it": {document("zed25519:" + key.Public().Text()), nil},
		"as Python does":   {document("z" + key.Public().Text()), nil},
		"another's key":    {document("z" + other.Public().Text()), ErrLie},
		"no key":           {`{"id":"` + did + `","created":"2026-02-01T12:00:00Z","updated":"2026-02-01T12:00:00Z"}`, ErrLie},
		"no document":      {`[]`, ErrMalformed},
	} {
		h := newHouse(t, true)
		h.mux.HandleFunc("GET /v1/registry/did/{amid}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/did+ld+json")
			_, _ = w.Write([]byte(c.text))
		})
		raw, got, err := h.client(nil).Document(t.Context(), key.AMID())
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || got != key.Public() || string(raw) != c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompactCertificates(t *testing.T) {
	key := newKey(t)
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"some":         {`{"compact":"AQI="}`, nil},
		"not base64":   {`{"compact":"?"}`, ErrMalformed},
		"no document":  {`[]`, ErrMalformed},
		"nothing said": {"", ErrNotFound},
	} {
		h := newHouse(t, false)
		h.mux.HandleFunc("GET /v1/amesh/certificates/{amid}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if c.text == "" {
				w.WriteHeader(http.StatusNotFound)
				c.text = `{"error":"no certificate","code":"not_found"}`
			}
			_, _ = w.Write([]byte(c.text))
		})
		raw, err := h.client(nil).Certificate(t.Context(), key.AMID())
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || !bytes.Equal(raw, []byte{1, 2})) {
			t.Errorf("%s: %x, %v", name, raw, err)
		}
	}
}

// T16: a prekey of 0.2 that the agent did not sign is not handed on.
func TestT16PrekeysAreTheAgents(t *testing.T) {
	key, other := newKey(t), newKey(t)
	sign := func(k identity.PrivateKey, prekey [32]byte) string {
		return base64.StdEncoding.EncodeToString(k.SignTimestamp(string(prekey[:])))
	}
	swapped := [32]byte{10}
	text := func(k [32]byte) string { return base64.StdEncoding.EncodeToString(k[:]) }
	for name, c := range map[string]struct {
		b    wire.PrekeyBundle
		want error
	}{
		"good": {wire.PrekeyBundle{SignedPrekey: text(exchange), SignedPrekeySignature: sign(key, exchange), SignedPrekeyID: 3,
			OneTimePrekey: &wire.OneTimePrekey{ID: 4, Key: "x25519:" + text(swapped)}}, nil},
		"swapped":      {wire.PrekeyBundle{SignedPrekey: text(swapped), SignedPrekeySignature: sign(key, exchange)}, ErrLie},
		"not signed":   {wire.PrekeyBundle{SignedPrekey: text(exchange)}, ErrLie},
		"another's":    {wire.PrekeyBundle{SignedPrekey: text(exchange), SignedPrekeySignature: sign(other, exchange)}, ErrLie},
		"low order":    {wire.PrekeyBundle{SignedPrekey: text([32]byte{}), SignedPrekeySignature: sign(key, [32]byte{})}, ErrLie},
		"bad one-time": {wire.PrekeyBundle{SignedPrekey: text(exchange), SignedPrekeySignature: sign(key, exchange), OneTimePrekey: &wire.OneTimePrekey{Key: "x"}}, ErrLie},
	} {
		h := newHouse(t, false)
		h.say("GET /v1/registry/prekeys/{amid}", 200, c.b)
		k, err := h.client(nil).Prekeys(t.Context(), key.Public())
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || k.SignedID != 3 || k.Signed != exchange || len(k.OneTime) != 1 || k.OneTime[0].Key != swapped) {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
	h := newHouse(t, false)
	h.say("POST /v1/registry/prekeys", 200, wire.PrekeysStored{Success: true, OneTimePrekeysStored: 1})
	done, err := h.client(nil).PutPrekeys(t.Context(), key, Prekeys{SignedID: 1, Signed: exchange, Signature: []byte{1}, OneTime: []Prekey{{ID: 2, Key: exchange}}})
	if err != nil || done.OneTimePrekeysStored != 1 {
		t.Errorf("%+v, %v", done, err)
	}
}

// T16: a record, a card or a revocation that does not verify, or is another's, is a lie
// of the registry and nothing of the agent's.
func TestT16SignedObjectsAreVerified(t *testing.T) {
	key, other := newKey(t), newKey(t)
	revocation := func(k identity.PrivateKey) []byte {
		raw, err := identity.SignRevocation(k, identity.Revocation{Issued: noon, Reason: identity.Retired}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	card := func(k identity.PrivateKey, issued time.Time) []byte {
		raw, err := identity.SignCard(k, identity.Card{Sequence: 1, Issued: issued, Expires: issued.Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	bent := func(raw []byte) []byte {
		raw[len(raw)/2] ^= 1
		return raw
	}
	h := newHouse(t, false)
	var raw []byte
	h.mux.HandleFunc("GET /v1/amesh/revocations/{amid}", func(w http.ResponseWriter, _ *http.Request) {
		sayJSON(w, 200, wire.StatementReply{Statement: base64.StdEncoding.EncodeToString(raw)})
	})
	for _, what := range []string{"cards", "records"} {
		h.mux.HandleFunc("GET /v1/amesh/"+what+"/{amid}", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", wire.Binary)
			_, _ = w.Write(raw)
		})
	}
	c := h.client(func(cfg *Config) { cfg.Pinned = true })
	for name, v := range map[string]struct {
		raw  []byte
		want error
	}{
		"good": {revocation(key), nil}, "another's": {revocation(other), ErrLie}, "bent": {bent(revocation(key)), ErrLie}, "cut": {revocation(key)[:100], ErrLie}, "empty": {nil, ErrLie},
	} {
		raw = v.raw
		if got, err := c.Revocation(t.Context(), key.AMID()); !errors.Is(err, v.want) || v.want == nil && (err != nil || got.AMID != key.AMID()) {
			t.Errorf("revocation, %s: %v", name, err)
		}
	}
	for name, v := range map[string]struct {
		raw  []byte
		want error
	}{
		"good": {card(key, noon), nil}, "another's": {card(other, noon), ErrLie}, "bent": {bent(card(key, noon)), ErrLie},
		"over": {card(key, noon.Add(-2*time.Hour)), ErrNotFound},
	} {
		raw = v.raw
		if got, err := c.Card(t.Context(), key.AMID()); !errors.Is(err, v.want) || v.want == nil && (err != nil || got.Agent != key.AMID()) {
			t.Errorf("card, %s: %v", name, err)
		}
	}
}

// A registry's word about revocations is held against what was asked, and an error is not
// "not revoked" (AgentMesh §8, 38).
func TestRevocationsOf02(t *testing.T) {
	a, b := newKey(t).AMID(), newKey(t).AMID()
	row := func(amid identity.AMID, at time.Time) map[string]any {
		return map[string]any{"id": "1", "amid": amid.String(), "reason": "superseded", "revoked_by": amid.String(), "revoked_at": at, "notes": nil}
	}
	h := newHouse(t, true)
	h.say("GET /v1/registry/revocation", 200, map[string]any{"amid": a.String(), "revoked": true, "revocation": row(a, noon)})
	h.say("POST /v1/registry/revocations/bulk", 200, map[string]any{"revocations": []any{
		map[string]any{"amid": a.String(), "revoked": true, "revocation": row(a, noon)}, map[string]any{"amid": b.String(), "revoked": false, "revocation": nil}}})
	h.say("GET /v1/registry/revocations", 200, map[string]any{"revocations": []any{row(b, noon), row(a, noon.Add(-time.Hour))}, "total": 2})
	c := h.client(nil)
	if r, err := c.IsRevoked(t.Context(), a); err != nil || r == nil || r.Reason != "superseded" || r.By != a {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := c.IsRevoked(t.Context(), b); !errors.Is(err, ErrLie) {
		t.Errorf("an answer about another: %v", err)
	}
	if list, err := c.AreRevoked(t.Context(), []identity.AMID{a, b}); err != nil || len(list) != 1 || list[0].AMID != a {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := c.AreRevoked(t.Context(), []identity.AMID{b, a}); !errors.Is(err, ErrLie) {
		t.Errorf("answers in another order: %v", err)
	}
	if list, err := c.RevokedSince(t.Context(), noon.Add(-time.Minute)); err != nil || len(list) != 1 || list[0].AMID != b {
		t.Errorf("%+v, %v", list, err)
	}
	sick := newHouse(t, true)
	sick.say("GET /v1/registry/revocation", 200, map[string]any{"amid": a.String(), "revoked": false, "revocation": nil, "error": "database"})
	if r, err := sick.client(nil).IsRevoked(t.Context(), a); err == nil {
		t.Errorf("an error is taken for %+v", r)
	}
}

// T11: of the keys that left, those count that said so themselves.
func TestT11Departed(t *testing.T) {
	key, other := newKey(t), newKey(t)
	raw, err := identity.SignRevocation(key, identity.Revocation{Issued: noon, Reason: identity.Retired}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, false)
	h.say("GET /v1/amesh/revocations", 200, wire.RevocationFeed{Cursor: 7, More: true, Changes: []wire.RevocationChange{
		{AMID: key.AMID().String(), Revoked: true, Statement: base64.StdEncoding.EncodeToString(raw)},
		{AMID: other.AMID().String(), Revoked: true, Statement: base64.StdEncoding.EncodeToString(raw)}, // of another key
		{AMID: other.AMID().String(), Revoked: true},                                                    // an administrator's word
	}})
	c := h.client(nil)
	list, next, more, err := c.DepartedSince(t.Context(), 3)
	if err != nil || next != 7 || !more || len(list) != 2 || list[0].AMID != key.AMID() || list[0].Statement == nil || list[1].Statement != nil {
		t.Errorf("%+v, %d, %t, %v", list, next, more, err)
	}
	if got := h.last().URL.Query().Get("since"); got != "3" {
		t.Errorf("asked since %q", got)
	}
	if _, next, more, err := c.DepartedSince(t.Context(), 9); err != nil || more || next != 9 {
		t.Errorf("a cursor that goes back: %d, %t, %v", next, more, err)
	}
}
