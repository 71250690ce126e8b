package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"amesh/internal/wire"
)

// Offsets of fields in a bundle, from session.md §2.4.
const (
	atCreated     = 65
	atExpires     = 73
	atCertificate = 81
	atPrekey      = 221
	atKEM         = 257
	atSuites      = 1441
)

func TestBundle(t *testing.T) {
	raw := signedBundle(t, 1)
	if len(raw) != 1511 {
		t.Errorf("%d bytes, want 1511", len(raw))
	}
	// The whole bundle is deterministic, so its hash stands for its bytes.
	sum := sha256.Sum256(raw)
	if got := hex.EncodeToString(sum[:8]); got != bundleHash {
		t.Errorf("hash of the bundle is %s, want %s", got, bundleHash)
	}
	b, err := ParseBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := testBundle(t, 1)
	want.SigningKey, want.AMID = testKey(t, 1).Public(), testKey(t, 1).AMID()
	want.Certificate.AMID, want.Certificate.Epoch = want.AMID, want.Epoch
	want.Suites = []byte{Suite2}
	if diff := cmp.Diff(&want, b, cmpopts.IgnoreUnexported(Bundle{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if b.ID() != sha256.Sum256(raw[:1447]) || !bytes.Equal(b.Raw(), raw) {
		t.Error("id or bytes differ")
	}
	cert, err := SignKeyCertificate(testKey(t, 1), want.Certificate)
	if err != nil || !bytes.Equal(cert, raw[atCertificate:atCertificate+KeyCertificateSize]) {
		t.Errorf("certificate signed alone differs: %v", err)
	}
	raw[100] ^= 1
	if bytes.Equal(b.Raw(), raw) {
		t.Error("the bundle shares the caller's memory")
	}
}

const bundleHash = "1c283817cec30704"

// T02, T03: nothing in a bundle can be changed by others than its owner.
func TestT02T03BundleForged(t *testing.T) {
	raw := signedBundle(t, 1)
	for bit := 0; bit < len(raw)*8; bit += 5 {
		bad := bytes.Clone(raw)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := ParseBundle(bad); err == nil {
			t.Fatalf("bit %d: parsed", bit)
		}
	}
	for n := range len(raw) {
		if _, err := ParseBundle(raw[:n]); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("%d bytes: got %v, want ErrMalformed", n, err)
		}
	}
	if _, err := ParseBundle(append(bytes.Clone(raw), 0)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a byte more: got %v", err)
	}
	stolen := bytes.Clone(raw)
	other := testKey(t, 2).AMID()
	copy(stolen[1:], other[:])
	if _, err := ParseBundle(stolen); !errors.Is(err, ErrMismatch) {
		t.Errorf("under another name: got %v, want ErrMismatch", err)
	}
}

// What the owner of the key himself may not do (T14, T15, T22).
func TestBundleRules(t *testing.T) {
	key, raw := testKey(t, 1), signedBundle(t, 1)
	strange, err := SignKeyCertificate(testKey(t, 2), testBundle(t, 2).Certificate)
	if err != nil {
		t.Fatal(err)
	}
	c := testBundle(t, 1).Certificate
	c.Epoch = 2
	oldEpoch, err := SignKeyCertificate(key, c)
	if err != nil {
		t.Fatal(err)
	}
	put := func(at int, b ...byte) func([]byte) { return func(body []byte) { copy(body[at:], b) } }
	for name, tc := range map[string]struct {
		change func([]byte)
		want   error
	}{
		"other version":                {put(0, 2), wire.ErrMalformed},
		"life of 14 d and 1 s":         {put(atExpires+7, raw[atExpires+7]+1), wire.ErrMalformed},
		"expires before created":       {put(atExpires, 0, 0, 0, 0, 1), wire.ErrMalformed},
		"created before 1970":          {put(atCreated, 0xFF), wire.ErrMalformed},
		"expires after 9999":           {put(atExpires, 0x7F), wire.ErrMalformed},
		"certificate of another agent": {put(atCertificate, strange...), ErrMismatch},
		"certificate of another epoch": {put(atCertificate, oldEpoch...), ErrMismatch},
		"exchange key swapped":         {put(atCertificate+20, 1), ErrSignature},
		"signed prekey of low order":   {put(atPrekey, make([]byte, 32)...), ErrLowOrder},
		"signed prekey not canonical":  {put(atPrekey, fieldPrime[:]...), ErrKey},
		"KEM coefficient above q":      {put(atKEM, 0xFF, 0xFF), ErrKEM},
		"suite 1 only":                 {put(atSuites, 1, 1), wire.ErrMalformed},
		"suite 3 only":                 {put(atSuites, 1, 3), wire.ErrMalformed},
	} {
		if _, err := ParseBundle(resign(t, key, TagBundle, raw, tc.change)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

func TestBundleSuites(t *testing.T) {
	for name, c := range map[string]struct {
		suites []byte
		ok     bool
	}{
		"two":           {[]byte{2}, true},
		"two and later": {[]byte{2, 3, 200}, true},
		"default":       {nil, true},
		"one and two":   {[]byte{1, 2}, false},
		"twice":         {[]byte{2, 2}, false},
		"descending":    {[]byte{3, 2}, false},
		"without two":   {[]byte{3}, false},
		"seventeen":     {[]byte{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, false},
	} {
		b := testBundle(t, 1)
		b.Suites = c.suites
		raw, err := SignBundle(testKey(t, 1), b)
		if (err == nil) != c.ok {
			t.Errorf("%s: sign: %v", name, err)
		}
		if c.ok {
			if _, err := ParseBundle(raw); err != nil {
				t.Errorf("%s: parse: %v", name, err)
			}
		}
	}
}

func TestSignBundleRefuses(t *testing.T) {
	for name, change := range map[string]func(b *Bundle){
		"no exchange key": func(b *Bundle) { b.Certificate.Exchange = [32]byte{} },
		"no prekey":       func(b *Bundle) { b.SignedPrekey = [32]byte{} },
		"no KEM key":      func(b *Bundle) { b.KEMKey = nil },
		"no times":        func(b *Bundle) { b.Created, b.Expires = time.Time{}, time.Time{} },
		"too long a life": func(b *Bundle) { b.Expires = b.Created.Add(BundleLife + time.Second) },
	} {
		b := testBundle(t, 1)
		change(&b)
		if raw, err := SignBundle(testKey(t, 1), b); err == nil {
			t.Errorf("%s: signed %d bytes", name, len(raw))
		}
	}
}

func TestBundleUsable(t *testing.T) {
	b, err := ParseBundle(signedBundle(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		now time.Time
		ok  bool
	}{
		"now":                {noon, true},
		"clock 600 s behind": {noon.Add(-600 * time.Second), true},
		"clock 601 s behind": {noon.Add(-601 * time.Second), false},
		"at the end":         {noon.Add(BundleLife), true},
		"a second after":     {noon.Add(BundleLife + time.Second), false},
	} {
		if err := b.Usable(c.now); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrBundleExpired) {
			t.Errorf("%s: %v", name, err)
		}
	}
	short := testBundle(t, 1)
	short.Certificate.Expires = noon.Add(time.Hour)
	raw, err := SignBundle(testKey(t, 1), short)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = ParseBundle(raw); err != nil {
		t.Fatal(err)
	}
	if err := b.Usable(noon.Add(2 * time.Hour)); !errors.Is(err, ErrBundleExpired) {
		t.Errorf("certificate over: got %v, want ErrBundleExpired", err)
	}
}

func TestBundleCompare(t *testing.T) {
	b, err := ParseBundle(signedBundle(t, 1)) // epoch 3, sequence 41
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		epoch    uint32
		sequence uint64
		id       [32]byte
		want     error
	}{
		"same again":             {3, 41, b.ID(), nil},
		"newer sequence":         {3, 40, [32]byte{}, nil},
		"newer epoch":            {2, 99, [32]byte{}, nil},
		"older sequence":         {3, 42, [32]byte{}, ErrStaleBundle},
		"older epoch":            {4, 0, [32]byte{}, ErrStaleEpoch},
		"another under the same": {3, 41, [32]byte{}, ErrBundleConflict},
	} {
		if err := b.Compare(c.epoch, c.sequence, c.id); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestOneTimeKey(t *testing.T) {
	key := testKey(t, 1)
	x, k := testExchange(t, 9), testKEM(t, 9)
	long := OneTimeKey{Kind: KindOneTime, Created: noon, Expires: noon.Add(OneTimeKeyLife), Public: x[:]}
	if _, err := SignOneTimeKey(key, long); err != nil {
		t.Errorf("30 days: %v", err)
	}
	long.Expires = long.Expires.Add(time.Second)
	if _, err := SignOneTimeKey(key, long); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("30 days and a second: got %v, want ErrMalformed", err)
	}
	for name, c := range map[string]struct {
		key  OneTimeKey
		size int
		want error
	}{
		"X25519":           {OneTimeKey{Kind: KindOneTime, Public: x[:]}, 144, nil},
		"ML-KEM":           {OneTimeKey{Kind: KindOneTimeKEM, ID: 5, Public: k}, 1296, nil},
		"last-resort kind": {OneTimeKey{Kind: KindLastResort, Public: k}, 0, wire.ErrMalformed},
		"no kind":          {OneTimeKey{Public: x[:]}, 0, wire.ErrMalformed},
		"low order":        {OneTimeKey{Kind: KindOneTime, Public: make([]byte, 32)}, 0, ErrLowOrder},
		"KEM as X25519":    {OneTimeKey{Kind: KindOneTime, Public: k}, 0, wire.ErrMalformed},
		"X25519 as KEM":    {OneTimeKey{Kind: KindOneTimeKEM, Public: x[:]}, 0, ErrKEM},
	} {
		in := c.key
		in.Epoch, in.Created, in.Expires = 3, noon, noon.Add(time.Hour)
		raw, err := SignOneTimeKey(key, in)
		if !errors.Is(err, c.want) || len(raw) != c.size {
			t.Errorf("%s: %d bytes, %v, want %d, %v", name, len(raw), err, c.size, c.want)
		}
		if c.want != nil {
			continue
		}
		got, err := ParseOneTimeKey(raw, key.Public())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		in.AMID = key.AMID()
		if diff := cmp.Diff(&in, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		if own, err := OwnOneTimeKey(raw, key.AMID()); err != nil || cmp.Diff(got, own) != "" {
			t.Errorf("read as one's own: %v, %v", own, err)
		}
		if _, err := OwnOneTimeKey(raw, testKey(t, 2).AMID()); !errors.Is(err, ErrMismatch) {
			t.Errorf("another's read as one's own: %v", err)
		}
		if _, err := OwnOneTimeKey(raw[:len(raw)-1], key.AMID()); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("a part read as one's own: %v", err)
		}
		if _, err := ParseOneTimeKey(raw, testKey(t, 2).Public()); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s of another agent: got %v, want ErrMismatch", name, err)
		}
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 0x10
			if _, err := ParseOneTimeKey(bad, key.Public()); err == nil {
				t.Fatalf("%s: byte %d changed: parsed", name, i)
			}
		}
		if got.Valid(noon) != nil || !errors.Is(got.Valid(noon.Add(2*time.Hour)), ErrBundleExpired) {
			t.Errorf("%s: times", name)
		}
	}
}
