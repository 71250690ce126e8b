package knock

import (
	"bytes"
	"errors"
	"testing"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/ratchet"
)

// Defects of the reference implementation's knock and key agreement, each shown not
// to be here.

// D2: the knock's signature was never verified, and its nonce marked as seen before
// any check. Here an unverified knock opens nothing, a forged one does not verify,
// and what names the knock to the replay memory comes out of a success only.
func TestD2SignatureIsVerified(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	raw := a.knockAt(t, b, true).Bytes
	k := parsed(t, raw)
	if o, err := k.Open(b.keysFor(k), noon, seeded("x")); !errors.Is(err, ErrNotVerified) || o != nil {
		t.Errorf("unverified: got %v, %v, want ErrNotVerified and nothing", o, err)
	}
	body := raw[:len(raw)-identity.SignatureSize]
	for name, sig := range map[string][]byte{
		"zeros":                 make([]byte, identity.SignatureSize),
		"somebody else's":       c.key.Sign(identity.TagKnock, body),
		"of another knock":      a.knockAt(t, b, true).Bytes[len(body):],
		"of a timestamp":        a.key.SignTimestamp("2026-03-01T12:00:00Z"),
		"of the clear part":     a.key.Sign(identity.TagKnock, body[:clearSize]),
		"of the hash, not body": a.key.Sign(identity.TagKnock, make([]byte, 32)),
	} {
		forged := parsed(t, append(bytes.Clone(body), sig...))
		if err := forged.VerifySignature(); !errors.Is(err, identity.ErrSignature) {
			t.Errorf("signature %s: got %v, want ErrSignature", name, err)
		}
		if _, err := forged.Open(b.keysFor(forged), noon, seeded("x")); !errors.Is(err, ErrNotVerified) {
			t.Errorf("signature %s: opened, %v", name, err)
		}
	}
	if _, err := b.answered(raw); err != nil {
		t.Errorf("the genuine one, after the forged: %v", err)
	}
}

