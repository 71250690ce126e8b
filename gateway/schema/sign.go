package schema

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"github.com/gowebpki/jcs"

	"amesh/internal/ijson"
)

const (
	// purpose keeps a signature for a schema from being one for anything else.
	purpose = "amtp-schema-1"
	// maxKeys is how many keys may sign.
	maxKeys = 16
	// leastRSA is how long an RSA key has to be, in bits.
	leastRSA = 2048
	// signDepth is how deep a definition that is signed may be nested.
	signDepth = 256
	// p256Half is how long each half of an ECDSA signature is, in bytes.
	p256Half = 32
)

// signedForm is what is signed: the canonical JSON (RFC 8785) of the definition
// together with its name, so that no definition passes under another one.
func signedForm(id ID, definition []byte) ([]byte, error) {
	if err := ijson.Check(definition, signDepth); err != nil {
		return nil, err
	}
	if err := plainNumbers(definition); err != nil {
		return nil, err
	}
	text := fmt.Appendf(nil, `{"definition":%s,"id":%q,"purpose":%q}`, definition, id.String(), purpose)
	return jcs.Transform(text)
}

// plainNumbers refuses numbers that a double does not hold as they are written:
// the canonical form would be that of another number too.
func plainNumbers(definition []byte) error {
	v, err := decode(definition)
	if err != nil {
		return err
	}
	return eachNumber(v, func(text string) error {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errNumber
		}
		written, ok := new(big.Rat).SetString(text)
		held, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
		if !ok || held == nil || written.Cmp(held) != 0 {
			return fmt.Errorf("the number %s cannot be signed: a double does not hold it", clip(text))
		}
		return nil
	})
}

func eachNumber(v any, check func(string) error) error {
	switch v := v.(type) {
	case json.Number:
		return check(string(v))
	case float64:
		return fmt.Errorf("the number %g cannot be signed: it was longer than a double", v)
	case []any:
		for _, item := range v {
			if err := eachNumber(item, check); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, member := range v {
			if err := eachNumber(member, check); err != nil {
				return err
			}
		}
	}
	return nil
}

// Sign returns the signature of key for a definition under its name: base64url
// without padding. Keys are ECDSA with P-256, Ed25519, or RSA of 2048 bits or
// more.
func Sign(key crypto.Signer, id ID, definition []byte) (string, error) {
	if err := usable(key.Public()); err != nil {
		return "", err
	}
	text, err := signedForm(id, definition)
	if err != nil {
		return "", err
	}
	message, opts := text, crypto.SignerOpts(crypto.Hash(0))
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		sum := sha256.Sum256(text)
		message, opts = sum[:], crypto.SHA256
	}
	sig, err := key.Sign(rand.Reader, message, opts)
	if err != nil {
		return "", err
	}
	if _, ok := key.Public().(*ecdsa.PublicKey); ok {
		var halves struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(sig, &halves); err != nil {
			return "", err
		}
		sig = append(halves.R.FillBytes(make([]byte, p256Half)), halves.S.FillBytes(make([]byte, p256Half))...)
	}
	return base64.RawURLEncoding.EncodeToString(sig), nil
}

// Verify returns nil when one of keys has signed s, ErrUntrusted otherwise.
func Verify(keys []crypto.PublicKey, s Schema) error {
	sig, err := base64.RawURLEncoding.Strict().DecodeString(s.Signature)
	if err != nil || len(sig) == 0 {
		return fmt.Errorf("%w: %s", ErrUntrusted, s.ID)
	}
	text, err := signedForm(s.ID, s.Definition)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUntrusted, s.ID, err)
	}
	sum := sha256.Sum256(text)
	for _, key := range keys {
		if verifies(key, text, sum[:], sig) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrUntrusted, s.ID)
}

func verifies(key crypto.PublicKey, text, sum, sig []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if len(sig) != 2*p256Half {
			return false
		}
		return ecdsa.Verify(key, sum, new(big.Int).SetBytes(sig[:p256Half]), new(big.Int).SetBytes(sig[p256Half:]))
	case ed25519.PublicKey:
		return ed25519.Verify(key, text, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum, sig) == nil
	}
	return false
}

func usable(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return fmt.Errorf("an ECDSA key on %s: want P-256", key.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < leastRSA {
			return fmt.Errorf("an RSA key of %d bits: want %d or more", n, leastRSA)
		}
	default:
		return fmt.Errorf("a key of type %T: want ECDSA with P-256, Ed25519 or RSA", key)
	}
	return nil
}

// ParseKeys reads the public keys in a PEM text ("PUBLIC KEY", one or more).
func ParseKeys(text []byte) ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("schema keys: a PEM block %q: want PUBLIC KEY", block.Type)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("schema keys: %w", err)
		}
		if err := usable(key); err != nil {
			return nil, fmt.Errorf("schema keys: %w", err)
		}
		if keys = append(keys, key); len(keys) > maxKeys {
			return nil, fmt.Errorf("schema keys: more than %d", maxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("schema keys: no PEM block PUBLIC KEY")
	}
	return keys, nil
}
