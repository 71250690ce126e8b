package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Algorithms of signatures.
const (
	ES256 = "ES256" // ECDSA on P-256 with SHA-256, 64 bytes of R and S
	RS256 = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256
)

// recordVersion is what v= must be.
const recordVersion = "amtpkey1"

// ErrKeyRecord reports text that is no key's record, or holds a key that must not
// be used.
var ErrKeyRecord = errors.New("no usable key record")

// PublicKey is a key out of a record.
type PublicKey struct {
	Algorithm string // ES256 or RS256
	key       crypto.PublicKey
}

// ParseKeyRecord reads the text of one TXT record, its strings joined. Parameters that it
// does not know are ignored; one that stands there twice makes the record invalid.
func ParseKeyRecord(txt string) (PublicKey, error) {
	if len(txt) > MaxKeyRecord {
		return PublicKey{}, fmt.Errorf("%w: longer than %d bytes", ErrKeyRecord, MaxKeyRecord)
	}
	params := make(map[string]string)
	for i, pair := range strings.Split(txt, ";") {
		name, value, ok := strings.Cut(pair, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if i == 0 && (name != "v" || value != recordVersion) {
			return PublicKey{}, fmt.Errorf("%w: it does not begin with v=%s", ErrKeyRecord, recordVersion)
		}
		if !ok {
			continue
		}
		if _, twice := params[name]; twice {
			return PublicKey{}, fmt.Errorf("%w: %.20q stands there twice", ErrKeyRecord, name)
		}
		params[name] = value
	}
	der, err := decode(params["p"])
	if err != nil || len(der) == 0 {
		return PublicKey{}, fmt.Errorf("%w: p is not base64", ErrKeyRecord)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: p is not a public key", ErrKeyRecord)
	}
	if err := fits(params["alg"], key); err != nil {
		return PublicKey{}, err
	}
	return PublicKey{params["alg"], key}, nil
}

// fits checks that the key is one of the algorithm's, and strong enough.
func fits(algorithm string, key crypto.PublicKey) error {
	switch algorithm {
	case ES256:
		if k, ok := key.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
			return fmt.Errorf("%w: alg is ES256, and the key is not of P-256", ErrKeyRecord)
		}
	case RS256:
		k, ok := key.(*rsa.PublicKey)
		if !ok {
			return fmt.Errorf("%w: alg is RS256, and the key is not of RSA", ErrKeyRecord)
		}
		if bits := k.N.BitLen(); bits < MinRSABits || bits > MaxRSABits {
			return fmt.Errorf("%w: a key of RSA has %d to %d bits", ErrKeyRecord, MinRSABits, MaxRSABits)
		}
		// With e = 1 everything is its own signature.
		if k.E < 3 || k.E%2 == 0 || k.N.Bit(0) == 0 {
			return fmt.Errorf("%w: an RSA key that signs nothing", ErrKeyRecord)
		}
	default:
		return fmt.Errorf("%w: alg is neither ES256 nor RS256", ErrKeyRecord)
	}
	return nil
}

// decode reads base64, of either alphabet, padded or not.
func decode(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	s = strings.NewReplacer("+", "-", "/", "_").Replace(s)
	return base64.RawURLEncoding.DecodeString(s)
}

// keyRecord is the text to publish for an ES256 key.
func keyRecord(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	return "v=" + recordVersion + ";alg=" + ES256 + ";p=" + base64.StdEncoding.EncodeToString(der), nil
}

// RecordName is where the record of a domain's key stands.
func RecordName(selector, domain string) string { return selector + "._amtpkey." + domain }

// ValidSelector says whether s may name a key: one label of lower-case letters,
// digits and hyphens, no hyphen at an end.
func ValidSelector(s string) bool {
	if s == "" || len(s) > MaxSelector || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
