package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"
)

// Defects of the reference implementation's keys and signatures, each shown not to
// be here.

// D1: every signature covered a bare timestamp, so a relay could take the one of a
// connect and upload prekeys of its own. Here the signature of a timestamp fits
// nothing that is published, and what is signed for a relay fits no bundle.
func TestD1ConnectSignatureUploadsNoPrekeys(t *testing.T) {
	ann, relay := testKey(t, 1), testKey(t, 7)
	stamp := "2026-03-01T12:00:00Z"
	for name, kind := range signedKinds {
		// The relay's own keys under Ann's name: all that an upload needs but her word.
		raw := kind.sign(t, relay)
		amid, key := ann.AMID(), ann.Public()
		copy(raw[kind.atAMID:], amid[:])
		if kind.atKey != 0 {
			copy(raw[kind.atKey:], key[:])
		}
		body := raw[:len(raw)-SignatureSize]
		for how, sig := range map[string][]byte{
			"her signature of a timestamp":      ann.SignTimestamp(stamp),
			"her signature of a connect":        ann.Sign(TagRelayConnect, []byte(stamp)),
			"her signature of these very bytes": ann.Sign(TagRelayConnect, body),
			"the relay's own":                   relay.Sign(kind.tag, body),
		} {
			if err := kind.parse(append(bytes.Clone(body), sig...), ann.Public()); !errors.Is(err, ErrSignature) {
				t.Errorf("%s with %s: got %v, want ErrSignature", name, how, err)
			}
		}
	}
}

// D10: a bundle was rebuilt with an empty signature, and in one branch with private
// keys in the public list. Here a bundle made again has all its signatures, and
// nothing that is published has eight bytes of a private part in it.
func TestD10RebuiltBundle(t *testing.T) {
	key := testKey(t, 0xA7)
	_, r := dice("D10")
	exchange, prekey := ExchangeKey(randomBytes(t, r, 32)), ExchangeKey(randomBytes(t, r, 32))
	b := testBundle(t, 1)
	b.Certificate.Exchange, b.SignedPrekey = exchange.Public(), prekey.Public()
	first := must(t)(SignBundle(key, b))
	read, err := ParseBundle(first)
	if err != nil {
		t.Fatal(err)
	}
	read.Sequence++
	read.Expires = read.Expires.Add(-time.Hour)
	again := must(t)(SignBundle(key, *read))
	rebuilt, err := ParseBundle(again)
	if err != nil {
		t.Fatal(err)
	}
	if rebuilt.SignedPrekey != prekey.Public() || rebuilt.Certificate.Exchange != exchange.Public() || rebuilt.ID() == read.ID() {
		t.Error("the rebuilt bundle has other keys, or the old one's id")
	}
	if err := rebuilt.Compare(read.Epoch, read.Sequence-1, read.ID()); err != nil {
		t.Errorf("the rebuilt bundle is not newer: %v", err)
	}
	doc, err := json.Marshal(NewDIDDocument(key.Public(), exchange.Public(), "wss://relay.example", noon, noon))
	if err != nil {
		t.Fatal(err)
	}
	public := map[string][]byte{
		"bundle": first, "rebuilt bundle": again, "DID document": doc,
		"certificate":  must(t)(SignKeyCertificate(key, b.Certificate)),
		"one-time key": must(t)(SignOneTimeKey(key, oneTimeKey(make32(prekey.Public()), KindOneTime))),
		"record":       must(t)(SignRecord(key, testRecord(), again)),
	}
	for where, raw := range public {
		for what, secret := range map[string][]byte{"signing key": key.Seed(), "exchange key": exchange[:], "prekey": prekey[:], "KEM seed": bytes.Repeat([]byte{4}, 64)} {
			for at := 0; at+8 <= len(secret); at++ {
				if bytes.Contains(raw, secret[at:at+8]) {
					t.Fatalf("%s has bytes of the private %s", where, what)
				}
			}
		}
	}
}

// What was parsed stays what it was, whatever the caller does to its buffer.
func TestParsedSharesNoMemory(t *testing.T) {
	key := testKey(t, 1)
	oneTime := signedKinds["one-time KEM key"].sign(t, key)
	k, err := ParseOneTimeKey(oneTime, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	raw := signedRecord(t, 1)
	rec, err := ParseAgentRecord(raw)
	if err != nil {
		t.Fatal(err)
	}
	clear(oneTime)
	clear(raw)
	if !bytes.Equal(k.Public, testKEM(t, 9)) {
		t.Error("the one-time key changed with the buffer")
	}
	if !bytes.Equal(rec.Raw(), signedRecord(t, 1)) || !bytes.Equal(rec.Bundle.Raw(), signedBundle(t, 1)) || rec.Relays[0] != testRecord().Relays[0] {
		t.Error("the record changed with the buffer")
	}
}
