package knock

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/ratchet"
)

// noon is when everything in these tests happens.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func seeded(name string) io.Reader {
	var seed [32]byte
	copy(seed[:], name)
	return rand.NewChaCha8(seed)
}

// agent is somebody with everything it needs to knock and to be knocked at.
type agent struct {
	key      identity.PrivateKey
	exchange ratchet.Secret
	prekey   ratchet.Secret
	kem      ratchet.KEMSeed
	oneTime  ratchet.Secret
	oneKEM   ratchet.KEMSeed
	cert     []byte
	bundle   *identity.Bundle
}

func newAgent(t testing.TB, name string) *agent {
	t.Helper()
	return newAgentWith(t, name, func(*identity.Bundle) {})
}

func newAgentWith(t testing.TB, name string, change func(b *identity.Bundle)) *agent {
	t.Helper()
	r := seeded("agent " + name)
	a := &agent{}
	var err error
	if a.key, err = identity.GenerateKey(r); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*ratchet.Secret{&a.exchange, &a.prekey, &a.oneTime} {
		if *s, err = ratchet.GenerateSecret(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*ratchet.KEMSeed{&a.kem, &a.oneKEM} {
		if *s, err = ratchet.GenerateKEMSeed(r); err != nil {
			t.Fatal(err)
		}
	}
	b := identity.Bundle{
		Epoch: 1, Sequence: 1, Created: noon, Expires: noon.Add(identity.BundleLife),
		Certificate:    identity.KeyCertificate{Exchange: a.exchange.Public(), Created: noon, Expires: noon.AddDate(1, 0, 0)},
		SignedPrekeyID: 7, SignedPrekey: a.prekey.Public(), KEMKeyID: 8, KEMKey: a.kem.Public(),
	}
	change(&b)
	raw, err := identity.SignBundle(a.key, b)
	if err != nil {
		t.Fatal(err)
	}
	if a.bundle, err = identity.ParseBundle(raw); err != nil {
		t.Fatal(err)
	}
	if a.cert, err = identity.SignKeyCertificate(a.key, a.bundle.Certificate); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *agent) amid() identity.AMID { return a.key.AMID() }

// certificate is a's own for other times.
func (a *agent) certificate(t testing.TB, created, expires time.Time) []byte {
	t.Helper()
	c := a.bundle.Certificate
	c.Created, c.Expires = created, expires
	raw, err := identity.SignKeyCertificate(a.key, c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (a *agent) oneTimeKey(t testing.TB, kind identity.KeyKind, id, epoch uint32) *identity.OneTimeKey {
	t.Helper()
	public := a.oneTime.Public()
	k := identity.OneTimeKey{Epoch: epoch, Kind: kind, ID: id, Created: noon, Expires: noon.Add(time.Hour), Public: public[:]}
	if kind == identity.KindOneTimeKEM {
		k.Public = a.oneKEM.Public()
	}
	raw, err := identity.SignOneTimeKey(a.key, k)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := identity.ParseOneTimeKey(raw, a.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// asking is a knock of a at b, with one-time keys or without.
func (a *agent) asking(t testing.TB, b *agent, oneTime bool) Asking {
	t.Helper()
	q := Asking{
		Key: a.key, Certificate: a.cert, Exchange: a.exchange, Peer: b.bundle,
		Request: content.Request{Intent: "travel/flights", SessionType: content.Conversation, Mode: content.Private, FirstSeq: 1},
		Issued:  noon, Expires: noon.Add(MaxLife),
	}
	if oneTime {
		q.OneTimeKEM = b.oneTimeKey(t, identity.KindOneTimeKEM, 20, 1)
		q.OneTime = b.oneTimeKey(t, identity.KindOneTime, 21, 1)
	}
	return q
}

func (a *agent) knockAt(t testing.TB, b *agent, oneTime bool) *Asked {
	t.Helper()
	asked, err := NewKnock(seeded("knock"), a.asking(t, b, oneTime))
	if err != nil {
		t.Fatal(err)
	}
	return asked
}

// keysFor are the keys that the knock names, as b's store would find them.
func (a *agent) keysFor(k *Knock) ResponderKeys {
	keys := ResponderKeys{Bundle: a.bundle, Exchange: a.exchange, SignedPrekey: a.prekey, KEM: a.kem}
	if k.KEM.Kind == identity.KindOneTimeKEM {
		keys.KEM = a.oneKEM
	}
	if k.OneTime.Kind == identity.KindOneTime {
		keys.OneTime = &a.oneTime
	}
	return keys
}

func parsed(t testing.TB, raw []byte) *Knock {
	t.Helper()
	k, err := ParseKnock(raw)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// answered is what b does with a knock, in the order of session.md §8.2.
func (a *agent) answered(raw []byte) (*Opened, error) {
	k, err := ParseKnock(raw)
	if err != nil {
		return nil, err
	}
	if err := k.CheckRecipient(a.amid()); err != nil {
		return nil, err
	}
	if err := k.CheckTimes(noon); err != nil {
		return nil, err
	}
	if err := k.VerifySignature(); err != nil {
		return nil, err
	}
	return k.Open(a.keysFor(k), noon, seeded("answer"))
}

// resigned changes the signed part of a knock and signs it with key.
func resigned(raw []byte, key identity.PrivateKey, change func(b []byte)) []byte {
	body := bytes.Clone(raw[:len(raw)-identity.SignatureSize])
	change(body)
	return append(body, key.Sign(identity.TagKnock, body)...)
}
