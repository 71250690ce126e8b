package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/organization"
	"amesh/registry/wire"
)

func TestOrganization(t *testing.T)             { dbtest.SQLite(t, organizationCases) }
func TestWithPostgresOrganization(t *testing.T) { dbtest.Postgres(t, organizationCases) }

var organizationCases = dbtest.Cases{
	"an organisation and its agent":                        testOrganizationAndAgent,
	"nobody joins without agreeing":                        testNobodyJoins,
	"T72 a claim blocks nobody":                            testClaimBlocksNobody,
	"T72 a challenge ends":                                 testChallengeEnds,
	"T72 two failed days end it, a record heals":           testLapseAndHeal,
	"T72 several instances count a day once":               testDayCountsOnce,
	"T72 certificates are renewed":                         testRenewed,
	"T78 names and domains that look like others":          testLookalikesRefused,
	"T78 the operator knows the real one":                  testKnownDomain,
	"an administrator has so many claims":                  testTooManyClaims,
	"T71 a member has one certificate":                     testOneCertificate,
	"T71 nobody fills the revocation list":                 testListNotFilled,
	"T73 all names under a domain are one owner":           testOneDomainOneOwner,
	"T72 members carry no name that they did not agree to": testRename,
	"who leaves is no member":                              testLeave,
	"without resolvers":                                    testNoResolvers,
}

// zone is the DNS: what the records of domains say.
type zone struct {
	mu     sync.Mutex
	says   map[string]string
	broken bool
}

func (z *zone) Find(_ context.Context, domain, value string) organization.Result {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case z.broken:
		return organization.Result{Why: "no answer"}
	case z.says[domain] == value:
		return organization.Result{Finding: organization.Present, DNSSEC: true}
	}
	return organization.Result{Finding: organization.Absent, Why: "no record"}
}

func (z *zone) put(domain, value string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.says[domain] = value
}

// office is a registry that verifies domains.
func office(t *testing.T, at string) (*harness, *zone, *hub) {
	z, g := &zone{says: make(map[string]string)}, newHub()
	return start(t, at, proving(t, g), func(c *Config) { c.Resolvers = z }), z, g
}

// post with the names that the organisation endpoints have for the signature.
func (h *harness) admin(path string, key identity.PrivateKey, body object) answer {
	h.t.Helper()
	body["admin_amid"] = key.AMID().String()
	return h.post(path, key, strictly, body)
}

// claims registers an organisation and returns its id and what its record must say.
func (h *harness) claims(key identity.PrivateKey, name, domain string) (id, value string) {
	h.t.Helper()
	a := h.admin("/v1/org/register", key, object{"name": name, "domain": domain, "admin_signing_public_key": key.Public().Text()}).
		want(http.StatusCreated).has(object{"success": true, "error": nil})
	challenge, _ := a.body["dns_challenge"].(map[string]any)
	if challenge["record_type"] != "TXT" || challenge["record_name"] != "_agentmesh."+domain {
		h.t.Errorf("challenge %v", challenge)
	}
	id, _ = a.body["organization_id"].(string)
	value, _ = challenge["record_value"].(string)
	h.clock.pass(5 * time.Second) // what the claim costs
	return id, value
}

func (h *harness) askVerify(key identity.PrivateKey, id string) answer {
	h.t.Helper()
	h.clock.pass(10 * time.Second)
	return h.admin("/v1/org/verify", key, object{"organization_id": id})
}

// incorporated is an organisation with a verified domain.
func (h *harness) incorporated(key identity.PrivateKey, z *zone, name, domain string) (id string) {
	h.t.Helper()
	id, value := h.claims(key, name, domain)
	z.put(domain, value)
	h.askVerify(key, id).want(http.StatusOK).has(object{"success": true, "verified": true, "error": nil})
	return id
}

