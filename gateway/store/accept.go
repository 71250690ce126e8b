package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// Accept accepts a message: it is on disk when Accept returns nil. A message that its
// origin and sender have sent before, under its key or under its id, is not accepted
// twice: recipients that have it keep it, those that failed are tried again, further
// ones are added to it. Errors are ErrKeyConflict, ErrIDConflict, ErrFull, and those
// for which Unavailable is true.
func (s *Store) Accept(ctx context.Context, m NewMessage) (Receipt, error) {
	e, err := newEntry(m)
	if err != nil {
		return Receipt{}, err
	}
	w := &work{entry: e}
	if err := s.submit(ctx, w); err != nil {
		return Receipt{}, err
	}
	return w.receipt, nil
}

const (
	insertMessage = `INSERT INTO gw_messages (seq, accepted, key_until, id, hash, sender, origin, in_reply_to, verification, document)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`
	insertRecipient = `INSERT INTO gw_recipients (message, n, mode, state, inbox, attempts, address, dedup, shown, target, changed, code, text)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`
	insertQueue = `INSERT INTO gw_queue (message, target, mode, due) VALUES ($1, $2, $3, $4)`
	onConflict  = ` ON CONFLICT DO NOTHING`
)

func (e *entry) messageArgs(seq any) []any {
	return []any{seq, e.accepted, e.keyUntil, e.id, e.hash, e.sender, e.origin, e.inReplyTo, e.verification, e.document}
}

func (r *row) args(seq int64) []any {
	return []any{seq, r.n, r.mode, r.state, r.inbox, r.attempts, r.address, r.dedup, r.shown, r.target, r.changed, r.code, r.text}
}

// home is a message to which a request belongs that came again.
type home struct {
	seq      int64
	id       []byte
	accepted int64
	rows     []row
}

// known is a recipient that came under the same key before.
type known struct {
	message, keyUntil int64
	n                 int
	hash              []byte
}

// settle accepts a message of which something is there already: its id, or its key for a
// recipient. It returns errNew when there is nothing of it any more.
func settle(tx *sqldb.Tx, postgres bool, e *entry) (Receipt, error) {
	before := make([]*known, len(e.recipients))
	var first *known
	for i, r := range e.recipients {
		k, err := used(tx, r.dedup, e.accepted)
		if err != nil {
			return Receipt{}, err
		}
		if k == nil {
			continue
		}
		if string(k.hash) != string(e.hash) {
			if !e.firstAnswer {
				return Receipt{}, ErrKeyConflict
			}
			return firstAnswer(tx, k.message)
		}
		if before[i] = k; first == nil {
			first = k
		}
	}
	seq, err := e.home(tx, first)
	if err != nil {
		return Receipt{}, err
	}
	h, err := loadHome(tx, seq, postgres)
	if err != nil {
		return Receipt{}, err
	}
	return e.join(tx, h, before)
}

// errNew tells that a message is new after all.
var errNew = errors.New("the message is new")

// used is the recipient that came before under a key which still counts, or nil.
func used(tx *sqldb.Tx, dedup []byte, now int64) (*known, error) {
	if dedup == nil {
		return nil, nil
	}
	var k known
	err := tx.QueryRow(`SELECT r.message, r.n, m.key_until, m.hash FROM gw_recipients r JOIN gw_messages m ON m.seq = r.message
		WHERE r.dedup = $1`, dedup).Scan(&k.message, &k.n, &k.keyUntil, &k.hash)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("key of a message: %w", err)
	}
	if k.keyUntil > now {
		return &k, nil
	}
	if _, err := tx.Exec("UPDATE gw_recipients SET dedup = NULL WHERE message = $1 AND n = $2", k.message, k.n); err != nil {
		return nil, fmt.Errorf("old key of a message: %w", err)
	}
	return nil, nil
}

// home is the number of the message to which e belongs: that of its key, or the one
// with its id, if that is of the same sender and says the same.
func (e *entry) home(tx *sqldb.Tx, first *known) (int64, error) {
	if first != nil {
		return first.message, nil
	}
	var seq int64
	var hash []byte
	var sender string
	var origin *string
	err := tx.QueryRow("SELECT seq, hash, sender, origin FROM gw_messages WHERE id = $1", e.id).Scan(&seq, &hash, &sender, &origin)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, errNew
	case err != nil:
		return 0, fmt.Errorf("id of a message: %w", err)
	case string(hash) != string(e.hash) || sender != e.sender || text(origin) != text(e.origin):
		return 0, ErrIDConflict
	}
	return seq, nil
}

