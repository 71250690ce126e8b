package knock

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/ratchet"
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

// dice are for choices of a test, the reader beside them for its bytes.
func dice(name string) (*rand.Rand, io.Reader) {
	var seed [32]byte
	copy(seed[:], name)
	source := rand.NewChaCha8(seed)
	return rand.New(source), source
}

// badKeys are the keys of T01, as identity's test of that name has them: 14 of
// small order and 20 second spellings.
func badKeys(t testing.TB) [][32]byte {
	var keys [][32]byte
	for _, k := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000000", "0000000000000000000000000000000000000000000000000000000000000080",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"0100000000000000000000000000000000000000000000000000000000000080", "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	} {
		keys = append(keys, [32]byte(unhex(t, k)))
	}
	for _, y := range []byte{0, 1, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18} {
		for _, top := range []byte{0x7F, 0xFF} {
			k := [32]byte(bytes.Repeat([]byte{0xFF}, 32))
			k[0], k[31] = 0xED+y, top
			keys = append(keys, k)
		}
	}
	return keys
}

// T01: a signing key under which one signature fits everything, or which is a
// second spelling of another, and so would be a second name.
func TestT01BadSigningKeys(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	raw := a.knockAt(t, b, true).Bytes
	keys := badKeys(t)
	if len(keys) != 34 {
		t.Fatalf("%d keys, want 34", len(keys))
	}
	for _, k := range keys {
		amid := identity.AMIDOf(identity.PublicKey(k))
		forged := bytes.Clone(raw)
		copy(forged[atFrom:], amid[:])
		copy(forged[atKey:], k[:])
		copy(forged[atCert:], amid[:])
		// R is the identity point and S is 0: valid for every message under such a key.
		copy(forged[len(forged)-64:], append([]byte{1}, make([]byte, 63)...))
		copy(forged[atEK-64:], append([]byte{1}, make([]byte, 63)...))
		if _, err := b.answered(forged); !errors.Is(err, identity.ErrKey) {
			t.Errorf("%x: got %v, want ErrKey", k, err)
		}
	}
}

// T03: the name in front is the key's, or nothing is looked at.
func TestT03ForeignNames(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	raw := a.knockAt(t, b, false).Bytes
	_, r := dice("T03")
	for range 50 {
		forged := resigned(raw, a.key, func(x []byte) {
			if _, err := io.ReadFull(r, x[atFrom:atFrom+20]); err != nil {
				t.Fatal(err)
			}
		})
		if _, err := b.answered(forged); !errors.Is(err, identity.ErrMismatch) {
			t.Fatalf("from %x: got %v, want ErrMismatch", forged[atFrom:atTo], err)
		}
	}
}

// T12: what holds keys while a knock is made or answered shows none of them.
func TestT12KeysAreHidden(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	q := a.asking(t, b, true)
	asked := a.knockAt(t, b, true)
	k := parsed(t, asked.Bytes)
	keys := b.keysFor(k)
	opened, err := b.answered(asked.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%d", "%q", "%o"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+"\n", q, asked, keys, opened)
	}
	log := slog.New(slog.NewTextHandler(&out, nil))
	log.Info("x", "asking", q, "asked", asked, "keys", keys, "opened", opened)
	j, err := json.Marshal([]any{q, keys})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	for name, key := range map[string][]byte{
		"A's signing key": a.key.Seed(), "A's exchange key": a.exchange[:], "B's exchange key": b.exchange[:],
		"B's prekey": b.prekey[:], "B's one-time key": b.oneTime[:], "B's KEM key": b.oneKEM[:],
	} {
		for _, form := range []string{"%x", "%X", "%d", "%o"} {
			if canary := strings.Trim(fmt.Sprintf(form, key[:6]), "[]"); strings.Contains(out.String(), canary) {
				t.Errorf("%s shows up as %s", name, form)
			}
		}
	}
}

func TestT19Replays(t *testing.T)     { replays(t, 8) }
func TestSoakT19Replays(t *testing.T) { soak(t); replays(t, 2000) }

