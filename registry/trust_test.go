package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/organization"
	"amesh/registry/wire"

	"github.com/google/go-cmp/cmp"
)

func TestTrust(t *testing.T)             { dbtest.SQLite(t, trustCases) }
func TestWithPostgresTrust(t *testing.T) { dbtest.Postgres(t, trustCases) }

var trustCases = dbtest.Cases{
	"an agent ends itself":                              testRevokeOneself,
	"a revoked agent changes nothing any more":          testRevokedChangesNothing,
	"nobody ends another":                               testRevokeAnother,
	"the administrator of an organisation does":         testSuperior,
	"T04 a timestamp of the administrator does not":     testSuperiorByTimestamp,
	"what no revocation can be":                         testBadRevocations,
	"a statement is taken, and handed on as it came":    testStatement,
	"a statement makes a weak revocation stay":          testStatementConfirms,
	"a forged revocation ends with the first signature": testForgedRevocation,
	"many at once":                                     testBulk,
	"the list is signed":                               testSignedList,
	"a relay reads what changed":                       testFeed,
	"a certificate is kept and shown":                  testCertificateShown,
	"one account is one owner, whatever names it":      testOneOwner,
	"an organisation and its member":                   testMember,
	"T71 what is revoked is in the list at once":       testListAtOnce,
	"T71 the list is renewed, by one of two instances": testListRenewed,
	"a certificate is given back":                      testGiveBack,
	"the Python SDK asks about a serial":               testSerialStatus,
	"a tier ends with its certificate":                 testTierEnds,
	"another root key is refused":                      testOtherRoot,
}

func revocation(target, by identity.PrivateKey) object {
	return object{"amid": target.AMID().String(), "revoker_amid": by.AMID().String(), "reason": "key_compromise", "notes": "lost"}
}

func testRevokeOneself(t *testing.T, url string) {
	h := start(t, url)
	for n, how := range map[byte]signing{1: strictly, 2: byTimestamp} {
		key := testKey(t, n)
		amid := key.AMID().String()
		h.get("/v1/registry/revocation?amid=" + amid).want(200).has(object{"amid": amid, "revoked": false, "revocation": nil})
		h.register(key, how)
		h.prove(key, amid)
		done := h.post("/v1/registry/revoke", key, how, revocation(key, key)).want(200).has(object{"success": true, "error": nil})
		h.get("/v1/registry/revocation?amid=" + amid).want(200).has(object{"revoked": true, "revocation": object{
			"id": done.body["revocation_id"], "amid": amid, "reason": "key_compromise", "revoked_by": amid,
			"revoked_at": wire.Time{Time: h.clock.now()}, "notes": "lost",
		}})
		h.post("/v1/registry/revoke", key, how, revocation(key, key)).want(409).
			has(object{"success": false, "revocation_id": nil, "error": "Agent is already revoked"})
		found := h.get("/v1/registry/lookup?amid=" + amid).want(200).has(object{"revoked": true, "tier": "anonymous", "status": "offline"})
		if found.body["certificate"] != nil {
			t.Errorf("still has a certificate: %s", found.raw)
		}
	}
}

