package identity

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fuzzSigned fuzzes the parser of a signed object in two ways: the bytes as they
// come, which is what a forger has, and signed by a key of ours, so that what stands
// behind the signature is fuzzed too. again writes what was read; there is one
// encoding of everything, so the bytes must come back.
func fuzzSigned(f *testing.F, path string, tag Tag, again func(raw []byte) ([]byte, error)) {
	key := testKey(f, 1)
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	var stored struct{ Vectors []object }
	if err := json.Unmarshal(text, &stored); err != nil {
		f.Fatal(err)
	}
	known := make(map[string]bool)
	for _, v := range stored.Vectors {
		f.Add([]byte(v.Encoded))
		known[string(v.Encoded)] = true
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if out, err := again(raw); err == nil && !bytes.Equal(raw, out) {
			t.Errorf("%x was read and is written as %x", raw, out)
		} else if err == nil && !known[string(raw)] {
			t.Errorf("%x: forged", raw)
		}
		if len(raw) < SignatureSize {
			return
		}
		signed := resign(t, key, tag, raw, func([]byte) {})
		if out, err := again(signed); err == nil && !bytes.Equal(signed, out) {
			t.Errorf("%x was read and is written as %x", signed, out)
		}
	})
}

func FuzzParseKeyCertificate(f *testing.F) {
	key := testKey(f, 1)
	fuzzSigned(f, filepath.Join(vectorFolder, "certificates.json"), TagKeyCertificate, func(raw []byte) ([]byte, error) {
		c, err := ParseKeyCertificate(raw, key.Public())
		if err != nil {
			return nil, err
		}
		return SignKeyCertificate(key, *c)
	})
}

func FuzzParseBundle(f *testing.F) {
	key := testKey(f, 1)
	fuzzSigned(f, filepath.Join(vectorFolder, "bundles.json"), TagBundle, func(raw []byte) ([]byte, error) {
		b, err := ParseBundle(raw)
		if err != nil {
			return nil, err
		}
		return SignBundle(key, *b)
	})
}

func FuzzParseOneTimeKey(f *testing.F) {
	key := testKey(f, 1)
	fuzzSigned(f, filepath.Join(vectorFolder, "one_time_keys.json"), TagOneTimeKey, func(raw []byte) ([]byte, error) {
		k, err := ParseOneTimeKey(raw, key.Public())
		if err != nil {
			return nil, err
		}
		return SignOneTimeKey(key, *k)
	})
}

func FuzzParseAgentRecord(f *testing.F) {
	key := testKey(f, 1)
	fuzzSigned(f, filepath.Join(vectorFolder, "records.json"), TagAgentRecord, func(raw []byte) ([]byte, error) {
		r, err := ParseAgentRecord(raw)
		if err != nil {
			return nil, err
		}
		return SignRecord(key, *r, r.Bundle.Raw())
	})
}

// A key has one spelling of its bytes.
func FuzzParsePublicKey(f *testing.F) {
	for _, k := range badKeys(f) {
		f.Add(k)
	}
	f.Add(make32(testKey(f, 1).Public()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := ParsePublicKey(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(k[:], raw) {
			t.Errorf("%x was read as %x", raw, k)
		}
		negative := k
		negative[31] ^= 0x80
		if _, err := ParsePublicKey(negative[:]); err != nil {
			t.Errorf("%x is good and its negative is not: %v", k, err)
		}
	})
}

func FuzzParsePublicKeyText(f *testing.F) {
	f.Add(testKey(f, 1).Public().Text())
	f.Add("ed25519:" + testKey(f, 2).Public().Text())
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParsePublicKeyText(s); err == nil && k.Text() != strings.TrimPrefix(s, "ed25519:") {
			t.Errorf("%q is read as %s", s, k.Text())
		}
	})
}

func FuzzParseAMID(f *testing.F) {
	for b := range byte(4) {
		f.Add(testKey(f, b).AMID().String())
		f.Add(testKey(f, b).AMID().DID())
	}
	f.Add(AMID{}.String())
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAMID(s)
		if err == nil && s != a.String() && s != a.DID() {
			t.Errorf("%q is read as %s", s, a)
		}
	})
}

func FuzzDIDDocument(f *testing.F) {
	for b := range byte(2) {
		raw, err := json.Marshal(NewDIDDocument(testKey(f, b).Public(), testExchange(f, 2), "wss://relay.example", noon, noon))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var doc DIDDocument
		if json.Unmarshal(raw, &doc) != nil {
			return
		}
		k, err := doc.SigningKey()
		if err != nil {
			return
		}
		if _, err := ParsePublicKey(k[:]); err != nil || doc.ID != k.AMID().DID() {
			t.Errorf("%s gives the key %x: %v", raw, k, err)
		}
	})
}
