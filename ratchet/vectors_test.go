package ratchet

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The vectors in docs/protocol/vectors: those of handshakes, messages and sessions
// are made by knock's tests, with a second implementation, and obeyed here; those of
// paddings and envelopes are made here. After an intended change of the protocol they
// are written anew as the README beside them says.
var update = flag.Bool("update", false, "write this package's files in docs/protocol/vectors anew")

const vectorFolder = "../docs/protocol/vectors"

// hexBytes are hex digits in JSON; none at all is null.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type vectorsOf[V any] struct {
	About   string `json:"about"`
	Made    string `json:"made"`
	Version int    `json:"version_byte"`
	Vectors []V    `json:"vectors"`
}

func readVectors[V any](t testing.TB, name string) []V {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(vectorFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	var f vectorsOf[V]
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	if f.Version != Version || len(f.Vectors) == 0 {
		t.Fatalf("%s: %d vectors of version %d", name, len(f.Vectors), f.Version)
	}
	return f.Vectors
}

// compareVectors holds the vectors that this code makes against the file.
func compareVectors[V any](t *testing.T, name, about string, made []V) {
	t.Helper()
	raw, err := json.MarshalIndent(vectorsOf[V]{about, "from a list of lengths and prefixes, by go test ./ratchet -update", Version, made}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, '\n')
	path := filepath.Join(vectorFolder, name)
	if *update {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(stored), string(raw)); diff != "" {
		t.Errorf("%s is not what the code makes (-file +made):\n%.2000s", name, diff)
	}
}

// exactly gives the bytes that a vector names as randomness.
func exactly(parts ...[]byte) *bytes.Reader { return bytes.NewReader(bytes.Join(parts, nil)) }

// stateVector is one side in the names of session.md §5.5.
type stateVector struct {
	DHs, DHr, RK, CKs, CKr, HKs, HKr, NHKs, NHKr hexBytes
	Ns, Nr, PN                                   uint32
	Skipped                                      []struct {
		HK    hexBytes
		Count int
		Hash  hexBytes
	}
}

func (v *stateVector) state() state {
	key := func(b hexBytes) (s Secret) { copy(s[:], b); return s }
	s := state{
		dhs: key(v.DHs), rk: key(v.RK), cks: key(v.CKs), ckr: key(v.CKr), hks: key(v.HKs), hkr: key(v.HKr), nhks: key(v.NHKs), nhkr: key(v.NHKr),
		ns: v.Ns, nr: v.Nr, pn: v.PN, sending: v.CKs != nil, receiving: v.CKr != nil,
	}
	s.dhsPublic = s.dhs.Public()
	copy(s.dhr[:], v.DHr)
	return s
}

// matches compares a session with what it is to be, stored keys included.
func (v *stateVector) matches(t *testing.T, when string, s *Session) {
	t.Helper()
	same(t, when, s.state, v.state())
	if len(s.skipped.chains) != len(v.Skipped) {
		t.Errorf("%s: %d chains stored, want %d", when, len(s.skipped.chains), len(v.Skipped))
		return
	}
	for i, c := range s.skipped.chains {
		h := sha256.New()
		for _, k := range c.keys {
			h.Write(binary.BigEndian.AppendUint32(nil, k.number))
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(k.stored)))
			h.Write(k.key[:])
		}
		if want := v.Skipped[i]; !bytes.Equal(c.header[:], want.HK) || len(c.keys) != want.Count || !bytes.Equal(h.Sum(nil), want.Hash) {
			t.Errorf("%s: chain %d has %d keys, and not those of the vector", when, i, len(c.keys))
		}
	}
}

