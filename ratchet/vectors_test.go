package ratchet

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The known answers in testdata come from fixed inputs and a fixed source of
// randomness. After an intended change of the protocol they are written anew
// with: go test ./ratchet -run TestVectors -update
var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorFile = "testdata/vectors.json"

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// vector is one handshake with the messages after it, and everything on the way.
type vector struct {
	Name string `json:"name"`

	// Inputs.
	AExchange   hexBytes `json:"a_exchange_private"`
	BExchange   hexBytes `json:"b_exchange_private"`
	BPrekey     hexBytes `json:"b_signed_prekey_private"`
	BKEM        hexBytes `json:"b_kem_seed"`
	BOneTime    hexBytes `json:"b_one_time_private,omitempty"`
	EK          hexBytes `json:"ek_private"`
	Ciphertext  hexBytes `json:"kem_ciphertext"`
	Clear       hexBytes `json:"clear"`
	Knock       hexBytes `json:"knock"`
	PrekeyID    uint32   `json:"signed_prekey_id"`
	KEMID       uint32   `json:"kem_id"`
	OneTimeID   uint32   `json:"one_time_id"`
	Ra          hexBytes `json:"ra_private"`
	Rb          hexBytes `json:"rb_private"`
	RaPrime     hexBytes `json:"ra_prime_private"`
	FirstPlain  hexBytes `json:"message_0_plaintext"`
	AnswerPlain hexBytes `json:"answer_plaintext"`
	SecondPlain hexBytes `json:"second_plaintext"`

	// On the way.
	TH0  hexBytes   `json:"th0"`
	DHs  []hexBytes `json:"dh"`
	SS   hexBytes   `json:"kem_secret"`
	RK   hexBytes   `json:"rk"`
	HKA  hexBytes   `json:"hk_a"`
	NHKB hexBytes   `json:"nhk_b"`
	SID  hexBytes   `json:"sid"`
	RK1  hexBytes   `json:"rk1"`
	CK1  hexBytes   `json:"ck1"`
	NHK1 hexBytes   `json:"nhk1"`
	MK0  hexBytes   `json:"message_0_key"`
	RK2  hexBytes   `json:"rk2"`
	CK2  hexBytes   `json:"ck2"`
	NHK2 hexBytes   `json:"nhk2"`
	RK3  hexBytes   `json:"rk3"`
	CK3  hexBytes   `json:"ck3"`
	NHK3 hexBytes   `json:"nhk3"`
	AD   hexBytes   `json:"ad"`

	// What travels.
	First    hexBytes `json:"message_0"`
	Answer   hexBytes `json:"answer"`
	Second   hexBytes `json:"second"`
	SecondID ID       `json:"second_envelope_id"`
}

func TestVectors(t *testing.T) {
	got := []vector{
		makeVector(t, "with one-time key", true),
		makeVector(t, "without one-time key", false),
	}
	if *update {
		raw, err := json.MarshalIndent(got, "", " ")
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
	var want []vector
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("known answers changed (-want +got):\n%s", diff)
	}
}

func makeVector(t *testing.T, name string, oneTime bool) vector {
	r := seeded("vector " + name)
	p := newParties(t, r, oneTime)
	th0 := TranscriptHash(p.transcript)
	v := vector{
		Name: name, AExchange: p.a[:], BExchange: p.b.Exchange[:], BPrekey: p.b.SignedPrekey[:], BKEM: p.b.KEM[:],
		EK: p.offer.ek[:], Ciphertext: p.offer.ciphertext, Clear: p.transcript.Clear, Knock: []byte("the knock without its tail"),
		PrekeyID: p.transcript.PrekeyID, KEMID: p.transcript.KEMID, OneTimeID: p.transcript.OneTimeID,
		FirstPlain: []byte("a request"), AnswerPlain: []byte("an answer"), SecondPlain: []byte("a message"),
		TH0: th0[:], SS: p.offer.shared[:],
	}
	dh := func(s Secret, k Point) { d := mustDH(t, s, k); v.DHs = append(v.DHs, d[:]) }
	dh(p.a, p.transcript.Prekey)
	dh(p.offer.ek, p.transcript.Exchange)
	dh(p.offer.ek, p.transcript.Prekey)
	if oneTime {
		v.BOneTime = p.b.OneTime[:]
		dh(p.offer.ek, *p.transcript.OneTime)
	}
	p.walk(t, &v)
	return v
}

// walk talks once around and writes down the states between.
func (p *parties) walk(t *testing.T, v *vector) {
	r := seeded("nonces and ratchet keys of " + v.Name)
	a, b := p.initiate(t, r), p.respond(t)
	sid, b0, a0 := a.SID(), b.state, a.state
	v.RK, v.HKA, v.NHKB, v.SID = b0.rk[:], b0.nhkr[:], b0.nhks[:], sid[:]
	mk, _ := chainStep(a0.cks)
	v.Ra, v.RK1, v.CK1, v.NHK1, v.MK0 = a0.dhs[:], a0.rk[:], a0.cks[:], a0.nhks[:], mk[:]

	var err error
	if v.First, err = a.SealFirst(r, v.FirstPlain); err != nil {
		t.Fatal(err)
	}
	if o, err := b.OpenFirst(noon, r, v.First); err != nil || string(o.Plaintext) != string(v.FirstPlain) {
		t.Fatalf("message 0: %q, %v", o.Plaintext, err)
	}
	for _, s := range []*Session{a, b} {
		if err := s.Bind(v.Knock); err != nil {
			t.Fatal(err)
		}
	}
	b1 := b.state
	v.Rb, v.RK2, v.CK2, v.NHK2, v.AD = b1.dhs[:], b1.rk[:], b1.cks[:], b1.nhks[:], a.ad[:]
	v.Answer = seal(t, b, r, string(v.AnswerPlain))
	open(t, a, r, v.Answer, string(v.AnswerPlain))
	a1 := a.state
	v.RaPrime, v.RK3, v.CK3, v.NHK3 = a1.dhs[:], a1.rk[:], a1.cks[:], a1.nhks[:]
	v.Second = seal(t, a, r, string(v.SecondPlain))
	open(t, b, r, v.Second, string(v.SecondPlain))
	v.SecondID = EnvelopeID(v.Second)
}

// The stored bytes alone open on B's side: what another implementation would do
// with the file.
func TestVectorsOpen(t *testing.T) {
	raw, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		keys := ResponderKeys{Exchange: Secret(v.BExchange), SignedPrekey: Secret(v.BPrekey), KEM: KEMSeed(v.BKEM)}
		if v.BOneTime != nil {
			k := Secret(v.BOneTime)
			keys.OneTime = &k
		}
		b, err := Respond(keys, Secret(v.AExchange).Public(), Secret(v.EK).Public(), v.Ciphertext, [32]byte(v.TH0))
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		o, err := b.OpenFirst(noon, seeded("another Rb"), v.First)
		if err != nil || string(o.Plaintext) != string(v.FirstPlain) {
			t.Errorf("%s: message 0: %q, %v", v.Name, o.Plaintext, err)
		}
	}
}
