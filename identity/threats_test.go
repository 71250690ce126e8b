package identity

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mr-tron/base58"

	"amesh/internal/wire"
)

// The tests of this file stand for rows of the threat table; each is named after
// its row. They take their numbers as an argument: some for every day, all of the
// table's with AMESH_SOAK=1.

func soak(t *testing.T) {
	t.Helper()
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes up to a minute; set AMESH_SOAK=1")
	}
}

// dice are for choices of a test, the reader beside them for its keys and bytes.
func dice(name string) (*rand.Rand, io.Reader) {
	var seed [32]byte
	copy(seed[:], name)
	source := rand.NewChaCha8(seed)
	return rand.New(source), source
}

func randomKey(t testing.TB, r io.Reader) PrivateKey {
	t.Helper()
	k, err := GenerateKey(r)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func randomBytes(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// signedKinds are the signed objects of this package: how key's owner makes one,
// how it is read, and where AMID and signing key stand in it.
type signedKind struct {
	tag    Tag
	sign   func(t testing.TB, key PrivateKey) []byte
	parse  func(raw []byte, signer PublicKey) error
	atAMID int
	atKey  int // 0: the object does not carry its key
}

var signedKinds = map[string]signedKind{
	"certificate": {TagKeyCertificate, func(t testing.TB, key PrivateKey) []byte {
		return must(t)(SignKeyCertificate(key, testBundle(t, 1).Certificate))
	}, func(raw []byte, signer PublicKey) error { _, err := ParseKeyCertificate(raw, signer); return err }, 0, 0},
	"bundle": {TagBundle, func(t testing.TB, key PrivateKey) []byte {
		return must(t)(SignBundle(key, testBundle(t, 1)))
	}, func(raw []byte, _ PublicKey) error { _, err := ParseBundle(raw); return err }, 1, 21},
	"one-time X25519 key": {TagOneTimeKey, func(t testing.TB, key PrivateKey) []byte {
		return must(t)(SignOneTimeKey(key, oneTimeKey(make32(testExchange(t, 9)), KindOneTime)))
	}, func(raw []byte, signer PublicKey) error { _, err := ParseOneTimeKey(raw, signer); return err }, 1, 0},
	"one-time KEM key": {TagOneTimeKey, func(t testing.TB, key PrivateKey) []byte {
		return must(t)(SignOneTimeKey(key, oneTimeKey(testKEM(t, 9), KindOneTimeKEM)))
	}, func(raw []byte, signer PublicKey) error { _, err := ParseOneTimeKey(raw, signer); return err }, 1, 0},
	"record": {TagAgentRecord, func(t testing.TB, key PrivateKey) []byte {
		return must(t)(SignRecord(key, testRecord(), must(t)(SignBundle(key, testBundle(t, 1)))))
	}, func(raw []byte, _ PublicKey) error { _, err := ParseAgentRecord(raw); return err }, 1, 21},
	"card": {TagAgentCard, func(t testing.TB, key PrivateKey) []byte {
		return must(t)(SignCard(key, testCard()))
	}, func(raw []byte, _ PublicKey) error { _, err := ParseCard(raw); return err }, 1, 21},
}

func oneTimeKey(public []byte, kind KeyKind) OneTimeKey {
	return OneTimeKey{Epoch: 3, Kind: kind, ID: 5, Created: noon, Expires: noon.Add(time.Hour), Public: public}
}

func must(t testing.TB) func([]byte, error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// badKeys are the keys of T01: the eight points of small order, under which one
// signature fits every message, and all encodings that name a point a second
// time: six of points of small order, and twenty of others.
func badKeys(t testing.TB) map[string][]byte {
	keys := make(map[string][]byte)
	for name, text := range map[string]string{
		"order 1":               "0100000000000000000000000000000000000000000000000000000000000000",
		"order 2":               "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"order 4":               "0000000000000000000000000000000000000000000000000000000000000000",
		"order 4, other sign":   "0000000000000000000000000000000000000000000000000000000000000080",
		"order 8":               "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"order 8, other sign":   "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"order 8, second":       "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"order 8, second, sign": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"order 1, sign of zero": "0100000000000000000000000000000000000000000000000000000000000080",
		"order 2, sign of zero": "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	} {
		keys[name] = unhex(t, text)
	}
	for _, k := range []byte{0, 1, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18} { // y = k is on the curve
		for sign, top := range map[string]byte{"": 0x7F, ", sign": 0xFF} {
			key := bytes.Repeat([]byte{0xFF}, 32)
			key[0], key[31] = 0xED+k, top
			keys[fmt.Sprintf("y is the prime plus %d%s", k, sign)] = key
		}
	}
	return keys
}

// T01: at every place of this package where a signing key enters. The knock is
// the only other place where bytes become a key; knock's own T01 has it.
func TestT01BadSigningKeys(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	multi := func(s string) error { _, err := ParsePublicKeyMultibase(s); return err }
	text := func(s string) error { _, err := ParsePublicKeyText(s); return err }
	entries := map[string]func(k []byte) error{
		"bytes":                                 func(k []byte) error { _, err := ParsePublicKey(k); return err },
		"text":                                  func(k []byte) error { return text(b64(k)) },
		"prefixed text":                         func(k []byte) error { return text("ed25519:" + b64(k)) },
		"multibase, multicodec":                 func(k []byte) error { return multi(multibase(codecEd25519, k)) },
		"multibase of the JavaScript SDK":       func(k []byte) error { return multi("z" + base58.Encode(k)) },
		"multibase of the Python SDK":           func(k []byte) error { return multi("z" + b64(k)) },
		"multibase of the registry":             func(k []byte) error { return multi("zed25519:" + b64(k)) },
		"DID document":                          func(k []byte) error { return signingKeyOf(k) },
		"identity file":                         func(k []byte) error { return importWithPublic(t, k) },
		"what the AMID's owner says in a frame": func(k []byte) error { return text(PublicKey(k).Text()) },
	}
	for name, kind := range signedKinds {
		raw := kind.sign(t, testKey(t, 1))
		entries[name] = func(k []byte) error {
			forged := bytes.Clone(raw)
			amid := AMIDOf(PublicKey(k))
			copy(forged[kind.atAMID:], amid[:])
			if kind.atKey != 0 {
				copy(forged[kind.atKey:], k)
			}
			// R is the identity point and S is 0: under a key of small order this fits
			// every message, or one in eight.
			copy(forged[len(forged)-SignatureSize:], append([]byte{1}, make([]byte, 63)...))
			return kind.parse(forged, PublicKey(k))
		}
	}
	keys := badKeys(t)
	if len(entries) != 16 || len(keys) != 34 {
		t.Fatalf("%d entries and %d keys, want 16 and 34", len(entries), len(keys))
	}
	for entry, try := range entries {
		want := ErrKey
		if entry == "identity file" {
			want = ErrMismatch // no private key has such a public half
		}
		for name, k := range keys {
			if err := try(k); !errors.Is(err, want) {
				t.Errorf("%s, %s: got %v, want %v", entry, name, err, want)
			}
		}
	}
	for name, k := range map[string][]byte{
		"31 bytes": make([]byte, 31), "33 bytes": make([]byte, 33), "none": nil, "not on the curve": append([]byte{2}, make([]byte, 31)...),
	} {
		if _, err := ParsePublicKey(k); !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %v, want ErrKey", name, err)
		}
	}
}

func signingKeyOf(k []byte) error {
	did := AMIDOf(PublicKey(k)).DID()
	doc := DIDDocument{
		ID:                 did,
		VerificationMethod: []VerificationMethod{{ID: did + fragmentSigning, PublicKeyMultibase: multibase(codecEd25519, k)}},
	}
	_, err := doc.SigningKey()
	return err
}

func importWithPublic(t testing.TB, k []byte) error {
	t.Helper()
	dir := t.TempDir()
	good := PublicKey(testKey(t, 1).Public()).Text()
	path := filepath.Join(dir, "sdk.json")
	file := strings.Replace(jsIdentity, good, base64.StdEncoding.EncodeToString(k), 1)
	file = strings.Replace(file, "EXCHANGE", PublicKey(testExchange(t, 9)).Text(), 1)
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := ImportIdentity(path, filepath.Join(dir, "agent"))
	return err
}

func TestT02BitFlips(t *testing.T)     { signatureFlips(t, 1000) }
func TestSoakT02BitFlips(t *testing.T) { soak(t); signatureFlips(t, 100_000) }

// T02: one bit of body, signature or key, under random keys and bodies.
func signatureFlips(t *testing.T, runs int) {
	d, r := dice("T02")
	for range runs {
		key := randomKey(t, r)
		public := key.Public()
		body := randomBytes(t, r, d.IntN(200))
		sig := key.Sign(TagMessage, body)
		if err := public.Verify(TagMessage, body, sig); err != nil {
			t.Fatal(err)
		}
		fields := [][]byte{sig, public[:], body}
		field := fields[d.IntN(2+min(len(body), 1))]
		bit := d.IntN(len(field) * 8)
		field[bit/8] ^= 1 << (bit % 8)
		if err := public.Verify(TagMessage, body, sig); !errors.Is(err, ErrSignature) {
			t.Fatalf("key %x, body %x, signature %x: got %v, want ErrSignature", public, body, sig, err)
		}
	}
}

func TestT03ForeignNames(t *testing.T)     { foreignNames(t, 8) }
func TestSoakT03ForeignNames(t *testing.T) { soak(t); foreignNames(t, 2000) }

// T03: every signed object under the name of another, signed well by the key that
// it carries or that is asked for. There are five kinds of objects.
func foreignNames(t *testing.T, runs int) {
	_, r := dice("T03")
	for range runs {
		key, other := randomKey(t, r), randomKey(t, r).AMID()
		for name, kind := range signedKinds {
			raw := resign(t, key, kind.tag, kind.sign(t, key), func(body []byte) { copy(body[kind.atAMID:], other[:]) })
			if err := kind.parse(raw, key.Public()); !errors.Is(err, ErrMismatch) {
				t.Fatalf("%s of %s under the name %s: got %v, want ErrMismatch", name, key.AMID(), other, err)
			}
		}
	}
}

// T04: the tags are part of the wire. session.md §2.2 has them, and whoever signs
// in another language needs these very bytes.
func TestT04Tags(t *testing.T) {
	key := testKey(t, 1)
	for tag, text := range map[Tag]string{
		TagKeyCertificate: "amesh/1 key certificate",
		TagBundle:         "amesh/1 bundle",
		TagOneTimeKey:     "amesh/1 one-time key",
		TagAgentRecord:    "amesh/1 agent record",
		TagKnock:          "amesh/1 knock",
		TagRenew:          "amesh/1 renew",
		TagRollbackMark:   "amesh/1 rollback mark",
		TagRelayConnect:   "amesh/1 relay connect",
		TagRelayNotice:    "amesh/1 relay notice",
		TagMessage:        "amesh/1 message",
		TagAgentCard:      "amesh/1 agent card",
		TagRegistryCall:   "amesh/1 registry request",
	} {
		sig := key.Sign(tag, []byte("body"))
		if err := key.Public().VerifyTimestamp(text+"\x00body", sig); err != nil {
			t.Errorf("%q: the signed bytes are not tag ‖ 0 ‖ body", text)
		}
	}
	text, err := os.ReadFile("../docs/protocol/session.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range signedKinds {
		if !strings.Contains(string(text), "`"+string(kind.tag)+"`") {
			t.Errorf("%s: session.md does not have the tag %q", name, kind.tag)
		}
	}
}

// T12: no error of a key file that is cut, changed or put together badly shows
// any of its private keys.
func TestT12ErrorsShowNoKeys(t *testing.T) {
	file := strings.Replace(jsIdentity, "EXCHANGE", PublicKey(testExchange(t, 9)).Text(), 1)
	secrets := []string{strings.Repeat("AQEB", 3), strings.Repeat("CQkJ", 3)} // the seeds 01… and 09…
	check := func(how, text string) {
		_, err := parseIdentity([]byte(text))
		if err == nil {
			return
		}
		for _, s := range secrets {
			if strings.Contains(err.Error(), s) {
				t.Fatalf("%s: %v", how, err)
			}
		}
	}
	for i := range file {
		check("cut", file[:i])
		for _, c := range []string{"", "\"", "x", "\xff"} {
			check(fmt.Sprintf("%q at %d", c, i), file[:i]+c+file[i+1:])
		}
	}
	for _, name := range []string{"amid", "created_at", "signing_public_key", "framework"} {
		check("renamed "+name, strings.Replace(file, "signing_private_key", name, 1))
	}
}

// T14: at every place of this package where an X25519 key enters.
func TestT14BadExchangeKeys(t *testing.T) {
	key := testKey(t, 1)
	entries := map[string]func(k [32]byte) error{
		"exchange key of a certificate": func(k [32]byte) error {
			raw := must(t)(SignKeyCertificate(key, testBundle(t, 1).Certificate))
			_, err := ParseKeyCertificate(resign(t, key, TagKeyCertificate, raw, func(b []byte) { copy(b[20:], k[:]) }), key.Public())
			return err
		},
		"exchange key of a bundle": func(k [32]byte) error {
			cert := must(t)(SignKeyCertificate(key, KeyCertificate{Exchange: testExchange(t, 2), Epoch: 3, Created: noon, Expires: noon.Add(time.Hour)}))
			cert = resign(t, key, TagKeyCertificate, cert, func(b []byte) { copy(b[20:], k[:]) })
			_, err := ParseBundle(resign(t, key, TagBundle, signedBundle(t, 1), func(b []byte) { copy(b[atCertificate:], cert) }))
			return err
		},
		"signed prekey of a bundle": func(k [32]byte) error {
			_, err := ParseBundle(resign(t, key, TagBundle, signedBundle(t, 1), func(b []byte) { copy(b[atPrekey:], k[:]) }))
			return err
		},
		"one-time key": func(k [32]byte) error {
			raw := signedKinds["one-time X25519 key"].sign(t, key)
			_, err := ParseOneTimeKey(resign(t, key, TagOneTimeKey, raw, func(b []byte) { copy(b[len(b)-32:], k[:]) }), key.Public())
			return err
		},
		"DID document": func(k [32]byte) error { _, err := ParseExchangeKeyMultibase(multibase(codecX25519, k[:])); return err },
	}
	minusOne, onePlus, top := fieldPrime, fieldPrime, testExchange(t, 4)
	minusOne[0]--
	onePlus[0]++
	top[31] |= 0x80
	for entry, try := range entries {
		for name, c := range map[string]struct {
			key  [32]byte
			want error
		}{
			"zero":                  {[32]byte{}, ErrLowOrder},
			"one":                   {[32]byte{1}, ErrLowOrder},
			"order 8":               {[32]byte(unhex(t, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")), ErrLowOrder},
			"order 8, the other":    {[32]byte(unhex(t, "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157")), ErrLowOrder},
			"minus one":             {minusOne, ErrLowOrder},
			"the prime":             {fieldPrime, ErrKey},
			"the prime plus one":    {onePlus, ErrKey},
			"all ones":              {[32]byte(bytes.Repeat([]byte{0xFF}, 32)), ErrKey},
			"top bit of a good one": {top, ErrKey},
		} {
			if err := try(c.key); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: got %v, want %v", entry, name, err, c.want)
			}
		}
		if err := try(testExchange(t, 4)); err != nil {
			t.Errorf("%s: a good key: %v", entry, err)
		}
	}
}

// T15: at every place of this package where an ML-KEM key enters.
func TestT15BadKEMKeys(t *testing.T) {
	key := testKey(t, 1)
	entries := map[string]func(k []byte) error{
		"KEM key of a bundle": func(k []byte) error {
			_, err := ParseBundle(resign(t, key, TagBundle, signedBundle(t, 1), func(b []byte) { copy(b[atKEM:], k) }))
			return err
		},
		"one-time key": func(k []byte) error {
			raw := signedKinds["one-time KEM key"].sign(t, key)
			_, err := ParseOneTimeKey(resign(t, key, TagOneTimeKey, raw, func(b []byte) { copy(b[len(b)-KEMKeySize:], k) }), key.Public())
			return err
		},
	}
	for entry, try := range entries {
		for name, c := range map[string]struct {
			at   int
			with []byte
		}{
			"first coefficient is q":       {0, []byte{0x01, 0x0D}},
			"first coefficient is 4,095":   {0, []byte{0xFF, 0xFF}},
			"last coefficient is over q":   {1150, []byte{0xF0, 0xFF}},
			"all coefficients are over q":  {0, bytes.Repeat([]byte{0xFF}, 1152)},
			"one in the middle is over q":  {600, []byte{0xFF, 0xFF, 0xFF}},
			"half of them are over q, too": {576, bytes.Repeat([]byte{0xFF}, 576)},
		} {
			k := testKEM(t, 4)
			copy(k[c.at:], c.with)
			if err := try(k); !errors.Is(err, ErrKEM) {
				t.Errorf("%s, %s: got %v, want ErrKEM", entry, name, err)
			}
		}
		if err := try(testKEM(t, 4)); err != nil {
			t.Errorf("%s: a good key: %v", entry, err)
		}
	}
}

// T22: an exchange key belongs to whom the certificate says, or to nobody.
func TestT22Certificate(t *testing.T) {
	ann, eve := testKey(t, 1), testKey(t, 2)
	claim := testBundle(t, 1).Certificate
	raw, strange := must(t)(SignKeyCertificate(ann, claim)), must(t)(SignKeyCertificate(eve, claim))
	other := claim
	other.Epoch++
	another := must(t)(SignKeyCertificate(ann, other))
	put := func(at int, b ...byte) []byte { c := bytes.Clone(raw); copy(c[at:], b); return c }
	tagged := func(tag Tag) []byte { return resign(t, ann, tag, raw, func([]byte) {}) }
	body := raw[:len(raw)-SignatureSize]
	eveName := eve.AMID()
	cases := map[string]struct {
		raw  []byte
		want error
	}{
		"Eve's certificate":                     {strange, ErrMismatch},
		"Eve's, with Ann's name":                {append(bytes.Clone(body), strange[len(body):]...), ErrSignature},
		"signed by Eve":                         {append(bytes.Clone(body), eve.Sign(TagKeyCertificate, body)...), ErrSignature},
		"Ann's, with Eve's name":                {put(0, eveName[:]...), ErrMismatch},
		"Eve's name, signed by Ann":             {resign(t, ann, TagKeyCertificate, raw, func(b []byte) { copy(b, eveName[:]) }), ErrMismatch},
		"another exchange key":                  {put(20, make32(testExchange(t, 9))...), ErrSignature},
		"another epoch":                         {put(55, 9), ErrSignature},
		"made earlier":                          {put(63, 0), ErrSignature},
		"ends later":                            {put(64, 0, 0, 0, 0, 0x7F), ErrSignature},
		"signature of another certificate":      {append(bytes.Clone(body), another[len(body):]...), ErrSignature},
		"no signature":                          {append(bytes.Clone(body), make([]byte, SignatureSize)...), ErrSignature},
		"bare signature, without a tag":         {append(bytes.Clone(body), ann.SignTimestamp(string(body))...), ErrSignature},
		"a byte short":                          {raw[:len(raw)-1], wire.ErrMalformed},
		"a byte long":                           {append(bytes.Clone(raw), 0), wire.ErrMalformed},
		"ends before it begins, signed by Ann":  {resign(t, ann, TagKeyCertificate, raw, func(b []byte) { copy(b[64:], make([]byte, 8)) }), wire.ErrMalformed},
		"ends when it begins, signed by Ann":    {resign(t, ann, TagKeyCertificate, raw, func(b []byte) { copy(b[64:72], b[56:64]) }), wire.ErrMalformed},
		"made before 1970, signed by Ann":       {resign(t, ann, TagKeyCertificate, raw, func(b []byte) { b[56] = 0xFF }), wire.ErrMalformed},
		"ends after 9999, signed by Ann":        {resign(t, ann, TagKeyCertificate, raw, func(b []byte) { b[64] = 0x7F }), wire.ErrMalformed},
		"exchange key of low order, signed too": {resign(t, ann, TagKeyCertificate, raw, func(b []byte) { clear(b[20:52]) }), ErrLowOrder},
	}
	for _, tag := range []Tag{TagBundle, TagOneTimeKey, TagAgentRecord, TagKnock, TagRenew, TagRollbackMark, TagRelayConnect, TagMessage} {
		cases["signed as "+string(tag)] = struct {
			raw  []byte
			want error
		}{tagged(tag), ErrSignature}
	}
	for name, c := range cases {
		if _, err := ParseKeyCertificate(c.raw, ann.Public()); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if _, err := ParseKeyCertificate(raw, ann.Public()); err != nil {
		t.Error(err)
	}
}

// T39: a hundred lists of suites, in four ways of lying about them. A bundle that
// can be read offers suite 2, because its owner signed that it does, and offers
// neither of the numbers below it.
func TestT39Suites(t *testing.T) {
	d, r := dice("T39")
	ann, eve := testKey(t, 1), testKey(t, 2)
	raw := signedBundle(t, 1)
	read := 0
	for range 100 {
		suites := randomBytes(t, r, d.IntN(5))
		for i := range suites {
			suites[i] %= 5
		}
		body := slices.Concat(raw[:atSuites], []byte{byte(len(suites))}, suites, raw[atSuites+2:len(raw)-SignatureSize])
		valid := slices.Contains(suites, 2) && slices.IsSorted(suites) && suites[0] >= 2 && len(slices.Compact(slices.Clone(suites))) == len(suites)
		for who, sig := range map[string][]byte{
			"a relay keeps the signature": raw[len(raw)-SignatureSize:],
			"a relay signs itself":        eve.Sign(TagBundle, body),
			"signed as a record":          ann.Sign(TagAgentRecord, body),
			"the owner signs":             ann.Sign(TagBundle, body),
		} {
			b, err := ParseBundle(append(bytes.Clone(body), sig...))
			mine := who == "the owner signs" || string(suites) == "\x02" && who == "a relay keeps the signature"
			if (err == nil) != (mine && valid) {
				t.Fatalf("suites %v, %s: %v", suites, who, err)
			}
			if err == nil {
				if read++; !slices.Contains(b.Suites, Suite2) {
					t.Fatalf("suites %v, %s: read without suite 2", suites, who)
				}
			}
		}
	}
	if read == 0 {
		t.Error("not one list was right: the test lies too much")
	}
}

// Versions that do not exist yet are not read as if they were ours.
func TestLaterVersions(t *testing.T) {
	key := testKey(t, 1)
	for name, kind := range signedKinds {
		if name == "certificate" {
			continue // has no version of its own
		}
		for _, v := range []byte{0, 2, 255} {
			raw := resign(t, key, kind.tag, kind.sign(t, key), func(body []byte) { body[0] = v })
			if err := kind.parse(raw, key.Public()); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s of version %d: got %v, want ErrMalformed", name, v, err)
			}
		}
	}
}
