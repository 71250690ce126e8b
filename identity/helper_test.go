package identity

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"encoding/hex"
	"testing"
	"time"
)

// noon is when everything in these tests happens.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testKey(t testing.TB, b byte) PrivateKey {
	t.Helper()
	k, err := PrivateKeyFromSeed(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testExchange(t testing.TB, b byte) [32]byte {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(k.PublicKey().Bytes())
}

func testKEM(t testing.TB, b byte) []byte {
	t.Helper()
	k, err := mlkem.NewDecapsulationKey768(bytes.Repeat([]byte{b}, 64))
	if err != nil {
		t.Fatal(err)
	}
	return k.EncapsulationKey().Bytes()
}

// testBundle is what the agent of testKey(b) would publish.
func testBundle(t testing.TB, b byte) Bundle {
	t.Helper()
	return Bundle{
		Epoch: 3, Sequence: 41, Created: noon, Expires: noon.Add(BundleLife),
		Certificate:    KeyCertificate{Exchange: testExchange(t, b+1), Created: noon, Expires: noon.Add(90 * 24 * time.Hour)},
		SignedPrekeyID: 7, SignedPrekey: testExchange(t, b+2),
		KEMKeyID: 0, KEMKey: testKEM(t, b+3),
	}
}

func signedBundle(t testing.TB, b byte) []byte {
	t.Helper()
	raw, err := SignBundle(testKey(t, b), testBundle(t, b))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func testRecord() AgentRecord {
	return AgentRecord{
		Sequence: 5, Created: noon, Expires: noon.Add(RecordLife),
		Relays:    []string{"wss://relay.example/v1/connect"},
		PeerIDs:   []string{"12D3KooWExample"},
		Addresses: []string{"/ip4/192.0.2.1/udp/47777/quic-v1"},
	}
}

func signedRecord(t testing.TB, b byte) []byte {
	t.Helper()
	raw, err := SignRecord(testKey(t, b), testRecord(), signedBundle(t, b))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// resign changes an object and signs it again: what a cheating owner can do, as
// opposed to a forger.
func resign(t testing.TB, key PrivateKey, tag Tag, raw []byte, change func(body []byte)) []byte {
	t.Helper()
	body := bytes.Clone(raw[:len(raw)-SignatureSize])
	change(body)
	return append(body, key.Sign(tag, body)...)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
