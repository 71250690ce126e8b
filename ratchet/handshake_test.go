package ratchet

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// expand is HKDF written a second time, from RFC 5869, so that the table below
// does not lean on the code it tests.
func expand(salt, ikm []byte, info string, n int) []byte {
	sum := func(key []byte, parts ...[]byte) []byte {
		m := hmac.New(sha256.New, key)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	prk := sum(salt, ikm)
	var out, block []byte
	for i := byte(1); len(out) < n; i++ {
		block = sum(prk, block, []byte(info), []byte{i})
		out = append(out, block...)
	}
	return out[:n]
}

func root(rk, dh Secret) (r, ck, nhk Secret) {
	out := expand(rk[:], dh[:], "amesh/session/1 root", 96)
	return Secret(out[:32]), Secret(out[32:64]), Secret(out[64:])
}

func sha(parts ...[]byte) [32]byte { return sha256.Sum256(slices.Concat(parts...)) }

func mac(key Secret, b byte) Secret {
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte{b})
	return Secret(m.Sum(nil))
}

func mustDH(t *testing.T, a Secret, b Point) Secret {
	t.Helper()
	s, err := exchange(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The table of session.md §5.5, column by column and row by row.
func TestStartUp(t *testing.T) {
	for name, oneTime := range map[string]bool{"with one-time key": true, "without one-time key": false} {
		t.Run(name, func(t *testing.T) {
			r := seeded("start-up " + name)
			p := newParties(t, r, oneTime)
			th0 := TranscriptHash(p.transcript)
			spk := p.transcript.Prekey

			ikm := []byte{}
			for range 32 {
				ikm = append(ikm, 0xFF)
			}
			dhs := []Secret{mustDH(t, p.a, spk), mustDH(t, p.offer.ek, p.transcript.Exchange), mustDH(t, p.offer.ek, spk)}
			if oneTime {
				dhs = append(dhs, mustDH(t, p.offer.ek, *p.transcript.OneTime))
			}
			for _, d := range dhs {
				ikm = append(ikm, d[:]...)
			}
			ikm = append(ikm, p.offer.shared[:]...)
			out := expand(make([]byte, 32), ikm, "amesh/session/1 handshake\x00"+string(th0[:]), 112)
			rk, hkA, nhkB := Secret(out[:32]), Secret(out[32:64]), Secret(out[64:96])

			a, b := p.initiate(t, r), p.respond(t)
			if a.SID() != [16]byte(out[96:]) || b.SID() != a.SID() {
				t.Errorf("sid %x and %x, want %x", a.SID(), b.SID(), out[96:])
			}
			ra := a.dhs
			rk1, ck1, nhk1 := root(rk, mustDH(t, ra, spk))
			same(t, "A before sealing message 0", a.state, state{
				dhs: ra, dhsPublic: ra.Public(), dhr: spk, rk: rk1, cks: ck1, hks: hkA, nhks: nhk1, nhkr: nhkB, sending: true,
			})
			same(t, "B before opening it", b.state, state{
				dhs: p.b.SignedPrekey, dhsPublic: spk, rk: rk, nhks: nhkB, nhkr: hkA,
			})

			m0, err := a.SealFirst(r, []byte("request"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.OpenFirst(noon, r, m0); err != nil {
				t.Fatal(err)
			}
			rb := b.dhs
			rk2, ck2, nhk2 := root(rk1, mustDH(t, rb, ra.Public()))
			same(t, "B after opening it", b.state, state{
				dhs: rb, dhsPublic: rb.Public(), dhr: ra.Public(), rk: rk2, cks: ck2, ckr: mac(ck1, 2),
				hks: nhkB, hkr: hkA, nhks: nhk2, nhkr: nhk1, nr: 1, sending: true, receiving: true,
			})

			for _, s := range []*Session{a, b} {
				if err := s.Bind([]byte("knock")); err != nil {
					t.Fatal(err)
				}
			}
			seal(t, a, r, "tail")
			seal(t, b, r, "pending, lost on the way")
			open(t, a, r, seal(t, b, r, "accept"), "accept")
			ra2 := a.dhs
			rk3, ck3, nhk3 := root(rk2, mustDH(t, ra2, rb.Public()))
			same(t, "A after the first opened reply", a.state, state{
				dhs: ra2, dhsPublic: ra2.Public(), dhr: rb.Public(), rk: rk3, cks: ck3, ckr: mac(mac(ck2, 2), 2),
				hks: nhk1, hkr: nhkB, nhks: nhk3, nhkr: nhk2, nr: 2, pn: 2, sending: true, receiving: true,
			})
		})
	}
}

// same compares states without printing keys: cmp would show them.
func same(t *testing.T, when string, got, want state) {
	t.Helper()
	if got == want {
		return
	}
	rows := func(s state) map[string]any {
		return map[string]any{
			"DHs": [32]byte(s.dhs), "DHs public": s.dhsPublic, "DHr": s.dhr, "RK": [32]byte(s.rk), "CKs": [32]byte(s.cks), "CKr": [32]byte(s.ckr),
			"HKs": [32]byte(s.hks), "HKr": [32]byte(s.hkr), "NHKs": [32]byte(s.nhks), "NHKr": [32]byte(s.nhkr),
			"Ns": s.ns, "Nr": s.nr, "PN": s.pn, "sending": s.sending, "receiving": s.receiving,
		}
	}
	t.Errorf("%s (-want +got):\n%s", when, cmp.Diff(rows(want), rows(got)))
}

// lowOrder are the X25519 keys with which every exchange gives zero, in
// canonical form; notCanonical are other spellings, of these and of good keys.
var lowOrder = map[string]Point{
	"zero":               {},
	"one":                {1},
	"order 8":            {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
	"order 8, the other": {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
	"minus one":          func() Point { p := prime; p[0]--; return p }(),
}

var notCanonical = map[string]Point{
	"the prime":          prime,
	"the prime plus one": func() Point { p := prime; p[0]++; return p }(),
	"all ones": func() (p Point) {
		for i := range p {
			p[i] = 0xFF
		}
		return p
	}(),
	"nine with the top bit": {0: 9, 31: 0x80},
}

// T14: at every place where an X25519 key enters, and nothing comes of it.
func TestT14BadExchangeKeys(t *testing.T) {
	entries := map[string]func(t *testing.T, k Point) error{
		"B's exchange key": func(t *testing.T, k Point) error {
			p := newParties(t, seeded("T14"), true)
			keys := p.initiatorKeys()
			keys.PeerExchange = k
			_, err := p.offer.Initiate(seeded("x"), keys, [32]byte{})
			return err
		},
		"B's signed prekey": func(t *testing.T, k Point) error {
			p := newParties(t, seeded("T14"), true)
			keys := p.initiatorKeys()
			keys.PeerPrekey = k
			_, err := p.offer.Initiate(seeded("x"), keys, [32]byte{})
			return err
		},
		"B's one-time key": func(t *testing.T, k Point) error {
			p := newParties(t, seeded("T14"), true)
			keys := p.initiatorKeys()
			keys.PeerOneTime = &k
			_, err := p.offer.Initiate(seeded("x"), keys, [32]byte{})
			return err
		},
		"A's exchange key": func(t *testing.T, k Point) error {
			p := newParties(t, seeded("T14"), true)
			_, err := Respond(p.b, k, p.offer.EKPublic(), p.offer.Ciphertext(), [32]byte{})
			return err
		},
		"EK": func(t *testing.T, k Point) error {
			p := newParties(t, seeded("T14"), true)
			_, err := Respond(p.b, p.a.Public(), k, p.offer.Ciphertext(), [32]byte{})
			return err
		},
		"ratchet key in a header": func(t *testing.T, k Point) error {
			r := seeded("T14")
			a, b := pairOf(t, r)
			open(t, a, r, seal(t, b, r, "hello"), "hello")
			a.dhsPublic = k // what a cheating A would write
			return refuses(t, b, r, seal(t, a, r, "bad key"))
		},
	}
	for entry, try := range entries {
		for name, k := range lowOrder {
			if err := try(t, k); !errors.Is(err, ErrLowOrder) {
				t.Errorf("%s, %s: got %v, want ErrLowOrder", entry, name, err)
			}
		}
		for name, k := range notCanonical {
			if err := try(t, k); !errors.Is(err, ErrKey) {
				t.Errorf("%s, %s: got %v, want ErrKey", entry, name, err)
			}
		}
	}
}

func TestT14OwnKeyComesBack(t *testing.T) {
	r := seeded("reflection")
	p := newParties(t, r, true)
	keys := p.initiatorKeys()
	for name, change := range map[string]func(k *InitiatorKeys){
		"A's exchange key as B's": func(k *InitiatorKeys) { k.PeerExchange = p.a.Public() },
		"A's exchange key as SPK": func(k *InitiatorKeys) { k.PeerPrekey = p.a.Public() },
		"EK as one-time key":      func(k *InitiatorKeys) { ek := p.offer.EKPublic(); k.PeerOneTime = &ek },
	} {
		k := keys
		change(&k)
		if _, err := p.offer.Initiate(r, k, [32]byte{}); !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %v, want ErrKey", name, err)
		}
	}
	for name, k := range map[string][2]Point{
		"B's exchange key as A's": {p.transcript.Exchange, p.offer.EKPublic()},
		"SPK as EK":               {p.a.Public(), p.transcript.Prekey},
		"one-time key as EK":      {p.a.Public(), *p.transcript.OneTime},
	} {
		if _, err := Respond(p.b, k[0], k[1], p.offer.Ciphertext(), [32]byte{}); !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %v, want ErrKey", name, err)
		}
	}
	a, b := pairOf(t, r)
	open(t, a, r, seal(t, b, r, "hello"), "hello")
	a.dhsPublic = b.dhsPublic
	if err := refuses(t, b, r, seal(t, a, r, "mirror")); !errors.Is(err, ErrKey) {
		t.Errorf("our ratchet key in a header: got %v, want ErrKey", err)
	}
}

// T15: a bad KEM key is refused before use; a bad ciphertext gives other keys
// and no sign of why.
func TestT15BadKEM(t *testing.T) {
	r := seeded("T15")
	p := newParties(t, r, false)
	good := p.b.KEM.Public()
	tooBig := append([]byte(nil), good...)
	tooBig[0], tooBig[1] = 0xFF, 0xFF // a coefficient of 4,095, above q
	for name, k := range map[string][]byte{
		"empty": nil, "one byte short": good[1:], "one byte long": append([]byte{0}, good...), "coefficient above q": tooBig,
	} {
		if _, err := NewOffer(r, k); !errors.Is(err, ErrKEM) {
			t.Errorf("key, %s: got %v, want ErrKEM", name, err)
		}
	}
	th0 := TranscriptHash(p.transcript)
	for name, c := range map[string][]byte{"empty": nil, "short": p.offer.ciphertext[1:]} {
		if _, err := Respond(p.b, p.a.Public(), p.offer.EKPublic(), c, th0); !errors.Is(err, ErrKEM) {
			t.Errorf("ciphertext, %s: got %v, want ErrKEM", name, err)
		}
	}
	a := p.initiate(t, r)
	m0, err := a.SealFirst(r, []byte("request"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.offer.ciphertext {
		if i%64 != 0 {
			continue
		}
		c := append([]byte(nil), p.offer.ciphertext...)
		c[i] ^= 1
		b, err := Respond(p.b, p.a.Public(), p.offer.EKPublic(), c, th0)
		if err != nil {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, err := b.OpenFirst(noon, r, m0); !errors.Is(err, ErrDecrypt) {
			t.Errorf("byte %d flipped: got %v, want ErrDecrypt", i, err)
		}
	}
}

func TestNewOffer(t *testing.T) {
	r := seeded("offer")
	p := newParties(t, r, false)
	var err error
	if p.offer, err = NewOffer(r, p.transcript.KEMKey); err != nil {
		t.Fatal(err)
	}
	a, b := p.initiate(t, r), p.respond(t)
	if a.SID() != b.SID() {
		t.Error("the two sides differ")
	}
}

// T40: neither half alone gives the key.
func TestT40EachSecretCounts(t *testing.T) {
	sid := func(change func(p *parties)) [16]byte {
		p := newParties(t, seeded("T40"), true)
		change(p)
		return p.initiate(t, seeded("ra")).SID()
	}
	want := sid(func(*parties) {})
	for name, change := range map[string]func(p *parties){
		"KEM secret":   func(p *parties) { p.offer.shared[0] ^= 1 },
		"EK":           func(p *parties) { p.offer.ek[5] ^= 1 },
		"A's exchange": func(p *parties) { p.a[5] ^= 1 },
		"one-time key": func(p *parties) { p.transcript.OneTime = nil },
		"transcript":   func(p *parties) { p.transcript.KEMID++ },
	} {
		if sid(change) == want {
			t.Errorf("%s does not count", name)
		}
	}
}

// T21: everything the transcript names changes th0.
func TestT21TranscriptCoversAll(t *testing.T) {
	base := newParties(t, seeded("T21"), true).transcript
	seen := map[[32]byte]string{TranscriptHash(base): "unchanged"}
	other := Point{9}
	for name, change := range map[string]func(t *Transcript){
		"clear":                func(t *Transcript) { t.Clear = append([]byte{0}, t.Clear...) },
		"signing key":          func(t *Transcript) { t.SigningKey[0]++ },
		"exchange key":         func(t *Transcript) { t.Exchange[0]++ },
		"bundle id":            func(t *Transcript) { t.BundleID[0]++ },
		"prekey id":            func(t *Transcript) { t.PrekeyID++ },
		"prekey":               func(t *Transcript) { t.Prekey[0]++ },
		"KEM kind":             func(t *Transcript) { t.KEMKind++ },
		"KEM id":               func(t *Transcript) { t.KEMID++ },
		"KEM key":              func(t *Transcript) { t.KEMKey = t.KEMKey[1:] },
		"one-time kind":        func(t *Transcript) { t.OneTimeKind = 0 },
		"one-time id":          func(t *Transcript) { t.OneTimeID++ },
		"one-time key":         func(t *Transcript) { t.OneTime = &other },
		"one-time key missing": func(t *Transcript) { t.OneTime = nil },
	} {
		c := base
		change(&c)
		h := TranscriptHash(c)
		if twin, ok := seen[h]; ok {
			t.Errorf("%s gives the hash of %s", name, twin)
		}
		seen[h] = name
	}
}
