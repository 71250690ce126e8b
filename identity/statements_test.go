package identity

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"amesh/internal/wire"
)

// The known answers in testdata come from fixed keys. After an intended change of the
// protocol they are written anew with: go test ./identity -run TestStatements -update

const statementFile = "testdata/statements.json"

var renewPrefix = []byte{0xA3, 'm', 's', 'h', 0, 4}

func testRenew(t testing.TB) Renew {
	t.Helper()
	b, err := ParseBundle(signedBundle(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	return Renew{From: testKey(t, 1).AMID(), To: testKey(t, 2).AMID(), Knock: [32]byte{0x41}, Code: RenewErased, Bundle: b}
}

func testMark(t testing.TB, server string) RollbackMark {
	t.Helper()
	return RollbackMark{Server: server, AMID: testKey(t, 1).AMID(), Epoch: 3, Reserved: 512}
}

// testRevocation is what the agent of testKey(1) says when it leaves.
func testRevocation(t testing.TB, successor bool) Revocation {
	t.Helper()
	v := Revocation{AMID: testKey(t, 1).AMID(), SigningKey: testKey(t, 1).Public(), Issued: noon, Reason: Superseded}
	if successor {
		v.Successor = testKey(t, 2).Public()
	}
	return v
}

func signedRenew(t testing.TB) []byte {
	t.Helper()
	raw, err := SignRenew(testKey(t, 1), renewPrefix, testRenew(t))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func signedMark(t testing.TB, server string) []byte {
	t.Helper()
	raw, err := SignMark(testKey(t, 1), testMark(t, server))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func signedRevocation(t testing.TB, successor bool) []byte {
	t.Helper()
	v := testRevocation(t, successor)
	var consent []byte
	if successor {
		var err error
		if consent, err = SignSuccessor(testKey(t, 2), v); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := SignRevocation(testKey(t, 1), v, consent)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// statement is one signed object in all the ways that the tests look at it.
type statement struct {
	raw   []byte
	size  int // as the document says
	tag   Tag
	want  any
	parse func([]byte) (any, error)
}

func statements(t testing.TB) map[string]statement {
	t.Helper()
	own := testKey(t, 1).Public()
	renew, plain, successor := testRenew(t), testRevocation(t, false), testRevocation(t, true)
	near, far := testMark(t, ""), testMark(t, "relay.example:7447")
	parseRenew := func(b []byte) (any, error) { return ParseRenew(b, len(renewPrefix)) }
	parseRevocation := func(b []byte) (any, error) { return ParseRevocation(b) }
	parseMark := func(server string) func([]byte) (any, error) {
		return func(b []byte) (any, error) { return ParseMark(b, own, server) }
	}
	return map[string]statement{
		"renew":                     {signedRenew(t), 6 + 20 + 20 + 32 + 1 + 2 + 1511 + 64, TagRenew, &renew, parseRenew},
		"mark beside the store":     {signedMark(t, ""), 98, TagRollbackMark, &near, parseMark("")},
		"mark at a relay":           {signedMark(t, far.Server), 116, TagRollbackMark, &far, parseMark(far.Server)},
		"revocation":                {signedRevocation(t, false), 128, TagRevocation, &plain, parseRevocation},
		"revocation with successor": {signedRevocation(t, true), 224, TagRevocation, &successor, parseRevocation},
	}
}

func TestStatements(t *testing.T) {
	known := make(map[string]string)
	if !*update {
		file, err := os.ReadFile(statementFile)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(file, &known); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range statements(t) {
		if len(s.raw) != s.size {
			t.Errorf("%s: %d bytes, the document says %d", name, len(s.raw), s.size)
		}
		if *update {
			known[name] = hex.EncodeToString(s.raw)
		}
		if got := hex.EncodeToString(s.raw); got != known[name] {
			t.Errorf("%s:\n got %s\nwant %s", name, got, known[name])
		}
		got, err := s.parse(s.raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(s.want, got, cmpopts.IgnoreUnexported(Bundle{}, Revocation{})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	if *update {
		file, err := json.MarshalIndent(known, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(statementFile, append(file, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	longest := signedMark(t, strings.Repeat("x", 255))
	if len(longest) != 353 {
		t.Errorf("longest mark: %d bytes, the document says 353", len(longest))
	}
}

// T04: whoever changes, cuts or stretches a statement, or signed it for another
// purpose, has none.
func TestStatementsForged(t *testing.T) {
	for name, s := range statements(t) {
		for i := range s.raw {
			bad := bytes.Clone(s.raw)
			bad[i] ^= 0x10
			if _, err := s.parse(bad); err == nil {
				t.Fatalf("%s, byte %d changed: parsed", name, i)
			}
		}
		for n := range s.raw {
			if _, err := s.parse(s.raw[:n:n]); !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("%s cut to %d bytes: got %v, want ErrMalformed", name, n, err)
			}
		}
		if _, err := s.parse(append(bytes.Clone(s.raw), 0)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s with a byte more: got %v, want ErrMalformed", name, err)
		}
	}
}

func TestStatementsUnderOtherTagsAndKeys(t *testing.T) {
	for name, s := range statements(t) {
		sig := len(s.raw) - SignatureSize
		if s.tag == TagRevocation {
			sig = bytes.Index(s.raw, testKey(t, 1).Sign(s.tag, revocationBody(s.raw)))
		}
		again := func(key PrivateKey, tag Tag) []byte {
			raw := bytes.Clone(s.raw)
			copy(raw[sig:], key.Sign(tag, s.raw[:sig]))
			return raw
		}
		if _, err := s.parse(again(testKey(t, 1), s.tag)); err != nil {
			t.Errorf("%s signed again: %v", name, err)
		}
		if _, err := s.parse(again(testKey(t, 3), s.tag)); !errors.Is(err, ErrSignature) {
			t.Errorf("%s of another key: got %v, want ErrSignature", name, err)
		}
		for _, tag := range []Tag{TagBundle, TagKnock, TagRenew, TagRollbackMark, TagRevocation, TagSuccessor, TagMessage} {
			if _, err := s.parse(again(testKey(t, 1), tag)); tag != s.tag && !errors.Is(err, ErrSignature) {
				t.Errorf("%s signed as %q: got %v, want ErrSignature", name, tag, err)
			}
		}
	}
}

// revocationBody is all in front of the leaving key's signature.
func revocationBody(raw []byte) []byte { return raw[:63+int(raw[62])] }

func TestRenewRules(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Renew)
		want   error
	}{
		"one-time key gone":       {func(r *Renew) { r.Code = RenewOneTime }, nil},
		"older epoch":             {func(r *Renew) { r.Code = RenewEpoch }, nil},
		"no code":                 {func(r *Renew) { r.Code = 0 }, wire.ErrMalformed},
		"fifth code":              {func(r *Renew) { r.Code = 5 }, wire.ErrMalformed},
		"bundle of another agent": {func(r *Renew) { r.Bundle, _ = ParseBundle(signedBundle(t, 2)) }, ErrMismatch},
	} {
		r := testRenew(t)
		c.change(&r)
		if _, err := SignRenew(testKey(t, 1), renewPrefix, r); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	// What a cheating owner could sign.
	raw, key := signedRenew(t), testKey(t, 1)
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"code 0":          {resign(t, key, TagRenew, raw, func(b []byte) { b[78] = 0 }), wire.ErrMalformed},
		"code 5":          {resign(t, key, TagRenew, raw, func(b []byte) { b[78] = 5 }), wire.ErrMalformed},
		"another's name":  {resign(t, key, TagRenew, raw, func(b []byte) { copy(b[6:26], b[26:46]) }), ErrMismatch},
		"a broken bundle": {resign(t, key, TagRenew, raw, func(b []byte) { b[200] ^= 1 }), ErrSignature},
	} {
		if _, err := ParseRenew(c.raw, len(renewPrefix)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	raw[5]++
	if _, err := ParseRenew(raw, len(renewPrefix)); !errors.Is(err, ErrSignature) {
		t.Errorf("another prefix: got %v, want ErrSignature", err)
	}
}

func TestMarkRules(t *testing.T) {
	for name, c := range map[string]struct {
		raw    []byte
		own    PublicKey
		server string
		want   error
	}{
		"own":               {signedMark(t, ""), testKey(t, 1).Public(), "", nil},
		"of another agent":  {signedMark(t, ""), testKey(t, 2).Public(), "", ErrMismatch},
		"of another server": {signedMark(t, "a:1"), testKey(t, 1).Public(), "b:1", ErrMismatch},
		"of a relay here":   {signedMark(t, "a:1"), testKey(t, 1).Public(), "", ErrMismatch},
		"another version": {
			resign(t, testKey(t, 1), TagRollbackMark, signedMark(t, ""), func(b []byte) { b[0] = 2 }),
			testKey(t, 1).Public(), "", wire.ErrMalformed,
		},
		"control character": {
			resign(t, testKey(t, 1), TagRollbackMark, signedMark(t, "a:1"), func(b []byte) { b[2] = 7 }),
			testKey(t, 1).Public(), "\x07:1", wire.ErrMalformed,
		},
	} {
		if _, err := ParseMark(c.raw, c.own, c.server); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	for _, server := range []string{strings.Repeat("x", 256), "\xff", "a\nb"} {
		if _, err := SignMark(testKey(t, 1), RollbackMark{Server: server}); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%.10q: got %v, want ErrMalformed", server, err)
		}
	}
}

func TestSignRevocationRefuses(t *testing.T) {
	consent, err := SignSuccessor(testKey(t, 2), testRevocation(t, true))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change  func(*Revocation)
		consent []byte
		want    error
	}{
		"in order":                    {func(*Revocation) {}, consent, nil},
		"no reason":                   {func(v *Revocation) { v.Reason = 0 }, consent, wire.ErrMalformed},
		"a fourth reason":             {func(v *Revocation) { v.Reason = 4 }, consent, wire.ErrMalformed},
		"no time":                     {func(v *Revocation) { v.Issued = time.Time{} }, consent, wire.ErrMalformed},
		"successor without consent":   {func(*Revocation) {}, nil, wire.ErrMalformed},
		"consent without a successor": {func(v *Revocation) { v.Successor = PublicKey{} }, consent, wire.ErrMalformed},
		"its own successor":           {func(v *Revocation) { v.Successor = v.SigningKey }, consent, wire.ErrMalformed},
		"consent to another time":     {func(v *Revocation) { v.Issued = noon.Add(time.Second) }, consent, ErrSignature},
		"consent of another key":      {func(v *Revocation) { v.Successor = testKey(t, 3).Public() }, consent, ErrSignature},
	} {
		v := testRevocation(t, true)
		c.change(&v)
		if _, err := SignRevocation(testKey(t, 1), v, c.consent); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// T02, T04: what the owner of a key could sign, and nobody may read.
func TestRevocationRules(t *testing.T) {
	key, heir := testKey(t, 1), testKey(t, 2)
	build := func(change func(body []byte) []byte, consent func(body []byte) []byte) []byte {
		body := change(bytes.Clone(revocationBody(signedRevocation(t, true))))
		w := wire.NewWriter(224)
		w.Fixed(body)
		w.Fixed(key.Sign(TagRevocation, body))
		w.LP8(consent(body))
		return w.Bytes()
	}
	same := func(b []byte) []byte { return b }
	agreed := func(b []byte) []byte { return heir.Sign(TagSuccessor, b) }
	successor := func(k []byte) func([]byte) []byte {
		return func(b []byte) []byte { return append(append(b[:62:62], byte(len(k))), k...) }
	}
	set := func(i int, v byte) func([]byte) []byte { return func(b []byte) []byte { b[i] = v; return b } }
	smallOrder := make([]byte, 32)
	smallOrder[0] = 1
	notCanonical := unhex(t, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"in order":                 {build(same, agreed), nil},
		"version 2":                {build(set(0, 2), agreed), wire.ErrMalformed},
		"reason 0":                 {build(set(61, 0), agreed), wire.ErrMalformed},
		"reason 4":                 {build(set(61, 4), agreed), wire.ErrMalformed},
		"time before 1970":         {build(set(53, 0xFF), agreed), wire.ErrMalformed},
		"another's name":           {build(set(1, 0), agreed), ErrMismatch},
		"no consent":               {build(same, func([]byte) []byte { return nil }), wire.ErrMalformed},
		"half a consent":           {build(same, func(b []byte) []byte { return agreed(b)[:32] }), wire.ErrMalformed},
		"consent for no successor": {build(successor(nil), agreed), wire.ErrMalformed},
		"consent under the wrong tag": {
			build(same, func(b []byte) []byte { return heir.Sign(TagRevocation, b) }), ErrSignature,
		},
		"consent by the leaving key": {
			build(same, func(b []byte) []byte { return key.Sign(TagSuccessor, b) }), ErrSignature,
		},
		"successor of small order":  {build(successor(smallOrder), agreed), ErrKey},
		"successor not canonical":   {build(successor(notCanonical), agreed), ErrKey},
		"successor of zeros":        {build(successor(make([]byte, 32)), agreed), ErrKey},
		"successor of 31 bytes":     {build(successor(make([]byte, 31)), agreed), ErrKey},
		"successor of 33 bytes":     {build(successor(make([]byte, 33)), agreed), wire.ErrMalformed},
		"the same key as successor": {build(successor(make32(key.Public())), func(b []byte) []byte { return key.Sign(TagSuccessor, b) }), wire.ErrMalformed},
		"small-order key that leaves": {
			build(func(b []byte) []byte {
				a := AMIDOf(PublicKey(smallOrder))
				copy(b[1:], a[:])
				copy(b[21:], smallOrder)
				return b
			}, agreed), ErrKey,
		},
	} {
		if _, err := ParseRevocation(c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestEarlierRevocationCounts(t *testing.T) {
	parse := func(issued time.Time, reason RevocationReason) *Revocation {
		raw, err := SignRevocation(testKey(t, 1), Revocation{Issued: issued, Reason: reason}, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := ParseRevocation(raw)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first, second := parse(noon, Retired), parse(noon.Add(time.Second), Superseded)
	if !first.Counts(second) || second.Counts(first) {
		t.Error("the later one counts")
	}
	small, great := parse(noon, Superseded), parse(noon, Retired)
	if !small.Counts(great) || great.Counts(small) {
		t.Error("of one second, the greater bytes count")
	}
	if !small.Counts(small) {
		t.Error("the same one counts no more")
	}
}

func TestReasonsHaveWords(t *testing.T) {
	for reason, want := range map[RevocationReason]string{
		Superseded: "superseded", Compromised: "compromised", Retired: "retired", 9: "reason 9",
	} {
		if got := reason.String(); got != want {
			t.Errorf("%d: %q, want %q", reason, got, want)
		}
		if back, err := ParseRevocationReason(want); (err == nil) != (reason < 9) || err == nil && back != reason {
			t.Errorf("%q reads as %d, %v", want, back, err)
		}
	}
}

func FuzzParseRenew(f *testing.F) {
	f.Add(signedRenew(f))
	key := testKey(f, 1)
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := ParseRenew(raw, len(renewPrefix))
		if err != nil {
			return
		}
		if n.From != key.AMID() {
			return // somebody else's, which only he can sign
		}
		if out, err := SignRenew(key, raw[:len(renewPrefix)], *n); err != nil || !bytes.Equal(raw, out) {
			t.Errorf("two encodings of one renew: %v", err)
		}
	})
}

func FuzzParseMark(f *testing.F) {
	f.Add(signedMark(f, ""), "")
	f.Add(signedMark(f, "relay.example:7447"), "relay.example:7447")
	key := testKey(f, 1)
	f.Fuzz(func(t *testing.T, raw []byte, server string) {
		m, err := ParseMark(raw, key.Public(), server)
		if err != nil {
			return
		}
		if out, err := SignMark(key, *m); err != nil || !bytes.Equal(raw, out) {
			t.Errorf("two encodings of one mark: %v", err)
		}
	})
}

func FuzzParseRevocation(f *testing.F) {
	f.Add(signedRevocation(f, false))
	f.Add(signedRevocation(f, true))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := ParseRevocation(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(v.Raw(), raw) || v.AMID != v.SigningKey.AMID() || len(raw) != 128 && len(raw) != 224 {
			t.Error("parsed something else")
		}
	})
}
