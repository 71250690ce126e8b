package relay

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/internal/wire"
)

// challengeHeader carries the challenge in the response to an upgrade.
const challengeHeader = "AgentMesh-Challenge"

const challengeSize = 32

// challenge makes the signature of one connect frame worthless anywhere else
// (relay.md §2.1).
type challenge [challengeSize]byte

var errNoChallenge = errors.New("no challenge")

// threshold is what a connection knows of itself before its connect frame: the challenge
// that was set, and the relay's end of the socket. The zero threshold, of a connection
// that nobody challenged, lets no signature with a challenge in.
type threshold struct {
	challenge challenge
	local     net.Addr
}

// newThreshold makes a challenge.
func newThreshold(local net.Addr) threshold {
	d := threshold{local: local}
	_, _ = rand.Read(d.challenge[:]) // never fails
	return d
}

// headers are those of the answer to an upgrade.
func (c *challenge) headers() http.Header {
	h := http.Header{}
	h.Set(challengeHeader, base64.StdEncoding.EncodeToString(c[:]))
	return h
}

// challengeOf reads the challenge of a relay's answer. It returns errNoChallenge for
// a relay of 0.2; a header that is none is an error of its own.
func challengeOf(h http.Header) (challenge, error) {
	values := h.Values(challengeHeader)
	if len(values) == 0 {
		return challenge{}, errNoChallenge
	}
	b, err := base64.StdEncoding.Strict().DecodeString(values[0])
	if err != nil || len(b) != challengeSize || len(values) > 1 {
		return challenge{}, fmt.Errorf("%w: header %s is not %d bytes of base64", errMalformed, challengeHeader, challengeSize)
	}
	return challenge(b), nil
}

// connectBody is what the signature of a connect frame with a challenge covers.
func connectBody(f *connectFrame, c challenge) ([]byte, error) {
	var size int
	for _, e := range f.Extensions {
		size = max(size, len(e))
	}
	if max(size, len(f.Relay), len(f.Timestamp), len(f.Extensions)) > math.MaxUint8 ||
		max(len(f.Protocol), len(f.AMID), len(f.PublicKey)) > math.MaxUint16 {
		return nil, errMalformed
	}
	rest := wire.NewWriter(256)
	rest.LP16([]byte(f.Protocol))
	rest.LP16([]byte(f.AMID))
	rest.LP16([]byte(f.PublicKey))
	rest.Bool(f.P2PCapable)
	rest.U8(uint8(len(f.Extensions)))
	for _, e := range f.Extensions {
		rest.LP8([]byte(e))
	}
	sum := sha256.Sum256(rest.Bytes())
	w := wire.NewWriter(128)
	w.LP8([]byte(f.Relay))
	w.Fixed(c[:])
	w.LP8([]byte(f.Timestamp))
	w.Fixed(sum[:])
	return w.Bytes(), nil
}

// verifyProof checks a signature over the challenge of this connection.
func verifyProof(f *connectFrame, key identity.KnownKey, sig []byte, d threshold, n dialled.Names) *refusal {
	if !n.Has(f.Relay, d.local) {
		return &refusal{CodeWrongRelay, fmt.Sprintf("this relay does not go by the name %.100q; its operator gives it names with --name", f.Relay)}
	}
	body, err := connectBody(f, d.challenge)
	if err != nil || d.challenge == (challenge{}) || key.Verify(identity.TagRelayConnect, body, sig) != nil {
		return &refusal{CodeInvalidSignature, "signature does not verify for this challenge"}
	}
	return nil
}

// prove signs a connect frame for one connection. The frame is complete but for the
// signature.
func prove(key identity.PrivateKey, f *connectFrame, c challenge) error {
	body, err := connectBody(f, c)
	if err != nil {
		return err
	}
	f.Signature = signatureText(key.Sign(identity.TagRelayConnect, body))
	return nil
}