func testRevokedChangesNothing(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.register(bob, strictly)
	prekeys := object{
		"amid": ann.AMID().String(), "signed_prekey": exchangeKey(1), "signed_prekey_id": 1,
		"signed_prekey_signature": b64(ann.SignTimestamp(string(append([]byte{10}, make([]byte, 31)...)))), "one_time_prekeys": []object{{"id": 1, "key": exchangeKey(2)}},
	}
	h.post("/v1/registry/prekeys", ann, strictly, prekeys).want(200)
	h.get("/v1/registry/prekeys/" + ann.AMID().String()).want(200)
	h.post("/v1/registry/revoke", ann, strictly, revocation(ann, ann)).want(200)
	h.get("/v1/registry/prekeys/" + ann.AMID().String()).want(404)
	for path, body := range map[string]object{
		"/v1/registry/register":            profile(ann),
		"/v1/registry/status":              {"amid": ann.AMID().String(), "status": "online"},
		"/v1/registry/capabilities":        {"amid": ann.AMID().String(), "capabilities": []string{"chat"}},
		"/v1/registry/prekeys":             prekeys,
		"/v1/registry/reputation":          feedback("s", ann, bob, 1),
		"/v1/registry/reputation/feedback": feedback("s", ann, bob, 1),
		"/v1/registry/reputation/session":  report("s", ann, bob, ann, "success"),
		"/v1/registry/revoke":              revocation(bob, ann),
		"/v1/amesh/certificates/revoke":    {"amid": ann.AMID().String(), "serial_number": strings.Repeat("0", 32), "reason": "other"},
	} {
		h.post(path, ann, strictly, body).want(403).code(wire.CodeRevoked)
	}
	for path, contentType := range map[string]string{
		"/v1/amesh/cards/": wire.Binary, "/v1/amesh/records/": wire.Binary, "/v1/amesh/one-time-keys/": "application/json",
	} {
		method := http.MethodPut
		if contentType != wire.Binary {
			method = http.MethodPost
		}
		h.sealed(method, path+ann.AMID().String(), ann, contentType, []byte("{}")).want(403).code(wire.CodeRevoked)
	}
	h.sealed(http.MethodGet, "/v1/amesh/search", ann, "application/json", nil).want(403).code(wire.CodeRevoked)
	h.sealed(http.MethodGet, "/v1/amesh/search", bob, "application/json", nil).want(200)
	h.get("/v1/registry/search?capability=chat").want(200).has(object{"total": 1})
	h.get("/v1/amesh/agents/" + ann.AMID().String()).want(404)
}

func testRevokeAnother(t *testing.T, url string) {
	h := start(t, url)
	ann, bob, eve := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	h.register(ann, strictly)
	h.register(bob, strictly)
	h.post("/v1/registry/revoke", bob, strictly, revocation(ann, bob)).want(403).code(wire.CodeForbidden).has(object{"success": false, "revocation_id": nil})
	h.post("/v1/registry/revoke", bob, strictly, revocation(ann, ann)).want(401).has(object{"success": false})
	h.post("/v1/registry/revoke", eve, strictly, revocation(ann, eve)).want(401)
	h.post("/v1/registry/revoke", bob, strictly, revocation(eve, bob)).want(404).has(object{"error": "Agent not found"})
	h.get("/v1/registry/revocation?amid=" + ann.AMID().String()).want(200).has(object{"revoked": false})
}

func testSuperior(t *testing.T, url string) {
	h := start(t, url)
	ann, boss := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.register(boss, strictly)
	join := func(tx *db.Tx) error {
		o := db.Organization{ID: "7", Admin: boss.AMID(), Created: noon, Health: organization.Health{State: organization.Verified}}
		return errors.Join(tx.PutOrganization(o), tx.Join(ann.AMID(), "7", noon))
	}
	h.post("/v1/registry/revoke", boss, strictly, revocation(ann, boss)).want(403)
	if err := h.server.db.Load().Write(t.Context(), join); err != nil {
		t.Fatal(err)
	}
	h.post("/v1/registry/revoke", ann, strictly, revocation(boss, ann)).want(403)
	h.post("/v1/registry/revoke", boss, strictly, revocation(ann, boss)).want(200)
	h.get("/v1/registry/lookup?amid=" + ann.AMID().String()).want(200).has(object{"revoked": true})
}

