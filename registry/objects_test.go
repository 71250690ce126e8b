package registry

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

type dbTx = db.Tx

func TestObjects(t *testing.T)             { dbtest.SQLite(t, objectCases) }
func TestWithPostgresObjects(t *testing.T) { dbtest.Postgres(t, objectCases) }

var objectCases = dbtest.Cases{
	"a card comes back as it was signed":         testCards,
	"a record comes back as it was signed":       testRecords,
	"what is not one's own is refused":           testNotOnesOwn,
	"one-time keys go out once, and not at once": testOneTimeKeys,
	"schemas do not change":                      testSchemas,
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func card(t *testing.T, key identity.PrivateKey, now time.Time, sequence uint64) []byte {
	t.Helper()
	now = now.Truncate(time.Second)
	return must(identity.SignCard(key, identity.Card{
		Sequence: sequence, Issued: now, Expires: now.Add(identity.CardLife), Name: "Reisebüro", Description: "Reise nach überall",
		Capabilities: []identity.Capability{{ID: "travel/flights/search", Category: "travel", Actions: []string{"search"}}},
	}))
}

var kemKey = sync.OnceValue(func() []byte { return must(mlkem.GenerateKey768()).EncapsulationKey().Bytes() })

func x25519(n byte) [32]byte {
	return [32]byte(must(ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{n}, 32))).PublicKey().Bytes())
}

func record(t *testing.T, key identity.PrivateKey, now time.Time, sequence uint64) []byte {
	t.Helper()
	now = now.Truncate(time.Second)
	end := now.Add(identity.BundleLife)
	bundle := must(identity.SignBundle(key, identity.Bundle{
		Epoch: 1, Sequence: sequence, Created: now, Expires: end, SignedPrekey: x25519(2), KEMKey: kemKey(),
		Certificate: identity.KeyCertificate{Created: now, Expires: end, Exchange: x25519(1)},
	}))
	return must(identity.SignRecord(key, identity.AgentRecord{Sequence: sequence, Created: now, Expires: now.Add(identity.RecordLife)}, bundle))
}

func oneTimeKeys(t *testing.T, key identity.PrivateKey, now time.Time, ids ...uint32) []byte {
	t.Helper()
	now = now.Truncate(time.Second)
	var body wire.OneTimeKeysRequest
	for _, id := range ids {
		public := x25519(byte(id))
		body.Keys = append(body.Keys, must(identity.SignOneTimeKey(key, identity.OneTimeKey{
			Epoch: 1, Kind: identity.KindOneTime, ID: id, Created: now, Expires: now.Add(time.Hour), Public: public[:]})))
	}
	return must(json.Marshal(body))
}

func testCards(t *testing.T, url string) {
	h := start(t, url)
	key := h.enroll(1)[0]
	path := "/v1/amesh/cards/" + key.AMID().String()
	h.get(path).want(404)
	first, second := card(t, key, h.clock.now(), 1), card(t, key, h.clock.now(), 2)
	h.sealed("PUT", path, key, wire.Binary, second).want(200).has(object{"sequence": 2})
	h.sealed("PUT", path, key, wire.Binary, second).want(200)
	h.sealed("PUT", path, key, wire.Binary, first).want(409).code(wire.CodeConflict)
	a := h.get(path).want(200)
	if a.raw != string(second) || a.header.Get("Content-Type") != wire.Binary || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d bytes of %s", len(a.raw), a.header.Get("Content-Type"))
	}
	view := h.get("/v1/amesh/agents/" + key.AMID().String()).want(200).body["card"].(map[string]any)
	if view["signed"] != base64.StdEncoding.EncodeToString(second) || view["name"] != "Reisebüro" {
		t.Errorf("the view is %v", view)
	}
	future := card(t, key, h.clock.now().Add(time.Hour), 3)
	h.sealed("PUT", path, key, wire.Binary, future).want(400).code(wire.CodeInvalid)
	h.clock.pass(identity.CardLife + time.Hour)
	h.sealed("PUT", path, key, wire.Binary, second).want(400).code(wire.CodeInvalid)
	h.get(path).want(404)
	if h.get("/v1/amesh/agents/" + key.AMID().String()).want(200).body["card"] != nil {
		t.Error("a card that is over is shown")
	}
}

