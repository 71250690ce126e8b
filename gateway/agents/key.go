package agents

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"
)

// newKey makes a key of 43 characters.
func newKey() string {
	b := make([]byte, KeyBytes)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// hash is what is kept of a key.
func (d *Directory) hash(key string) [sha256.Size]byte {
	return sha256.Sum256([]byte(key + d.cfg.Salt))
}

// checkKey says what is wrong with a key that somebody chose.
func (d *Directory) checkKey(key string) error {
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) || len(key) > MaxChosenKey {
		return invalid("api_key must be printable ASCII without spaces, of at most %d characters", MaxChosenKey)
	}
	if len(key) < MinChosenKey && !d.cfg.ShortKeys {
		return invalid("api_key has fewer than %d characters: leave it out, and a good one is made", MinChosenKey)
	}
	return nil
}

// checkEnd says what is wrong with the time at which a key ends.
func (d *Directory) checkEnd(expires time.Time) error {
	if !expires.IsZero() && !expires.After(d.cfg.Clock()) {
		return invalid("api_key_expires_at is in the past")
	}
	return nil
}
