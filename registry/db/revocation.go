package db

import (
	"errors"
	"fmt"
	"time"

	"amesh/identity"
)

// Revocation is the end of an agent.
type Revocation struct {
	ID     string
	AMID   identity.AMID
	Reason string
	By     identity.AMID
	At     time.Time
	Notes  *string
	// Strict: the revoker's signature covered the whole request, or it is a signed
	// statement of the key itself.
	Strict bool
}

const revocationColumns = "revocations.id, revocations.amid, revocations.reason, revocations.revoked_by, revocations.revoked_at, revocations.notes, revocations.strict"

func scanRevocation(scan func(...any) error, more ...any) (r Revocation, err error) {
	var amid, by string
	var at int64
	if err := scan(append([]any{&r.ID, &amid, &r.Reason, &by, &at, &r.Notes, &r.Strict}, more...)...); err != nil {
		return Revocation{}, one(err)
	}
	if r.AMID, err = identity.ParseAMID(amid); err != nil {
		return Revocation{}, fmt.Errorf("row of a revocation: %w", err)
	}
	if r.By, err = identity.ParseAMID(by); err != nil {
		return Revocation{}, fmt.Errorf("row of the revocation of %s: %w", amid, err)
	}
	r.At = Time(at)
	return r, nil
}

// Revocation finds the revocation of an agent; it returns ErrNotFound.
func (t *Tx) Revocation(who identity.AMID) (Revocation, error) {
	return scanRevocation(t.QueryRow("SELECT "+revocationColumns+" FROM revocations WHERE amid = $1", who.String()).Scan)
}

// Revoked reports whether an agent is revoked.
func (t *Tx) Revoked(who identity.AMID) (bool, error) {
	_, err := t.Revocation(who)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Revoke ends an agent: its prekeys, card and record go, its certificates are taken back,
// it is offline and not found any more. It returns ErrDuplicate when it is revoked already.
func (t *Tx) Revoke(r Revocation) error {
	n, err := t.Exec(`INSERT INTO revocations (id, amid, reason, revoked_by, revoked_at, notes, strict)
		VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (amid) DO NOTHING`,
		r.ID, r.AMID.String(), r.Reason, r.By.String(), Micros(r.At), r.Notes, r.Strict)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if n == 0 {
		return ErrDuplicate
	}
	if err := t.RevokeCertificatesOf(r.AMID, r.Reason, r.At); err != nil {
		return err
	}
	for _, q := range []string{
		"DELETE FROM signed_prekeys WHERE amid = $1",
		"DELETE FROM one_time_prekeys WHERE amid = $1",
		"DELETE FROM session_keys WHERE amid = $1",
		"DELETE FROM cards WHERE amid = $1",
		"DELETE FROM records WHERE amid = $1",
		"UPDATE agents SET status = 'offline' WHERE amid = $1",
	} {
		if _, err := t.Exec(q, r.AMID.String()); err != nil {
			return fmt.Errorf("revoke: %w", err)
		}
	}
	if err := t.Reindex(r.AMID); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return t.logRevocation(r.AMID)
}

// ConfirmRevocation makes a revocation count as one by a signature over the whole.
func (t *Tx) ConfirmRevocation(who identity.AMID) error {
	_, err := t.Exec("UPDATE revocations SET strict = TRUE WHERE amid = $1", who.String())
	if err != nil {
		return fmt.Errorf("confirm revocation: %w", err)
	}
	return nil
}

// logRevocation puts an agent at the end of the log. The row of the counter makes
// writers take turns, so that no reader sees a number before a lower one.
func (t *Tx) logRevocation(who identity.AMID) error {
	var number int64
	if err := t.QueryRow("UPDATE revocation_counter SET number = number + 1 RETURNING number").Scan(&number); err != nil {
		return fmt.Errorf("log revocation: %w", err)
	}
	if _, err := t.Exec("INSERT INTO revocation_log (number, amid) VALUES ($1, $2)", number, who.String()); err != nil {
		return fmt.Errorf("log revocation: %w", err)
	}
	return nil
}

// LiftRevocation removes a revocation that counts no more. It stays in the log, as one
// that is not there any more.
func (t *Tx) LiftRevocation(who identity.AMID) error {
	n, err := t.Exec("DELETE FROM revocations WHERE amid = $1", who.String())
	if err != nil {
		return fmt.Errorf("lift revocation: %w", err)
	}
	if n == 0 {
		return nil
	}
	return t.logRevocation(who)
}

// Revocations are a page of all of them, the newest first, never nil, and how many
// there are in all.
func (t *Tx) Revocations(limit, offset int) (list []Revocation, total int, err error) {
	list = []Revocation{}
	err = t.Query(func(scan func(...any) error) error {
		r, err := scanRevocation(scan)
		list = append(list, r)
		return err
	}, "SELECT "+revocationColumns+" FROM revocations ORDER BY revoked_at DESC, id LIMIT $1 OFFSET $2", limit, offset)
	if err != nil {
		return nil, 0, fmt.Errorf("revocations: %w", err)
	}
	if err := t.QueryRow("SELECT COUNT(*) FROM revocations").Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count revocations: %w", err)
	}
	return list, total, nil
}

