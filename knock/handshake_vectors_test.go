package knock

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/ratchet"
)

// handshake is one knock with its answer and everything on the way. Names are those
// of session.md §5.
type handshake struct {
	Name string `json:"name"`

	// A's keys.
	ASigning     hexBytes `json:"a_signing_seed"`
	AExchange    hexBytes `json:"a_exchange_private"`
	ACertificate hexBytes `json:"a_key_certificate"`
	EK           hexBytes `json:"EK_private"`
	Randomness   hexBytes `json:"kem_randomness"` // m of ML-KEM.Encaps
	Ra           hexBytes `json:"Ra_private"`
	RaNext       hexBytes `json:"Ra_prime_private"`

	// B's keys, and what it published.
	BSigning  hexBytes `json:"b_signing_seed"`
	BExchange hexBytes `json:"b_exchange_private"`
	SPK       hexBytes `json:"b_signed_prekey_private"`
	KEMSeed   hexBytes `json:"b_kem_seed"` // d ‖ z of the KEM key that is used
	OneTime   hexBytes `json:"b_one_time_private"`
	Bundle    hexBytes `json:"b_bundle"`
	Rb        hexBytes `json:"Rb_private"`

	// The knock.
	Epoch       uint32   `json:"epoch"`
	PrekeyID    uint32   `json:"signed_prekey_id"`
	KEMKind     uint8    `json:"kem_kind"`
	KEMID       uint32   `json:"kem_id"`
	OneTimeKind uint8    `json:"one_time_kind"`
	OneTimeID   uint32   `json:"one_time_id"`
	Issued      int64    `json:"issued"`
	Expires     int64    `json:"expires"`
	Request     hexBytes `json:"request"` // the plaintext of message 0
	Nonces0     hexBytes `json:"message_0_nonces"`
	Clear       hexBytes `json:"clear"`
	Message0    hexBytes `json:"message_0"`
	Knock       hexBytes `json:"knock"` // knock bytes
	KnockHash   hexBytes `json:"knock_hash"`
	TailText    hexBytes `json:"tail_plaintext"`
	TailNonces  hexBytes `json:"tail_nonces"`
	Envelope    hexBytes `json:"envelope"` // knock bytes ‖ tail
	EnvelopeID  hexBytes `json:"envelope_id"`

	// Transcript and key schedule, §5.3 and §5.4.
	KEMKey     hexBytes `json:"kem_key"`
	Ciphertext hexBytes `json:"kem_ciphertext"`
	BundleID   hexBytes `json:"bundle_id"`
	TH0        hexBytes `json:"th0"`
	DH1        hexBytes `json:"DH1"`
	DH2        hexBytes `json:"DH2"`
	DH3        hexBytes `json:"DH3"`
	DH4        hexBytes `json:"DH4"`
	SS         hexBytes `json:"SS"`
	RK         hexBytes `json:"RK"`
	HKA        hexBytes `json:"HK_A"`
	NHKB       hexBytes `json:"NHK_B"`
	SID        hexBytes `json:"sid"`
	AD         hexBytes `json:"AD"` // of all messages after message 0

	// The table of §5.5, column by column.
	ABefore *modelState `json:"A_before_sealing_message_0"`
	BBefore *modelState `json:"B_before_opening_it"`
	BAfter  *modelState `json:"B_after_opening_it"`
	AAfter  *modelState `json:"A_after_the_first_opened_reply"`

	// B's first answer, in answer to the knock.
	Answer         hexBytes `json:"answer"` // the plaintext: an accept
	AnswerNonces   hexBytes `json:"answer_nonces"`
	AnswerEnvelope hexBytes `json:"answer_envelope"`
}

// shapes are the knocks that there are.
var shapes = []struct {
	name                  string
	oneTime, oneKEM, tail bool
}{
	{"no one-time keys", false, false, false},
	{"no one-time keys, tail", false, false, true},
	{"one-time X25519 key", true, false, false},
	{"one-time X25519 key, tail", true, false, true},
	{"one-time KEM key", false, true, false},
	{"one-time KEM key, tail", false, true, true},
	{"both one-time keys", true, true, false},
	{"both one-time keys, tail", true, true, true},
}

