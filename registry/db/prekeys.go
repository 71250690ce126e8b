package db

import (
	"errors"
	"fmt"
	"time"

	"amesh/identity"
)

// SignedPrekey is the prekey that an agent signed, and uploaded last.
type SignedPrekey struct {
	ID        int32
	Key       [identity.ExchangeKeySize]byte
	Signature []byte
}

// OneTimePrekey is a prekey that is handed out once.
type OneTimePrekey struct {
	ID  int32
	Key [identity.ExchangeKeySize]byte
}

// PutSignedPrekey replaces the signed prekey of an agent. The last one counts, and not
// that with the highest id: an agent that lost its keys begins again at 1.
func (t *Tx) PutSignedPrekey(who identity.AMID, k SignedPrekey, now time.Time) error {
	_, err := t.Exec(`INSERT INTO signed_prekeys (amid, prekey_id, public_key, signature, uploaded_at)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (amid) DO UPDATE SET prekey_id = excluded.prekey_id, public_key = excluded.public_key,
			signature = excluded.signature, uploaded_at = excluded.uploaded_at`,
		who.String(), k.ID, k.Key[:], k.Signature, Micros(now))
	if err != nil {
		return fmt.Errorf("write signed prekey: %w", err)
	}
	return nil
}

// SignedPrekey is the signed prekey of an agent; ErrNotFound if it has none.
func (t *Tx) SignedPrekey(who identity.AMID) (k SignedPrekey, err error) {
	var key []byte
	row := t.QueryRow("SELECT prekey_id, public_key, signature FROM signed_prekeys WHERE amid = $1", who.String())
	if err := one(row.Scan(&k.ID, &key, &k.Signature)); err != nil {
		return SignedPrekey{}, err
	}
	k.Key, err = exchangeKey(key)
	return k, err
}

// AddOneTimePrekeys adds prekeys. One under an id that is there replaces it: the old
// one's secret is lost. One that is there under another id moves to the new one, and
// one that was handed out, under whatever id, is not added.
func (t *Tx) AddOneTimePrekeys(who identity.AMID, keys []OneTimePrekey, now time.Time) error {
	for _, k := range keys {
		_, err := t.Exec("DELETE FROM one_time_prekeys WHERE amid = $1 AND (prekey_id = $2 OR public_key = $3)", who.String(), k.ID, k.Key[:])
		if err != nil {
			return fmt.Errorf("replace one-time prekey: %w", err)
		}
		// The conflict is with another transaction, and makes Write try again.
		_, err = t.Exec(`INSERT INTO one_time_prekeys (amid, prekey_id, public_key, uploaded_at) SELECT $1, $2, $3, $4
			WHERE NOT EXISTS (SELECT 1 FROM used_prekeys WHERE amid = $1 AND public_key = $3) ON CONFLICT DO NOTHING`,
			who.String(), k.ID, k.Key[:], Micros(now))
		if err != nil {
			return fmt.Errorf("write one-time prekey: %w", err)
		}
	}
	return nil
}

// FreeOneTimePrekeys counts those that were not handed out.
func (t *Tx) FreeOneTimePrekeys(who identity.AMID) (n int, err error) {
	row := t.QueryRow("SELECT count(*) FROM one_time_prekeys WHERE amid = $1", who.String())
	return n, row.Scan(&n)
}

// TakeOneTimePrekey hands out the prekey with the lowest id, which nobody will get again;
// nil when there is none.
func (t *Tx) TakeOneTimePrekey(who identity.AMID, now time.Time) (*OneTimePrekey, error) {
	var k OneTimePrekey
	var key []byte
	row := t.QueryRow(`DELETE FROM one_time_prekeys WHERE amid = $1 AND prekey_id =
			(SELECT min(free.prekey_id) FROM one_time_prekeys AS free WHERE free.amid = $1)
		RETURNING prekey_id, public_key`, who.String())
	switch err := one(row.Scan(&k.ID, &key)); {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("take one-time prekey: %w", err)
	}
	_, err := t.Exec("INSERT INTO used_prekeys (amid, public_key, used_at) VALUES ($1, $2, $3)", who.String(), key, Micros(now))
	if err != nil {
		return nil, fmt.Errorf("note one-time prekey: %w", err)
	}
	k.Key, err = exchangeKey(key)
	return &k, err
}

// ForgetPrekeys forgets which one-time prekeys were handed out before a moment.
func (t *Tx) ForgetPrekeys(before time.Time) error {
	if _, err := t.Exec("DELETE FROM used_prekeys WHERE used_at < $1", Micros(before)); err != nil {
		return fmt.Errorf("forget prekeys: %w", err)
	}
	return nil
}

func exchangeKey(b []byte) (k [identity.ExchangeKeySize]byte, err error) {
	if len(b) != len(k) {
		return k, fmt.Errorf("row of a prekey: %d bytes", len(b))
	}
	return [identity.ExchangeKeySize]byte(b), nil
}
