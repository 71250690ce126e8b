package db

import (
	"errors"
	"fmt"
	"time"

	"amesh/identity"
)

// Record is an agent's signed record if it holds at the time now; ErrNotFound if there
// is none.
func (t *Tx) Record(who identity.AMID, now time.Time) ([]byte, error) {
	var raw []byte
	row := t.QueryRow("SELECT signed FROM records WHERE amid = $1 AND expires_at > $2", who.String(), Micros(now))
	if err := one(row.Scan(&raw)); err != nil {
		return nil, err
	}
	return raw, nil
}

// PutRecord keeps the record of a registered agent, which the caller has verified. It
// returns ErrNotFound for an agent that is not registered, ErrStale for a record that is
// older than the one that is kept (session.md §2.6) or whose bundle is of an earlier
// epoch. One-time keys of an earlier epoch go: their private parts are gone.
func (t *Tx) PutRecord(rec *identity.AgentRecord) error {
	who := rec.AMID.String()
	known, err := t.exists("SELECT 1 FROM agents WHERE amid = $1", who)
	if err != nil {
		return err
	}
	if !known {
		return ErrNotFound
	}
	var raw []byte
	var epoch int64
	err = one(t.QueryRow("SELECT signed, epoch FROM records WHERE amid = $1", who).Scan(&raw, &epoch))
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	case identity.Newer(rec.Raw(), raw) == 0:
		return nil
	case identity.Newer(rec.Raw(), raw) < 0:
		return fmt.Errorf("%w: sequence %d", ErrStale, rec.Sequence)
	case int64(rec.Bundle.Epoch) < epoch:
		return fmt.Errorf("%w: bundle of epoch %d after %d", ErrStale, rec.Bundle.Epoch, epoch)
	}
	_, err = t.Exec(`INSERT INTO records (amid, signed, epoch, expires_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (amid) DO UPDATE SET signed = excluded.signed, epoch = excluded.epoch, expires_at = excluded.expires_at`,
		who, rec.Raw(), int64(rec.Bundle.Epoch), Micros(rec.Expires))
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if _, err := t.Exec("DELETE FROM session_keys WHERE amid = $1 AND epoch < $2", who, int64(rec.Bundle.Epoch)); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// ForgetRecords removes records that expired before now. It returns how many it removed;
// there may be more when that is not 0.
func (t *Tx) ForgetRecords(now time.Time) (int, error) {
	n, err := t.Exec(`DELETE FROM records WHERE amid IN
		(SELECT amid FROM records WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`, Micros(now), sweepBatch)
	if err != nil {
		return 0, fmt.Errorf("forget records: %w", err)
	}
	return int(n), nil
}