// handshakeVector is what session.md §5 says of one handshake; knock's tests write it.
type handshakeVector struct {
	Name           string
	AExchange      hexBytes `json:"a_exchange_private"`
	EK             hexBytes `json:"EK_private"`
	Ra             hexBytes `json:"Ra_private"`
	RaPrime        hexBytes `json:"Ra_prime_private"`
	Rb             hexBytes `json:"Rb_private"`
	Bundle         hexBytes `json:"b_bundle"` // B's signing key stands in it
	BExchange      hexBytes `json:"b_exchange_private"`
	SPK            hexBytes `json:"b_signed_prekey_private"`
	KEMSeed        hexBytes `json:"b_kem_seed"`
	OneTime        hexBytes `json:"b_one_time_private"`
	PrekeyID       uint32   `json:"signed_prekey_id"`
	KEMKind        uint8    `json:"kem_kind"`
	KEMID          uint32   `json:"kem_id"`
	OneTimeKind    uint8    `json:"one_time_kind"`
	OneTimeID      uint32   `json:"one_time_id"`
	Clear, Request hexBytes
	Nonces0        hexBytes `json:"message_0_nonces"`
	Message0       hexBytes `json:"message_0"`
	Knock          hexBytes
	TailText       hexBytes `json:"tail_plaintext"`
	TailNonces     hexBytes `json:"tail_nonces"`
	Envelope       hexBytes
	KEMKey         hexBytes `json:"kem_key"`
	Ciphertext     hexBytes `json:"kem_ciphertext"`
	BundleID       hexBytes `json:"bundle_id"`
	TH0, SS, SID   hexBytes
	AD             hexBytes
	ABefore        stateVector `json:"A_before_sealing_message_0"`
	BBefore        stateVector `json:"B_before_opening_it"`
	BAfter         stateVector `json:"B_after_opening_it"`
	AAfter         stateVector `json:"A_after_the_first_opened_reply"`
	Answer         hexBytes
	AnswerNonces   hexBytes `json:"answer_nonces"`
	AnswerEnvelope hexBytes `json:"answer_envelope"`
}

func TestVectorsHandshakes(t *testing.T) {
	for _, v := range readVectors[handshakeVector](t, "handshakes.json") {
		t.Run(v.Name, func(t *testing.T) {
			a, b := v.sides(t)
			v.first(t, a, b)
			v.answer(t, a, b)
		})
	}
}

// sides goes as far as the key schedule.
func (v *handshakeVector) sides(t *testing.T) (a, b *Session) {
	t.Helper()
	responder := ResponderKeys{Exchange: Secret(v.BExchange), SignedPrekey: Secret(v.SPK), KEM: KEMSeed(v.KEMSeed)}
	tr := Transcript{
		Clear: v.Clear, SigningKey: Point(v.Bundle[21:53]), Exchange: responder.Exchange.Public(), BundleID: [32]byte(v.BundleID),
		PrekeyID: v.PrekeyID, Prekey: responder.SignedPrekey.Public(), KEMKind: v.KEMKind, KEMID: v.KEMID, KEMKey: responder.KEM.Public(),
		OneTimeKind: v.OneTimeKind, OneTimeID: v.OneTimeID,
	}
	if v.OneTime != nil {
		s := Secret(v.OneTime)
		p := s.Public()
		responder.OneTime, tr.OneTime = &s, &p
	}
	th0 := TranscriptHash(tr)
	if !bytes.Equal(th0[:], v.TH0) || !bytes.Equal(tr.KEMKey, v.KEMKey) {
		t.Fatalf("th0 %x, want %x", th0, v.TH0)
	}
	exchange, ek := Secret(v.AExchange), Secret(v.EK)
	offer := &Offer{ek: ek, public: ek.Public(), shared: Secret(v.SS), ciphertext: v.Ciphertext}
	a, err := offer.Initiate(exactly(v.Ra), InitiatorKeys{exchange, tr.Exchange, tr.Prekey, tr.OneTime}, th0)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = Respond(responder, exchange.Public(), ek.Public(), v.Ciphertext, th0); err != nil {
		t.Fatal(err)
	}
	v.ABefore.matches(t, "A before sealing message 0", a)
	v.BBefore.matches(t, "B before opening it", b)
	if a.SID() != [16]byte(v.SID) || b.SID() != a.SID() {
		t.Errorf("sid %x and %x, want %x", a.SID(), b.SID(), v.SID)
	}
	return a, b
}

// first is message 0 and what binds the session.
func (v *handshakeVector) first(t *testing.T, a, b *Session) {
	t.Helper()
	m0, err := a.SealFirst(exactly(v.Nonces0), v.Request)
	if err != nil || !bytes.Equal(m0, v.Message0) {
		t.Fatalf("message 0 differs: %v", err)
	}
	if o, err := b.OpenFirst(noon, exactly(v.Rb), m0); err != nil || !bytes.Equal(o.Plaintext, v.Request) {
		t.Fatalf("message 0: %q, %v", o.Plaintext, err)
	}
	v.BAfter.matches(t, "B after opening it", b)
	if err := errors.Join(a.Bind(v.Knock), b.Bind(v.Knock)); err != nil || !bytes.Equal(a.ad[:], v.AD) || a.ad != b.ad {
		t.Fatalf("AD %x, want %x: %v", a.ad, v.AD, err)
	}
	if v.TailText == nil {
		return
	}
	tail, _, err := a.Seal(exactly(v.TailNonces), v.TailText)
	if err != nil || !bytes.Equal(tail, v.Envelope[len(v.Knock):]) {
		t.Fatalf("tail differs: %v", err)
	}
}