// D3: the knock had no recipient, and its sender asserted tier and reputation. Here
// the recipient is signed and in th0; T34 has the claims.
func TestD3RecipientIsBound(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	raw := a.knockAt(t, b, true).Bytes
	cAMID := c.amid()
	if _, err := c.answered(raw); !errors.Is(err, ErrWrongRecipient) {
		t.Errorf("shown to C: got %v, want ErrWrongRecipient", err)
	}
	moved := bytes.Clone(raw)
	copy(moved[atTo:], cAMID[:])
	if _, err := c.answered(moved); !errors.Is(err, identity.ErrSignature) {
		t.Errorf("readdressed: got %v, want ErrSignature", err)
	}
	// B's keys stolen by C: still the transcript says B.
	k := parsed(t, resigned(moved, a.key, func([]byte) {}))
	if err := k.VerifySignature(); err != nil {
		t.Fatal(err)
	}
	s, err := ratchet.Respond(ratchet.ResponderKeys{Exchange: b.exchange, SignedPrekey: b.prekey, KEM: b.oneKEM, OneTime: &b.oneTime},
		k.exchange, k.EK, k.Ciphertext, transcript(k.raw[:clearSize], b.bundle, k.KEM, b.oneKEM.Public(), k.OneTime, b.point(b.oneTime)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenFirst(noon, seeded("x"), k.message0); !errors.Is(err, ratchet.ErrDecrypt) {
		t.Errorf("readdressed and signed by A: got %v, want ErrDecrypt", err)
	}
}

func (a *agent) point(s ratchet.Secret) *ratchet.Point {
	p := s.Public()
	return &p
}

// D4: the comparison of tiers was inverted, so that anonymous passed. There is no
// comparison to invert: see T35 for the matrix. What the SDKs' files say about tiers
// neither opens the door nor is lost.
func TestD4NoTierOpensTheDoor(t *testing.T) {
	for _, text := range []string{`{"accept_tiers":[2]}`, `{"minTier":2}`, `{"minTier":99}`, `{"accept_tiers":[]}`} {
		p := policy(t, text)
		if d := p.Evaluate(Facts{Peer: amid(t, alice), Intent: "a", Mode: content.Private}); d.Verdict == Accept {
			t.Errorf("%s: %v", text, d)
		}
		raw, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back := policy(t, string(raw)); len(back.Ignored) != 1 {
			t.Errorf("%s: written as %s", text, raw)
		}
	}
}

// D5: the accept carried the session's secret. Here no answer has anything of the
// session in it, but the hash of the knock, which the relay knows.
func TestD5AnswersCarryNoSecret(t *testing.T) {
	a, b := newAgent(t, "a"), newAgent(t, "b")
	asked := a.knockAt(t, b, true)
	opened, err := b.answered(asked.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	var secrets []byte
	for _, s := range []*ratchet.Session{asked.Session, opened.Session} {
		image, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, image...)
	}
	for _, key := range [][]byte{a.exchange[:], b.exchange[:], b.prekey[:], b.oneTime[:], b.oneKEM[:], opened.ReplayKey[:]} {
		secrets = append(secrets, key...)
	}
	for name, raw := range map[string][]byte{
		"accept": encoded(t, &content.Accept{
			Knock: asked.Hash, SessionType: content.Conversation, Mode: content.Private, FirstSeq: 1, GrantExpires: noon, Intents: []string{"travel"},
		}),
		"reject":  encoded(t, &content.Reject{Knock: asked.Hash, Code: content.Rejected}),
		"pending": encoded(t, &content.Pending{Knock: asked.Hash, Until: noon}),
	} {
		if !bytes.Contains(raw, asked.Hash[:]) {
			t.Errorf("%s does not name the knock", name)
		}
		for at := 0; at+8 <= len(raw); at++ {
			window := raw[at : at+8]
			if bytes.Count(window, []byte{0}) < 4 && bytes.Contains(secrets, window) {
				t.Errorf("%s: bytes %x are secret", name, window)
			}
		}
	}
}

// D9: no identity in what the tags cover, no prefix in front of the exchanges, an
// exchange key tied to nobody, one-time keys gone before a message verified. T21, T22
// and T20 have the attacks; here is the binding itself: who the two are decides what
// opens, even where all secrets are the same.
func TestD9IdentitiesAreBound(t *testing.T) {
	a, b, c := newAgent(t, "a"), newAgent(t, "b"), newAgent(t, "c")
	raw := a.knockAt(t, b, true).Bytes
	k := parsed(t, raw)
	keys := ratchet.ResponderKeys{Exchange: b.exchange, SignedPrekey: b.prekey, KEM: b.oneKEM, OneTime: &b.oneTime}
	open := func(clear []byte, bundle *identity.Bundle) error {
		th0 := transcript(clear, bundle, k.KEM, b.oneKEM.Public(), k.OneTime, b.point(b.oneTime))
		s, err := ratchet.Respond(keys, a.exchange.Public(), k.EK, k.Ciphertext, th0)
		if err != nil {
			return err
		}
		_, err = s.OpenFirst(noon, seeded("x"), k.message0)
		return err
	}
	put := func(at int, v []byte) []byte {
		clear := bytes.Clone(raw[:clearSize])
		copy(clear[at:], v)
		return clear
	}
	cAMID, cKey := c.amid(), c.key.Public()
	twin := *b.bundle
	twin.SigningKey = c.key.Public()
	other := *b.bundle
	other.Certificate.Exchange = c.exchange.Public()
	for name, tc := range map[string]struct {
		clear  []byte
		bundle *identity.Bundle
		want   error
	}{
		"as it was":              {raw[:clearSize], b.bundle, nil},
		"another asker":          {put(atFrom, cAMID[:]), b.bundle, ratchet.ErrDecrypt},
		"another asker's key":    {put(atKey, cKey[:]), b.bundle, ratchet.ErrDecrypt},
		"another certificate":    {put(atCert, c.cert), b.bundle, ratchet.ErrDecrypt},
		"another answerer":       {put(atTo, cAMID[:]), b.bundle, ratchet.ErrDecrypt},
		"another answerer's key": {raw[:clearSize], &twin, ratchet.ErrDecrypt},
		"another exchange key":   {raw[:clearSize], &other, ratchet.ErrDecrypt},
		"another bundle":         {raw[:clearSize], c.bundle, ratchet.ErrDecrypt},
	} {
		if err := open(tc.clear, tc.bundle); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", name, err, tc.want)
		}
	}
}