// T19: whatever is put around a knock, and even if its sender signs another message
// 0 into it, it has the replay key of the first; and each knock has its own. With a
// one-time key and without.
func replays(t *testing.T, runs int) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	seen := make(map[[32]byte]bool)
	for i := range runs {
		asked := a.knockAt(t, b, i%2 == 0)
		opened, err := b.answered(asked.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if seen[opened.ReplayKey] {
			t.Fatal("two knocks have one replay key")
		}
		seen[opened.ReplayKey] = true
		withTail, err := asked.WithTail(seeded("tail"), []byte("first message"))
		if err != nil {
			t.Fatal(err)
		}
		for name, again := range map[string][]byte{
			"the same bytes":         asked.Bytes,
			"with a tail":            withTail,
			"with another message 0": resigned(asked.Bytes, a.key, func(x []byte) { x[1500] ^= 1 }),
		} {
			k := parsed(t, again)
			key, err := k.ReplayKey(b.keysFor(k))
			if err != nil || !seen[key] || key != opened.ReplayKey {
				t.Fatalf("%s: replay key %x, %v, want %x", name, key, err, opened.ReplayKey)
			}
		}
	}
}

func TestT20ForgedKnocksBurnNothing(t *testing.T)     { burnNothing(t, 120) }
func TestSoakT20ForgedKnocksBurnNothing(t *testing.T) { soak(t); burnNothing(t, 10_000) }

// T20: only a success of Open may erase a one-time key. No forgery has one, by a
// stranger or by somebody with a good name of his own; and the knock that was forged
// opens afterwards, with the same keys.
func burnNothing(t *testing.T, runs int) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	raw := a.knockAt(t, b, true).Bytes
	cAMID, cKey := c.amid(), c.key.Public()
	d, _ := dice("T20")
	for range runs {
		forged := bytes.Clone(raw)
		switch d.IntN(3) {
		case 0: // by a relay
			forged[d.IntN(len(forged))] ^= 1 << d.IntN(8)
		case 1: // by A itself: a good signature over one wrong bit
			at := atEK + d.IntN(len(raw)-identity.SignatureSize-atEK)
			forged = resigned(raw, a.key, func(x []byte) { x[at] ^= 1 << d.IntN(8) })
		case 2: // by C, who copies A's handshake
			forged = resigned(raw, c.key, func(x []byte) {
				copy(x[atFrom:], cAMID[:])
				copy(x[atKey:], cKey[:])
				copy(x[atCert:], c.cert)
			})
		}
		if _, err := b.answered(forged); err == nil {
			t.Fatalf("%x: opened", forged)
		}
	}
	if _, err := b.answered(raw); err != nil {
		t.Errorf("after all the forgeries: %v", err)
	}
}

func TestT21UnknownKeyShare(t *testing.T)     { unknownKeyShare(t, 4) }
func TestSoakT21UnknownKeyShare(t *testing.T) { soak(t); unknownKeyShare(t, 1000) }

// T21: C relays A's knocks as its own, with its name, its key, a certificate of its
// own for A's exchange key, and every combination of that. B never comes to a session
// that A would take part in.
func unknownKeyShare(t *testing.T, runs int) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	claim := c.bundle.Certificate
	claim.Exchange = a.exchange.Public()
	stolen, err := identity.SignKeyCertificate(c.key, claim)
	if err != nil {
		t.Fatal(err)
	}
	cAMID, cKey := c.amid(), c.key.Public()
	for i := range runs {
		raw := a.knockAt(t, b, i%2 == 0).Bytes
		for parts := 1; parts < 32; parts++ {
			forged := resigned(raw, c.key, func(x []byte) {
				for bit, f := range []func(){
					func() { copy(x[atFrom:], cAMID[:]) },
					func() { copy(x[atKey:], cKey[:]) },
					func() { copy(x[atCert:], c.cert) },
					func() { copy(x[atCert:], stolen) },
					func() { copy(x[atEpoch:], []byte{0, 0, 0, 1}) },
				} {
					if parts&(1<<bit) != 0 {
						f()
					}
				}
			})
			if _, err := b.answered(forged); err == nil {
				t.Fatalf("with the changes %05b: opened", parts)
			}
		}
	}
}

