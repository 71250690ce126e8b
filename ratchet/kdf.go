package ratchet

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
)

// Labels keep the uses of the hash functions apart. None is ever reused.
const (
	transcriptLabel = "amesh/session/1 transcript\x00"
	handshakeLabel  = "amesh/session/1 handshake\x00"
	rootLabel       = "amesh/session/1 root"
)

// derive is HKDF-SHA-256. The length is one of our constants, so it cannot fail.
func derive(ikm, salt []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, ikm, salt, info, n)
	if err != nil {
		panic("ratchet: HKDF: " + err.Error())
	}
	return out
}

// rootStep is KDF_RK: a new root key, a chain key and the header key after the
// next (session.md §6).
func rootStep(root, dh Secret) (rk, ck, nhk Secret) {
	out := derive(dh[:], root[:], rootLabel, 96)
	defer clear(out)
	return Secret(out[:32]), Secret(out[32:64]), Secret(out[64:])
}

// chainStep is KDF_CK: the message key and the chain key after it.
func chainStep(ck Secret) (mk, next Secret) {
	m := hmac.New(sha256.New, ck[:])
	m.Write([]byte{0x01})
	m.Sum(mk[:0])
	m.Reset()
	m.Write([]byte{0x02})
	m.Sum(next[:0])
	return mk, next
}
