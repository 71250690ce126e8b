package ratchet

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestConversation(t *testing.T) {
	r := seeded("conversation")
	a, b := pairOf(t, r)
	first := seal(t, a, r, "one")
	second := seal(t, a, r, "two")
	if o := open(t, b, r, second, "two"); o.NewChain || o.Number != 2 {
		t.Errorf("second: %+v", o)
	}
	if o := open(t, b, r, first, "one"); o.NewChain || o.Number != 1 {
		t.Errorf("first: %+v", o)
	}
	answer := seal(t, b, r, "three")
	if o := open(t, a, r, answer, "three"); !o.NewChain || o.Number != 0 {
		t.Errorf("answer: %+v", o)
	}
	if o := open(t, b, r, seal(t, a, r, "four"), "four"); !o.NewChain {
		t.Errorf("fourth: %+v", o)
	}
	if b.SkippedKeys() != 0 || a.SkippedKeys() != 0 {
		t.Errorf("keys left over: %d and %d", a.SkippedKeys(), b.SkippedKeys())
	}
}

func TestWrongStage(t *testing.T) {
	r := seeded("stage")
	p := newParties(t, r, false)
	a, b := p.initiate(t, r), p.respond(t)
	for name, call := range map[string]func() error{
		"A seals before message 0": func() error { _, _, err := a.Seal(r, nil); return err },
		"A opens before message 0": func() error { _, err := a.Open(noon, r, nil); return err },
		"A opens message 0":        func() error { _, err := a.OpenFirst(noon, r, nil); return err },
		"A binds before message 0": func() error { return a.Bind(nil) },
		"B seals message 0":        func() error { _, err := b.SealFirst(r, nil); return err },
		"B seals before message 0": func() error { _, _, err := b.Seal(r, nil); return err },
		"B binds before message 0": func() error { return b.Bind(nil) },
	} {
		if err := call(); !errors.Is(err, ErrStage) {
			t.Errorf("%s: got %v, want ErrStage", name, err)
		}
	}
	m0, err := a.SealFirst(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.OpenFirst(noon, r, m0); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"A seals before Bind":       func() error { _, _, err := a.Seal(r, nil); return err },
		"A opens before Bind":       func() error { _, err := a.Open(noon, r, m0); return err },
		"B seals before Bind":       func() error { _, _, err := b.Seal(r, nil); return err },
		"B opens before Bind":       func() error { _, err := b.Open(noon, r, m0); return err },
		"B opens message 0 again":   func() error { _, err := b.OpenFirst(noon, r, m0); return err },
		"A seals another message 0": func() error { _, err := a.SealFirst(r, nil); return err },
	} {
		if err := call(); !errors.Is(err, ErrStage) {
			t.Errorf("%s: got %v, want ErrStage", name, err)
		}
	}
	a, b = pairOf(t, r)
	for name, call := range map[string]func() error{
		"A binds twice":         func() error { return a.Bind(nil) },
		"A seals message 0 now": func() error { _, err := a.SealFirst(r, nil); return err },
		"B opens message 0 now": func() error { _, err := b.OpenFirst(noon, r, nil); return err },
	} {
		if err := call(); !errors.Is(err, ErrStage) {
			t.Errorf("%s: got %v, want ErrStage", name, err)
		}
	}
}