func TestT33OtherRecipients(t *testing.T)     { otherRecipients(t, 50) }
func TestSoakT33OtherRecipients(t *testing.T) { soak(t); otherRecipients(t, 10_000) }

// T33: a knock for B shown to anybody else is wrong_recipient, and written to
// anybody else by a relay it is no knock of A's any more.
func otherRecipients(t *testing.T, runs int) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	raw := a.knockAt(t, b, true).Bytes
	_, r := dice("T33")
	for range runs {
		var other identity.AMID
		if _, err := io.ReadFull(r, other[:]); err != nil {
			t.Fatal(err)
		}
		if err := parsed(t, raw).CheckRecipient(other); !errors.Is(err, ErrWrongRecipient) {
			t.Fatalf("at %s: got %v, want ErrWrongRecipient", other, err)
		}
		moved := bytes.Clone(raw)
		copy(moved[atTo:], other[:])
		k := parsed(t, moved)
		if err := k.VerifySignature(); !errors.Is(err, identity.ErrSignature) || k.CheckRecipient(other) != nil {
			t.Fatalf("readdressed to %s: got %v, want ErrSignature", other, err)
		}
	}
	if err := parsed(t, raw).CheckRecipient(b.amid()); err != nil {
		t.Error(err)
	}
}

// tierClaims are what a knock may say about its sender's standing.
func tierClaims(t testing.TB, friend *agent) map[string][]byte {
	t.Helper()
	return map[string][]byte{
		"nothing":                       nil,
		"tier 1 in words":               []byte("tier 1"),
		"tier 1 as the SDKs claim it":   []byte(`{"tier":1,"reputation":0.99}`),
		"tier 0, better than there is":  []byte(`{"tier":0}`),
		"organization":                  []byte(`{"tier":"organization","verified":true}`),
		"reputation that is no number":  []byte(`{"reputation":"NaN"}`),
		"certificate of somebody known": friend.cert,
		"as much as fits":               bytes.Repeat([]byte{1}, content.MaxTierCertificate),
	}
}

// T34: eight claims under six policies. The claim arrives, and the verdict is the
// one without it.
func TestT34TierClaimsAreIgnored(t *testing.T) {
	a, b, friend := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "friend")
	policies := map[string]string{
		"no policy":             ``,
		"strangers unwelcome":   `{"strangers":"reject"}`,
		"a friend allowed":      `{"strangers":"reject","allow":["` + friend.amid().String() + `"]}`,
		"tier 1 of the SDKs":    `{"accept_tiers":[1],"min_reputation":0.9}`,
		"tier 1, JavaScript":    `{"minTier":1,"minReputation":0.9,"autoAccept":true}`,
		"other intents allowed": `{"accepted_intents":["food"]}`,
	}
	for claim, said := range tierClaims(t, friend) {
		q := a.asking(t, b, true)
		q.Request.TierCertificate = said
		asked, err := NewKnock(seeded("T34"), q)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := b.answered(asked.Bytes)
		if err != nil || string(opened.Request.TierCertificate) != string(said) {
			t.Fatalf("%s: the claim did not arrive: %v", claim, err)
		}
		facts := Facts{Peer: a.amid(), Intent: opened.Request.Intent, Mode: opened.Request.Mode}
		for name, text := range policies {
			d := policy(t, text).Evaluate(facts)
			want := Ask
			if strings.Contains(text, "reject") || strings.Contains(text, "food") {
				want = Reject
			}
			if d.Verdict != want || len(d.Remarks) != 0 {
				t.Errorf("%s under %q: %v, want %s", claim, name, d, want)
			}
		}
	}
}

