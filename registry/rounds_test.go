package registry

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/organization"
	"amesh/registry/wire"
)

func TestRounds(t *testing.T)             { dbtest.SQLite(t, roundCases) }
func TestWithPostgresRounds(t *testing.T) { dbtest.Postgres(t, roundCases) }

var roundCases = dbtest.Cases{
	"many members lapse and heal in steps": testSteps,
	"a step that failed is done again":     testStepAgain,
	"an organisation has so many members":  testMembersBounded,
}

// fills gives an organisation n members, whose keys it returns.
func (h *harness) fills(admin identity.PrivateKey, id string, n int) (keys []identity.PrivateKey) {
	h.t.Helper()
	o := h.state(id)
	err := h.server.db.Load().Write(h.t.Context(), func(tx *db.Tx) error {
		keys = nil
		a, err := tx.Agent(admin.AMID())
		for i := range n {
			key := testKey(h.t, byte(100+i))
			keys = append(keys, key)
			a.AMID, a.SigningKey = key.AMID(), key.Public()
			err = errors.Join(err, tx.PutAgent(a), tx.Join(a.AMID, id, h.clock.now()))
			_, certified := h.server.certifyMember(tx, o, a, h.clock.now())
			err = errors.Join(err, certified)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return keys
}

// are counts the keys of a tier, and wants so many.
func (h *harness) are(keys []identity.PrivateKey, tier string, want int) {
	h.t.Helper()
	n := 0
	err := h.server.db.Load().View(h.t.Context(), func(tx *db.Tx) error {
		n = 0
		for _, key := range keys {
			a, err := tx.Agent(key.AMID())
			if err != nil {
				return err
			}
			if string(a.Tier) == tier && (a.Organization != nil) == (tier == "organization") {
				n++
			}
		}
		return nil
	})
	if err != nil || n != want {
		h.t.Fatalf("%d of %d are %s, want %d: %v", n, len(keys), tier, want, err)
	}
}

// lapses takes the record away and looks, on two days.
func (h *harness) lapses(id string, z *zone) {
	h.t.Helper()
	z.put(h.state(id).Domain.Name, "gone")
	for range organization.FailedDays {
		h.clock.pass(organization.CheckEvery)
		if err := h.server.checkOrganization(h.t.Context(), h.server.db.Load(), h.state(id)); err != nil {
			h.t.Fatal(err)
		}
	}
	if got := h.state(id).Health.State; got != organization.Lapsed {
		h.t.Fatalf("the organisation is %s", got)
	}
}

func testSteps(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin := testKey(t, 1)
	h.register(admin, strictly)
	id := h.incorporated(admin, z, "Example", "example.com")
	keys := h.fills(admin, id, 2*settleStep+3)
	value, before := h.state(id).Challenge, h.get("/v1/amesh/certificates/"+keys[0].AMID().String()).want(http.StatusOK)
	h.lapses(id, z)
	h.are(keys, "anonymous", settleStep)
	h.sweepNow()
	h.are(keys, "anonymous", len(keys))
	z.put("example.com", value)
	_, value = h.claims(admin, "Example", "example.com")
	z.put("example.com", value)
	h.askVerify(admin, id).want(http.StatusOK).has(object{"verified": true})
	h.are(keys, "organization", settleStep)
	h.sweepNow()
	h.are(keys, "organization", len(keys))
	after := h.get("/v1/amesh/certificates/" + keys[0].AMID().String()).want(http.StatusOK)
	if before.body["serial_number"] == after.body["serial_number"] {
		t.Error("healed with the certificate that was taken back")
	}
	h.sweepNow()
	if again := h.get("/v1/amesh/certificates/" + keys[0].AMID().String()); again.body["serial_number"] != after.body["serial_number"] {
		t.Error("settled twice")
	}
}

func testStepAgain(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin := testKey(t, 1)
	h.register(admin, strictly)
	id := h.incorporated(admin, z, "Example", "example.com")
	keys := h.fills(admin, id, settleStep+3)
	h.lapses(id, z)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.server.settleOrganizations(ended, h.server.db.Load()); err == nil {
		t.Error("a registry that stops says that it is done")
	}
	h.are(keys, "anonymous", settleStep)
	h.sweepNow()
	h.are(keys, "anonymous", len(keys))
}

func testMembersBounded(t *testing.T, at string) {
	h, z, _ := office(t, at)
	admin, agent := testKey(t, 1), testKey(t, 2)
	h.register(admin, strictly)
	h.register(agent, strictly)
	id := h.incorporated(admin, z, "Example", "example.com")
	err := h.server.db.Load().Write(t.Context(), func(tx *db.Tx) error {
		a, err := tx.Agent(admin.AMID())
		for i := range organization.MaxMembers {
			a.AMID = identity.AMID{byte(i), byte(i >> 8), 1}
			err = errors.Join(err, tx.PutAgent(a), tx.Join(a.AMID, id, h.clock.now()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.consents(agent, strictly, id).want(http.StatusOK)
	h.member(admin, agent, id).want(http.StatusConflict).code(wire.CodeConflict)
}
