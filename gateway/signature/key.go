package signature

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"amesh/identity"
)

// ErrKey reports a private key that cannot be used, or a selector that names none.
var ErrKey = errors.New("not a signing key")

// Key signs for our domain, with ES256. It may be used by many at once.
type Key struct {
	selector string
	private  *ecdsa.PrivateKey
	record   string
}

// Generate makes a new key. It returns ErrKey for a selector that is no label.
func Generate(selector string) (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newKey(selector, private)
}

func newKey(selector string, private *ecdsa.PrivateKey) (*Key, error) {
	if !ValidSelector(selector) {
		return nil, fmt.Errorf("%w: %.80q is no selector: it has 1 to %d lower-case letters, digits and hyphens", ErrKey, selector, MaxSelector)
	}
	if private.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: it is not of P-256; make one that is with amesh gateway key new", ErrKey)
	}
	record, err := keyRecord(&private.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	return &Key{selector, private, record}, nil
}

// ReadKey reads a key from PEM: PKCS #8, or the form of SEC 1 that openssl ecparam
// writes.
func ReadKey(selector string, text []byte) (*Key, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var private any
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			private, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue // EC PARAMETERS, which openssl puts before the key
		}
		if err != nil {
			return nil, fmt.Errorf("%w: the PEM block cannot be read", ErrKey)
		}
		ec, ok := private.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%w: it is not of P-256; make one that is with amesh gateway key new", ErrKey)
		}
		return newKey(selector, ec)
	}
	return nil, fmt.Errorf("%w: no private key in PEM", ErrKey)
}

// LoadKey reads a key from a file.
func LoadKey(selector, path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	key, err := ReadKey(selector, text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

// Save writes the key as PKCS #8 in PEM, readable by its owner only, whole or not
// at all.
func (k *Key) Save(path string) error {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return err
	}
	return identity.ReplaceFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Selector is under what the key is published.
func (k *Key) Selector() string { return k.selector }

// Record is the text to publish at RecordName.
func (k *Key) Record() string { return k.record }

// String keeps the key out of logs.
func (k *Key) String() string { return k.selector + " (hidden)" }

// Sign returns the message with its member signature set, whatever it was before.
// It returns ErrNotSignable for a body that a receiver would have to call
// invalid: not I-JSON, without an id, a key, a time, a sender or a version, or
// with another number of recipients than one.
func (k *Key) Sign(message []byte) ([]byte, error) {
	p, err := take(message)
	if err != nil {
		return nil, err
	}
	if p.complaint != "" {
		return nil, fmt.Errorf("%w: %s", ErrNotSignable, p.complaint)
	}
	digest, err := p.digest()
	if err != nil {
		return nil, err
	}
	r, s, err := ecdsa.Sign(rand.Reader, k.private, digest[:])
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var value [64]byte
	r.FillBytes(value[:32])
	s.FillBytes(value[32:])
	p.append("signature", []byte(`{"algorithm":"`+ES256+`","keyid":"`+k.selector+
		`","value":"`+base64.RawURLEncoding.EncodeToString(value[:])+`"}`))
	return append(p.rest, '}'), nil
}
