package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"
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

// dice are for choices of a test, not for keys.
func dice(name string) *rand.Rand {
	var seed [32]byte
	copy(seed[:], name)
	return rand.New(rand.NewChaCha8(seed))
}

func TestT23Forgeries(t *testing.T)     { forgeries(t, 1500) }
func TestSoakT23Forgeries(t *testing.T) { soak(t); forgeries(t, 100_000) }

// T23: what a relay can make of the envelopes it saw and of bytes of its own
// moves no session, whatever that session holds. The genuine ones open
// afterwards.
func forgeries(t *testing.T, runs int) {
	r, d := seeded("T23"), dice("T23")
	a, b := pairOf(t, r)
	late := seal(t, a, r, "late, of the old chain")
	open(t, b, r, seal(t, a, r, "seen"), "seen")
	open(t, a, r, seal(t, b, r, "turn"), "turn")
	late2 := seal(t, a, r, "late, of the present chain")
	open(t, b, r, seal(t, a, r, "new chain"), "new chain")
	open(t, a, r, seal(t, b, r, "turn again"), "turn again")
	good := [][]byte{late, late2, seal(t, a, r, "next chain"), seal(t, a, r, "and one more"), seal(t, b, r, "of B itself")}
	for range runs {
		env := forged(d, good)
		if slices.ContainsFunc(good, func(g []byte) bool { return bytes.Equal(g, env) }) {
			continue
		}
		if err := refuses(t, b, r, env); !errors.Is(err, ErrDecrypt) && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%x: %v", env, err)
		}
	}
	open(t, b, r, good[3], "and one more")
	open(t, b, r, late, "late, of the old chain")
	open(t, b, r, late2, "late, of the present chain")
	open(t, b, r, good[2], "next chain")
}

// forged makes an envelope out of others and of nothing.
func forged(d *rand.Rand, good [][]byte) []byte {
	one, two := good[d.IntN(len(good))], good[d.IntN(len(good))]
	env := bytes.Clone(one)
	switch d.IntN(6) {
	case 0: // a new ratchet key, as it were
		fill(d, env[PrefixSize:bodyOffset])
	case 1: // a header in front of another body
		copy(env, two[:bodyOffset])
	case 2:
		fill(d, env[bodyOffset:])
	case 3: // longer, of a size that exists
		env = append(env[:PrefixSize:PrefixSize], make([]byte, 82+40+firstClasses[d.IntN(len(firstClasses))])...)
		fill(d, env[PrefixSize:])
	case 4: // shorter or longer by anything
		env = append(env, make([]byte, d.IntN(300))...)[:d.IntN(len(env)+1)]
	case 5:
		for range 1 + d.IntN(3) {
			env[d.IntN(len(env))] ^= 1 << d.IntN(8)
		}
	}
	return env
}

func fill(d *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(d.Uint32())
	}
}

// T24: numbers that a peer, who has the header keys, may write into a header.
// Those out of range are refused before anything is derived: no key is stored, no
// ratchet key made, and the randomness not asked.
func TestT24HeaderNumbers(t *testing.T) {
	type numbers struct {
		newChain bool
		pn, n    uint32
	}
	var cases []numbers
	for _, n := range []uint32{MaxSkip + 1, MaxSkip + 2, 2 * MaxSkip, 1 << 16, 1 << 31, math.MaxUint32 - 1, math.MaxUint32} {
		cases = append(cases, numbers{false, 0, n})
	}
	for _, pn := range []uint32{0, 1, MaxSkip + 1, MaxSkip + 2, 1 << 31, math.MaxUint32} {
		for _, n := range []uint32{0, 1, MaxSkip, MaxSkip + 1, math.MaxUint32} {
			cases = append(cases, numbers{true, pn, n})
		}
	}
	r := seeded("T24")
	aStart, bStart := pairOf(t, r) // Nr of B is 1
	aTurned := aStart.Clone()
	open(t, aTurned, r, seal(t, bStart, r, "turn"), "turn")
	for _, c := range cases {
		a, b, ok := aStart.Clone(), bStart.Clone(), c.n <= MaxSkip+1
		if c.newChain {
			a, ok = aTurned.Clone(), c.n <= MaxSkip && c.pn <= MaxSkip+1
		}
		env := hostile(t, a, r, c.pn, c.n)
		if ok {
			open(t, b, r, env, "hostile")
			continue
		}
		dry := iotest.ErrReader(errors.New("randomness was asked"))
		if err := refuses(t, b, dry, env); !errors.Is(err, ErrSkipLimit) {
			t.Errorf("new chain %v, PN %d, N %d: got %v, want ErrSkipLimit", c.newChain, c.pn, c.n, err)
		}
		if n := testing.AllocsPerRun(1, func() { _, _ = b.Open(noon, dry, env) }); n > 50 {
			t.Errorf("new chain %v, PN %d, N %d: the refusal made %v allocations", c.newChain, c.pn, c.n, n)
		}
	}
}