func (v *handshakeVector) answer(t *testing.T, a, b *Session) {
	t.Helper()
	answer, _, err := b.Seal(exactly(v.AnswerNonces), v.Answer)
	if err != nil || !bytes.Equal(answer, v.AnswerEnvelope) {
		t.Fatalf("answer differs: %v", err)
	}
	if o, err := a.Open(noon, exactly(v.RaPrime), answer); err != nil || !bytes.Equal(o.Plaintext, v.Answer) || !o.NewChain {
		t.Fatalf("answer: %q, %v", o.Plaintext, err)
	}
	v.AAfter.matches(t, "A after the first opened reply", a)
}

func TestVectorsMessages(t *testing.T) {
	type vector struct {
		Name              string
		Type              Type
		HKs, CKs, DHs, AD hexBytes
		PN, N             uint32
		Plaintext         hexBytes
		ThenZeros         int `json:"then_zeros"`
		Nonces            hexBytes
		MessageKey        hexBytes `json:"message_key"`
		NextCKs           hexBytes `json:"CKs_after"`
		Header, EH        hexBytes
		Padded            int `json:"padded_length"`
		Envelope          hexBytes
		Hash              hexBytes `json:"envelope_hash"`
		EnvelopeID        ID       `json:"envelope_id"`
	}
	for _, v := range readVectors[vector](t, "messages.json") {
		text := append(bytes.Clone(v.Plaintext), make([]byte, v.ThenZeros)...)
		s := &Session{state: state{dhs: Secret(v.DHs), cks: Secret(v.CKs), hks: Secret(v.HKs), pn: v.PN, ns: v.N, sending: true}, stage: stageBound}
		s.dhsPublic = s.dhs.Public()
		env, n, err := s.seal(exactly(v.Nonces), v.Type, [32]byte(v.AD), text)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		sum := sha256.Sum256(env)
		if !bytes.Equal(sum[:], v.Hash) || EnvelopeID(env) != v.EnvelopeID || v.Envelope != nil && !bytes.Equal(env, v.Envelope) {
			t.Errorf("%s: sealed to something else", v.Name)
		}
		if n != v.N || s.ns != v.N+1 || s.cks != Secret(v.NextCKs) || PaddedSize(len(text)) != v.Padded || !bytes.Equal(env[6:88], v.EH) {
			t.Errorf("%s: number, chain key, padding or sealed header differ", v.Name)
		}
		hk, mk := Secret(v.HKs), Secret(v.MessageKey)
		if h, ok := openBox(nil, env[6:88], &hk, env[:6]); !ok || !bytes.Equal(h, v.Header) {
			t.Errorf("%s: header %x, want %x", v.Name, h, v.Header)
		}
		padded, ok := openBox(nil, env[88:], &mk, bodyAD([32]byte(v.AD), env))
		if !ok {
			t.Errorf("%s: body does not open", v.Name)
			continue
		}
		if p, err := unpad(padded); err != nil || !bytes.Equal(p, text) {
			t.Errorf("%s: another plaintext, %v", v.Name, err)
		}
	}
}

// sessionStep is what happens in a recorded session; knock's tests say how it is
// written.
type sessionStep struct {
	Op, By     string
	Count      int
	Plaintext  hexBytes
	Nonces     hexBytes
	Envelope   hexBytes
	EnvelopeID ID   `json:"envelope_id"`
	Of         *int `json:"of_step"`
	At         int64
	RatchetKey hexBytes `json:"ratchet_key"`
	Error      string
	N          uint32
	NewChain   bool `json:"new_chain"`
}