// loadHome reads a message's rows, after it made sure that nobody adds some meanwhile.
func loadHome(tx *sqldb.Tx, seq int64, postgres bool) (home, error) {
	h := home{seq: seq}
	lock := ""
	if postgres {
		lock = " FOR UPDATE"
	}
	err := tx.QueryRow("SELECT id, accepted FROM gw_messages WHERE seq = $1"+lock, seq).Scan(&h.id, &h.accepted)
	if err != nil {
		return h, fmt.Errorf("message that came again: %w", err)
	}
	h.rows, err = loadRows(tx, seq)
	return h, err
}

// join adds to a message what a request has that the message has not, and tries again
// what failed.
func (e *entry) join(tx *sqldb.Tx, h home, before []*known) (Receipt, error) {
	receipt := Receipt{MessageID: unpackID(h.id), Repeated: true}
	answer := make([]row, len(e.recipients))
	there, err := e.there(tx, h, before)
	if err != nil {
		return receipt, err
	}
	for i, r := range e.recipients {
		have, seq := there[i].row, there[i].seq
		var err error
		switch {
		case have == nil:
			receipt.Repeated = false
			r.n, r.changed = len(h.rows), &e.accepted
			h.rows = append(h.rows, r)
			_, err = tx.Exec(insertRecipient, r.args(h.seq)...)
		case have.state == failed:
			if r.state != failed {
				receipt.Repeated = false
			}
			r, err = e.revive(tx, seq, *have, r)
		default:
			answer[i] = *have
			continue
		}
		if err == nil && r.state == queued && r.target != nil {
			err = enqueue(tx, seq, *r.target, r.mode, e.accepted)
		}
		if err != nil {
			return receipt, fmt.Errorf("recipient of a message that came again: %w", err)
		}
		answer[i] = r
	}
	receipt.Status = status(receipt.MessageID, h.accepted, e.source.Verification, answer)
	return receipt, nil
}

// present is a recipient's row, or nil, in the message with the number seq.
type present struct {
	row *row
	seq int64
}

// there finds the recipients that are there already. It returns ErrFull where the message
// has no room for the others, before anything is changed.
func (e *entry) there(tx *sqldb.Tx, h home, before []*known) ([]present, error) {
	all, size := make([]present, len(e.recipients)), len(h.rows)
	for i, r := range e.recipients {
		var err error
		if all[i].row, all[i].seq, err = e.have(tx, h, r, before[i]); err != nil {
			return nil, err
		}
		if all[i].row == nil {
			size++
		}
	}
	if size > max(len(h.rows), amtp.MaxRecipients) {
		return nil, ErrFull
	}
	return all, nil
}

// have is the row of a recipient that is there already, and its message, or nil. Under
// one key it may be another message than home.
func (e *entry) have(tx *sqldb.Tx, h home, r row, k *known) (*row, int64, error) {
	rows, seq := h.rows, h.seq
	if k != nil && k.message != h.seq {
		var err error
		if rows, err = loadRows(tx, k.message); err != nil {
			return nil, 0, err
		}
		seq = k.message
	}
	for i := range rows {
		if rows[i].address == r.address {
			return &rows[i], seq, nil
		}
	}
	return nil, h.seq, nil
}

// revive lets a recipient that failed have another try.
func (e *entry) revive(tx *sqldb.Tx, seq int64, old, r row) (row, error) {
	attempts := old.attempts
	if r.mode == packMode(Pull) {
		attempts++
	}
	_, err := tx.Exec(`UPDATE gw_recipients SET mode = $3, state = $4, inbox = $5, attempts = $6, target = $7, changed = $8, code = $9,
		text = $10, next = NULL, dead = NULL, queued = $8, base = $11 WHERE message = $1 AND n = $2 AND state = $12`,
		seq, old.n, r.mode, r.state, r.inbox, attempts, r.target, e.accepted, r.code, r.text, old.attempts, failed)
	r.n, r.attempts, r.changed, r.shown = old.n, attempts, &e.accepted, old.shown
	return r, err
}

// enqueue makes sure that a message leaves for a target now.
func enqueue(tx *sqldb.Tx, seq int64, target string, mode int, due int64) error {
	_, err := tx.Exec(`INSERT INTO gw_queue (message, target, mode, due) VALUES ($1, $2, $3, $4)
		ON CONFLICT (message, target) DO UPDATE SET due = excluded.due WHERE gw_queue.worker IS NULL`, seq, target, mode, due)
	return err
}

// firstAnswer is the answer to the message that was first accepted under a key.
func firstAnswer(tx *sqldb.Tx, seq int64) (Receipt, error) {
	m, err := one(tx, "m.seq = $1", seq)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{MessageID: m.MessageID, Repeated: true, Status: m.Status}, nil
}