// T24: ten thousand such headers leave nothing behind.
func TestT24FloodOfHeaders(t *testing.T) {
	r := seeded("T24 flood")
	a, b := pairOf(t, r)
	open(t, a, r, seal(t, b, r, "turn"), "turn")
	env := hostile(t, a, r, math.MaxUint32, math.MaxUint32-1)
	before, held := image(t, b), heap()
	for range 10_000 {
		if _, err := b.Open(noon, r, env); !errors.Is(err, ErrSkipLimit) {
			t.Fatalf("got %v, want ErrSkipLimit", err)
		}
	}
	if !bytes.Equal(before, image(t, b)) {
		t.Error("the session changed")
	}
	if more := heap() - held; more > 8<<20 {
		t.Errorf("%d bytes more are held", more)
	}
}

// heap is the memory in use that is not garbage, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// hostile seals with numbers of the caller's choice and the right key for them
// where they are in range. The session stays what it was.
func hostile(t testing.TB, s *Session, r io.Reader, pn, n uint32) []byte {
	t.Helper()
	cheat := s.Clone()
	for cheat.ns < min(n, MaxSkip+1) {
		_, cheat.cks = chainStep(cheat.cks)
		cheat.ns++
	}
	cheat.pn, cheat.ns = pn, n
	if n == math.MaxUint32 { // Seal itself refuses that one
		cheat.ns--
		return renumbered(t, seal(t, cheat, r, "hostile"), &cheat.hks, n)
	}
	return seal(t, cheat, r, "hostile")
}

// renumbered seals the header of env again under another N.
func renumbered(t testing.TB, env []byte, hk *Secret, n uint32) []byte {
	t.Helper()
	plain, ok := openBox(nil, env[PrefixSize:bodyOffset], hk, env[:PrefixSize])
	if !ok {
		t.Fatal("header does not open")
	}
	for i := range 4 {
		plain[36+i] = byte(n >> (24 - 8*i))
	}
	box := env[PrefixSize:bodyOffset]
	copy(box[24:], plain)
	sealInPlace(box, hk, bytes.Repeat([]byte{7}, 24), env[:PrefixSize])
	return env
}

func TestT25Repeats(t *testing.T)     { repeats(t, 1000) }
func TestSoakT25Repeats(t *testing.T) { soak(t); repeats(t, 100_000) }

// T25: in a conversation with every order and loss, an envelope that was opened
// opens nothing again and changes nothing.
func repeats(t *testing.T, runs int) {
	r, d := seeded("T25"), dice("T25")
	a, b := pairOf(t, r)
	ends := [2]*Session{a, b}
	var done, waiting [2][][]byte // by receiver
	for range runs {
		to := d.IntN(2)
		switch {
		case len(waiting[to]) < 20 && d.IntN(3) > 0:
			waiting[to] = append(waiting[to], seal(t, ends[1-to], r, "x"))
		case len(waiting[to]) > 0:
			i := d.IntN(len(waiting[to]))
			env := waiting[to][i]
			waiting[to] = slices.Delete(waiting[to], i, i+1)
			if _, err := ends[to].Open(noon, r, env); err != nil {
				continue // of a chain that is too long ago
			}
			if done[to] = append(done[to], env); len(done[to]) > 100 {
				done[to] = done[to][1:]
			}
		}
		if len(done[to]) == 0 {
			continue
		}
		env := done[to][d.IntN(len(done[to]))]
		if err := refuses(t, ends[to], r, env); !errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrDecrypt) {
			t.Fatalf("an envelope opened before: %v", err)
		}
	}
}

