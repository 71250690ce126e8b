package registry

import (
	"encoding/json"
	"testing"

	"amesh/identity"
	"amesh/registry/db/dbtest"

	"github.com/google/go-cmp/cmp"
	"github.com/mr-tron/base58"
)

// The shape of the 0.2 registry, and beside it keys that other tools read.
func TestDIDDocument(t *testing.T) {
	dbtest.SQLite(t, dbtest.Cases{"": func(t *testing.T, url string) {
		h := start(t, url)
		key := testKey(t, 1)
		amid, did := key.AMID().String(), key.AMID().DID()
		h.get("/v1/registry/did/" + amid).want(404).has(object{"error": "DID not found"})
		h.get("/v1/registry/did/nobody").want(404).has(object{"error": "DID not found"})
		h.register(key, byTimestamp)
		a := h.get("/v1/registry/did/" + amid).want(200)
		if got := a.header.Get("Content-Type"); got != "application/did+ld+json" {
			t.Errorf("Content-Type %q", got)
		}
		public := key.Public()
		multikey := func(codec string, raw []byte) string { return "z" + base58.Encode(append([]byte(codec), raw...)) }
		exchange := make([]byte, 32)
		exchange[0] = 9
		want := object{
			"@context": []any{"https://www.w3.org/ns/did/v1", "https://w3id.org/security/suites/ed25519-2020/v1",
				"https://w3id.org/security/suites/x25519-2020/v1", "https://w3id.org/security/multikey/v1"},
			"id": did, "controller": did, "created": "2026-02-01T12:00:00.001+00:00", "updated": "2026-02-01T12:00:00.001+00:00",
			"authentication": []any{did + "#signing-key", did + "#signing-key-multikey"},
			"keyAgreement":   []any{did + "#key-agreement-key", did + "#key-agreement-key-multikey"},
			"service":        []any{map[string]any{"id": did + "#relay", "type": "AgentMeshRelay", "serviceEndpoint": "wss://relay.example/v1/connect"}},
			"verificationMethod": []any{
				map[string]any{"id": did + "#signing-key", "type": "Ed25519VerificationKey2020", "controller": did,
					"publicKeyMultibase": "zed25519:" + public.Text()},
				map[string]any{"id": did + "#key-agreement-key", "type": "X25519KeyAgreementKey2020", "controller": did,
					"publicKeyMultibase": "zx25519:" + exchangeKey(0)},
				map[string]any{"id": did + "#signing-key-multikey", "type": "Multikey", "controller": did,
					"publicKeyMultibase": multikey("\xed\x01", public[:])},
				map[string]any{"id": did + "#key-agreement-key-multikey", "type": "Multikey", "controller": did,
					"publicKeyMultibase": multikey("\xec\x01", exchange)},
			},
		}
		if diff := cmp.Diff(want, a.body); diff != "" {
			t.Error(diff)
		}
		var doc identity.DIDDocument
		if err := json.Unmarshal([]byte(a.raw), &doc); err != nil {
			t.Fatal(err)
		}
		if got, err := doc.SigningKey(); err != nil || got != public {
			t.Errorf("our own parser: %v", err)
		}
		// The DID of the key is a name of the agent, too.
		h.get("/v1/registry/lookup?amid=did:key:" + multikey("\xed\x01", public[:])).want(200).has(object{"amid": amid})
		h.get("/v1/registry/lookup?amid=did:key:" + multikey("\xec\x01", public[:])).want(400)
	}})
}