func (h *harness) member(admin, agent identity.PrivateKey, id string) answer {
	h.t.Helper()
	return h.admin("/v1/org/agents", admin, object{
		"organization_id": id, "agent_amid": agent.AMID().String(), "agent_signing_public_key": agent.Public().Text(),
		"agent_exchange_public_key": exchangeKey(9), "display_name": "not its own name", "capabilities": []string{"x"},
	})
}

func (h *harness) consents(agent identity.PrivateKey, how signing, id string) answer {
	h.t.Helper()
	return h.post("/v1/amesh/org/consent", agent, how, object{"amid": agent.AMID().String(), "organization_id": id})
}

// joins registers an agent and makes it a member.
func (h *harness) joins(admin, agent identity.PrivateKey, id string) {
	h.t.Helper()
	h.register(agent, strictly)
	h.consents(agent, strictly, id).want(http.StatusOK)
	h.member(admin, agent, id).want(http.StatusCreated)
}

func (h *harness) sweepNow() { h.server.sweep(h.t.Context(), h.server.db.Load()) }

func (h *harness) revoke(who identity.AMID) {
	h.t.Helper()
	err := h.server.db.Load().Write(h.t.Context(), func(tx *db.Tx) error {
		return tx.Revoke(db.Revocation{ID: "r" + who.String(), AMID: who, Reason: "key_compromise", By: who, At: h.clock.now(), Strict: true})
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func testOrganizationAndAgent(t *testing.T, at string) {
	h, z, g := office(t, at)
	admin, agent := testKey(t, 1), testKey(t, 2)
	h.register(admin, byTimestamp)
	body := object{"name": "Example, Inc.", "domain": "example.com", "admin_amid": admin.AMID().String(), "admin_signing_public_key": admin.Public().Text()}
	h.post("/v1/org/register", admin, unsigned, body).want(http.StatusUnauthorized).has(object{"success": false, "organization_id": nil, "dns_challenge": nil})
	id, value := h.claims(admin, "Example, Inc.", "example.com")
	h.get("/v1/org/lookup?domain=example.com").want(http.StatusNotFound)
	h.askVerify(admin, id).want(http.StatusOK).has(object{"success": true, "verified": false, "root_certificate": nil})
	z.put("example.com", value)
	got := h.askVerify(admin, id).want(http.StatusOK).has(object{"success": true, "verified": true, "dnssec": true})
	root, _ := got.body["root_certificate"].(string)
	if chain, err := certificate.Parse(root); err != nil || chain.Leaf.OrganizationDomain != "example.com" || chain.Leaf.OrganizationName != "Example, Inc." {
		t.Errorf("root certificate %v", err)
	}
	h.verified(agent, g, strictly)
	h.consents(agent, strictly, id).want(http.StatusOK)
	added := h.member(admin, agent, id).want(http.StatusCreated).has(object{"success": true, "error": nil})
	text, _ := added.body["agent_certificate"].(string)
	h.proves(text, agent, certificate.Organization)
	h.get("/v1/registry/lookup?amid=" + agent.AMID().String()).has(object{
		"tier": "organization", "organization": "Example, Inc.", "organization_domain": "example.com", "display_name": "Ann", "exchange_public_key": exchangeKey(0), "capabilities": []string{"chat"}})
	h.get("/v1/org/lookup?domain=example.com").want(http.StatusOK).has(object{
		"id": id, "name": "Example, Inc.", "domain": "example.com", "verified": true, "agent_count": 1, "dnssec": true})
	h.get("/v1/org/lookup?domain=Example.com").want(http.StatusBadRequest).code(wire.CodeDomainInvalid)
}

func testNobodyJoins(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin, agent, other := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	h.register(admin, strictly)
	h.register(agent, byTimestamp)
	h.register(other, strictly)
	null := object{"success": false, "agent_certificate": nil}
	id, _ := h.claims(admin, "Claimed", "claimed.com")
	h.member(admin, agent, id).want(http.StatusBadRequest).code(wire.CodeNotVerified).has(null).has(object{"error": "Organization not verified"})
	id = h.incorporated(admin, z, "Example", "example.com")
	h.member(admin, agent, id).want(http.StatusForbidden).code(wire.CodeNoConsent).has(null)
	h.member(admin, agent, "unknown").want(http.StatusNotFound).has(object{"error": "Organization not found"})
	h.member(other, agent, id).want(http.StatusUnauthorized).code(wire.CodeNotAdmin).has(object{"error": "Not the organization admin"})
	h.askVerify(other, id).want(http.StatusUnauthorized).code(wire.CodeNotAdmin)
	h.member(admin, testKey(t, 4), id).want(http.StatusNotFound)
	h.admin("/v1/org/agents", admin, object{"organization_id": id, "agent_amid": agent.AMID().String(), "agent_signing_public_key": other.Public().Text()}).
		want(http.StatusBadRequest).code(wire.CodeKeyInvalid)
	// Whoever saw a timestamp of the agent could put any organisation beside it.
	h.consents(agent, byTimestamp, id).want(http.StatusUnauthorized).code(wire.CodeSignatureRequired)
	h.consents(other, strictly, "unknown").want(http.StatusNotFound)
	second := h.incorporated(admin, z, "Second", "example.org")
	h.consents(agent, strictly, second).want(http.StatusOK)
	h.member(admin, agent, id).want(http.StatusForbidden).code(wire.CodeNoConsent)
	h.clock.pass(organization.ConsentLife)
	h.member(admin, agent, second).want(http.StatusForbidden).code(wire.CodeNoConsent)
	h.consents(agent, strictly, second).want(http.StatusOK)
	h.revoke(agent.AMID())
	h.member(admin, agent, second).want(http.StatusForbidden)
	if tier := h.tier(agent); tier != "anonymous" {
		t.Errorf("tier %s", tier)
	}
}

func testClaimBlocksNobody(t *testing.T, at string) {
	h, z, _ := office(t, at)
	squatter, rightful := testKey(t, 1), testKey(t, 2)
	h.register(squatter, strictly)
	h.register(rightful, strictly)
	first, _ := h.claims(squatter, "Example", "example.com")
	again, value := h.claims(squatter, "Example", "example.com")
	if first != again {
		t.Error("the same claim has two ids")
	}
	h.incorporated(rightful, z, "Example", "example.com")
	// The squatter cannot show both records at once, and must not win with an old answer.
	z.put("example.com", value)
	h.askVerify(squatter, first).want(http.StatusConflict).code(wire.CodeDomainTaken).has(object{"success": false, "verified": false})
	for _, key := range []identity.PrivateKey{squatter, rightful} {
		h.admin("/v1/org/register", key, object{"name": "Example", "domain": "example.com"}).want(http.StatusConflict).
			code(wire.CodeDomainTaken).has(object{"error": "Domain already registered", "organization_id": nil})
	}
}

func testChallengeEnds(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin := testKey(t, 1)
	h.register(admin, strictly)
	id, value := h.claims(admin, "Example", "example.com")
	z.put("example.com", value)
	h.clock.pass(organization.ChallengeLife)
	h.askVerify(admin, id).want(http.StatusOK).has(object{"success": true, "verified": false})
	h.sweepNow()
	h.askVerify(admin, id).want(http.StatusNotFound)
	if newer, fresh := h.claims(admin, "Example", "example.com"); newer == id || fresh == value {
		t.Error("an expired claim goes on")
	}
}

// state is what the database says of an organisation.
func (h *harness) state(id string) (o db.Organization) {
	h.t.Helper()
	err := h.server.db.Load().View(h.t.Context(), func(tx *db.Tx) (err error) {
		o, err = tx.Organization(id)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return o
}

func testLapseAndHeal(t *testing.T, at string) {
	h, z, g := office(t, at)
	admin, plain, known := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	h.register(admin, strictly)
	id := h.incorporated(admin, z, "Example", "example.com")
	h.joins(admin, plain, id)
	h.verified(known, g, strictly)
	h.consents(known, strictly, id).want(http.StatusOK)
	h.member(admin, known, id).want(http.StatusCreated)
	value := h.state(id).Challenge
	day := func(want organization.State, failed int) {
		h.t.Helper()
		h.clock.pass(organization.CheckEvery)
		h.sweepNow()
		h.sweepNow() // the same day
		if got := h.state(id).Health; got.State != want || got.FailedDays != failed {
			t.Fatalf("%+v, want %s after %d failed days", got, want, failed)
		}
	}
	day(organization.Verified, 0)
	z.put("example.com", "gone")
	day(organization.Verified, 1)
	z.put("example.com", value)
	day(organization.Verified, 0)
	z.broken = true // our resolvers' bad day
	day(organization.Verified, 0)
	z.broken = false
	z.put("example.com", "gone")
	day(organization.Verified, 1)
	if tier := h.tier(plain); tier != "organization" {
		t.Errorf("after one failed day: tier %s", tier)
	}
	day(organization.Lapsed, 2)
	if a, b := h.tier(plain), h.tier(known); a != "anonymous" || b != "verified" {
		t.Errorf("after two: tiers %s and %s", a, b)
	}
	h.get("/v1/registry/lookup?amid=" + plain.AMID().String()).has(object{"organization": nil, "organization_domain": nil})
	h.get("/v1/org/lookup?domain=example.com").has(object{"verified": false, "agent_count": 2})
	h.member(admin, plain, id).want(http.StatusBadRequest).code(wire.CodeNotVerified)
	h.askVerify(admin, id).want(http.StatusOK).has(object{"verified": false})
	again, value := h.claims(admin, "Example", "example.com")
	if again != id {
		t.Error("an organisation that claims again is another")
	}
	z.put("example.com", value)
	h.askVerify(admin, id).want(http.StatusOK).has(object{"verified": true})
	if a, b := h.tier(plain), h.tier(known); a != "organization" || b != "organization" {
		t.Errorf("healed: tiers %s and %s", a, b)
	}
	h.get("/v1/registry/lookup?amid=" + plain.AMID().String()).has(object{"organization": "Example"})
}

func testDayCountsOnce(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin := testKey(t, 1)
	h.register(admin, strictly)
	id := h.incorporated(admin, z, "Example", "example.com")
	z.put("example.com", "gone")
	h.clock.pass(organization.CheckEvery)
	due := h.state(id)
	for range 3 { // each instance has read the row before any of them wrote it
		if err := h.server.checkOrganization(t.Context(), h.server.db.Load(), due); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.state(id).Health; got.FailedDays != 1 || got.State != organization.Verified {
		t.Errorf("%+v", got)
	}
	due = h.state(id)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.server.checkOrganization(ended, h.server.db.Load(), due); err != nil {
		t.Fatal(err)
	}
	if got := h.state(id).Health; got.FailedDays != 1 {
		t.Errorf("a registry that stops: %+v", got)
	}
}

func testRenewed(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin, agent := testKey(t, 1), testKey(t, 2)
	h.register(admin, strictly)
	id := h.incorporated(admin, z, "Example", "example.com")
	h.joins(admin, agent, id)
	before := h.state(id).Certificate
	h.clock.pass(organization.CheckEvery)
	h.sweepNow()
	if h.state(id).Certificate != before {
		t.Error("renewed after a day")
	}
	h.clock.pass(certificate.Life - organization.RenewBefore)
	h.sweepNow()
	after := h.state(id).Certificate
	if chain, err := certificate.Parse(after); err != nil || after == before || chain.Leaf.Expires.Before(h.clock.now().Add(certificate.Life-time.Second)) {
		t.Errorf("not renewed: %v", err)
	}
	if tier := h.tier(agent); tier != "organization" {
		t.Errorf("tier %s", tier)
	}
}

func testLookalikesRefused(t *testing.T, at string) {
	h, z, _ := office(t, at)
	real, fake := testKey(t, 1), testKey(t, 2)
	h.register(real, strictly)
	h.register(fake, strictly)
	early, value := h.claims(fake, "PayPaI", "early.com")
	h.incorporated(real, z, "PayPal", "paypal.com")
	for _, c := range []struct {
		name, domain string
		status       int
		code         wire.Code
	}{
		{"Pay Pal", "other.com", http.StatusConflict, wire.CodeNameTaken},
		{"PayPaI", "other.com", http.StatusConflict, wire.CodeNameConfusable},
		{"Other", "paypa1.com", http.StatusConflict, wire.CodeNameConfusable},
		{"Рaypal", "other.com", http.StatusBadRequest, wire.CodeNameConfusable},
		{"Other", "xn--80ak6aa92e.com", http.StatusBadRequest, wire.CodeNameConfusable},
		{"", "other.com", http.StatusBadRequest, wire.CodeNameInvalid},
		{"Other", "co.uk", http.StatusBadRequest, wire.CodeDomainInvalid},
	} {
		h.clock.pass(5 * time.Second)
		h.admin("/v1/org/register", fake, object{"name": c.name, "domain": c.domain}).want(c.status).code(c.code).
			has(object{"success": false, "organization_id": nil, "dns_challenge": nil})
	}
	// A claim from before the real one was verified gains nothing by its age.
	z.put("early.com", value)
	h.askVerify(fake, early).want(http.StatusConflict).code(wire.CodeNameConfusable)
}

func testKnownDomain(t *testing.T, at string) {
	z := &zone{says: make(map[string]string)}
	h := start(t, at, proving(t, newHub()), func(c *Config) { c.Resolvers, c.KnownDomains = z, []string{"paypal.com"} })
	fake, real, other := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	for _, key := range []identity.PrivateKey{fake, real, other} {
		h.register(key, strictly)
	}
	h.incorporated(fake, z, "PayPal", "paypa1.com")
	h.incorporated(real, z, "PayPal", "paypal.com")
	// One domain is known by that, and not what looks like it or lies below it.
	h.admin("/v1/org/register", other, object{"name": "Other", "domain": "paypaI.com"}).want(http.StatusBadRequest)
	h.admin("/v1/org/register", other, object{"name": "PayPal", "domain": "pay.paypal.com"}).want(http.StatusConflict).code(wire.CodeNameTaken)
	h.admin("/v1/org/register", other, object{"name": "Other", "domain": "paypal.com"}).want(http.StatusConflict).code(wire.CodeDomainTaken)
}

func TestKnownDomainsAreDomains(t *testing.T) {
	c := Config{Open: func(context.Context) (*db.DB, error) { return nil, nil }, KnownDomains: []string{"Example.com"}}
	if _, err := New(c); !errors.Is(err, organization.ErrDomain) {
		t.Errorf("got %v", err)
	}
}

func testTooManyClaims(t *testing.T, at string) {
	h, _, _ := office(t, at)
	admin := testKey(t, 1)
	h.register(admin, strictly)
	for i := range organization.OpenClaims {
		h.claims(admin, fmt.Sprintf("Name %c", 'a'+i), fmt.Sprintf("%c-name.com", 'a'+i))
	}
	h.admin("/v1/org/register", admin, object{"name": "More", "domain": "more.com"}).want(http.StatusConflict).code(wire.CodeTooManyClaims)
	h.clock.pass(organization.ChallengeLife)
	h.sweepNow()
	h.claims(admin, "More", "more.com")
}

func testLeave(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin, agent, other := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	h.register(admin, strictly)
	h.register(other, strictly)
	id, second := h.incorporated(admin, z, "Example", "example.com"), h.incorporated(admin, z, "Second", "example.org")
	h.joins(admin, agent, id)
	h.member(admin, agent, id).want(http.StatusCreated) // once more, for a new certificate
	h.consents(agent, strictly, second).want(http.StatusOK)
	h.member(admin, agent, second).want(http.StatusConflict).code(wire.CodeConflict)
	name := object{"amid": agent.AMID().String(), "organization_id": id}
	h.post("/v1/amesh/org/leave", other, strictly, object{"amid": other.AMID().String(), "organization_id": id}).want(http.StatusOK)
	if tier := h.tier(agent); tier != "organization" {
		t.Errorf("tier %s", tier)
	}
	h.post("/v1/amesh/org/leave", agent, strictly, name).want(http.StatusOK)
	if tier := h.tier(agent); tier != "anonymous" {
		t.Errorf("tier %s", tier)
	}
	h.member(admin, agent, id).want(http.StatusForbidden).code(wire.CodeNoConsent)
	h.member(admin, agent, second).want(http.StatusCreated)
	remove := object{"organization_id": second, "agent_amid": agent.AMID().String()}
	h.admin("/v1/amesh/org/remove", other, remove).want(http.StatusUnauthorized).code(wire.CodeNotAdmin)
	h.admin("/v1/amesh/org/remove", admin, remove).want(http.StatusOK)
	h.get("/v1/registry/lookup?amid=" + agent.AMID().String()).has(object{"tier": "anonymous", "organization": nil})
}

func testOneDomainOneOwner(t *testing.T, at string) {
	h, z, _ := office(t, at)
	ownerOf := func(n byte, name, domain string) (owner string) {
		t.Helper()
		key := testKey(t, n)
		h.register(key, strictly)
		id := h.incorporated(key, z, name, domain)
		h.consents(key, strictly, id).want(http.StatusOK)
		h.member(key, key, id).want(http.StatusCreated)
		err := h.server.db.Load().View(t.Context(), func(tx *db.Tx) error {
			c, err := tx.BestCertificate(key.AMID(), h.clock.now())
			owner = c.Owner
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return owner
	}
	first := ownerOf(1, "Alder", "alder.example.co.uk")
	if again := ownerOf(2, "Birch", "birch.example.co.uk"); again != first {
		t.Errorf("two names under one domain: %q and %q", first, again)
	}
	cedar := ownerOf(3, "Cedar", "other.co.uk")
	if cedar == first {
		t.Error("two domains are one owner")
	}
	if strings.Contains(first, "example") {
		t.Errorf("the owner %q names somebody", first)
	}
	// A name that others register names under is of none of them.
	if a, b := ownerOf(4, "Elm", "elm.github.io"), ownerOf(5, "Fir", "fir.github.io"); a == b {
		t.Error("two customers are one owner")
	}
	// Another administrator of the same domain is the same owner.
	for range organization.FailedDays {
		z.put("other.co.uk", "gone")
		h.clock.pass(organization.CheckEvery)
		h.sweepNow()
	}
	if later := ownerOf(6, "Gorse", "other.co.uk"); later != cedar {
		t.Error("a claim by somebody else made another owner")
	}
}

func testRename(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin, agent := testKey(t, 1), testKey(t, 2)
	h.register(admin, strictly)
	id := h.incorporated(admin, z, "Good Works", "example.com")
	h.joins(admin, agent, id)
	h.lapses(id, z)
	other := object{"name": "Weapons Trade", "domain": "example.com"}
	h.admin("/v1/org/register", admin, other).want(http.StatusConflict).code(wire.CodeConflict)
	h.claims(admin, "Good Works", "example.com")
	h.admin("/v1/amesh/org/remove", admin, object{"organization_id": id, "agent_amid": agent.AMID().String()}).want(http.StatusOK)
	h.consents(agent, strictly, id).want(http.StatusOK)
	if again := h.incorporated(admin, z, "Weapons Trade", "example.com"); again != id {
		t.Error("the organisation has another id")
	}
	h.member(admin, agent, id).want(http.StatusForbidden).code(wire.CodeNoConsent)
	h.consents(agent, strictly, id).want(http.StatusOK)
	h.member(admin, agent, id).want(http.StatusCreated)
}

func testOneCertificate(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin, agent := testKey(t, 1), testKey(t, 2)
	h.register(admin, strictly)
	id := h.incorporated(admin, z, "Example", "example.com")
	h.joins(admin, agent, id)
	first := h.member(admin, agent, id).want(http.StatusCreated).body["agent_certificate"]
	if again := h.member(admin, agent, id).want(http.StatusCreated).body["agent_certificate"]; again != first {
		t.Error("a member that is added again has another certificate")
	}
	if crl := h.get("/v1/amesh/crl").want(http.StatusOK); strings.Contains(crl.raw, "serial_number") {
		t.Errorf("adding a member again revoked something: %.300s", crl.raw)
	}
	shown := h.get("/v1/amesh/certificates/" + agent.AMID().String()).want(http.StatusOK)
	h.post("/v1/amesh/certificates/revoke", agent, strictly, object{
		"amid": agent.AMID().String(), "serial_number": shown.body["serial_number"], "reason": "superseded"}).want(http.StatusOK)
	if after := h.member(admin, agent, id).want(http.StatusCreated).body["agent_certificate"]; after == first {
		t.Error("a revoked certificate is given out again")
	}
}

func testListNotFilled(t *testing.T, at string) {
	h, z, g := office(t, at)
	admin, agent := testKey(t, 1), testKey(t, 2)
	h.register(admin, strictly)
	id := h.incorporated(admin, z, "Example", "example.com")
	h.register(agent, strictly)
	leave := object{"amid": agent.AMID().String(), "organization_id": id}
	for range certificatesPerAgent {
		h.clock.pass(time.Minute)
		h.consents(agent, strictly, id).want(http.StatusOK)
		h.member(admin, agent, id).want(http.StatusCreated)
		h.post("/v1/amesh/org/leave", agent, strictly, leave).want(http.StatusOK)
	}
	h.clock.pass(time.Minute)
	h.consents(agent, strictly, id).want(http.StatusOK)
	h.member(admin, agent, id).want(http.StatusTooManyRequests).code(wire.CodeRateLimited)
	b := h.browser()
	b.visit(http.MethodGet, b.signIn(agent, g), nil).want(http.StatusTooManyRequests)
	h.clock.pass(24 * time.Hour)
	h.member(admin, agent, id).want(http.StatusCreated)
}

func TestOneOwnersCertificatesAreBounded(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{"T71 one owner's certificates": func(t *testing.T, at string) {
		h, z, _ := office(t, at)
		admin, agent := testKey(t, 1), testKey(t, 2)
		h.register(admin, strictly)
		id := h.incorporated(admin, z, "Example", "example.com")
		h.joins(admin, agent, id)
		err := h.server.db.Load().Write(t.Context(), func(tx *db.Tx) error {
			c, err := tx.BestCertificate(agent.AMID(), h.clock.now())
			for i := range certificatesPerOwner - 1 {
				c.Serial, c.AMID = fmt.Sprintf("%032x", i), testKey(t, byte(100+i%50)).AMID()
				err = errors.Join(err, tx.AddCertificate(c, h.clock.now()))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		next := testKey(t, 3)
		h.register(next, strictly)
		h.consents(next, strictly, id).want(http.StatusOK)
		h.member(admin, next, id).want(http.StatusTooManyRequests).code(wire.CodeRateLimited)
	}})
}

func testNoResolvers(t *testing.T, at string) {
	h := start(t, at, proving(t, newHub()))
	admin := testKey(t, 1)
	h.register(admin, strictly)
	id, _ := h.claims(admin, "Example", "example.com")
	h.askVerify(admin, id).want(http.StatusServiceUnavailable).code(wire.CodeUnavailable)
}

func TestProofNeedsAKey(t *testing.T) {
	open := func(context.Context) (*db.DB, error) { return nil, nil }
	hubbed := Config{Open: open, Clock: func() time.Time { return noon }}
	proving(t, newHub())(&hubbed)
	hubbed.Issuer = nil
	for name, c := range map[string]Config{"humans": hubbed, "domains": {Open: open, Resolvers: &zone{}}} {
		if _, err := New(c); err == nil {
			t.Errorf("%s without a key", name)
		}
	}
}