func TestVectorsHandshakes(t *testing.T) {
	var made []*handshake
	for _, s := range shapes {
		h := newHandshake(t, s.name, s.oneTime, s.oneKEM)
		h.ask(t, s.tail)
		h.answer(t)
		made = append(made, h)
	}
	for _, h := range compare(t, "handshakes.json", "Knocks with their first answer: every key, the transcript, the key schedule, the start-up table (session.md §5).", made) {
		t.Run(h.Name, func(t *testing.T) { h.check(t) })
	}
}

// newHandshake are the keys of both sides.
func newHandshake(t *testing.T, name string, oneTime, oneKEM bool) *handshake {
	t.Helper()
	r := seeded("handshake: " + name)
	h := &handshake{
		Name: name, Epoch: 3, PrekeyID: 7, KEMKind: 2, KEMID: 8, Issued: noon.Unix(), Expires: noon.Unix() + 168*3600,
		ASigning: take(t, r, 32), AExchange: take(t, r, 32), EK: take(t, r, 32), Randomness: take(t, r, 32), Ra: take(t, r, 32), RaNext: take(t, r, 32),
		BSigning: take(t, r, 32), BExchange: take(t, r, 32), SPK: take(t, r, 32), Rb: take(t, r, 32),
		Nonces0: take(t, r, 48), AnswerNonces: take(t, r, 48),
	}
	lastResort := take(t, r, 64)
	h.KEMSeed = lastResort
	if oneKEM {
		h.KEMKind, h.KEMID, h.KEMSeed = 3, 20, take(t, r, 64)
	}
	if oneTime {
		h.OneTimeKind, h.OneTimeID, h.OneTime = 4, 0, take(t, r, 32) // 0 is a legal id
	}
	h.KEMKey, h.SS, h.Ciphertext = modelEncapsulate(t, h.KEMSeed, h.Randomness)
	lastResortKey, _, _ := modelEncapsulate(t, lastResort, h.Randomness)
	a, b := signer(t, h.ASigning), signer(t, h.BSigning)
	h.ACertificate = mustSign(t)(identity.SignKeyCertificate(a, identity.KeyCertificate{
		Exchange: [32]byte(modelPublic(h.AExchange)), Epoch: h.Epoch, Created: noon, Expires: noon.AddDate(1, 0, 0),
	}))
	h.Bundle = mustSign(t)(identity.SignBundle(b, identity.Bundle{
		Epoch: 1, Sequence: 5, Created: noon, Expires: noon.Add(identity.BundleLife),
		Certificate:    identity.KeyCertificate{Exchange: [32]byte(modelPublic(h.BExchange)), Created: noon, Expires: noon.AddDate(1, 0, 0)},
		SignedPrekeyID: h.PrekeyID, SignedPrekey: [32]byte(modelPublic(h.SPK)), KEMKeyID: 8, KEMKey: lastResortKey,
	}))
	h.BundleID = modelHash(h.Bundle[:len(h.Bundle)-64])
	return h
}