// LoggedRevocation is a line of the log: an agent was revoked, or a revocation lifted.
type LoggedRevocation struct {
	Number     int64
	AMID       identity.AMID
	Revocation *Revocation // as it is now; nil: it was lifted
	Statement  []byte      // of the key itself, if it made one
}

// RevocationsSince are the lines of the log after a number, in order, never nil.
func (t *Tx) RevocationsSince(number int64, limit int) ([]LoggedRevocation, error) {
	list := []LoggedRevocation{}
	err := t.Query(func(scan func(...any) error) error {
		var l LoggedRevocation
		var amid string
		var id, reason, by *string
		var at *int64
		if err := scan(&l.Number, &amid, &l.Statement, &id, &reason, &by, &at); err != nil {
			return err
		}
		var err error
		if l.AMID, err = identity.ParseAMID(amid); err != nil {
			return fmt.Errorf("row of the revocation log: %w", err)
		}
		if id != nil {
			l.Revocation = &Revocation{ID: *id, AMID: l.AMID, Reason: *reason, At: Time(*at)}
			if l.Revocation.By, err = identity.ParseAMID(*by); err != nil {
				return fmt.Errorf("row of the revocation of %s: %w", amid, err)
			}
		}
		list = append(list, l)
		return nil
	}, `SELECT revocation_log.number, revocation_log.amid, revocation_statements.statement,
			revocations.id, revocations.reason, revocations.revoked_by, revocations.revoked_at
		FROM revocation_log LEFT JOIN revocations ON revocations.amid = revocation_log.amid
			LEFT JOIN revocation_statements ON revocation_statements.amid = revocation_log.amid
		WHERE revocation_log.number > $1 ORDER BY revocation_log.number LIMIT $2`, number, limit)
	if err != nil {
		return nil, fmt.Errorf("revocation log: %w", err)
	}
	return list, nil
}

// PutStatement keeps a verified statement of a key that leaves, if it is the one of
// several that counts (session.md §2.8). It reports whether it is new.
func (t *Tx) PutStatement(v *identity.Revocation, now time.Time) (bool, error) {
	raw, err := t.Statement(v.AMID)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return false, err
	default:
		old, err := identity.ParseRevocation(raw)
		if err != nil {
			return false, fmt.Errorf("row of the statement of %s: %w", v.AMID, err)
		}
		if old.Counts(v) {
			return false, nil
		}
	}
	_, err = t.Exec(`INSERT INTO revocation_statements (amid, statement, received_at) VALUES ($1, $2, $3)
		ON CONFLICT (amid) DO UPDATE SET statement = excluded.statement, received_at = excluded.received_at`,
		v.AMID.String(), v.Raw(), Micros(now))
	if err != nil {
		return false, fmt.Errorf("keep statement: %w", err)
	}
	return true, nil
}

// Statement is what a key said when it left; it returns ErrNotFound.
func (t *Tx) Statement(who identity.AMID) (raw []byte, err error) {
	err = t.QueryRow("SELECT statement FROM revocation_statements WHERE amid = $1", who.String()).Scan(&raw)
	return raw, one(err)
}