func TestVectorsSessions(t *testing.T) {
	type vector struct {
		Name       string
		AD         hexBytes
		Start, End map[string]stateVector
		Steps      []sessionStep
	}
	for _, v := range readVectors[vector](t, "sessions.json") {
		t.Run(v.Name, func(t *testing.T) {
			ends := make(map[string]*Session)
			for who, s := range v.Start {
				ends[who] = &Session{state: s.state(), ad: [32]byte(v.AD), stage: stageBound}
			}
			for i, step := range v.Steps {
				if step.Of != nil {
					step.Envelope = v.Steps[*step.Of].Envelope
				}
				s := ends[step.By]
				before := image(t, s)
				if err := step.replay(s); err != nil {
					t.Fatalf("step %d, %s by %s: %v", i, step.Op, step.By, err)
				}
				if step.Error != "" && !bytes.Equal(before, image(t, s)) {
					t.Fatalf("step %d: refused, and the session changed", i)
				}
			}
			for who, want := range v.End {
				want.matches(t, who+" at the end", ends[who])
			}
		})
	}
}

func (step *sessionStep) replay(s *Session) error {
	switch step.Op {
	case "lose":
		for range step.Count {
			if _, _, err := s.Seal(exactly(make([]byte, 48)), nil); err != nil {
				return err
			}
		}
	case "seal":
		env, n, err := s.Seal(exactly(step.Nonces), step.Plaintext)
		if err != nil || !bytes.Equal(env, step.Envelope) || n != step.N || EnvelopeID(env) != step.EnvelopeID {
			return errors.Join(errors.New("sealed differently"), err)
		}
	case "open":
		fresh := exactly(step.RatchetKey)
		if step.Error != "" {
			fresh = exactly(make([]byte, 32)) // a forgery may cost a ratchet key that is thrown away
		}
		o, err := s.Open(time.Unix(step.At, 0), fresh, step.Envelope)
		if step.Error != "" {
			if err == nil || errorCode(err) != step.Error {
				return errors.Join(errors.New("want "+step.Error), err)
			}
			return nil
		}
		if err != nil || !bytes.Equal(o.Plaintext, step.Plaintext) || o.Number != step.N || o.NewChain != step.NewChain || fresh.Len() != 0 {
			return errors.Join(errors.New("opened differently"), err)
		}
	default:
		return errors.New("unknown step")
	}
	return nil
}

// errorCode is the word of session.md §13 for an error.
func errorCode(err error) string {
	for _, e := range []error{ErrMalformed, ErrLegacy, ErrUnsupported, ErrKey, ErrLowOrder, ErrKEM, ErrDecrypt, ErrDuplicate, ErrSkipLimit} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return ""
}

func TestVectorsPadding(t *testing.T) {
	type vector struct {
		Name   string `json:"name"`
		Length int    `json:"plaintext_length"`
		Padded int    `json:"padded_length"` // 0: too long
	}
	var made []vector
	for n, last := 0, 0; n <= MaxPlaintext+1; n++ {
		size := PaddedSize(n)
		if size != last && n > 0 {
			made = append(made, vector{"last of its size", n - 1, PaddedSize(n - 1)})
		}
		if size != last {
			name := "first of its size"
			if size == 0 {
				name = "too long"
			}
			made, last = append(made, vector{name, n, size}), size
		}
	}
	compareVectors(t, "padding.json", "Lengths of plaintexts and of what they are padded to (session.md §4.3): the first and the last of every size.", made)
}

