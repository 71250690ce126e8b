package db

import (
	"fmt"
	"time"
)

// UseSignature notes that a signature was used, and reports whether that is the first
// time. Rows are kept until expires at least.
func (t *Tx) UseSignature(id [32]byte, expires time.Time) (first bool, err error) {
	n, err := t.Exec("INSERT INTO used_signatures (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
		id[:], Micros(expires))
	if err != nil {
		return false, fmt.Errorf("note signature: %w", err)
	}
	return n == 1, nil
}

// ForgetSignatures removes those that expired before now.
func (t *Tx) ForgetSignatures(now time.Time) error {
	if _, err := t.Exec("DELETE FROM used_signatures WHERE expires_at < $1", Micros(now)); err != nil {
		return fmt.Errorf("forget signatures: %w", err)
	}
	return nil
}