func signer(t testing.TB, seed []byte) identity.PrivateKey {
	t.Helper()
	k, err := identity.PrivateKeyFromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustSign(t testing.TB) func([]byte, error) hexBytes {
	return func(b []byte, err error) hexBytes {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// ask is A's side up to the knock: §5.2 to §5.4 and the first column of §5.5.
func (h *handshake) ask(t *testing.T, tail bool) {
	t.Helper()
	a, b := signer(t, h.ASigning).Public(), signer(t, h.BSigning).Public()
	from, to := a.AMID(), b.AMID()
	ek, spk, exchange := modelPublic(h.EK), modelPublic(h.SPK), modelPublic(h.BExchange)
	var oneTime []byte
	if h.OneTime != nil {
		oneTime = modelPublic(h.OneTime)
	}
	h.Clear = slices.Concat(
		modelPrefix(1), []byte{2}, u32(h.Epoch), from[:], to[:], a[:], h.ACertificate, ek, h.Ciphertext,
		u32(h.PrekeyID), []byte{h.KEMKind}, u32(h.KEMID), []byte{h.OneTimeKind}, u32(h.OneTimeID), h.BundleID, i64(h.Issued), i64(h.Expires))
	h.TH0 = modelHash(
		[]byte("amesh/session/1 transcript\x00"), lp(h.Clear), lp(b[:]), lp(exchange), lp(h.BundleID),
		[]byte{1}, u32(h.PrekeyID), lp(spk), []byte{h.KEMKind}, u32(h.KEMID), lp(h.KEMKey), []byte{h.OneTimeKind}, u32(h.OneTimeID), lp(oneTime))
	h.DH1, h.DH2, h.DH3 = modelDH(h.AExchange, spk), modelDH(h.EK, exchange), modelDH(h.EK, spk)
	if oneTime != nil {
		h.DH4 = modelDH(h.EK, oneTime)
	}
	ikm := slices.Concat(bytes.Repeat([]byte{0xFF}, 32), h.DH1, h.DH2, h.DH3, h.DH4, h.SS)
	out := modelHKDF(make([]byte, 32), ikm, "amesh/session/1 handshake\x00"+string(h.TH0), 112)
	h.RK, h.HKA, h.NHKB, h.SID = out[:32], out[32:64], out[64:96], out[96:]

	rk1, ck1, nhk1 := modelRoot(h.RK, modelDH(h.Ra, spk))
	h.ABefore = &modelState{DHs: h.Ra, DHr: spk, RK: rk1, CKs: ck1, HKs: h.HKA, NHKs: nhk1, NHKr: h.NHKB, Skipped: []modelChain{}}
	h.BBefore = &modelState{DHs: h.SPK, RK: h.RK, NHKs: h.NHKB, NHKr: h.HKA, Skipped: []modelChain{}}
	request, err := (&content.Request{
		Nonce: [32]byte(modelHash([]byte(h.Name))), Intent: "travel/flights", SessionType: content.Conversation, Mode: content.Private, FirstSeq: 1,
	}).Encode()
	h.Request = mustSign(t)(request, err)
	sending := h.ABefore.clone()
	h.Message0 = sending.seal(3, h.TH0, h.Nonces0, h.Request).Envelope
	signed := slices.Concat(h.Clear, u16(uint16(len(h.Message0))), h.Message0)
	h.Knock = append(signed, modelSign(h.ASigning, "amesh/1 knock", signed)...)
	h.KnockHash = modelHash(h.Knock)
	h.AD = modelHash(h.TH0, h.Knock)
	h.Envelope = h.Knock
	if tail {
		h.TailText, h.TailNonces = []byte("the first message"), take(t, seeded("tail of "+h.Name), 48)
		h.Envelope = slices.Concat(h.Knock, sending.seal(2, h.AD, h.TailNonces, h.TailText).Envelope)
	}
	h.EnvelopeID = modelHash(h.Envelope)[:16]
}

// answer is the rest of §5.5.
func (h *handshake) answer(t *testing.T) {
	t.Helper()
	h.BAfter = h.BBefore.clone()
	if got := h.BAfter.open(3, h.TH0, h.Rb, noon.Unix(), h.Message0); got.Code != "" || !bytes.Equal(got.Plaintext, h.Request) {
		t.Fatalf("message 0 does not open: %+v", got)
	}
	h.Answer = encoded(t, &content.Accept{
		Knock: [32]byte(h.KnockHash), SessionType: content.Conversation, Mode: content.Private, FirstSeq: 1, GrantExpires: noon.AddDate(0, 1, 0),
	})
	h.AnswerEnvelope = h.BAfter.clone().seal(2, h.AD, h.AnswerNonces, h.Answer).Envelope
	h.AAfter = h.ABefore.clone()
	h.AAfter.seal(3, h.TH0, h.Nonces0, h.Request)
	if h.TailText != nil {
		h.AAfter.seal(2, h.AD, h.TailNonces, h.TailText)
	}
	if got := h.AAfter.open(2, h.AD, h.RaNext, noon.Unix(), h.AnswerEnvelope); got.Code != "" || !bytes.Equal(got.Plaintext, h.Answer) {
		t.Fatalf("the answer does not open: %+v", got)
	}
}

// check goes through the knock as B does, with the product.
func (h *handshake) check(t *testing.T) {
	k := parsed(t, h.Envelope)
	if err := k.VerifySignature(); err != nil {
		t.Fatal(err)
	}
	hash, id := k.Hash(), k.EnvelopeID()
	if !bytes.Equal(k.Bytes(), h.Knock) || !bytes.Equal(hash[:], h.KnockHash) || !bytes.Equal(id[:], h.EnvelopeID) || !bytes.Equal(k.raw[:clearSize], h.Clear) {
		t.Error("knock bytes, hash, id or clear part differ")
	}
	want := [2]KeyName{{identity.KeyKind(h.KEMKind), h.KEMID}, {identity.KeyKind(h.OneTimeKind), h.OneTimeID}}
	if got := [2]KeyName{k.KEM, k.OneTime}; got != want || k.Epoch != h.Epoch || k.SignedPrekey != h.PrekeyID || k.Issued.Unix() != h.Issued || k.Expires.Unix() != h.Expires {
		t.Errorf("the clear part reads as %+v", k)
	}
	r := exactly(t, h.Rb)
	opened, err := k.Open(h.keys(t), noon, r)
	if err != nil {
		t.Fatal(err)
	}
	r.done()
	sid := opened.Session.SID()
	if !bytes.Equal(opened.ReplayKey[:], h.TH0) || !bytes.Equal(sid[:], h.SID) || !bytes.Equal(encoded(t, opened.Request), h.Request) {
		t.Error("th0, sid or request differ")
	}
	if h.TailText != nil {
		if o, err := opened.Session.Clone().Open(noon, exactly(t), k.Tail); err != nil || !bytes.Equal(o.Plaintext, h.TailText) {
			t.Errorf("tail: %q, %v", o.Plaintext, err)
		}
	}
	r = exactly(t, h.AnswerNonces)
	answer, _, err := opened.Session.Seal(r, h.Answer)
	if err != nil || !bytes.Equal(answer, h.AnswerEnvelope) {
		t.Errorf("the answer is sealed differently: %v", err)
	}
	r.done()
}

// keys are B's, as a store would find them by the names in the knock.
func (h *handshake) keys(t testing.TB) ResponderKeys {
	t.Helper()
	bundle, err := identity.ParseBundle(h.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	keys := ResponderKeys{Bundle: bundle, Exchange: ratchet.Secret(h.BExchange), SignedPrekey: ratchet.Secret(h.SPK), KEM: ratchet.KEMSeed(h.KEMSeed)}
	if h.OneTime != nil {
		s := ratchet.Secret(h.OneTime)
		keys.OneTime = &s
	}
	return keys
}

// refusedKnock is an envelope that B takes for no knock, or for none of use. It is
// read with the keys of the handshake that it is named after.
type refusedKnock struct {
	Name      string   `json:"name"`
	Handshake string   `json:"handshake"`
	Now       int64    `json:"now"`
	Envelope  hexBytes `json:"envelope"`
	Error     string   `json:"error"`
}

func TestVectorsRefusedKnocks(t *testing.T) {
	base := newHandshake(t, "both one-time keys", true, true)
	base.ask(t, false)
	base.answer(t)
	plain := newHandshake(t, "no one-time keys", false, false)
	plain.ask(t, false)
	var made []refusedKnock
	for name, c := range pairs(refusals(t, base)) {
		made = append(made, refusedKnock{name, base.Name, noon.Unix() + c.later, c.raw, c.want})
	}
	wrongID := resigned(plain.Knock, signer(t, plain.ASigning), func(x []byte) { x[atKEMKind+4]++ })
	made = append(made, refusedKnock{"another last-resort id", plain.Name, noon.Unix(), wrongID, ErrPrekeyUnknown.Error()})
	byName := map[string]*handshake{base.Name: base, plain.Name: plain}
	for _, v := range compare(t, "knocks_refused.json", "Envelopes that are no acceptable knock at B, with the code of the refusal. Keys are those of the vector in handshakes.json that is named.", made) {
		h := byName[v.Handshake]
		err := h.receive(t, v.Envelope, time.Unix(v.Now, 0))
		if got := code(err); got != v.Error || got == "" {
			t.Errorf("%s: got %v, want %s", v.Name, err, v.Error)
		}
	}
	if err := base.receive(t, base.Knock, noon); err != nil {
		t.Errorf("the genuine one: %v", err)
	}
}

// receive is §8.2 up to message 0.
func (h *handshake) receive(t testing.TB, raw []byte, now time.Time) error {
	t.Helper()
	k, err := ParseKnock(raw)
	if err != nil {
		return err
	}
	if err := k.CheckRecipient(signer(t, h.BSigning).AMID()); err != nil {
		return err
	}
	if err := k.CheckTimes(now); err != nil {
		return err
	}
	if err := k.VerifySignature(); err != nil {
		return err
	}
	keys := h.keys(t)
	if k.OneTime.Kind == identity.KindNone {
		keys.OneTime = nil
	}
	_, err = k.Open(keys, now, exactly(t, h.Rb))
	return err
}

type refusal struct {
	raw   []byte
	want  string
	later int64 // seconds after noon
}

func refusals(t *testing.T, h *handshake) map[string]refusal {
	t.Helper()
	a, eve := signer(t, h.ASigning), signer(t, modelHash([]byte("eve")))
	eveName, eveKey := eve.AMID(), eve.Public()
	signed := func(change func(x []byte)) []byte { return resigned(h.Knock, a, change) }
	put := func(at int, b ...byte) []byte { return signed(func(x []byte) { copy(x[at:], b) }) }
	bare := func(at int, b ...byte) []byte { x := bytes.Clone(h.Knock); copy(x[at:], b); return x }
	certificate := func(change func(c *identity.KeyCertificate)) []byte {
		c := identity.KeyCertificate{Exchange: [32]byte(modelPublic(h.AExchange)), Epoch: h.Epoch, Created: noon, Expires: noon.AddDate(1, 0, 0)}
		change(&c)
		return put(atCert, mustSign(t)(identity.SignKeyCertificate(a, c))...)
	}
	lowOrder := resigned(h.Knock, a, func(x []byte) { clear(x[atEK : atEK+32]) })
	message0 := func(plaintext []byte) []byte {
		m := h.ABefore.clone().seal(3, h.TH0, h.Nonces0, plaintext).Envelope
		body := slices.Concat(h.Clear, u16(uint16(len(m))), m)
		return append(body, a.Sign(identity.TagKnock, body)...)
	}
	identityPoint := make([]byte, 32)
	identityPoint[0] = 1
	identityName := identity.AMIDOf(identity.PublicKey(identityPoint))
	long := slices.Concat(h.Clear, u16(4000), make([]byte, 4064))
	const malformed = "malformed"
	return map[string]refusal{
		"empty":                        {nil, "legacy", 0},
		"JSON of an SDK":               {[]byte(`{"type":"KNOCK"}`), "legacy", 0},
		"almost our magic":             {bare(3, 0x69), "legacy", 0},
		"magic only":                   {h.Knock[:4], malformed, 0},
		"another version":              {bare(4, ratchet.Version+1), "unsupported", 0},
		"type 0":                       {bare(5, 0), "unsupported", 0},
		"type 5":                       {bare(5, 5), "unsupported", 0},
		"type message":                 {bare(5, 2), malformed, 0},
		"type message 0":               {bare(5, 3), malformed, 0},
		"cut in the clear part":        {h.Knock[:1000], malformed, 0},
		"a byte short":                 {h.Knock[:len(h.Knock)-1], malformed, 0},
		"a byte long":                  {append(bytes.Clone(h.Knock), 0), malformed, 0},
		"itself as tail":               {append(bytes.Clone(h.Knock), h.Knock...), malformed, 0},
		"message 0 as tail":            {append(bytes.Clone(h.Knock), h.Message0...), malformed, 0},
		"over 4,096 bytes":             {long, malformed, 0},
		"suite 1":                      {put(atSuite, 1), malformed, 0},
		"suite 3":                      {put(atSuite, 3), malformed, 0},
		"KEM kind 0":                   {put(atKEMKind, 0), malformed, 0},
		"KEM kind 1":                   {put(atKEMKind, 1), malformed, 0},
		"KEM kind 4":                   {put(atKEMKind, 4), malformed, 0},
		"one-time kind 3":              {put(atOneTime, 3), malformed, 0},
		"one-time kind 0 with an id":   {put(atOneTime, 0, 0, 0, 0, 1), malformed, 0},
		"lives 168 hours and a second": {signed(func(x []byte) { x[atExpires+7]++ }), malformed, 0},
		"ends when it begins":          {signed(func(x []byte) { copy(x[atExpires:], x[atIssued:atIssued+8]) }), malformed, 0},
		"issued before 1970":           {put(atIssued, 0x80), malformed, 0},
		"for somebody else":            {put(atTo, eveName[:]...), "wrong_recipient", 0},
		"601 s before issued":          {h.Knock, "knock_expired", -601},
		"601 s after its end":          {h.Knock, "knock_expired", 168*3600 + 601},
		"key is the identity point":    {signed(func(x []byte) { copy(x[atFrom:], identityName[:]); copy(x[atKey:], identityPoint) }), "key_invalid", 0},
		"under another name":           {put(atFrom, eveName[:]...), "key_mismatch", 0},
		"with another key":             {put(atKey, eveKey[:]...), "key_mismatch", 0},
		"signed by another":            {resigned(h.Knock, eve, func([]byte) {}), "signature_invalid", 0},
		"signed with another tag":      {slices.Concat(h.Knock[:len(h.Knock)-64], a.Sign(identity.TagBundle, h.Knock[:len(h.Knock)-64])), "signature_invalid", 0},
		"message 0 changed afterwards": {bare(1500, 0, 0, 0), "signature_invalid", 0},
		"readdressed afterwards":       {slices.Concat(h.Knock[:atEK], []byte{9}, h.Knock[atEK+1:]), "signature_invalid", 0},
		"certificate of another":       {put(atCert, mustSign(t)(identity.SignKeyCertificate(eve, identity.KeyCertificate{Exchange: [32]byte{9}, Epoch: h.Epoch, Created: noon, Expires: noon.AddDate(1, 0, 0)}))...), "key_mismatch", 0},
		"certificate with another key": {put(atCert+20, 9), "signature_invalid", 0},
		"certificate of another epoch": {certificate(func(c *identity.KeyCertificate) { c.Epoch-- }), "key_mismatch", 0},
		"certificate over when issued": {certificate(func(c *identity.KeyCertificate) {
			c.Created, c.Expires = noon.AddDate(-1, 0, 0), noon.Add(-time.Second)
		}), "bundle_expired", 0},
		"certificate to come":                {certificate(func(c *identity.KeyCertificate) { c.Created = noon.Add(601 * time.Second) }), "bundle_expired", 0},
		"issued after the bundle":            {signed(func(x []byte) { issuedAt(x, noon.Add(identity.BundleLife+601*time.Second)) }), "bundle_expired", 14*86400 + 601},
		"another bundle":                     {put(atBundleID, 1, 2, 3), "prekey_unknown", 0},
		"another signed prekey":              {put(atPrekeyID, 1, 2, 3), "prekey_unknown", 0},
		"EK of order 1":                      {lowOrder, "kex_low_order", 0},
		"EK is the prime":                    {put(atEK, append([]byte{0xED}, append(bytes.Repeat([]byte{0xFF}, 30), 0x7F)...)...), "key_invalid", 0},
		"EK is B's exchange key":             {put(atEK, modelPublic(h.BExchange)...), "key_invalid", 0},
		"EK is B's signed prekey":            {put(atEK, modelPublic(h.SPK)...), "key_invalid", 0},
		"EK is B's one-time key":             {put(atEK, modelPublic(h.OneTime)...), "key_invalid", 0},
		"another EK":                         {put(atEK, modelPublic(h.Rb)...), "decrypt_failed", 0},
		"another ciphertext":                 {put(atCiphertext, 1, 2, 3), "decrypt_failed", 0},
		"another one-time id":                {put(atOneTimeID, 9), "decrypt_failed", 0},
		"without the one-time key":           {put(atOneTime, 0, 0, 0, 0, 0), "decrypt_failed", 0},
		"another epoch throughout":           {otherEpoch(t, h, a), "decrypt_failed", 0},
		"message 0 of another knock":         {signed(func(x []byte) { x[1500] ^= 1 }), "decrypt_failed", 0},
		"message 0 of type 2":                {put(clearSize+2+5, 2), malformed, 0},
		"message 0 is an accept":             {message0(h.Answer), malformed, 0},
		"message 0 is empty":                 {message0(nil), malformed, 0},
		"message 0 is a request and a byte":  {message0(append(bytes.Clone(h.Request), 0)), malformed, 0},
		"message 0 is a request for no type": {message0(slices.Concat(h.Request[:48], []byte{0}, h.Request[49:])), malformed, 0},
	}
}

// issuedAt moves a knock in time.
func issuedAt(x []byte, issued time.Time) {
	binary.BigEndian.PutUint64(x[atIssued:], uint64(issued.Unix()))
	binary.BigEndian.PutUint64(x[atExpires:], uint64(issued.Unix()+3600))
}

// otherEpoch is well signed in everything, but not what message 0 was sealed with.
func otherEpoch(t testing.TB, h *handshake, a identity.PrivateKey) []byte {
	t.Helper()
	c := identity.KeyCertificate{Exchange: [32]byte(modelPublic(h.AExchange)), Epoch: h.Epoch + 1, Created: noon, Expires: noon.AddDate(1, 0, 0)}
	cert := mustSign(t)(identity.SignKeyCertificate(a, c))
	return resigned(h.Knock, a, func(x []byte) {
		copy(x[atEpoch:], u32(h.Epoch+1))
		copy(x[atCert:], cert)
	})
}
