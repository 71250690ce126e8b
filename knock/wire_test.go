package knock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/ratchet"
)

// Offsets of fields in a knock, from session.md §5.2.
const (
	atSuite      = 6
	atEpoch      = 7
	atFrom       = 11
	atTo         = 31
	atKey        = 51
	atCert       = 83
	atEK         = 219
	atCiphertext = 251
	atPrekeyID   = 1339
	atKEMKind    = 1343
	atOneTime    = 1348
	atOneTimeID  = 1349
	atBundleID   = 1353
	atIssued     = 1385
	atExpires    = 1393
)

func TestKnockAndAnswer(t *testing.T) {
	for name, oneTime := range map[string]bool{"with one-time keys": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			a, b := newAgent(t, "a"), newAgent(t, "b")
			q := a.asking(t, b, oneTime)
			asked, err := NewKnock(seeded("k"), q)
			if err != nil {
				t.Fatal(err)
			}
			k := parsed(t, asked.Bytes)
			if k.From != a.amid() || k.To != b.amid() || k.Epoch != 1 || k.SignedPrekey != 7 || k.BundleID != b.bundle.ID() ||
				!k.Issued.Equal(noon) || !k.Expires.Equal(noon.Add(MaxLife)) || k.Hash() != asked.Hash || k.NoOneTimeKey() == oneTime {
				t.Errorf("read %+v", k)
			}
			want := [2]KeyName{{identity.KindLastResort, 8}, {}}
			if oneTime {
				want = [2]KeyName{{identity.KindOneTimeKEM, 20}, {identity.KindOneTime, 21}}
			}
			if got := [2]KeyName{k.KEM, k.OneTime}; got != want {
				t.Errorf("names %v, want %v", got, want)
			}
			opened, err := b.answered(asked.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&q.Request, opened.Request); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			talk(t, asked.Session, opened.Session)
		})
	}
}

func talk(t *testing.T, a, b *ratchet.Session) {
	t.Helper()
	r := seeded("talk")
	for range 3 {
		for _, dir := range [][2]*ratchet.Session{{b, a}, {a, b}} {
			env, _, err := dir[0].Seal(r, []byte("hello"))
			if err != nil {
				t.Fatal(err)
			}
			if o, err := dir[1].Open(noon, r, env); err != nil || string(o.Plaintext) != "hello" {
				t.Fatalf("got %q, %v", o.Plaintext, err)
			}
		}
	}
}