func testSuperiorByTimestamp(t *testing.T, url string) {
	h := start(t, url)
	strict, old, boss := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	h.register(strict, strictly)
	h.register(old, byTimestamp)
	h.register(boss, byTimestamp)
	err := h.server.db.Load().Write(t.Context(), func(tx *db.Tx) error {
		o := db.Organization{ID: "7", Admin: boss.AMID(), Created: noon, Health: organization.Health{State: organization.Verified}}
		return errors.Join(tx.PutOrganization(o), tx.Join(strict.AMID(), "7", noon), tx.Join(old.AMID(), "7", noon))
	})
	if err != nil {
		t.Fatal(err)
	}
	h.post("/v1/registry/revoke", boss, byTimestamp, revocation(strict, boss)).want(401).code(wire.CodeSignatureRequired)
	h.get("/v1/registry/lookup?amid=" + strict.AMID().String()).want(200).has(object{"revoked": false})
	h.post("/v1/registry/revoke", boss, byTimestamp, revocation(old, boss)).want(200) // both of 0.2
	h.post("/v1/registry/revoke", boss, strictly, revocation(strict, boss)).want(200)
}

func testBadRevocations(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	for name, change := range map[string]func(object){
		"reason of its own":     func(o object) { o["reason"] = "tired" },
		"no reason":             func(o object) { delete(o, "reason") },
		"long notes":            func(o object) { o["notes"] = strings.Repeat("n", wire.MaxNotes+1) },
		"NUL in notes":          func(o object) { o["notes"] = "\x00" },
		"nobody":                func(o object) { o["amid"] = "x" },
		"statement, no base64":  func(o object) { o["statement"] = "?" },
		"statement, no bytes":   func(o object) { o["statement"] = "AAAA" },
		"statement of another":  func(o object) { o["statement"] = b64(statementOf(t, bob, noon)) },
		"statement, one bit up": func(o object) { raw := statementOf(t, ann, noon); raw[3] ^= 1; o["statement"] = b64(raw) },
	} {
		body := revocation(ann, ann)
		change(body)
		if got := h.post("/v1/registry/revoke", ann, strictly, body); got.status != 400 && got.status != 401 {
			t.Errorf("%s: %d %s", name, got.status, got.raw)
		}
	}
	h.get("/v1/registry/revocation?amid=" + ann.AMID().String()).want(200).has(object{"revoked": false})
}

