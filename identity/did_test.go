package identity

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/mr-tron/base58"
)

func TestDIDDocument(t *testing.T) {
	key, x := testKey(t, 1), testExchange(t, 2)
	doc := NewDIDDocument(key.Public(), x, "wss://relay.example", noon, noon)
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"@context":["https://www.w3.org/ns/did/v1",`,
		`"id":"did:agentmesh:jPUMBAvNeJo8USHNtJ81Wm7cqnk"`,
		`"authentication":["did:agentmesh:jPUMBAvNeJo8USHNtJ81Wm7cqnk#signing-key"]`,
		`"keyAgreement":["did:agentmesh:jPUMBAvNeJo8USHNtJ81Wm7cqnk#key-agreement-key"]`,
		`"publicKeyMultibase":"z6Mk`, // what every did:key of Ed25519 begins with
		`"publicKeyMultibase":"z6LS`, // and of X25519
		`"serviceEndpoint":"wss://relay.example"`,
		`"created":"2026-03-01T12:00:00Z"`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
	var back DIDDocument
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if k, err := back.SigningKey(); err != nil || k != key.Public() {
		t.Errorf("signing key: %v", err)
	}
	if k, err := ParseExchangeKeyMultibase(back.VerificationMethod[1].PublicKeyMultibase); err != nil || k != x {
		t.Errorf("exchange key: %v", err)
	}
}

func TestDIDDocumentLies(t *testing.T) {
	key, other := testKey(t, 1), testKey(t, 2)
	for name, c := range map[string]struct {
		change func(d *DIDDocument)
		want   error
	}{
		"key of another agent": {func(d *DIDDocument) {
			d.VerificationMethod[0].PublicKeyMultibase = multibase(codecEd25519, make32(other.Public()))
		}, ErrMismatch},
		"no key":         {func(d *DIDDocument) { d.VerificationMethod = nil }, ErrKey},
		"bare AMID":      {func(d *DIDDocument) { d.ID = strings.TrimPrefix(d.ID, didPrefix) }, ErrAMID},
		"another method": {func(d *DIDDocument) { d.ID = "did:web:example.com" }, ErrAMID},
	} {
		d := NewDIDDocument(key.Public(), testExchange(t, 3), "", noon, noon)
		c.change(&d)
		if _, err := d.SigningKey(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestMultibaseSpellings(t *testing.T) {
	k := testKey(t, 1).Public()
	for name, s := range map[string]string{
		"registry":          "zed25519:" + k.Text(),
		"Python":            "z" + k.Text(),
		"JavaScript":        "z" + base58.Encode(k[:]),
		"right, multicodec": multibase(codecEd25519, k[:]),
	} {
		if got, err := ParsePublicKeyMultibase(s); err != nil || got != k {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]string{
		"empty":                 "",
		"z alone":               "z",
		"without z":             k.Text(),
		"X25519's multicodec":   multibase(codecX25519, k[:]),
		"X25519's prefix":       "zx25519:" + k.Text(),
		"33 bytes":              "z" + base58.Encode(append([]byte{1}, k[:]...)),
		"base58 of no alphabet": "z0OIl",
		"very long":             "z" + strings.Repeat("1", 1000),
		"unpadded base64":       "z" + strings.TrimRight(k.Text(), "="),
	} {
		if _, err := ParsePublicKeyMultibase(s); !errors.Is(err, ErrKey) {
			t.Errorf("%s: got %v, want ErrKey", name, err)
		}
	}
	if _, err := ParseExchangeKeyMultibase(multibase(codecX25519, make([]byte, 32))); !errors.Is(err, ErrLowOrder) {
		t.Errorf("low order: got %v, want ErrLowOrder", err)
	}
}

func FuzzParsePublicKeyMultibase(f *testing.F) {
	k := testKey(f, 1).Public()
	f.Add("zed25519:" + k.Text())
	f.Add(multibase(codecEd25519, k[:]))
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParsePublicKeyMultibase(s)
		if err != nil {
			return
		}
		if _, err := ParsePublicKey(k[:]); err != nil {
			t.Errorf("%q gives a bad key: %v", s, err)
		}
	})
}

// One key, one text: what the decoders of base64 and base58 would let pass besides.
func TestKeyTextHasOneForm(t *testing.T) {
	k := testKey(t, 1).Public()
	text := k.Text()
	loose := text[:42] + "d=" // the last digit of 32 bytes has two bits to spare
	if _, err := base64.StdEncoding.DecodeString(loose); text[42:] != "w=" && text[42:] != "c=" || err != nil {
		t.Fatalf("%s and %s: choose another digit", text, loose)
	}
	spellings := map[string]string{
		"spare bits set":      loose,
		"line break inside":   text[:20] + "\n" + text[20:],
		"line break at end":   text + "\n",
		"carriage return":     "\r" + text,
		"space":               " " + text,
		"URL alphabet":        strings.NewReplacer("+", "-", "/", "_").Replace(text),
		"no padding":          strings.TrimRight(text, "="),
		"too much padding":    text + "=",
		"prefix in capitals":  "ED25519:" + text,
		"prefix of exchange":  "x25519:" + text,
		"prefix with a space": "ed25519: " + text,
	}
	for name, s := range spellings {
		if s == text {
			continue // this key has no digit that differs
		}
		if got, err := ParsePublicKeyText(s); !errors.Is(err, ErrKey) {
			t.Errorf("%s as text: got %x, %v, want ErrKey", name, got, err)
		}
		for _, front := range []string{"z", "zed25519:"} {
			if got, err := ParsePublicKeyMultibase(front + s); !errors.Is(err, ErrKey) {
				t.Errorf("%s as multibase: got %x, %v, want ErrKey", name, got, err)
			}
		}
	}
	b58 := base58.Encode(k[:])
	for name, s := range map[string]string{
		"zero byte in front": "1" + b58, "space": b58 + " ", "line break": b58 + "\n", "other alphabet": b58[:10] + "0" + b58[11:],
	} {
		if got, err := ParsePublicKeyMultibase("z" + s); !errors.Is(err, ErrKey) {
			t.Errorf("base58, %s: got %x, %v, want ErrKey", name, got, err)
		}
	}
}
