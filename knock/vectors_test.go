package knock

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/ratchet"
)

// The knock in testdata was made once and is kept, because the KEM's randomness
// cannot be chosen. It must open for ever, to the same values. After an intended
// change of the protocol: go test ./knock -run TestStoredKnock -update
var update = flag.Bool("update", false, "write testdata/knock.json anew")

const vectorFile = "testdata/knock.json"

type storedKnock struct {
	Bundle     string           `json:"b_bundle"`
	Exchange   string           `json:"b_exchange_private"`
	Prekey     string           `json:"b_signed_prekey_private"`
	KEM        string           `json:"b_kem_seed"`
	OneTime    string           `json:"b_one_time_private"`
	Knock      string           `json:"knock"`
	EnvelopeID ratchet.ID       `json:"envelope_id"`
	Hash       string           `json:"knock_hash"`
	TH0        string           `json:"th0"`
	SID        string           `json:"sid"`
	Tail       string           `json:"tail_plaintext"`
	Request    *content.Request `json:"request"`
}

func makeStoredKnock(t *testing.T) storedKnock {
	t.Helper()
	a, b := newAgent(t, "a"), newAgent(t, "b")
	asked := a.knockAt(t, b, true)
	env, err := asked.WithTail(seeded("tail"), []byte("first message"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := b.answered(env)
	if err != nil {
		t.Fatal(err)
	}
	sid := asked.Session.SID()
	return storedKnock{
		Bundle: hex.EncodeToString(b.bundle.Raw()), Exchange: hex.EncodeToString(b.exchange[:]),
		Prekey: hex.EncodeToString(b.prekey[:]), KEM: hex.EncodeToString(b.oneKEM[:]), OneTime: hex.EncodeToString(b.oneTime[:]),
		Knock: hex.EncodeToString(env), EnvelopeID: ratchet.EnvelopeID(env), Hash: hex.EncodeToString(asked.Hash[:]),
		TH0: hex.EncodeToString(opened.ReplayKey[:]), SID: hex.EncodeToString(sid[:]), Tail: "first message", Request: opened.Request,
	}
}

func TestStoredKnock(t *testing.T) {
	if *update {
		raw, err := json.MarshalIndent(makeStoredKnock(t), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorFile, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v storedKnock
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	bundle, err := identity.ParseBundle(unhex(t, v.Bundle))
	if err != nil {
		t.Fatal(err)
	}
	oneTime := ratchet.Secret(unhex(t, v.OneTime))
	k := parsed(t, unhex(t, v.Knock))
	if err := k.VerifySignature(); err != nil {
		t.Fatal(err)
	}
	opened, err := k.Open(ResponderKeys{
		Bundle: bundle, Exchange: ratchet.Secret(unhex(t, v.Exchange)), SignedPrekey: ratchet.Secret(unhex(t, v.Prekey)),
		KEM: ratchet.KEMSeed(unhex(t, v.KEM)), OneTime: &oneTime,
	}, noon, seeded("another Rb"))
	if err != nil {
		t.Fatal(err)
	}
	hash, sid := k.Hash(), opened.Session.SID()
	for name, c := range map[string][2]string{
		"envelope id": {k.EnvelopeID().String(), v.EnvelopeID.String()},
		"knock hash":  {hex.EncodeToString(hash[:]), v.Hash},
		"th0":         {hex.EncodeToString(opened.ReplayKey[:]), v.TH0},
		"sid":         {hex.EncodeToString(sid[:]), v.SID},
		"intent":      {opened.Request.Intent, v.Request.Intent},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: got %s, want %s", name, c[0], c[1])
		}
	}
	if o, err := opened.Session.Open(noon, seeded("x"), k.Tail); err != nil || string(o.Plaintext) != v.Tail {
		t.Errorf("tail: %q, %v", o.Plaintext, err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
