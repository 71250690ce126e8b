package db

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/registry/oauth"
)

// ErrTooMany reports that somebody has as many of something as allowed.
var ErrTooMany = errors.New("too many")

// PutOAuthState is oauth.States.
func (t *Tx) PutOAuthState(s oauth.State) error {
	_, err := t.Exec(`INSERT INTO oauth_states (hash, amid, provider, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (amid, provider) DO UPDATE SET hash = excluded.hash, browser = NULL, expires_at = excluded.expires_at`,
		s.Hash[:], s.AMID.String(), s.Provider, Micros(s.Expires))
	if err != nil {
		return fmt.Errorf("write sign-in: %w", err)
	}
	return nil
}

// OAuthState is oauth.States.
func (t *Tx) OAuthState(hash [sha256.Size]byte, now time.Time) (oauth.State, error) {
	s := oauth.State{Hash: hash}
	var amid string
	var browser []byte
	var expires int64
	err := one(t.QueryRow("SELECT amid, provider, browser, expires_at FROM oauth_states WHERE hash = $1", hash[:]).
		Scan(&amid, &s.Provider, &browser, &expires))
	if errors.Is(err, ErrNotFound) {
		return oauth.State{}, oauth.ErrState
	}
	if err != nil {
		return oauth.State{}, fmt.Errorf("read sign-in: %w", err)
	}
	if s.Expires = Time(expires); !now.Before(s.Expires) {
		return oauth.State{}, oauth.ErrState
	}
	if s.AMID, err = identity.ParseAMID(amid); err != nil {
		return oauth.State{}, fmt.Errorf("row of a sign-in: %w", err)
	}
	copy(s.Browser[:], browser)
	return s, nil
}

// OpenOAuthState is oauth.States.
func (t *Tx) OpenOAuthState(hash, browser [sha256.Size]byte, now time.Time) error {
	s, err := t.OAuthState(hash, now)
	if err != nil {
		return err
	}
	if s.Browser != [sha256.Size]byte{} && s.Browser != browser {
		return oauth.ErrState
	}
	if _, err := t.Exec("UPDATE oauth_states SET browser = $1 WHERE hash = $2", browser[:], hash[:]); err != nil {
		return fmt.Errorf("write sign-in: %w", err)
	}
	return nil
}

// TakeOAuthState is oauth.States.
func (t *Tx) TakeOAuthState(hash, browser [sha256.Size]byte, now time.Time) (oauth.State, error) {
	s, err := t.OAuthState(hash, now)
	if err != nil {
		return oauth.State{}, err
	}
	if s.Browser == [sha256.Size]byte{} || !bytes.Equal(s.Browser[:], browser[:]) {
		return oauth.State{}, oauth.ErrState
	}
	if _, err := t.Exec("DELETE FROM oauth_states WHERE hash = $1", hash[:]); err != nil {
		return oauth.State{}, fmt.Errorf("remove sign-in: %w", err)
	}
	return s, nil
}

// ForgetOAuthStates removes the sign-ins that have expired.
func (t *Tx) ForgetOAuthStates(now time.Time) error {
	if _, err := t.Exec("DELETE FROM oauth_states WHERE expires_at <= $1", Micros(now)); err != nil {
		return fmt.Errorf("remove sign-ins: %w", err)
	}
	return nil
}

// Vouch notes that an account stands behind an agent, in the place of another account
// of that provider. It returns ErrTooMany if the account vouches for limit others.
func (t *Tx) Vouch(who identity.AMID, p oauth.Person, limit int, now time.Time) error {
	var others int
	err := t.QueryRow("SELECT count(*) FROM vouchers WHERE provider = $1 AND provider_id = $2 AND amid <> $3",
		p.Provider, p.ID, who.String()).Scan(&others)
	if err != nil {
		return fmt.Errorf("count vouchers: %w", err)
	}
	if others >= limit {
		return ErrTooMany
	}
	_, err = t.Exec(`INSERT INTO vouchers (amid, provider, provider_id, vouched_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (amid, provider) DO UPDATE SET provider_id = excluded.provider_id, vouched_at = excluded.vouched_at`,
		who.String(), p.Provider, p.ID, Micros(now))
	if err != nil {
		return fmt.Errorf("write voucher: %w", err)
	}
	return nil
}

// Vouched reports whether any account stands behind an agent.
func (t *Tx) Vouched(who identity.AMID) (bool, error) {
	var n int
	if err := t.QueryRow("SELECT count(*) FROM vouchers WHERE amid = $1", who.String()).Scan(&n); err != nil {
		return false, fmt.Errorf("read vouchers: %w", err)
	}
	return n > 0, nil
}

// ForgetVouchers removes all accounts behind an agent.
func (t *Tx) ForgetVouchers(who identity.AMID) error {
	if _, err := t.Exec("DELETE FROM vouchers WHERE amid = $1", who.String()); err != nil {
		return fmt.Errorf("remove vouchers: %w", err)
	}
	return nil
}
