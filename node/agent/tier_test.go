package agent

import (
	"bytes"
	"testing"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/knock"
	"amesh/node/api"
)

// What a stranger's certificate proves is judged for the key that signed the knock; what
// it merely says counts for nothing.
func TestStrangersProveTheirTier(t *testing.T) {
	const proof = "proof of "
	for _, c := range []struct {
		name    string
		shows   func(ann *person) []byte
		minimum string
		state   api.State
		tier    string
	}{
		{"proved", func(ann *person) []byte { return append([]byte(proof), ann.key.AMID().String()...) }, "verified", api.StateDelivered, "verified"},
		{"not enough", func(ann *person) []byte { return append([]byte(proof), ann.key.AMID().String()...) }, "organization", api.StateRefused, "verified"},
		{"somebody else's", func(*person) []byte { return []byte(proof + "carol") }, "verified", api.StateRefused, "anonymous"},
		{"nothing", func(*person) []byte { return nil }, "verified", api.StateRefused, "anonymous"},
		{"nothing wanted", func(*person) []byte { return nil }, "anonymous", api.StateDelivered, "anonymous"},
		{"too long for a knock", func(*person) []byte { return make([]byte, content.MaxTierCertificate+1) }, "anonymous", api.StateDelivered, "anonymous"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.prove = func(raw []byte, key identity.PublicKey) knock.Tier {
				if bytes.Equal(raw, append([]byte(proof), key.AMID().String()...)) {
					return knock.Verified
				}
				return knock.Anonymous
			}
			ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
			shown := c.shows(ann)
			ann.tierProof.Store(&shown)
			bob.rule(t, "min_tier", c.minimum)
			m := w.send(ann, bob, "hello", api.StateDelivered)
			if m.State != c.state {
				t.Errorf("the message is %s (%s), want %s", m.State, m.Reason, c.state)
			}
			knocks, err := bob.Knocks()
			if err != nil || len(knocks) != 1 || knocks[0].Tier != c.tier {
				t.Errorf("bob's owner sees %+v, %v", knocks, err)
			}
		})
	}
}

// A knock that waits for the owner is not refused by a change of the policy that has
// nothing to do with it.
func TestPendingKnockKeepsItsTier(t *testing.T) {
	w := newWorld(t)
	w.prove = func([]byte, identity.PublicKey) knock.Tier { return knock.Organization }
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	raw := []byte("certificate")
	ann.tierProof.Store(&raw)
	bob.rule(t, "min_tier", "verified")
	w.send(ann, bob, "please", api.StateAccepted)
	id := waitForKnock(t, bob)
	bob.rule(t, "knocks_per_minute", "7")
	bob.PolicyChanged()
	for range 2 { // the second has its turn when the policy was looked at
		onClerk(t, bob, ann.AMID(), func(*clerk) error { return nil })
	}
	if _, err := bob.Decide(t.Context(), id, true, api.DecideRequest{}); err != nil {
		t.Error(err)
	}
}
