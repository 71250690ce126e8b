package db

import (
	"errors"
	"fmt"
	"time"

	"amesh/identity"
)

// How many one-time keys of each kind an agent may leave (session.md §2.5: it keeps 100
// and 20 ready).
const (
	MaxKeysX25519 = 200
	MaxKeysKEM    = 40
)

// ErrFull reports that there is no room for more.
var ErrFull = errors.New("no room for more")

func roomFor(kind identity.KeyKind) int {
	if kind == identity.KindOneTimeKEM {
		return MaxKeysKEM
	}
	return MaxKeysX25519
}

// SessionKey is a one-time key of session/1 with the bytes that its agent signed.
type SessionKey struct {
	*identity.OneTimeKey
	Signed []byte
}

// AddSessionKeys takes in one-time keys of an agent, which the caller has verified, and
// returns how many of them were new. Those that are there or were handed out before are
// left as they are: a key of a name is never there twice. It returns ErrNotFound for an
// agent without a record that holds at the time now, ErrStale for a key of another epoch
// than that record's, and ErrFull.
func (t *Tx) AddSessionKeys(who identity.AMID, keys []SessionKey, now time.Time) (int, error) {
	var epoch int64
	row := t.QueryRow("SELECT epoch FROM records WHERE amid = $1 AND expires_at > $2", who.String(), Micros(now))
	if err := one(row.Scan(&epoch)); err != nil {
		return 0, err
	}
	added := 0
	for _, k := range keys {
		if int64(k.Epoch) != epoch {
			return 0, fmt.Errorf("%w: a key of epoch %d, the record has %d", ErrStale, k.Epoch, epoch)
		}
		n, err := t.Exec(`INSERT INTO session_keys (amid, kind, epoch, key_id, signed, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (amid, kind, epoch, key_id) DO NOTHING`,
			who.String(), int(k.Kind), int64(k.Epoch), int64(k.ID), k.Signed, Micros(k.Expires))
		if err != nil {
			return 0, fmt.Errorf("write one-time key: %w", err)
		}
		added += int(n)
	}
	for _, kind := range []identity.KeyKind{identity.KindOneTime, identity.KindOneTimeKEM} {
		n, err := t.SessionKeysLeft(who, kind, now)
		if err != nil {
			return 0, err
		}
		if n > roomFor(kind) {
			return 0, fmt.Errorf("%w: %d one-time keys of kind %d, at most %d", ErrFull, n, kind, roomFor(kind))
		}
	}
	return added, nil
}

// SessionKeysLeft counts the keys of a kind that can be handed out at the time now.
func (t *Tx) SessionKeysLeft(who identity.AMID, kind identity.KeyKind, now time.Time) (int, error) {
	var n int
	err := t.QueryRow(`SELECT count(*) FROM session_keys WHERE amid = $1 AND kind = $2 AND given_at IS NULL AND expires_at > $3`,
		who.String(), int(kind), Micros(now)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count one-time keys: %w", err)
	}
	return n, nil
}

// TakeSessionKeys hands out one key of each kind, the lowest id first, as long as there
// are any and the agent's keys were not handed out perHour times within the last hour:
// nil for none. What it returned once is never returned again.
func (t *Tx) TakeSessionKeys(who identity.AMID, perHour int, now time.Time) (x25519, kem []byte, err error) {
	var given int
	err = t.QueryRow(`SELECT count(*) FROM session_keys WHERE amid = $1 AND given_at > $2
		GROUP BY kind ORDER BY 1 DESC LIMIT 1`, who.String(), Micros(now.Add(-time.Hour))).Scan(&given)
	if err := one(err); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, nil, fmt.Errorf("hand out one-time keys: %w", err)
	}
	if given >= perHour {
		return nil, nil, nil
	}
	if x25519, err = t.takeSessionKey(who, identity.KindOneTime, now); err != nil {
		return nil, nil, err
	}
	if kem, err = t.takeSessionKey(who, identity.KindOneTimeKEM, now); err != nil {
		return nil, nil, err
	}
	return x25519, kem, nil
}

func (t *Tx) takeSessionKey(who identity.AMID, kind identity.KeyKind, now time.Time) ([]byte, error) {
	var epoch, id int64
	var signed []byte
	err := one(t.QueryRow(`SELECT epoch, key_id, signed FROM session_keys
		WHERE amid = $1 AND kind = $2 AND given_at IS NULL AND expires_at > $3 ORDER BY key_id LIMIT 1`,
		who.String(), int(kind), Micros(now)).Scan(&epoch, &id, &signed))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hand out one-time key: %w", err)
	}
	n, err := t.Exec(`UPDATE session_keys SET given_at = $5, signed = NULL
		WHERE amid = $1 AND kind = $2 AND epoch = $3 AND key_id = $4 AND given_at IS NULL`,
		who.String(), int(kind), epoch, id, Micros(now))
	if err != nil {
		return nil, fmt.Errorf("hand out one-time key: %w", err)
	}
	if n != 1 {
		return nil, fmt.Errorf("hand out one-time key: %d rows changed", n)
	}
	return signed, nil
}

// ForgetSessionKeys removes keys that expired before now. It returns how many it removed;
// there may be more when that is not 0.
func (t *Tx) ForgetSessionKeys(now time.Time) (int, error) {
	n, err := t.Exec(`DELETE FROM session_keys WHERE (amid, kind, epoch, key_id) IN
		(SELECT amid, kind, epoch, key_id FROM session_keys WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`,
		Micros(now), sweepBatch)
	if err != nil {
		return 0, fmt.Errorf("forget one-time keys: %w", err)
	}
	return int(n), nil
}