func TestT26OldNumbers(t *testing.T)     { oldNumbers(t, 1000) }
func TestSoakT26OldNumbers(t *testing.T) { soak(t); oldNumbers(t, 100_000) }

// T26: another message under a number that was used, sealed by a peer whose state
// went back. The number is answered from what is stored; nothing is derived, and
// what the message says is never seen.
func oldNumbers(t *testing.T, runs int) {
	r, d := seeded("T26"), dice("T26")
	a, b := pairOf(t, r)
	var states []*Session // of A, before each message
	for i := range runs {
		if len(states) > 50 {
			states = states[1:]
		}
		states = append(states, a.Clone())
		if err := consume(t, a, b, r, i); err != nil {
			t.Fatal(err)
		}
		old := states[d.IntN(len(states))].Clone()
		if err := refuses(t, b, r, seal(t, old, r, "another text")); !errors.Is(err, ErrDuplicate) {
			t.Fatalf("number %d, at %d: got %v, want ErrDuplicate", old.ns-1, b.nr, err)
		}
	}
	if b.SkippedKeys() != 0 {
		t.Errorf("%d keys stored", b.SkippedKeys())
	}
}

func consume(t testing.TB, a, b *Session, r io.Reader, i int) error {
	t.Helper()
	text := fmt.Sprint(i)
	o, err := b.Open(noon, r, seal(t, a, r, text))
	if err == nil && string(o.Plaintext) != text {
		return fmt.Errorf("opened %q, want %q", o.Plaintext, text)
	}
	return err
}

func TestT27BitFlips(t *testing.T)     { bitFlips(t, 1000) }
func TestSoakT27BitFlips(t *testing.T) { soak(t); bitFlips(t, 100_000) }

// T27: one bit, anywhere, in any message of a conversation that goes on; the good
// one opens afterwards.
func bitFlips(t *testing.T, runs int) {
	r, d := seeded("T27"), dice("T27")
	a, b := pairOf(t, r)
	for n := 0; n < runs; {
		from, to := a, b
		if d.IntN(2) == 0 {
			from, to = b, a
		}
		lost := seal(t, from, r, "comes later")
		env := seal(t, from, r, "comes first")
		for _, m := range []struct {
			env  []byte
			text string
		}{{env, "comes first"}, {lost, "comes later"}} {
			for range 20 {
				bit := d.IntN(len(m.env) * 8)
				m.env[bit/8] ^= 1 << (bit % 8)
				if err := refuses(t, to, r, m.env); !errors.Is(err, expectFlip(bit)) {
					t.Fatalf("bit %d: got %v, want %v", bit, err, expectFlip(bit))
				}
				m.env[bit/8] ^= 1 << (bit % 8)
				n++
			}
			open(t, to, r, m.env, m.text)
		}
	}
}