func TestFirstMessageOnlyInItsKnock(t *testing.T) {
	r := seeded("message 0")
	p := newParties(t, r, true)
	a := p.initiate(t, r)
	m0, err := a.SealFirst(r, []byte("request"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePrefix(m0); !errors.Is(err, ErrMalformed) {
		t.Errorf("message 0 alone: got %v, want ErrMalformed", err)
	}
	p.transcript.Clear = []byte("another knock")
	if _, err := p.respond(t).OpenFirst(noon, r, m0); !errors.Is(err, ErrDecrypt) {
		t.Errorf("in another knock: got %v, want ErrDecrypt", err)
	}
}

// Message 0 that claims to be a later one would leave keys of messages that
// cannot exist.
func TestFirstMessageIsTheFirst(t *testing.T) {
	r := seeded("number 1")
	for name, change := range map[string]func(s *Session){
		"number 1":          func(s *Session) { s.ns = 1 },
		"a chain before it": func(s *Session) { s.pn = 1 },
	} {
		p := newParties(t, r, true)
		a, b := p.initiate(t, r), p.respond(t)
		change(a)
		m0, err := a.SealFirst(r, []byte("request"))
		if err != nil {
			t.Fatal(err)
		}
		before := image(t, b)
		if _, err := b.OpenFirst(noon, r, m0); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
		if !bytes.Equal(before, image(t, b)) {
			t.Errorf("%s: the session changed", name)
		}
	}
}

// The knock's bytes bind the session: with other bytes nothing opens.
func TestT21BindCounts(t *testing.T) {
	r := seeded("bind")
	p := newParties(t, r, true)
	a, b := p.initiate(t, r), p.respond(t)
	m0, err := a.SealFirst(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.OpenFirst(noon, r, m0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Bind([]byte("knock")), b.Bind([]byte("knocK"))); err != nil {
		t.Fatal(err)
	}
	if err := refuses(t, b, r, seal(t, a, r, "tail")); !errors.Is(err, ErrDecrypt) {
		t.Errorf("got %v, want ErrDecrypt", err)
	}
}

// Both sides know what a session is bound to, and keep it across a restart: it is what
// an accountable message is signed with (session.md §9.5).
func TestBothSidesHaveTheBinding(t *testing.T) {
	a, b := pairOf(t, seeded("binding"))
	th0 := a.Transcript()
	want := sha256.Sum256(append(th0[:], "knock"...))
	back, err := UnmarshalSession(image(t, b))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Session{"a": a, "b": b, "b, read back": back} {
		if s.Transcript() != th0 || s.Binding() != want {
			t.Errorf("%s: transcript %x, binding %x, want %x and %x", name, s.Transcript(), s.Binding(), th0, want)
		}
	}
}

// T27: every bit of an envelope counts, and the good one opens afterwards.
func TestT27EveryBitCounts(t *testing.T) {
	r := seeded("T27")
	a, b := pairOf(t, r)
	for _, newChain := range []bool{false, true} {
		if newChain {
			open(t, a, r, seal(t, b, r, "turn"), "turn")
		}
		env := seal(t, a, r, "the good one")
		for bit, step := 0, 1; bit < len(env)*8; bit += step {
			if newChain && bit >= bodyOffset*8 {
				step = 7 // each costs two exchanges here
			}
			env[bit/8] ^= 1 << (bit % 8)
			err := refuses(t, b, r, env)
			env[bit/8] ^= 1 << (bit % 8)
			if want := expectFlip(bit); !errors.Is(err, want) {
				t.Fatalf("bit %d: got %v, want %v", bit, err, want)
			}
		}
		open(t, b, r, env, "the good one")
	}
}

func expectFlip(bit int) error {
	if bit < PrefixSize*8 {
		return ErrMalformed
	}
	return ErrDecrypt
}

func TestCutAndStretched(t *testing.T) {
	r := seeded("length")
	a, b := pairOf(t, r)
	env := seal(t, a, r, "whole")
	for n := range len(env) {
		if err := refuses(t, b, r, env[:n]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%d bytes: got %v, want ErrMalformed", n, err)
		}
	}
	for _, more := range []int{1, 255, 256, 1 << 16} {
		if err := refuses(t, b, r, append(env[:len(env):len(env)], make([]byte, more)...)); err == nil {
			t.Fatalf("%d bytes more: opened", more)
		}
	}
	open(t, b, r, env, "whole")
}

// T25, T26: a key is used once. No repeat and no old number gets anything out
// of the session, nor makes it derive.
func TestT25T26Repeats(t *testing.T) {
	r := seeded("T25")
	a, b := pairOf(t, r)
	var sent [][]byte
	for i := range 10 {
		sent = append(sent, seal(t, a, r, fmt.Sprint(i)))
	}
	for _, i := range []int{3, 1, 7} {
		open(t, b, r, sent[i], fmt.Sprint(i))
	}
	for _, i := range []int{3, 1, 7} {
		if err := refuses(t, b, r, sent[i]); !errors.Is(err, ErrDuplicate) {
			t.Errorf("message %d again: got %v, want ErrDuplicate", i, err)
		}
	}
	open(t, a, r, seal(t, b, r, "turn"), "turn")
	open(t, b, r, seal(t, a, r, "new chain"), "new chain")
	open(t, b, r, sent[9], "9") // from the old chain, late
	if err := refuses(t, b, r, sent[3]); !errors.Is(err, ErrDuplicate) {
		t.Errorf("old chain again: got %v, want ErrDuplicate", err)
	}
	for _, i := range []int{0, 2, 4, 5, 6, 8} {
		open(t, b, r, sent[i], fmt.Sprint(i))
	}
	if b.SkippedKeys() != 0 {
		t.Errorf("%d keys left", b.SkippedKeys())
	}
	// The last key of the old chain is gone, and its header key with it.
	if err := refuses(t, b, r, sent[3]); !errors.Is(err, ErrDecrypt) {
		t.Errorf("forgotten chain: got %v, want ErrDecrypt", err)
	}
}

// T24: nobody makes us derive more than MaxSkip keys, and the refusal itself
// derives none.
func TestT24SkipLimit(t *testing.T) {
	r := seeded("T24")
	cases := map[string]struct {
		newChain bool
		pn, n    uint32
		ok       bool
	}{
		"exactly the limit":               {n: MaxSkip + 1, ok: true}, // Nr is 1
		"one more":                        {n: MaxSkip + 2},
		"the last number there is":        {n: math.MaxUint32 - 1},
		"new chain, exactly the limit":    {newChain: true, pn: 1, n: MaxSkip, ok: true},
		"new chain, one more":             {newChain: true, pn: 1, n: MaxSkip + 1},
		"new chain, last number":          {newChain: true, pn: 1, n: math.MaxUint32 - 1},
		"rest of old chain at the limit":  {newChain: true, pn: MaxSkip + 1, ok: true},
		"rest of old chain beyond":        {newChain: true, pn: MaxSkip + 2},
		"rest of old chain far beyond":    {newChain: true, pn: math.MaxUint32},
		"old chain shorter than we think": {newChain: true, pn: 0, ok: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a, b := pairOf(t, r)
			if c.newChain {
				open(t, a, r, seal(t, b, r, "turn"), "turn")
				a.pn = c.pn
			}
			for a.ns < min(c.n, 2*MaxSkip) {
				_, a.cks = chainStep(a.cks)
				a.ns++
			}
			a.ns = c.n
			env := seal(t, a, r, "far")
			if c.ok {
				open(t, b, r, env, "far")
				return
			}
			if err := refuses(t, b, r, env); !errors.Is(err, ErrSkipLimit) {
				t.Fatalf("got %v, want ErrSkipLimit", err)
			}
			if n := testing.AllocsPerRun(5, func() { _, _ = b.Open(noon, r, env) }); n > 50 {
				t.Errorf("refusal made %v allocations: it derived keys", n)
			}
		})
	}
}

// A header extension, as a newer peer would write it, wherever its header key is
// found.
func TestHeaderExtension(t *testing.T) {
	r := seeded("extension")
	a, b := pairOf(t, r)
	late := seal(t, a, r, "late")
	open(t, b, r, seal(t, a, r, "seen"), "seen")
	stored := a.hks
	open(t, a, r, seal(t, b, r, "turn"), "turn")
	next := seal(t, a, r, "new chain")
	if err := refuses(t, b, r, extended(t, next, &a.hks)); !errors.Is(err, ErrMalformed) {
		t.Errorf("next chain: got %v, want ErrMalformed", err)
	}
	open(t, b, r, next, "new chain")
	present := seal(t, a, r, "present chain")
	for name, env := range map[string][]byte{
		"present chain": extended(t, present, &a.hks), "ended chain": extended(t, late, &stored),
	} {
		if err := refuses(t, b, r, env); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
	open(t, b, r, present, "present chain")
	open(t, b, r, late, "late")
}

// extended seals the header of env again with an extension length of 5.
func extended(t testing.TB, env []byte, hk *Secret) []byte {
	t.Helper()
	env = bytes.Clone(env)
	box := env[PrefixSize:bodyOffset]
	plain, ok := openBox(nil, box, hk, env[:PrefixSize])
	if !ok {
		t.Fatal("header does not open")
	}
	plain[41] = 5
	copy(box[24:], plain)
	sealInPlace(box, hk, bytes.Repeat([]byte{7}, 24), env[:PrefixSize])
	return env
}

// The last number of a chain is never used: the counter after it would be 0 again.
func TestEndOfTheChain(t *testing.T) {
	r := seeded("end of the chain")
	a, b := pairOf(t, r)
	a.ns, b.nr = math.MaxUint32-1, math.MaxUint32-1
	last := seal(t, a, r, "last")
	open(t, b, r, last, "last")
	beyond := renumbered(t, bytes.Clone(last), &a.hks, math.MaxUint32)
	if err := refuses(t, b, r, beyond); !errors.Is(err, ErrSkipLimit) {
		t.Errorf("number 2^32 − 1: got %v, want ErrSkipLimit", err)
	}
	if _, _, err := a.Seal(r, nil); !errors.Is(err, ErrTooLong) {
		t.Errorf("seal: got %v, want ErrTooLong", err)
	}
}

func TestT24StoreLimits(t *testing.T) {
	r := seeded("store")
	a, b := pairOf(t, r)
	var oldest []byte
	for range MaxSkippedChains + 2 { // each round leaves two messages behind
		lost := seal(t, a, r, "lost")
		if oldest == nil {
			oldest = lost
		}
		seal(t, a, r, "lost too")
		open(t, b, r, seal(t, a, r, "seen"), "seen")
		open(t, a, r, seal(t, b, r, "turn"), "turn")
	}
	if n := len(b.skipped.chains); n != MaxSkippedChains {
		t.Errorf("%d chains, want %d", n, MaxSkippedChains)
	}
	if err := refuses(t, b, r, oldest); !errors.Is(err, ErrDecrypt) {
		t.Errorf("oldest chain: got %v, want ErrDecrypt", err)
	}
	var before []byte
	for range 3 {
		for i := range MaxSkip {
			env := seal(t, a, r, "lost")
			if i == 0 {
				before = env
			}
		}
		open(t, b, r, seal(t, a, r, "far"), "far")
	}
	if n := b.SkippedKeys(); n != MaxSkipped {
		t.Errorf("%d keys, want %d", n, MaxSkipped)
	}
	open(t, b, r, before, "lost")
	if n := b.DropOldestChain(); n != MaxSkipped-1 || b.SkippedKeys() != 0 || b.DropOldestChain() != 0 {
		t.Errorf("dropped %d, %d left", n, b.SkippedKeys())
	}
}

func TestStoredKeysExpire(t *testing.T) {
	r := seeded("expire")
	a, b := pairOf(t, r)
	late := seal(t, a, r, "late")
	open(t, b, r, seal(t, a, r, "seen"), "seen")
	twin := b.Clone()
	if _, err := b.Open(noon.Add(SkippedLife), r, late); err != nil {
		t.Errorf("after exactly 7 d: %v", err)
	}
	if _, err := twin.Open(noon.Add(SkippedLife+time.Second), r, late); !errors.Is(err, ErrDuplicate) {
		t.Errorf("a second later: got %v, want ErrDuplicate", err)
	}
	if twin.Expire(noon); twin.SkippedKeys() != 1 {
		t.Error("Expire forgot a key that is not older")
	}
	if twin.Expire(noon.Add(time.Second)); twin.SkippedKeys() != 0 {
		t.Error("Expire kept an old key")
	}
	// Whatever opens takes old keys with it.
	a, b = pairOf(t, r)
	seal(t, a, r, "never comes")
	open(t, b, r, seal(t, a, r, "seen"), "seen")
	if _, err := b.Open(noon.Add(SkippedLife+time.Second), r, seal(t, a, r, "a week later")); err != nil || b.SkippedKeys() != 0 {
		t.Errorf("after a week: %v, %d keys stored", err, b.SkippedKeys())
	}
}

func TestCloneSharesNothing(t *testing.T) {
	r := seeded("clone")
	a, b := pairOf(t, r)
	late := seal(t, a, r, "late")
	open(t, b, r, seal(t, a, r, "seen"), "seen")
	before := image(t, b)
	c := b.Clone()
	open(t, c, r, late, "late")
	seal(t, c, r, "x")
	if !bytes.Equal(before, image(t, b)) {
		t.Error("the original changed")
	}
}

func TestRandomnessFails(t *testing.T) {
	r := seeded("no randomness")
	a, b := pairOf(t, r)
	broken := iotest.ErrReader(io.ErrUnexpectedEOF)
	before := image(t, a)
	if _, _, err := a.Seal(broken, []byte("x")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("seal: got %v", err)
	}
	if !bytes.Equal(before, image(t, a)) {
		t.Error("seal: the session changed")
	}
	env := seal(t, b, r, "turn")
	if err := refuses(t, a, broken, env); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("open: got %v", err)
	}
	open(t, a, r, env, "turn")
}

func TestSizes(t *testing.T) {
	r := seeded("sizes")
	a, b := pairOf(t, r)
	long := strings.Repeat("x", MaxPlaintext)
	env := seal(t, a, r, long)
	if len(env) != MaxEnvelope {
		t.Errorf("longest envelope has %d bytes, want %d", len(env), MaxEnvelope)
	}
	open(t, b, r, env, long)
	open(t, b, r, seal(t, a, r, ""), "")
	before := image(t, a)
	if _, _, err := a.Seal(r, []byte(long+"x")); !errors.Is(err, ErrTooLong) {
		t.Errorf("one byte more: got %v, want ErrTooLong", err)
	}
	if !bytes.Equal(before, image(t, a)) {
		t.Error("one byte more: the session changed")
	}
	a.ns = math.MaxUint32
	if _, _, err := a.Seal(r, nil); !errors.Is(err, ErrTooLong) {
		t.Errorf("end of the chain: got %v, want ErrTooLong", err)
	}
}

// T12: no verb and no encoder shows a key.
func TestT12KeysAreHidden(t *testing.T) {
	r := seeded("T12")
	p := newParties(t, r, true)
	a := p.initiate(t, r)
	type holder struct {
		Key     Secret
		KEM     KEMSeed
		Offer   *Offer
		Session *Session
	}
	h := holder{p.a, p.b.KEM, p.offer, a}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q", "%o"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+verb+verb+"\n", h, p.a, p.b.KEM, p.offer, a, p.b)
	}
	j, err := json.Marshal(struct {
		K Secret
		S KEMSeed
	}{p.a, p.b.KEM})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", p.a, "session", a)
	for name, key := range map[string][]byte{"exchange": p.a[:], "KEM": p.b.KEM[:], "EK": p.offer.ek[:], "root": a.rk[:]} {
		for _, form := range []string{"%x", "%X", "%d", "%o"} {
			canary := strings.Trim(fmt.Sprintf(form, key[:4]), "[]")
			if strings.Contains(out.String(), canary) {
				t.Errorf("%s shows up as %s", name, form)
			}
		}
	}
	if !strings.Contains(out.String(), "(hidden)") {
		t.Error("nothing says (hidden)")
	}
}
