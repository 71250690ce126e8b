package ratchet

import (
	"crypto/hkdf"
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
	return macByte(&ck, 0x01), macByte(&ck, 0x02)
}

// macByte is HMAC-SHA-256 of one byte (RFC 2104). It is written out because
// crypto/hmac makes two hashes and two pads for each key, and a chain key has
// just two bytes to authenticate: that was a third of the time of a message.
func macByte(key *Secret, b byte) Secret {
	var inner [sha256.BlockSize + 1]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	for i := range sha256.BlockSize {
		inner[i], outer[i] = 0x36, 0x5C
	}
	for i, k := range key {
		inner[i] ^= k
		outer[i] ^= k
	}
	inner[sha256.BlockSize] = b
	digest := sha256.Sum256(inner[:])
	copy(outer[sha256.BlockSize:], digest[:])
	return sha256.Sum256(outer[:])
}