func testRecords(t *testing.T, url string) {
	h := start(t, url)
	key := h.enroll(1)[0]
	path := "/v1/amesh/records/" + key.AMID().String()
	h.get(path).want(404)
	first, second := record(t, key, h.clock.now(), 1), record(t, key, h.clock.now(), 2)
	h.sealed("PUT", path, key, wire.Binary, second).want(200).has(object{"sequence": 2})
	h.sealed("PUT", path, key, wire.Binary, first).want(409).code(wire.CodeConflict)
	if a := h.get(path).want(200); a.raw != string(second) {
		t.Errorf("%d bytes, want %d", len(a.raw), len(second))
	}
	h.sealed("PUT", path, key, wire.Binary, record(t, key, h.clock.now().Add(time.Hour), 3)).want(400).code(wire.CodeInvalid)
	h.clock.pass(identity.RecordLife)
	h.get(path).want(404)
}

func testNotOnesOwn(t *testing.T, url string) {
	h := start(t, url)
	keys := h.enroll(2)
	ann, bob, stranger := keys[0], keys[1], testKey(t, 99)
	path := "/v1/amesh/cards/" + ann.AMID().String()
	good := card(t, ann, h.clock.now(), 1)
	h.sealed("PUT", path, bob, wire.Binary, good).want(403).code(wire.CodeForbidden)
	h.sealed("PUT", path, ann, wire.Binary, card(t, bob, h.clock.now(), 1)).want(400).code(wire.CodeInvalid)
	h.sealed("PUT", "/v1/amesh/cards/"+stranger.AMID().String(), stranger, wire.Binary, card(t, stranger, h.clock.now(), 1)).want(404)
	h.sealed("PUT", path, ann, "application/json", good).want(415).code(wire.CodeMediaType)
	h.sealed("PUT", path, ann, wire.Binary, make([]byte, identity.MaxCardSize+1)).want(413).code(wire.CodeTooLarge)
	h.sealed("PUT", path, ann, wire.Binary, append(slices.Clone(good), 0)).want(400).code(wire.CodeInvalid)
	h.sealed("PUT", "/v1/amesh/cards/nobody", ann, wire.Binary, good).want(400).code(wire.CodeInvalid)
	records := "/v1/amesh/records/" + ann.AMID().String()
	h.sealed("PUT", records, ann, wire.Binary, record(t, bob, h.clock.now(), 1)).want(400).code(wire.CodeInvalid)
	h.sealed("PUT", records, ann, wire.Binary, make([]byte, identity.MaxRecordSize+1)).want(413)
	h.get(path).want(404)
	h.get(records).want(404)
}

func testOneTimeKeys(t *testing.T, url string) {
	h := start(t, url, func(c *Config) { c.Limits = DefaultLimits(); c.Limits.KeysPerRequester = 2; c.Limits.KeysPerAgent = 3 })
	keys := h.enroll(3)
	ann, bob, eve := keys[0], keys[1], keys[2]
	path := "/v1/amesh/one-time-keys/" + ann.AMID().String()
	batch := oneTimeKeys(t, ann, h.clock.now(), 1, 2, 3, 4, 5)
	h.sealed("POST", path, ann, "application/json", batch).want(409).code(wire.CodeConflict) // no record
	h.sealed("PUT", "/v1/amesh/records/"+ann.AMID().String(), ann, wire.Binary, record(t, ann, h.clock.now(), 1)).want(200)
	h.sealed("POST", path, ann, "application/json", batch).want(200).has(object{"added": 5, "x25519": 5, "kem": 0})
	h.sealed("POST", path, ann, "application/json", batch).want(200).has(object{"added": 0, "x25519": 5})
	h.sealed("POST", path, ann, "application/json", []byte(`{}`)).want(200).has(object{"added": 0, "x25519": 5})
	h.sealed("POST", path, ann, "application/json", oneTimeKeys(t, bob, h.clock.now(), 6)).want(400).code(wire.CodeInvalid)
	for _, body := range []string{`[]`, `{"keys":[],"keys":[]}`, `{"keys":[],"Keys":[]}`, `{"keys":[]}{}`, "{\"\xff\":1}", `{"keys":["-"]}`} {
		h.sealed("POST", path, ann, "application/json", []byte(body)).want(400).code(wire.CodeMalformed)
	}

	var got []string
	take := func(by identity.PrivateKey, want bool) {
		t.Helper()
		a := h.sealed("POST", path+"/take", by, "", nil).want(200)
		k, has := a.body["x25519"].(string)
		if has != want {
			t.Errorf("take number %d: a key is %v, want %v: %s", len(got)+1, has, want, a.raw)
		}
		if has {
			got = append(got, k)
		}
	}
	take(bob, true)
	take(bob, true)
	take(bob, false) // this requester's hour is full
	take(eve, true)
	take(eve, false) // all requesters' hour is full
	h.clock.pass(time.Hour - time.Minute)
	take(eve, false)
	h.clock.pass(time.Minute)
	take(eve, false) // the keys are over
	if slices.Sort(got); len(slices.Compact(got)) != 3 {
		t.Errorf("handed out %v", got)
	}
	// To ask for one who is not there counts for nothing when she comes.
	zoe := testKey(t, 99)
	path = "/v1/amesh/one-time-keys/" + zoe.AMID().String()
	for range 5 {
		if a := h.sealed("POST", path+"/take", bob, "", nil).want(200); strings.TrimSpace(a.raw) != "{}" {
			t.Errorf("of a stranger: %s", a.raw)
		}
	}
	h.register(zoe, strictly)
	h.sealed("PUT", "/v1/amesh/records/"+zoe.AMID().String(), zoe, wire.Binary, record(t, zoe, h.clock.now(), 1)).want(200)
	h.sealed("POST", path, zoe, "application/json", oneTimeKeys(t, zoe, h.clock.now(), 1)).want(200)
	take(bob, true)
}