// T27, T21: what a body is bound to: session, knock, prefix and the sealed header
// as it travels, in this order and nothing else.
func TestT27BodyIsBound(t *testing.T) {
	r := seeded("T27 AD")
	p := newParties(t, r, true)
	a := p.initiate(t, r)
	th0, knock := TranscriptHash(p.transcript), []byte("knock")
	mk, ck := chainStep(a.cks)
	m0, err := a.SealFirst(r, []byte("request"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Bind(knock); err != nil {
		t.Fatal(err)
	}
	ad := sha(th0[:], knock)
	m1 := seal(t, a, r, "message")
	mk1, _ := chainStep(ck)
	for _, m := range []struct {
		name string
		env  []byte
		key  Secret
		ad   []byte
	}{{"message 0", m0, mk, th0[:]}, {"message 1", m1, mk1, ad[:]}} {
		prefix, eh := m.env[:6], m.env[6:88]
		if _, ok := openBox(nil, m.env[88:], &m.key, slices.Concat(m.ad, prefix, eh)); !ok {
			t.Errorf("%s: body does not open under AD ‖ prefix ‖ EH", m.name)
		}
		if _, ok := openBox(nil, eh, &a.hks, prefix); !ok {
			t.Errorf("%s: header does not open under the prefix", m.name)
		}
	}
}

// A state that came back from a backup seals under keys that were used. The nonces
// differ, in every part, so no key meets a nonce twice.
func TestRolledBackStateRepeatsNoNonce(t *testing.T) {
	r := seeded("rollback")
	a, _ := pairOf(t, r)
	seen := make(map[string]bool)
	for range 50 {
		env := seal(t, a.Clone(), r, "the same text")
		for _, nonce := range [][]byte{env[6:30], env[88:112]} {
			for part := range slices.Chunk(nonce, 8) {
				if seen[string(part)] {
					t.Fatalf("%x comes twice", part)
				}
				seen[string(part)] = true
			}
		}
	}
}

func TestT40BothHalvesCount(t *testing.T)     { bothHalves(t, 30) }
func TestSoakT40BothHalvesCount(t *testing.T) { soak(t); bothHalves(t, 10_000) }

// T40: every key of the session needs every exchange and the KEM. The formula is
// written a second time here; it gives what the session has, and with any one
// input taken away it gives nothing of it.
func bothHalves(t *testing.T, runs int) {
	r := seeded("T40")
	for i := range runs {
		p := newParties(t, r, i%2 == 0)
		spk, th0 := p.transcript.Prekey, TranscriptHash(p.transcript)
		inputs := []Secret{mustDH(t, p.a, spk), mustDH(t, p.offer.ek, p.transcript.Exchange), mustDH(t, p.offer.ek, spk)}
		if k := p.transcript.OneTime; k != nil {
			inputs = append(inputs, mustDH(t, p.offer.ek, *k))
		}
		inputs = append(inputs, p.offer.shared)
		b := p.respond(t)
		sid := b.SID()
		have := slices.Concat(b.rk[:], b.nhkr[:], b.nhks[:], sid[:])
		if !bytes.Equal(have, handshakeKeys(inputs, th0)) {
			t.Fatal("the session does not have the keys of the formula")
		}
		for gone := range inputs {
			less := handshakeKeys(slices.Delete(slices.Clone(inputs), gone, gone+1), th0)
			for from := 0; from < len(have); from += 16 {
				if bytes.Equal(have[from:from+16], less[from:from+16]) {
					t.Fatalf("bytes from %d on do not need input %d", from, gone)
				}
			}
		}
	}
}

// handshakeKeys is the key schedule of session.md §5.4.
func handshakeKeys(inputs []Secret, th0 [32]byte) []byte {
	ikm := bytes.Repeat([]byte{0xFF}, 32)
	for _, s := range inputs {
		ikm = append(ikm, s[:]...)
	}
	return expand(make([]byte, 32), ikm, "amesh/session/1 handshake\x00"+string(th0[:]), 112)
}

func TestT41Lengths(t *testing.T)     { lengths(t, 500) }
func TestSoakT41Lengths(t *testing.T) { soak(t); lengths(t, 100_000) }

// T41: envelopes of texts of every length take few lengths, and the price for that
// is bounded.
func lengths(t *testing.T, runs int) {
	r, d := seeded("T41"), dice("T41")
	a, _ := pairOf(t, r)
	text := make([]byte, MaxPlaintext)
	seen := make(map[int]bool)
	for range runs {
		n := d.IntN(MaxPlaintext + 1)
		env, _, err := a.Seal(r, text[:n])
		if err != nil {
			t.Fatal(err)
		}
		if n > 4096 && float64(len(env)) > 1.127*float64(n)+messageOverhead {
			t.Fatalf("%d bytes travel as %d", n, len(env))
		}
		seen[len(env)] = true
	}
	if len(seen) > 40 {
		t.Errorf("%d lengths, want at most 40", len(seen))
	}
}
