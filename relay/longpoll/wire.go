package longpoll

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"amesh/internal/wire"
)

const (
	// Header carries a Request, and in every answer of a relay the position of the
	// stream, or "-" in one that is an error. An answer without it is not a relay's.
	Header = "AgentMesh-Poll"
	// KeyHeader says with the opening request who will sign the others.
	KeyHeader = "AgentMesh-Key"
	// Query is the member of the URL's query that names a Kind.
	Query = "poll"
	// OpenQuery is its value in the request that opens a session.
	OpenQuery = "open"
)

// Kind is what a request is for; its number is what is signed.
type Kind byte

// The kinds.
const (
	KindNone Kind = iota
	Up            // POST: the body is what comes next from the client
	Down          // GET: what comes next from the relay
	End           // POST: the client goes
)

var kindNames = [...]string{Up: "up", Down: "down", End: "end"}

// String is the Kind as a query names it.
func (k Kind) String() string { return kindNames[k] }

// ParseKind reads what a query names; KindNone is none of them.
func ParseKind(s string) Kind {
	for k := Up; k <= End; k++ {
		if kindNames[k] == s {
			return k
		}
	}
	return KindNone
}

// Token names a session. It is a secret between relay and client.
type Token [32]byte

// Text is the token as it stands in headers and in Opened.
func (t Token) Text() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// ParseToken reads a token's text.
func ParseToken(s string) (t Token, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(t) {
		return Token{}, errMalformed
	}
	return Token(b), nil
}

// Opened is the JSON with which a relay opens a session.
type Opened struct {
	Session string `json:"session"`
	// Wait is how long a GET may wait for something to come, in seconds.
	Wait int `json:"wait_s"`
	// Bytes is the longest body in either direction.
	Bytes int `json:"bytes"`
}

// Request is the value of Header: which session, the how manieth request of its kind,
// and where in the stream.
type Request struct {
	Session   Token
	Number    uint64 // from 1, more with every request of the kind
	At        uint64
	Signature []byte // over Signed, 64 bytes
}

var errMalformed = errors.New("malformed poll header")

// Text is the header's value.
func (r Request) Text() string {
	return r.Session.Text() + " " + strconv.FormatUint(r.Number, 10) + " " + strconv.FormatUint(r.At, 10) + " " +
		base64.StdEncoding.EncodeToString(r.Signature)
}

// ParseRequest reads a header's value. Each has one spelling.
func ParseRequest(s string) (r Request, err error) {
	parts := strings.Split(s, " ")
	if len(parts) != 4 {
		return Request{}, errMalformed
	}
	r.Session, err = ParseToken(parts[0])
	if err != nil {
		return Request{}, err
	}
	for i, to := range []*uint64{&r.Number, &r.At} {
		if *to, err = ParsePosition(parts[1+i]); err != nil {
			return Request{}, err
		}
	}
	r.Signature, err = base64.StdEncoding.Strict().DecodeString(parts[3])
	if err != nil || len(r.Signature) != 64 {
		return Request{}, errMalformed
	}
	return r, nil
}

// ParsePosition reads a number in its one spelling.
func ParsePosition(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errMalformed
	}
	return n, nil
}

// Signed is what the signature covers:
//
//	session 32 ‖ kind u8 ‖ number u64 ‖ at u64 ‖ SHA-256(body)
func (r Request) Signed(k Kind, body []byte) []byte {
	sum := sha256.Sum256(body)
	w := wire.NewWriter(32 + 1 + 8 + 8 + 32)
	w.Fixed(r.Session[:])
	w.U8(uint8(k))
	w.U64(r.Number)
	w.U64(r.At)
	w.Fixed(sum[:])
	return w.Bytes()
}