func testSchemas(t *testing.T, url string) {
	h := start(t, url)
	keys := h.enroll(2)
	ann, bob := keys[0], keys[1]
	put := func(key identity.PrivateKey, id, body string) answer {
		t.Helper()
		return h.sealed("PUT", "/v1/amesh/schemas/"+id, key, schemaType, []byte(body))
	}
	own := ann.AMID().String() + "/order/v1"
	put(ann, own, `{"type":"object"}`).want(201).has(object{"id": own, "publisher": ann.AMID().String()})
	put(ann, own, `{"type":"object"}`).want(200)
	put(ann, own, `{"type":"array"}`).want(409).code(wire.CodeConflict)
	put(bob, own, `{"type":"object"}`).want(403).code(wire.CodeForbidden)
	put(ann, "acme/order/v1", `{}`).want(403).code(wire.CodeForbidden) // anonymous
	for _, id := range []string{"order", "acme/v1", "acme/order", "acme/order/v0", "acme/Order/v1", "acme.org/order/v1", "a/b/c/d/e/f/g/h/v1"} {
		if a := put(ann, id, `{}`); a.status != 400 {
			t.Errorf("%s: %d %s", id, a.status, a.raw)
		}
	}
	next := ann.AMID().String() + "/order/v2"
	for _, body := range []string{``, `[]`, `{"a":1,"a":2}`, `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "{\"\xff\":1}"} {
		put(ann, next, body).want(400).code(wire.CodeMalformed)
	}
	put(ann, next, `{"x":"`+strings.Repeat("x", maxSchemaSize)+`"}`).want(413)

	err := h.server.db.Load().Write(t.Context(), func(tx *dbTx) error {
		for _, key := range keys {
			a, err := tx.Agent(key.AMID())
			if err != nil {
				return err
			}
			a.Tier = wire.TierVerified
			if err := tx.PutAgent(a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	put(bob, "acme/order/v1", `{}`).want(201)
	put(ann, "acme/order/v2", `{}`).want(409).code(wire.CodeConflict)
	put(ann, "agentmesh/order/v1", `{}`).want(403).code(wire.CodeForbidden)

	a := h.get("/v1/amesh/schemas/" + own).want(200)
	if a.raw != `{"type":"object"}` || a.header.Get("Content-Type") != schemaType {
		t.Errorf("%s as %s", a.raw, a.header.Get("Content-Type"))
	}
	h.get("/v1/amesh/schemas/acme/other/v1").want(404)
	a = h.get("/v1/amesh/schemas?limit=1").want(200)
	h.get("/v1/amesh/schemas?limit=1&cursor=" + a.body["next"].(string)).want(200).has(object{"next": nil})
	h.get("/v1/amesh/schemas?publisher=x").want(400)
	h.get("/v1/amesh/schemas?cursor=x").want(400)
}