// T35: the full matrix of tiers that a policy of the SDKs asks for and a knock
// claims. Tiers decide nothing, so no comparison of theirs can be the wrong way
// round: a stranger is asked about, whichever of the three is better.
func TestT35TierMatrix(t *testing.T) {
	for _, wants := range []string{"1", "1.5", "2"} {
		for _, claims := range []string{"1", "1.5", "2"} {
			for _, dialect := range []string{`{"accept_tiers":[` + wants + `]}`, `{"minTier":` + wants + `}`} {
				p := policy(t, dialect)
				d := p.Evaluate(Facts{Peer: amid(t, alice), Intent: "tier/" + claims, Mode: content.Private})
				if d.Verdict != Ask || len(p.Ignored) != 1 {
					t.Errorf("%s, claimed %s: %v, ignored %v", dialect, claims, d, p.Ignored)
				}
			}
		}
	}
}

// T37: no way to a refusal releases, keeps or forgets to erase anything. What a tail
// says is not in the request that is judged, nor in any answer.
func TestT37RefusedPayload(t *testing.T) {
	type step struct {
		from AnswerState
		by   AnswerEvent
	}
	refusals := 0
	for from := AnswerEvaluated; from <= AnswerRejected; from++ {
		for by := PolicyAccepts; by <= PeerMovedChain; by++ {
			next, actions, err := from.Next(by)
			if err != nil || next != AnswerRejected || from == AnswerRejected {
				continue
			}
			refusals++
			if !slices.Equal(actions, []Action{EraseRequest, SealReject}) {
				t.Errorf("%v: %v", step{from, by}, actions)
			}
		}
	}
	if refusals != 4 {
		t.Errorf("%d ways to a refusal, want 4", refusals)
	}
	a, b := newAgent(t, "a"), newAgent(t, "b")
	env, err := a.knockAt(t, b, true).WithTail(seeded("tail"), []byte("buy everything"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := b.answered(env)
	if err != nil {
		t.Fatal(err)
	}
	request, err := opened.Request.Encode()
	if err != nil || bytes.Contains(request, []byte("buy everything")) {
		t.Errorf("the request has the tail's text: %v", err)
	}
	reject, err := (&content.Reject{Knock: parsed(t, env).Hash(), Code: content.Rejected}).Encode()
	if err != nil || len(reject) != 38 {
		t.Errorf("a reject of %d bytes, %v: it says more than its code", len(reject), err)
	}
}

// T39: the suite of a knock is not up for discussion: not by a relay, not by A, not
// by what else B's bundle offers.
func TestT39Suites(t *testing.T) {
	a := newAgent(t, "a")
	b := newAgentWith(t, "b", func(x *identity.Bundle) { x.Suites = []byte{2, 3, 200} })
	raw := a.knockAt(t, b, true).Bytes
	if raw[atSuite] != identity.Suite2 {
		t.Errorf("suite %d, want 2", raw[atSuite])
	}
	for s := range 256 {
		if s == identity.Suite2 {
			continue
		}
		bare := bytes.Clone(raw)
		bare[atSuite] = byte(s)
		signed := resigned(raw, a.key, func(x []byte) { x[atSuite] = byte(s) })
		for who, forged := range map[string][]byte{"a relay": bare, "A": signed} {
			if _, err := b.answered(forged); !errors.Is(err, ErrMalformed) {
				t.Errorf("suite %d by %s: got %v, want ErrMalformed", s, who, err)
			}
		}
	}
	if _, err := b.answered(raw); err != nil {
		t.Error(err)
	}
}

// T39: a bundle in which a relay stripped the KEM key or its name: A's knock is made
// with what the owner signed, or not at all; and a knock that says it used another
// KEM key than it did opens nothing.
func TestT39KEMKeyIsNotStripped(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	c := newAgent(t, "c")
	for name, change := range map[string]func(x []byte){
		"ciphertext of zeros":           func(x []byte) { clear(x[atCiphertext:atPrekeyID]) },
		"ciphertext of another knock":   func(x []byte) { copy(x[atCiphertext:atPrekeyID], c.knockAt(t, b, true).Bytes[atCiphertext:]) },
		"last-resort key instead":       func(x []byte) { copy(x[atKEMKind:], []byte{2, 0, 0, 0, 8}) },
		"one-time KEM key of no number": func(x []byte) { copy(x[atKEMKind:], []byte{3, 0, 0, 0, 0}) },
	} {
		raw := a.knockAt(t, b, true).Bytes
		if _, err := b.answered(resigned(raw, a.key, change)); !errors.Is(err, ratchet.ErrDecrypt) && !errors.Is(err, ErrPrekeyUnknown) {
			t.Errorf("%s: got %v, want ErrDecrypt or ErrPrekeyUnknown", name, err)
		}
	}
}

// What A's own key material is judged by: the moment of asking, not of reading
// (session.md §5.2).
func TestCertificateIsJudgedWhenIssued(t *testing.T) {
	b := newAgent(t, "b")
	a := newAgentWith(t, "a", func(x *identity.Bundle) { x.Certificate.Expires = noon.Add(time.Hour) })
	raw := a.knockAt(t, b, false).Bytes // lives for 168 h
	if _, err := b.answered(raw); err != nil {
		t.Errorf("certificate that ends before the knock does: %v", err)
	}
	late := resigned(raw, a.key, func(x []byte) {
		binary.BigEndian.PutUint64(x[atIssued:], uint64(noon.Add(time.Hour+time.Second).Unix()))
	})
	if err := parsed(t, late).VerifySignature(); !errors.Is(err, identity.ErrBundleExpired) {
		t.Errorf("issued after its certificate's end: got %v, want ErrBundleExpired", err)
	}
}

// A knock of ours that comes back, by a relay or a cheat who has our keys.
func TestOwnKnockComesBack(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	self := a.amid()
	back := resigned(a.knockAt(t, b, true).Bytes, a.key, func(x []byte) { copy(x[atTo:], self[:]) })
	if err := parsed(t, back).VerifySignature(); !errors.Is(err, identity.ErrKey) {
		t.Errorf("got %v, want ErrKey", err)
	}
}

// Two agents of one node: a knock for one of them that names the other's bundle.
func TestBundleOfANeighbour(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	other := c.amid()
	k := parsed(t, resigned(a.knockAt(t, b, true).Bytes, a.key, func(x []byte) { copy(x[atTo:], other[:]) }))
	if err := k.VerifySignature(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(b.keysFor(k), noon, seeded("x")); !errors.Is(err, ErrPrekeyUnknown) {
		t.Errorf("got %v, want ErrPrekeyUnknown", err)
	}
}

func TestAnotherLastResortID(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	k := parsed(t, resigned(a.knockAt(t, b, false).Bytes, a.key, func(x []byte) { x[atKEMKind+4]++ }))
	if _, err := k.ReplayKey(b.keysFor(k)); !errors.Is(err, ErrPrekeyUnknown) {
		t.Errorf("got %v, want ErrPrekeyUnknown", err)
	}
}

// Message 0 of a peer that speaks out of turn.
func TestMessage0IsARequest(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	for name, plaintext := range map[string][]byte{
		"an accept":      encoded(t, &content.Accept{SessionType: 1, Mode: 1, FirstSeq: 1, GrantExpires: noon}),
		"a close":        encoded(t, &content.Close{Reason: content.CloseDone}),
		"something new":  {0x99, 1, 2, 3},
		"nothing":        nil,
		"a torn request": encoded(t, &content.Request{Intent: "a", SessionType: 1, Mode: 1, FirstSeq: 1})[:60],
	} {
		q, err := a.asking(t, b, true).prepare(seeded("request"))
		if err != nil {
			t.Fatal(err)
		}
		q.request = plaintext
		asked, err := q.finish(seeded("request"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.answered(asked.Bytes); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func encoded(t testing.TB, c content.Content) []byte {
	t.Helper()
	raw, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What was parsed stays what it was, whatever the caller does to its buffer.
func TestParsedKnockSharesNoMemory(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	asked := a.knockAt(t, b, true)
	buffer := bytes.Clone(asked.Bytes)
	k := parsed(t, buffer)
	clear(buffer)
	if k.Hash() != asked.Hash || k.VerifySignature() != nil {
		t.Error("the knock changed with the buffer")
	}
}