func TestTail(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	asked := a.knockAt(t, b, true)
	env, err := asked.WithTail(seeded("tail"), []byte("first message"))
	if err != nil {
		t.Fatal(err)
	}
	k := parsed(t, env)
	if k.Hash() != asked.Hash || !bytes.Equal(k.Bytes(), asked.Bytes) {
		t.Error("the tail changed the knock hash")
	}
	if k.VerifySignature() != nil || k.SigningKey() != a.key.Public() {
		t.Errorf("signed by %x, want %x", k.SigningKey(), a.key.Public())
	}
	if k.EnvelopeID() != ratchet.EnvelopeID(env) || k.EnvelopeID() == parsed(t, asked.Bytes).EnvelopeID() {
		t.Error("the envelope id must cover the tail")
	}
	opened, err := b.answered(env)
	if err != nil {
		t.Fatal(err)
	}
	// A lost tail goes again as an ordinary envelope: it is one.
	o, err := opened.Session.Open(noon, seeded("x"), k.Tail)
	if err != nil || string(o.Plaintext) != "first message" {
		t.Errorf("tail: %q, %v", o.Plaintext, err)
	}
	before, err := asked.Session.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asked.WithTail(seeded("tail"), make([]byte, MaxTail)); !errors.Is(err, ratchet.ErrTooLong) {
		t.Errorf("too long: got %v, want ErrTooLong", err)
	}
	if after, err := asked.Session.MarshalBinary(); err != nil || !bytes.Equal(before, after) {
		t.Error("too long: the session changed")
	}
	longest, err := asked.WithTail(seeded("tail"), make([]byte, MaxTail-4))
	if n := MaxKnock + len(longest) - len(asked.Bytes); err != nil || n != ratchet.MaxEnvelope {
		t.Errorf("the longest tail behind the longest knock: %d bytes, want %d (%v)", n, ratchet.MaxEnvelope, err)
	}
	for name, tail := range map[string][]byte{"garbage": []byte("x"), "a knock": asked.Bytes, "message 0": k.message0} {
		if _, err := ParseKnock(append(bytes.Clone(asked.Bytes), tail...)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s as tail: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestNewKnockRefuses(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	for name, tc := range map[string]struct {
		change func(q *Asking)
		want   error
	}{
		"knocking at oneself":     {func(q *Asking) { q.Peer = a.bundle }, identity.ErrKey},
		"bundle expired":          {func(q *Asking) { q.Issued = noon.Add(15 * 24 * time.Hour); q.Expires = q.Issued.Add(time.Hour) }, identity.ErrBundleExpired},
		"bundle of the future":    {func(q *Asking) { q.Issued = noon.Add(-time.Hour); q.Expires = noon }, identity.ErrBundleExpired},
		"life of 168 h and 1 s":   {func(q *Asking) { q.Expires = q.Issued.Add(MaxLife + time.Second) }, ErrMalformed},
		"no life":                 {func(q *Asking) { q.Expires = q.Issued }, ErrMalformed},
		"bad intent":              {func(q *Asking) { q.Request.Intent = "No!" }, ErrMalformed},
		"unknown mode":            {func(q *Asking) { q.Request.Mode = 3 }, ErrMalformed},
		"certificate of another":  {func(q *Asking) { q.Certificate = c.cert }, identity.ErrMismatch},
		"another exchange key":    {func(q *Asking) { q.Exchange = c.exchange }, identity.ErrMismatch},
		"our certificate is over": {func(q *Asking) { q.Certificate = a.certificate(t, noon.AddDate(0, -1, 0), noon.Add(-time.Second)) }, identity.ErrBundleExpired},
		"our certificate is to come": {func(q *Asking) {
			q.Certificate = a.certificate(t, noon.Add(identity.ClockSkew+time.Second), noon.AddDate(0, 1, 0))
		}, identity.ErrBundleExpired},
		"one-time key of another":   {func(q *Asking) { q.OneTime = c.oneTimeKey(t, identity.KindOneTime, 1, 1) }, identity.ErrMismatch},
		"one-time key of old epoch": {func(q *Asking) { q.OneTime = b.oneTimeKey(t, identity.KindOneTime, 1, 0) }, identity.ErrMismatch},
		"KEM key in X25519's place": {func(q *Asking) { q.OneTime = b.oneTimeKey(t, identity.KindOneTimeKEM, 1, 1) }, identity.ErrMismatch},
		"one-time key expired": {func(q *Asking) {
			q.OneTime = b.oneTimeKey(t, identity.KindOneTime, 1, 1)
			q.OneTime.Expires = noon.Add(-time.Second)
		}, identity.ErrBundleExpired},
	} {
		q := a.asking(t, b, false)
		tc.change(&q)
		if _, err := NewKnock(seeded("k"), q); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

// T02, T20: a changed knock opens nothing, wherever it was changed.
func TestT02T20EveryByteCounts(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	raw := a.knockAt(t, b, true).Bytes
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x04
		if _, err := b.answered(bad); err == nil {
			t.Fatalf("byte %d changed: opened", i)
		}
	}
	for n := range len(raw) {
		if _, err := ParseKnock(raw[:n]); err == nil {
			t.Fatalf("%d bytes: parsed", n)
		}
	}
}

// What an asker with a good key may not do either: everything here is signed.
func TestSignedNonsense(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	raw := a.knockAt(t, b, true).Bytes
	put := func(at int, v ...byte) func([]byte) { return func(x []byte) { copy(x[at:], v) } }
	oldEpoch := a.bundle.Certificate
	oldEpoch.Epoch = 0
	oldCert, err := identity.SignKeyCertificate(a.key, oldEpoch)
	if err != nil {
		t.Fatal(err)
	}
	expired := a.bundle.Certificate
	expired.Created, expired.Expires = noon.AddDate(0, -2, 0), noon.AddDate(0, -1, 0)
	expiredCert, err := identity.SignKeyCertificate(a.key, expired)
	if err != nil {
		t.Fatal(err)
	}
	cAMID := c.amid()
	for name, tc := range map[string]struct {
		change func([]byte)
		want   error
	}{
		"suite 1":                      {put(atSuite, 1), ErrMalformed},
		"later version":                {put(4, 2), ratchet.ErrUnsupported},
		"type message":                 {put(5, 2), ErrMalformed},
		"KEM kind 0":                   {put(atKEMKind, 0), ErrMalformed},
		"KEM kind 4":                   {put(atKEMKind, 4), ErrMalformed},
		"one-time kind 3":              {put(atOneTime, 3), ErrMalformed},
		"no one-time key, but an id":   {put(atOneTime, 0), ErrMalformed},
		"life too long":                {func(x []byte) { binary.BigEndian.PutUint64(x[atExpires:], uint64(noon.Add(MaxLife).Unix()+1)) }, ErrMalformed},
		"expired before issued":        {put(atExpires, 0, 0, 0, 0, 1), ErrMalformed},
		"issued before 1970":           {put(atIssued, 0x80), ErrMalformed},
		"for somebody else":            {put(atTo, cAMID[:]...), ErrWrongRecipient},
		"other epoch than certificate": {put(atEpoch, 0, 0, 0, 9), identity.ErrMismatch},
		"certificate of another":       {put(atCert, c.cert...), identity.ErrMismatch},
		"certificate of another epoch": {put(atCert, oldCert...), identity.ErrMismatch},
		"certificate expired":          {put(atCert, expiredCert...), identity.ErrBundleExpired},
		"certificate with another key": {put(atCert+20, 1, 2, 3), identity.ErrSignature},
		"under another name":           {put(atFrom, cAMID[:]...), identity.ErrMismatch},
		"another bundle":               {put(atBundleID, 1, 2, 3), ErrPrekeyUnknown},
		"another prekey id":            {put(atPrekeyID, 1, 2, 3), ErrPrekeyUnknown},
		"another one-time id":          {put(atOneTimeID, 9, 9), ratchet.ErrDecrypt},
		"another ciphertext":           {put(atCiphertext, 1, 2, 3), ratchet.ErrDecrypt},
		"EK of low order":              {put(atEK, make([]byte, 32)...), ratchet.ErrLowOrder},
		"EK not canonical":             {put(atEK, bytes.Repeat([]byte{0xFF}, 32)...), ratchet.ErrKey},
		"EK is B's own exchange key":   {func(x []byte) { k := b.exchange.Public(); copy(x[atEK:], k[:]) }, ratchet.ErrKey},
		"EK is B's own signed prekey":  {func(x []byte) { k := b.prekey.Public(); copy(x[atEK:], k[:]) }, ratchet.ErrKey},
		"message 0 from another knock": {put(1403+100, 1, 2, 3), ratchet.ErrDecrypt},
		"message 0 of type 2":          {put(1403+5, 2), ErrMalformed},
	} {
		if _, err := b.answered(resigned(raw, a.key, tc.change)); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}

// T04: the knock's bytes, signed for another purpose.
func TestT04OtherTags(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	raw := a.knockAt(t, b, true).Bytes
	body := raw[:len(raw)-identity.SignatureSize]
	for _, tag := range []identity.Tag{
		identity.TagBundle, identity.TagKeyCertificate, identity.TagOneTimeKey, identity.TagAgentRecord,
		identity.TagRenew, identity.TagRollbackMark, identity.TagMessage, identity.TagRelayConnect,
	} {
		if _, err := b.answered(append(bytes.Clone(body), a.key.Sign(tag, body)...)); !errors.Is(err, identity.ErrSignature) {
			t.Errorf("%q: got %v, want ErrSignature", tag, err)
		}
	}
}

// T21, T22: C passes A's handshake off as its own, or presents A's exchange key.
func TestT21T22UnknownKeyShare(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	raw := a.knockAt(t, b, true).Bytes
	cAMID, cKey := c.amid(), c.key.Public()
	asC := func(cert []byte) []byte {
		return resigned(raw, c.key, func(x []byte) {
			copy(x[atFrom:], cAMID[:])
			copy(x[atKey:], cKey[:])
			copy(x[atCert:], cert)
		})
	}
	if _, err := b.answered(asC(a.cert)); !errors.Is(err, identity.ErrMismatch) {
		t.Errorf("with A's certificate: got %v, want ErrMismatch", err)
	}
	if _, err := b.answered(asC(c.cert)); !errors.Is(err, ratchet.ErrDecrypt) {
		t.Errorf("with C's certificate: got %v, want ErrDecrypt", err)
	}
	// C certifies A's exchange key as its own: the keys agree, the transcript does not.
	claim := c.bundle.Certificate
	claim.Exchange = a.exchange.Public()
	stolen, err := identity.SignKeyCertificate(c.key, claim)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.answered(asC(stolen)); !errors.Is(err, ratchet.ErrDecrypt) {
		t.Errorf("with A's key certified by C: got %v, want ErrDecrypt", err)
	}
}

// T33: a knock for B is worthless at C, and known again at B.
func TestT33Replay(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	asked := a.knockAt(t, b, true)
	if err := parsed(t, asked.Bytes).CheckRecipient(c.amid()); !errors.Is(err, ErrWrongRecipient) {
		t.Errorf("at C: got %v, want ErrWrongRecipient", err)
	}
	withTail, err := asked.WithTail(seeded("tail"), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	first, second := parsed(t, asked.Bytes), parsed(t, withTail)
	one, err := first.ReplayKey(b.keysFor(first))
	if err != nil {
		t.Fatal(err)
	}
	two, err := second.ReplayKey(b.keysFor(second))
	if err != nil || one != two {
		t.Errorf("a copy in another envelope has another replay key: %v", err)
	}
	opened, err := b.answered(asked.Bytes)
	if err != nil || opened.ReplayKey != one {
		t.Errorf("opened under another replay key: %v", err)
	}
	other := parsed(t, a.knockAt(t, b, true).Bytes)
	if three, err := other.ReplayKey(b.keysFor(other)); err != nil || three == one {
		t.Errorf("another knock has the same replay key: %v", err)
	}
}

// T07: a clock that is off is met at the edge of what is allowed, and not a second later.
func TestCheckTimes(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	k := parsed(t, a.knockAt(t, b, false).Bytes)
	for name, c := range map[string]struct {
		now time.Time
		ok  bool
	}{
		"600 s before issued": {noon.Add(-600 * time.Second), true},
		"601 s before issued": {noon.Add(-601 * time.Second), false},
		"issued":              {noon, true},
		"600 s after the end": {noon.Add(MaxLife + 600*time.Second), true},
		"601 s after the end": {noon.Add(MaxLife + 601*time.Second), false},
	} {
		if err := k.CheckTimes(c.now); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrKnockExpired) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The keys that B brings must be those the knock names.
func TestWrongResponderKeys(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	newer := newAgentWith(t, "b", func(x *identity.Bundle) { x.Sequence = 2 })
	for _, oneTime := range []bool{true, false} {
		k := parsed(t, a.knockAt(t, b, oneTime).Bytes)
		if err := k.VerifySignature(); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(keys *ResponderKeys){
			"newer bundle":          func(keys *ResponderKeys) { keys.Bundle = newer.bundle },
			"bundle of another":     func(keys *ResponderKeys) { keys.Bundle = c.bundle },
			"another exchange key":  func(keys *ResponderKeys) { keys.Exchange = c.exchange },
			"another signed prekey": func(keys *ResponderKeys) { keys.SignedPrekey = c.prekey },
			"one-time key too many": func(keys *ResponderKeys) { toggle(&keys.OneTime, &c.oneTime) },
		} {
			keys := b.keysFor(k)
			change(&keys)
			if _, err := k.Open(keys, noon, seeded("x")); !errors.Is(err, ErrPrekeyUnknown) {
				t.Errorf("%s: got %v, want ErrPrekeyUnknown", name, err)
			}
		}
		keys, want := b.keysFor(k), ErrPrekeyUnknown
		keys.KEM = c.kem
		if oneTime {
			want = ratchet.ErrDecrypt // only the store knows which seed belongs to an id
		}
		if _, err := k.Open(keys, noon, seeded("x")); !errors.Is(err, want) {
			t.Errorf("another KEM key: got %v, want %v", err, want)
		}
		if _, err := k.Open(b.keysFor(k), noon, seeded("x")); err != nil {
			t.Errorf("after all that: %v", err)
		}
	}
	k := parsed(t, a.knockAt(t, b, true).Bytes)
	if _, err := k.Open(b.keysFor(k), noon, seeded("x")); !errors.Is(err, ErrNotVerified) {
		t.Errorf("without verification: got %v, want ErrNotVerified", err)
	}
}

func toggle(k **ratchet.Secret, other *ratchet.Secret) {
	if *k == nil {
		*k = other
		return
	}
	*k = nil
}

// A knock issued after the bundle's end was made with keys that A may no longer
// use.
func TestBundleOverWhenIssued(t *testing.T) {
	a := newAgent(t, "a")
	b := newAgentWith(t, "b", func(x *identity.Bundle) { x.Expires = noon.Add(time.Hour) })
	q := a.asking(t, b, false)
	q.Issued = noon.Add(time.Hour)
	asked, err := NewKnock(seeded("k"), q)
	if err != nil {
		t.Fatal(err)
	}
	late := resigned(asked.Bytes, a.key, func(x []byte) {
		binary.BigEndian.PutUint64(x[atIssued:], uint64(noon.Add(time.Hour+601*time.Second).Unix()))
	})
	k := parsed(t, late)
	if _, err := k.ReplayKey(b.keysFor(k)); !errors.Is(err, identity.ErrBundleExpired) {
		t.Errorf("got %v, want ErrBundleExpired", err)
	}
}

func TestKnockSize(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	q := a.asking(t, b, true)
	q.Request.TierCertificate = make([]byte, content.MaxTierCertificate)
	q.Request.Invite = make([]byte, content.MaxInvite)
	q.Request.Resume = make([]ratchet.ID, content.MaxResume)
	asked, err := NewKnock(seeded("k"), q)
	if err != nil || len(asked.Bytes) > MaxKnock {
		t.Fatalf("fullest knock: %v", err)
	}
	if _, err := b.answered(asked.Bytes); err != nil {
		t.Errorf("fullest knock: %v", err)
	}
	// Message 0 in a larger class than any request needs.
	raw := bytes.Clone(asked.Bytes[:clearSize])
	raw = binary.BigEndian.AppendUint16(raw, 4000)
	raw = append(raw, make([]byte, 4064)...)
	if _, err := ParseKnock(raw); !errors.Is(err, ErrMalformed) {
		t.Errorf("knock of %d bytes: got %v, want ErrMalformed", len(raw), err)
	}
}

// A stored knock, because a fresh one would be another in every fuzzing process.
func FuzzParseKnock(f *testing.F) {
	var seeds, knocks [][]byte
	for _, h := range read[*handshake](f, "handshakes.json") {
		seeds = append(seeds, h.Envelope)
	}
	for _, v := range read[refusedKnock](f, "knocks_refused.json") {
		seeds = append(seeds, v.Envelope)
	}
	for _, raw := range seeds {
		f.Add(raw)
		if k, err := ParseKnock(raw); err == nil {
			knocks = append(knocks, k.Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := ParseKnock(raw)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(raw, k.Bytes()) || len(k.Bytes())+len(k.Tail) != len(raw) || len(k.Bytes()) > MaxKnock {
			t.Error("parts do not make the whole")
		}
		known := slices.ContainsFunc(knocks, func(b []byte) bool { return bytes.Equal(b, k.Bytes()) })
		if k.VerifySignature() == nil && !known {
			t.Error("forged")
		}
	})
}
