package wire

import (
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"
)

// How old a signature may be and how far ahead, both inclusive (AgentMesh §3.1).
const (
	MaxAge   = 5 * time.Minute
	MaxAhead = time.Minute
)

// VerifyTimestamp checks a signature of 0.2: over nothing but the text of a timestamp,
// as it stands there or as the 0.2 registry would write it. It returns what was signed,
// or an *Error.
//
// Such a signature says that its maker was there within five minutes, and nothing about
// the request that carries it: whoever sees it at a relay can send it here.
func VerifyTimestamp(key identity.PublicKey, stamp, signature string, now time.Time) ([]byte, error) {
	at, err := timestamp.Parse(stamp)
	if err != nil {
		return nil, Unsigned(reasonTimestamp)
	}
	if err := checkAge(at, now); err != nil {
		return nil, err
	}
	sig, err := DecodeBase64(signature)
	if err != nil || len(sig) != identity.SignatureSize {
		return nil, Unsigned(reasonFormat)
	}
	if key.VerifyTimestamp(stamp, sig) != nil && key.VerifyTimestamp(timestamp.Rerender(at), sig) != nil {
		return nil, Unsigned(reasonSignature)
	}
	return sig, nil
}

// SignTimestamp makes what VerifyTimestamp checks, for servers of 0.2: the two members
// of a body.
func SignTimestamp(key identity.PrivateKey, now time.Time) (stamp, signature string) {
	stamp = timestamp.ToSign(now)
	return stamp, EncodeBase64(key.SignTimestamp(stamp))
}

func checkAge(at, now time.Time) error {
	switch {
	case now.Sub(at) > MaxAge:
		return Unsigned(reasonOld)
	case at.Sub(now) > MaxAhead:
		return Unsigned(reasonFuture)
	}
	return nil
}
