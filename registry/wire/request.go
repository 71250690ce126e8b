package wire

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/internal/wire"
)

// SignatureHeader carries the signature of a whole request (registry.md §2).
const SignatureHeader = "Amesh-Signature"

const (
	nonceSize = 16
	// maxHeader bounds the header: its longest value has 469 bytes.
	maxHeader = 512
)

// Proof is what a verified request signature says: who asked for exactly this, and the
// nonce that makes it this one time.
type Proof struct {
	AMID  identity.AMID
	Key   identity.PublicKey
	At    time.Time
	Nonce [nonceSize]byte
}

// SignRequest signs a request, whose body is given, to the server that its URL names,
// and sets the header. The request must not change any more.
func SignRequest(r *http.Request, body []byte, key identity.PrivateKey, now time.Time) error {
	host, err := dialled.OfURL(r.URL)
	if err != nil {
		return fmt.Errorf("sign request: %w", err)
	}
	s := seal{host: host, method: r.Method, target: r.URL.RequestURI(), body: sha256.Sum256(body), at: now.Unix()}
	_, _ = rand.Read(s.nonce[:]) // never fails
	signed, err := s.bytes()
	if err != nil {
		return fmt.Errorf("sign request: %w", err)
	}
	r.Header.Set(SignatureHeader, fmt.Sprintf("v1 host=%s,amid=%s,key=%s,ts=%d,nonce=%s,sig=%s",
		host, key.AMID(), key.Public().Text(), s.at, EncodeBase64(s.nonce[:]), EncodeBase64(key.Sign(identity.TagRegistryCall, signed))))
	return nil
}

// VerifyRequest checks the signature of a request as it was received, body and all. It
// returns an *Error for one that is missing, malformed, too old, for another server,
// request or body. Whether the nonce is new is the caller's to find out.
func VerifyRequest(r *http.Request, body []byte, names dialled.Names, now time.Time) (Proof, error) {
	values := r.Header.Values(SignatureHeader)
	if len(values) != 1 || len(values[0]) > maxHeader {
		return Proof{}, Unsigned(reasonFormat)
	}
	p, s, sig, err := parseHeader(values[0])
	if err != nil {
		return Proof{}, err
	}
	if p.Key.AMID() != p.AMID {
		return Proof{}, Unsigned(reasonMismatch)
	}
	if err := checkAge(p.At, now); err != nil {
		return Proof{}, err
	}
	if !names.Has(s.host, dialled.LocalAddr(r)) {
		return Proof{}, Unsigned(fmt.Sprintf("this registry does not go by the name %.100q; its operator gives it names with --name", s.host))
	}
	s.method, s.target, s.body = r.Method, r.RequestURI, sha256.Sum256(body)
	signed, err := s.bytes()
	if err != nil || p.Key.Verify(identity.TagRegistryCall, signed, sig) != nil {
		return Proof{}, Unsigned(reasonSignature)
	}
	return p, nil
}

// seal is what the signature of a request covers.
type seal struct {
	host   string // HOST:PORT as the client dialled it
	method string
	target string // path and query, as on the wire
	body   [sha256.Size]byte
	at     int64 // in seconds since 1970
	nonce  [nonceSize]byte
}

// bytes are the signed bytes behind the tag.
func (s *seal) bytes() ([]byte, error) {
	if len(s.host) > dialled.MaxID || len(s.method) > math.MaxUint8 || len(s.target) > math.MaxUint16 {
		return nil, fmt.Errorf("%w: request line too long", wire.ErrMalformed)
	}
	w := wire.NewWriter(128 + len(s.target))
	w.LP8([]byte(s.host))
	w.LP8([]byte(s.method))
	w.LP16([]byte(s.target))
	w.Fixed(s.body[:])
	w.I64(s.at)
	w.Fixed(s.nonce[:])
	return w.Bytes(), nil
}

// parseHeader reads the one right spelling of the header: all members, in their order.
func parseHeader(value string) (p Proof, s seal, sig []byte, err error) {
	fail := func(reason string) (Proof, seal, []byte, error) { return Proof{}, seal{}, nil, Unsigned(reason) }
	list, ok := strings.CutPrefix(value, "v1 ")
	fields := strings.Split(list, ",")
	names := []string{"host=", "amid=", "key=", "ts=", "nonce=", "sig="}
	if !ok || len(fields) != len(names) {
		return fail(reasonFormat)
	}
	for i, name := range names {
		if fields[i], ok = strings.CutPrefix(fields[i], name); !ok {
			return fail(reasonFormat)
		}
	}
	s.host = fields[0]
	if p.AMID, err = identity.ParseAMID(fields[1]); err != nil || p.AMID.String() != fields[1] {
		return fail(reasonMismatch)
	}
	if p.Key, err = identity.ParsePublicKeyText(fields[2]); err != nil || p.Key.Text() != fields[2] {
		return fail(reasonKey)
	}
	if s.at, err = strconv.ParseInt(fields[3], 10, 64); err != nil || strconv.FormatInt(s.at, 10) != fields[3] || s.at < 0 || s.at > maxSeconds {
		return fail(reasonTimestamp)
	}
	nonce, err := decodeExactly(fields[4], nonceSize)
	if err != nil {
		return fail(reasonFormat)
	}
	if sig, err = decodeExactly(fields[5], identity.SignatureSize); err != nil {
		return fail(reasonFormat)
	}
	p.At, s.nonce, p.Nonce = time.Unix(s.at, 0), [nonceSize]byte(nonce), [nonceSize]byte(nonce)
	return p, s, sig, nil
}

// maxSeconds is the last second of the year 9999.
const maxSeconds = 253402300799

// decodeExactly reads the one right spelling of size bytes.
func decodeExactly(s string, size int) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != size || EncodeBase64(b) != s {
		return nil, fmt.Errorf("%w: want %d bytes of base64", wire.ErrMalformed, size)
	}
	return b, nil
}