func TestVectorsBadPadding(t *testing.T) {
	type vector struct {
		Name   string   `json:"name"`
		Padded hexBytes `json:"padded"`
		Zeros  int      `json:"then_zeros"`
		Error  string   `json:"error,omitempty"`
	}
	const malformed = "malformed"
	made := []vector{
		{"two bytes", []byte{0, 0, 0, 2, 'h', 'i'}, 250, ""},
		{"nothing", []byte{0, 0, 0, 0}, 252, ""},
		{"as much as fits", append([]byte{0, 0, 0, 252}, bytes.Repeat([]byte{1}, 252)...), 0, ""},
		{"first of the next size", append([]byte{0, 0, 0, 253}, bytes.Repeat([]byte{1}, 253)...), 255, ""},
		{"larger than needed", []byte{0, 0, 0, 2, 'h', 'i'}, 506, malformed},
		{"much larger than needed", []byte{0, 0, 0, 2, 'h', 'i'}, 45050, malformed},
		{"no size of the list", []byte{0, 0, 0, 2, 'h', 'i'}, 251, malformed},
		{"length one too many", append([]byte{0, 0, 0, 253}, bytes.Repeat([]byte{1}, 252)...), 0, malformed},
		{"length of 4 GiB", []byte{0xFF, 0xFF, 0xFF, 0xFF}, 252, malformed},
		{"first byte of padding", []byte{0, 0, 0, 2, 'h', 'i', 1}, 249, malformed},
		{"length too short by one", []byte{0, 0, 0, 1, 'h', 'i'}, 250, malformed},
	}
	last := append([]byte{0, 0, 0, 2, 'h', 'i'}, make([]byte, 250)...)
	last[255] = 1
	made = append(made, vector{"last byte of padding", last, 0, malformed})
	compareVectors(t, "paddings_refused.json", "Padded plaintexts as they come out of a body that verified: taken, or malformed (session.md §4.3).", made)
	for _, v := range made {
		if _, err := unpad(append(bytes.Clone(v.Padded), make([]byte, v.Zeros)...)); errorCode(err) != v.Error || err != nil && v.Error == "" {
			t.Errorf("%s: got %v, want %q", v.Name, err, v.Error)
		}
	}
}

func TestVectorsEnvelopes(t *testing.T) {
	type vector struct {
		Name     string   `json:"name"`
		Envelope hexBytes `json:"envelope"`
		Zeros    int      `json:"then_zeros,omitempty"`
		Type     Type     `json:"type,omitempty"`
		Error    string   `json:"error,omitempty"`
		ID       ID       `json:"envelope_id"`
	}
	made := []vector{
		{Name: "knock", Envelope: []byte{0xA3, 'm', 's', 'h', Version, 1}, Type: TypeKnock},
		{Name: "ratchet message", Envelope: []byte{0xA3, 'm', 's', 'h', Version, 2, 1, 2, 3}, Type: TypeMessage},
		{Name: "renew", Envelope: []byte{0xA3, 'm', 's', 'h', Version, 4}, Type: TypeRenew},
		{Name: "longest", Envelope: []byte{0xA3, 'm', 's', 'h', Version, 2}, Zeros: MaxEnvelope - 6, Type: TypeMessage},
		{Name: "message 0 alone", Envelope: []byte{0xA3, 'm', 's', 'h', Version, 3}, Error: "malformed"},
		{Name: "a byte too long", Envelope: []byte{0xA3, 'm', 's', 'h', Version, 2}, Zeros: MaxEnvelope - 5, Error: "malformed"},
		{Name: "magic only", Envelope: []byte{0xA3, 'm', 's', 'h'}, Error: "malformed"},
		{Name: "without a type", Envelope: []byte{0xA3, 'm', 's', 'h', Version}, Error: "malformed"},
		{Name: "type 0", Envelope: []byte{0xA3, 'm', 's', 'h', Version, 0}, Error: "unsupported"},
		{Name: "type 5", Envelope: []byte{0xA3, 'm', 's', 'h', Version, 5}, Error: "unsupported"},
		{Name: "next version", Envelope: []byte{0xA3, 'm', 's', 'h', Version + 1, 2}, Error: "unsupported"},
		{Name: "version 255", Envelope: []byte{0xA3, 'm', 's', 'h', 255, 2}, Error: "unsupported"},
		{Name: "empty", Envelope: []byte{}, Error: "legacy"},
		{Name: "three bytes of the magic", Envelope: []byte{0xA3, 'm', 's'}, Error: "legacy"},
		{Name: "almost the magic", Envelope: []byte{0xA3, 'm', 's', 'g', Version, 2}, Error: "legacy"},
		{Name: "JSON of an SDK", Envelope: []byte(`{"type":"KNOCK"}`), Error: "legacy"},
	}
	for i := range made {
		raw := append(bytes.Clone(made[i].Envelope), make([]byte, made[i].Zeros)...)
		made[i].ID = EnvelopeID(raw)
		got, err := ParsePrefix(raw)
		if got != made[i].Type || errorCode(err) != made[i].Error || err != nil && made[i].Error == "" {
			t.Errorf("%s: got %d, %v, want %d, %q", made[i].Name, got, err, made[i].Type, made[i].Error)
		}
	}
	compareVectors(t, "envelopes.json", "First bytes of envelopes (session.md §4.1): the type, or why it is none; and envelope ids (§4.2).", made)
}