func statementOf(t *testing.T, key identity.PrivateKey, issued time.Time) []byte {
	t.Helper()
	raw, err := identity.SignRevocation(key, identity.Revocation{Issued: issued, Reason: identity.Compromised}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func testStatement(t *testing.T, url string) {
	h := start(t, url)
	ann, bob, eve := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	h.register(ann, strictly)
	h.register(bob, byTimestamp)
	h.get("/v1/amesh/revocations/" + ann.AMID().String()).want(404)
	raw := statementOf(t, ann, noon)
	// Whoever has it may bring it.
	h.post("/v1/amesh/revocations", eve, unsigned, object{"statement": b64(raw)}).want(200).has(object{"success": true})
	h.get("/v1/amesh/revocations/" + ann.AMID().String()).want(200).has(object{"amid": ann.AMID().String(), "statement": b64(raw)})
	h.get("/v1/registry/revocation?amid=" + ann.AMID().String()).want(200).has(object{"revoked": true})
	h.post("/v1/amesh/revocations", eve, unsigned, object{"statement": b64(raw)}).want(409)
	h.post("/v1/registry/register", ann, strictly, profile(ann)).want(403)

	body := revocation(bob, bob)
	body["statement"] = b64(statementOf(t, bob, noon))
	h.post("/v1/registry/revoke", bob, byTimestamp, body).want(200)
	h.get("/v1/amesh/revocations/" + bob.AMID().String()).want(200).has(object{"statement": body["statement"]})

	h.post("/v1/amesh/revocations", eve, unsigned, object{"statement": b64(statementOf(t, eve, noon))}).want(404)
	forged := bytes.Clone(raw)
	forged[len(forged)-2] ^= 1
	h.post("/v1/amesh/revocations", eve, unsigned, object{"statement": b64(forged)}).want(401).code(wire.CodeSignatureInvalid)
	h.post("/v1/amesh/revocations", eve, unsigned, object{}).want(400)
	h.get("/v1/amesh/revocations/x").want(400)
}

// A revocation by timestamp would end with the key's next signature over a request. A
// statement of the key itself is for ever.
func testStatementConfirms(t *testing.T, url string) {
	h := start(t, url)
	ann := testKey(t, 1)
	h.register(ann, byTimestamp)
	first := h.post("/v1/registry/revoke", ann, byTimestamp, revocation(ann, ann)).want(200)
	h.post("/v1/amesh/revocations", ann, unsigned, object{"statement": b64(statementOf(t, ann, noon))}).want(200).
		has(object{"revocation_id": first.body["revocation_id"]})
	h.post("/v1/registry/register", ann, strictly, profile(ann)).want(403).code(wire.CodeRevoked)
}

func testForgedRevocation(t *testing.T, url string) {
	h := start(t, url)
	ann := testKey(t, 1)
	h.register(ann, byTimestamp)
	h.post("/v1/registry/revoke", ann, byTimestamp, revocation(ann, ann)).want(200)
	h.post("/v1/registry/status", ann, strictly, object{"amid": ann.AMID().String(), "status": "online"}).want(403)
	h.register(ann, strictly)
	h.get("/v1/registry/lookup?amid=" + ann.AMID().String()).want(200).has(object{"revoked": false})
	h.post("/v1/registry/revoke", ann, strictly, revocation(ann, ann)).want(200)
	h.post("/v1/registry/register", ann, strictly, profile(ann)).want(403).code(wire.CodeRevoked)
}

// open checks the registry's signature of an answer, and returns what it covers.
func (a answer) open(h *harness) object {
	a.t.Helper()
	raw, err := certificate.OpenStatement(h.server.trust.issuer.Root(), []byte(a.raw))
	if err != nil {
		a.t.Fatalf("%v: %s", err, a.raw)
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		a.t.Fatal(err)
	}
	if o["issuer_key"] != h.server.trust.issuer.Root().Text() {
		a.t.Errorf("issuer_key %v", o["issuer_key"])
	}
	return o
}

func testBulk(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.post("/v1/registry/revoke", ann, strictly, revocation(ann, ann)).want(200)
	got := h.post("/v1/registry/revocations/bulk", ann, unsigned, object{"amids": []string{bob.AMID().String(), ann.AMID().String()}}).want(200).
		has(object{"total_checked": 2, "total_revoked": 1})
	got.open(h)
	list, _ := got.body["revocations"].([]any)
	if len(list) != 2 {
		t.Fatal(got.raw)
	}
	want := map[string]any{"amid": bob.AMID().String(), "revoked": false, "revocation": nil}
	if diff := cmp.Diff(want, list[0]); diff != "" || list[1].(map[string]any)["revoked"] != true {
		t.Errorf("%s: %s", diff, got.raw)
	}
	many := make([]string, wire.MaxBulk+1)
	for i := range many {
		many[i] = bob.AMID().String()
	}
	h.post("/v1/registry/revocations/bulk", ann, unsigned, object{"amids": many}).want(400).has(object{"error": "Maximum 100 AMIDs per request"})
	h.post("/v1/registry/revocations/bulk", ann, unsigned, object{"amids": many[1:]}).want(200).has(object{"total_checked": 100})
	h.post("/v1/registry/revocations/bulk", ann, unsigned, object{"amids": []string{"x"}}).want(400)
	h.post("/v1/registry/revocations/bulk", ann, unsigned, object{"amids": 1}).want(400)
	h.post("/v1/registry/revocations/bulk", ann, unsigned, object{}).want(200).has(object{"total_checked": 0, "revocations": []string{}})
}

func testSignedList(t *testing.T, url string) {
	h := start(t, url)
	h.get("/v1/registry/revocations").want(200).has(object{"revocations": []string{}, "total": 0}).open(h)
	for n := range byte(3) {
		key := testKey(t, n+1)
		h.register(key, strictly)
		h.clock.pass(time.Second)
		h.post("/v1/registry/revoke", key, strictly, revocation(key, key)).want(200)
	}
	got := h.get("/v1/registry/revocations?limit=2").want(200).has(object{
		"total": 3, "last_updated": wire.Time{Time: h.clock.now()}, "next_update": wire.Time{Time: h.clock.now().Add(time.Hour)},
	})
	got.open(h)
	list, _ := got.body["revocations"].([]any)
	if len(list) != 2 || list[0].(map[string]any)["amid"] != testKey(t, 3).AMID().String() {
		t.Errorf("not the newest two: %s", got.raw)
	}
	rest, _ := h.get("/v1/registry/revocations?limit=99999&offset=2").want(200).body["revocations"].([]any)
	if len(rest) != 1 {
		t.Errorf("%d behind the first two", len(rest))
	}
	for _, bad := range []string{"limit=-1", "limit=x", "offset=-1", "offset=1e3"} {
		h.get("/v1/registry/revocations?" + bad).want(400)
	}
}

func testFeed(t *testing.T, url string) {
	h := start(t, url)
	var keys []identity.PrivateKey
	for n := range byte(3) {
		key := testKey(t, n+1)
		keys = append(keys, key)
		h.register(key, strictly)
	}
	empty := h.get("/v1/amesh/revocations").want(200).has(object{"changes": []string{}, "cursor": 0, "more": false})
	empty.open(h)
	for _, key := range keys {
		h.post("/v1/amesh/revocations", key, unsigned, object{"statement": b64(statementOf(t, key, noon))}).want(200)
	}
	cursor := 0.0
	var seen []string
	for more := true; more; {
		page := h.get(fmt.Sprintf("/v1/amesh/revocations?limit=2&since=%v", cursor)).want(200).open(h)
		for _, c := range page["changes"].([]any) {
			change := c.(map[string]any)
			raw, err := wire.DecodeBase64(change["statement"].(string))
			if err != nil {
				t.Fatal(err)
			}
			v, err := identity.ParseRevocation(raw)
			if err != nil || v.AMID.String() != change["amid"] || change["revoked"] != true || change["reason"] != "key_compromise" {
				t.Errorf("%v: %v", err, change)
			}
			seen = append(seen, change["amid"].(string))
		}
		cursor, more = page["cursor"].(float64), page["more"].(bool)
	}
	want := []string{keys[0].AMID().String(), keys[1].AMID().String(), keys[2].AMID().String()}
	if diff := cmp.Diff(want, seen); diff != "" || cursor != 3 {
		t.Errorf("cursor %v: %s", cursor, diff)
	}
	h.get("/v1/amesh/revocations?since=3").want(200).has(object{"changes": []string{}, "cursor": 3, "more": false})
	for _, bad := range []string{"since=-1", "since=x", "limit=0"} {
		h.get("/v1/amesh/revocations?" + bad).want(400)
	}
}

// believer is somebody who trusts the registry's root and has its newest list.
func (h *harness) believer() certificate.Trust {
	h.t.Helper()
	root, err := identity.ParsePublicKeyText(h.get("/v1/amesh/certificates/root").want(200).body["root_key"].(string))
	if err != nil {
		h.t.Fatal(err)
	}
	trust, err := certificate.Trust{Roots: []identity.PublicKey{root}}.Update([]byte(h.get("/v1/amesh/crl").want(200).raw), h.clock.now())
	if err != nil {
		h.t.Fatal(err)
	}
	return trust
}

func (h *harness) believes(text string, who identity.PrivateKey) error {
	h.t.Helper()
	chain, err := certificate.Parse(text)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.believer().Verify(chain, who.Public(), h.clock.now())
}

func testCertificateShown(t *testing.T, url string) {
	h := start(t, url)
	ann := testKey(t, 1)
	h.register(ann, strictly)
	at := "/v1/amesh/certificates/" + ann.AMID().String()
	h.get(at).want(404)
	text := h.prove(ann, "17")
	h.get("/v1/registry/lookup?amid=" + ann.AMID().String()).want(200).has(object{"tier": "verified", "certificate": text, "reputation_score": 0.6})
	if err := h.believes(text, ann); err != nil {
		t.Error(err)
	}
	shown := h.get(at).want(200).has(object{"amid": ann.AMID().String(), "tier": "verified", "certificate": text, "issued_at": "2026-02-01T12:00:00Z", "expires_at": "2027-02-01T12:00:00Z"})
	raw, err := wire.DecodeBase64(shown.body["compact"].(string))
	if err != nil {
		t.Fatal(err)
	}
	small, err := certificate.ParseCompact(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.believer().Verify(small, ann.Public(), h.clock.now()); err != nil || small.Leaf.Serial.String() != shown.body["serial_number"] {
		t.Errorf("%v, serial %s", err, small.Leaf.Serial)
	}
	h.get("/v1/amesh/certificates/x").want(400)
}

func testOneOwner(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.register(bob, strictly)
	h.prove(ann, "17")
	h.prove(bob, "17")
	h.meet("s", ann, bob, "success")
	h.post("/v1/registry/reputation", ann, strictly, feedback("s", ann, bob, 1)).want(200)
	h.get(score(bob)).want(200).has(object{"tier": "verified", "feedback_count": 0, "score": 0.6})
}

func testMember(t *testing.T, url string) {
	h := start(t, url)
	ann := testKey(t, 1)
	h.register(ann, strictly)
	o, err := h.server.trust.issuer.IssueOrganization(certificate.OrganizationFacts{ID: "7", Name: "Example", Domain: "example.org"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.server.trust.issuer.IssueMember(o.Text, ann.Public())
	if err != nil {
		t.Fatal(err)
	}
	h.keep(o, "7", "", "organization 7")
	h.keep(m, "7", o.Certificate.Serial.String(), "organization 7")
	h.get("/v1/registry/lookup?amid=" + ann.AMID().String()).want(200).has(object{"tier": "organization", "certificate": m.Text})
	if err := h.believes(m.Text, ann); err != nil {
		t.Error(err)
	}
	if err := h.server.db.Load().Write(t.Context(), func(tx *db.Tx) error {
		return tx.RevokeCertificate(o.Certificate.Serial.String(), "cessation_of_operation", h.clock.now())
	}); err != nil {
		t.Fatal(err)
	}
	if err := h.believes(m.Text, ann); !errors.Is(err, certificate.ErrRevoked) {
		t.Errorf("got %v, want ErrRevoked", err)
	}
	h.get("/v1/registry/lookup?amid=" + ann.AMID().String()).want(200).has(object{"tier": "anonymous"})
}

func testListAtOnce(t *testing.T, url string) {
	h := start(t, url)
	ann := testKey(t, 1)
	h.register(ann, strictly)
	text := h.prove(ann, "17")
	if err := h.believes(text, ann); err != nil {
		t.Fatal(err)
	}
	h.post("/v1/registry/revoke", ann, strictly, revocation(ann, ann)).want(200)
	if err := h.believes(text, ann); !errors.Is(err, certificate.ErrRevoked) {
		t.Errorf("got %v, want ErrRevoked", err)
	}
	old := h.believer()
	chain, err := certificate.Parse(h.prove(testKey(t, 2), "18"))
	if err != nil {
		t.Fatal(err)
	}
	h.clock.pass(certificate.Stale + time.Second)
	if err := old.Verify(chain, testKey(t, 2).Public(), h.clock.now()); !errors.Is(err, certificate.ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
	if err := h.believer().Verify(chain, testKey(t, 2).Public(), h.clock.now()); err != nil {
		t.Errorf("with a fresh list: %v", err)
	}
}

func testListRenewed(t *testing.T, url string) {
	one, two := start(t, url, withRoot(t, 99)), start(t, url, withRoot(t, 99))
	number := func(h *harness) uint64 {
		list, err := certificate.ParseList([]byte(h.get("/v1/amesh/crl").want(200).raw))
		if err != nil {
			t.Fatal(err)
		}
		return list.Number
	}
	for _, want := range []uint64{1, 2, 3} {
		for _, h := range []*harness{one, two, one} {
			if got := number(h); got != want {
				t.Errorf("list %d, want %d", got, want)
			}
		}
		one.clock.pass(listLife)
		two.clock.pass(listLife)
	}
}

func testGiveBack(t *testing.T, url string) {
	h := start(t, url)
	ann, bob := testKey(t, 1), testKey(t, 2)
	h.register(ann, strictly)
	h.register(bob, strictly)
	h.prove(ann, "17")
	serial := h.get("/v1/amesh/certificates/" + ann.AMID().String()).want(200).body["serial_number"]
	give := func(by identity.PrivateKey, serial any, reason string) answer {
		return h.post("/v1/amesh/certificates/revoke", by, strictly, object{"amid": by.AMID().String(), "serial_number": serial, "reason": reason})
	}
	give(bob, serial, "other").want(403)
	give(ann, serial, "tired").want(400)
	give(ann, "17", "other").want(400)
	give(ann, strings.Repeat("0", 32), "other").want(404)
	give(ann, serial, "superseded").want(200).has(object{"success": true})
	give(ann, serial, "superseded").want(409)
	h.get("/v1/registry/lookup?amid=" + ann.AMID().String()).want(200).has(object{"tier": "anonymous", "revoked": false})
}

func testSerialStatus(t *testing.T, url string) {
	h := start(t, url)
	ann := testKey(t, 1)
	h.register(ann, strictly)
	h.prove(ann, "17")
	serial, _ := h.get("/v1/amesh/certificates/" + ann.AMID().String()).want(200).body["serial_number"].(string)
	for _, at := range []string{"/certificates/revocation/", "/v1/certificates/revocation/"} {
		h.get(at + serial).want(200).has(object{"serial_number": serial, "revoked": false, "revoked_at": nil, "reason": nil})
		for _, unknown := range []string{strings.Repeat("0", 32), "17", strings.ToUpper(serial) + "A", "%00"} {
			h.get(at + unknown).want(404)
		}
	}
	h.post("/v1/registry/revoke", ann, strictly, revocation(ann, ann)).want(200)
	h.get("/certificates/revocation/" + serial).want(200).has(object{"revoked": true, "reason": "key_compromise", "revoked_at": wire.Time{Time: h.clock.now()}})
}

func testTierEnds(t *testing.T, url string) {
	h := start(t, url)
	ann := testKey(t, 1)
	h.register(ann, strictly)
	h.prove(ann, "17")
	h.clock.pass(certificate.Life)
	h.server.sweep(t.Context(), h.server.db.Load())
	h.get("/v1/registry/lookup?amid=" + ann.AMID().String()).want(200).has(object{"tier": "anonymous", "certificate": nil, "reputation_score": 0.5})
}

func testOtherRoot(t *testing.T, url string) {
	start(t, url, withRoot(t, 98))
	cfg := Config{Open: func(ctx context.Context) (*db.DB, error) { return db.Open(ctx, url) }, Clock: time.Now}
	withRoot(t, 99)(&cfg)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, ErrRoot) || !strings.Contains(err.Error(), testKey(t, 98).Public().Text()) {
		t.Errorf("got %v, want ErrRoot with the key that is wanted", err)
	}
}

func FuzzReadReport(f *testing.F) {
	f.Add([]byte(`{"session_id":"s","initiator_amid":"A","receiver_amid":"B","reporter_amid":"A","intent":"travel","outcome":"success","started_at":"2026-02-01T12:00:00Z"}`))
	f.Add([]byte(`{"started_at":"0000-00-00T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		body, err := decode[wire.SessionReport](&request{raw: raw})
		if err == nil {
			_, err = readReport(body)
		}
		if e, ok := errors.AsType[*wire.Error](err); err != nil && (!ok || e.Status != 400) {
			t.Fatalf("%v is no refusal", err)
		}
	})
}
