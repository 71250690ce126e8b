package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// asker asks, in a transaction or without one.
type asker interface {
	QueryRow(query string, args ...any) *sql.Row
	Query(each func(scan func(dest ...any) error) error, query string, args ...any) error
}

// read asks without a transaction: what several questions find may be of different
// moments.
func (s *Store) read(ctx context.Context) asker { return s.db.Read(ctx) }

const rowColumns = `n, mode, state, attempts, address, shown, target, code, text, changed, next, acked`

func (r *row) scan(scan func(...any) error, before ...any) error {
	return scan(append(before, &r.n, &r.mode, &r.state, &r.attempts, &r.address, &r.shown, &r.target, &r.code, &r.text,
		&r.changed, &r.next, &r.acked)...)
}

// loadRows are the recipients of a message, in their order.
func loadRows(q asker, seq int64) (list []row, err error) {
	err = q.Query(func(scan func(...any) error) error {
		var r row
		err := r.scan(scan)
		list = append(list, r)
		return err
	}, "SELECT "+rowColumns+" FROM gw_recipients WHERE message = $1 ORDER BY n", seq)
	if err != nil {
		return nil, fmt.Errorf("recipients: %w", err)
	}
	return list, nil
}

// found is a message's row.
type found struct {
	seq, accepted        int64
	id, document         []byte
	sender               string
	origin, verification *string
	rows                 []row
}

const foundColumns = `m.seq, m.accepted, m.id, m.sender, m.origin, m.verification, m.document`

func (f *found) scan(scan func(...any) error) error {
	return scan(&f.seq, &f.accepted, &f.id, &f.sender, &f.origin, &f.verification, &f.document)
}

func (f *found) proof() *amtp.Verification {
	if f.verification == nil {
		return nil
	}
	v := &amtp.Verification{}
	if err := json.Unmarshal([]byte(*f.verification), v); err != nil {
		return nil // of a version that knew more
	}
	return v
}

func (f *found) stored() Stored {
	id, v := unpackID(f.id), f.proof()
	m := Stored{
		MessageID: id, Sender: f.sender, Accepted: sqldb.Time(f.accepted), Document: unpackDocument(f.document, f.id),
		Verification: v, Status: status(id, f.accepted, v, f.rows), Origin: originOf(f.origin, f.sender),
	}
	for _, r := range m.Status.Recipients {
		m.Recipients = append(m.Recipients, r.Address)
	}
	return m
}

func originOf(origin *string, sender string) string {
	if origin != nil {
		return *origin
	}
	return sender[strings.LastIndexByte(sender, '@')+1:]
}

// one is the message for which a condition holds, or ErrNotFound.
func one(q asker, where string, args ...any) (Stored, error) {
	var f found
	err := f.scan(q.QueryRow("SELECT "+foundColumns+" FROM gw_messages m WHERE "+where, args...).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Stored{}, ErrNotFound
	}
	if err != nil {
		return Stored{}, fmt.Errorf("message: %w", err)
	}
	if f.rows, err = loadRows(q, f.seq); err != nil {
		return Stored{}, err
	}
	return f.stored(), nil
}

// Message is the message with an id, or ErrNotFound.
func (s *Store) Message(ctx context.Context, id string) (Stored, error) {
	raw := packID(id)
	if raw == nil {
		return Stored{}, ErrNotFound
	}
	return one(s.read(ctx), "m.id = $1", raw)
}

// Status is what became of a message, or ErrNotFound.
func (s *Store) Status(ctx context.Context, id string) (amtp.MessageStatus, error) {
	raw := packID(id)
	if raw == nil {
		return amtp.MessageStatus{}, ErrNotFound
	}
	var f found
	err := s.read(ctx).Query(func(scan func(...any) error) error {
		var r row
		err := r.scan(scan, &f.accepted, &f.verification)
		f.rows = append(f.rows, r)
		return err
	}, "SELECT m.accepted, m.verification, "+rowColumns+` FROM gw_messages m JOIN gw_recipients ON message = m.seq
		WHERE m.id = $1 ORDER BY n`, raw)
	if err != nil {
		return amtp.MessageStatus{}, fmt.Errorf("status: %w", err)
	}
	if len(f.rows) == 0 {
		return amtp.MessageStatus{}, ErrNotFound
	}
	return status(unpackID(raw), f.accepted, f.proof(), f.rows), nil
}

// Reply is the first message to an address that says it replies to a message, which may be
// known by several ids, or ErrNotFound. A notice of the address's own gateway is no reply.
func (s *Store) Reply(ctx context.Context, to string, inReplyTo []string) (Stored, error) {
	args := []any{to, fold(to), Postmaster + to[strings.LastIndexByte(to, '@')+1:]}
	own := len(args)
	for _, id := range inReplyTo {
		if raw := packID(id); raw != nil {
			args = append(args, raw)
		}
	}
	if len(args) == own {
		return Stored{}, ErrNotFound
	}
	return one(s.read(ctx), "m.in_reply_to IN ("+places(own+1, len(args)-own)+`) AND m.sender <> $3 AND EXISTS (SELECT 1
		FROM gw_recipients r WHERE r.message = m.seq AND r.address IN ($1, $2)) ORDER BY m.seq LIMIT 1`, args...)
}

// Inbox is a page of the messages that a pull agent has not acknowledged.
func (s *Store) Inbox(ctx context.Context, address string, p Page) (InboxPage, error) {
	q := s.read(ctx)
	after := int64(-1)
	if p.After != "" {
		err := q.QueryRow(`SELECT m.seq FROM gw_messages m JOIN gw_recipients r ON r.message = m.seq
			WHERE m.id = $1 AND r.address = $2 AND (r.inbox = 1 OR r.acked IS NOT NULL)`, packID(p.After), fold(address)).Scan(&after)
		if errors.Is(err, sql.ErrNoRows) {
			return InboxPage{}, ErrNotFound
		}
		if err != nil {
			return InboxPage{}, fmt.Errorf("inbox: %w", err)
		}
	}
	since := int64(0)
	if !p.Since.IsZero() {
		since = sqldb.Micros(p.Since)
	}
	page, more, err := pageOf(q, "SELECT m.seq, "+weight+` FROM gw_recipients r JOIN gw_messages m ON m.seq = r.message
		WHERE r.address = $1 AND r.inbox = 1 AND r.message > $2 AND m.accepted >= $3 ORDER BY r.message LIMIT $4 OFFSET $5`,
		[]any{fold(address), after, since, p.Limit + 1, p.Offset}, p.Bytes)
	if err != nil || len(page) == 0 {
		return InboxPage{}, err
	}
	if len(page) > p.Limit {
		page, more = page[:p.Limit], true
	}
	list, err := messages(q, "SELECT "+foundColumns+" FROM gw_messages m WHERE m.seq IN ("+places(1, len(page))+") ORDER BY m.seq", page...)
	if err != nil {
		return InboxPage{}, fmt.Errorf("inbox: %w", err)
	}
	return InboxPage{Messages: list, More: more}, nil
}

// messages are those a query for foundColumns finds, in its order.
func messages(q asker, query string, args ...any) ([]Stored, error) {
	var list []found
	err := q.Query(func(scan func(...any) error) error {
		var f found
		err := f.scan(scan)
		list = append(list, f)
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	if err := addRows(q, list); err != nil {
		return nil, err
	}
	all := make([]Stored, len(list))
	for i := range list {
		all[i] = list[i].stored()
	}
	return all, nil
}

// addRows gives messages their recipients, some hundred with one query.
func addRows(q asker, list []found) error {
	const most = 500
	for len(list) > 0 {
		part := list[:min(len(list), most)]
		list = list[len(part):]
		at := make(map[int64]*found, len(part))
		args := make([]any, len(part))
		for i := range part {
			at[part[i].seq], args[i] = &part[i], part[i].seq
		}
		err := q.Query(func(scan func(...any) error) error {
			var r row
			var seq int64
			err := r.scan(scan, &seq)
			if f := at[seq]; f != nil {
				f.rows = append(f.rows, r)
			}
			return err
		}, "SELECT message, "+rowColumns+" FROM gw_recipients WHERE message IN ("+places(1, len(args))+") ORDER BY message, n", args...)
		if err != nil {
			return fmt.Errorf("recipients: %w", err)
		}
	}
	return nil
}

// places are n placeholders from $first on.
func places(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(first + i))
	}
	return b.String()
}

// Ack takes a message out of an inbox, or returns ErrNotFound if it is not in it.
func (s *Store) Ack(ctx context.Context, address, id string, now time.Time) error {
	raw := packID(id)
	if raw == nil {
		return ErrNotFound
	}
	var n int64
	err := s.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		n, err = tx.Exec(`UPDATE gw_recipients SET inbox = 0, acked = $3
			WHERE message = (SELECT seq FROM gw_messages WHERE id = $1) AND address = $2 AND inbox = 1`, raw, fold(address), sqldb.Micros(now))
		return err
	})
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	if n == 0 {
		return ErrNotFound
	}
	s.tellChange([]string{unpackID(raw)})
	return nil
}

// Attempts are the tries to deliver a message, oldest first, or ErrNotFound. What an
// agent of ours has in its inbox was delivered with the first.
func (s *Store) Attempts(ctx context.Context, id string) ([]Attempt, error) {
	raw := packID(id)
	if raw == nil {
		return nil, ErrNotFound
	}
	q := s.read(ctx)
	var seq, accepted int64
	err := q.QueryRow("SELECT seq, accepted FROM gw_messages WHERE id = $1", raw).Scan(&seq, &accepted)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("attempts: %w", err)
	}
	rows, err := loadRows(q, seq)
	if err != nil {
		return nil, err
	}
	var list []Attempt
	for _, r := range rows {
		if unpackMode(r.mode) == Pull {
			list = append(list, Attempt{Address: r.address, At: r.deliveredAt(accepted), State: unpackState(r.state)})
		}
	}
	err = q.Query(func(scan func(...any) error) error {
		var a Attempt
		var at, took int64
		var state int
		var code, reason *string
		err := scan(&at, &a.Address, &state, &code, &reason, &a.HTTPStatus, &took)
		a.At, a.Took, a.State = sqldb.Time(at), time.Duration(took)*time.Microsecond, unpackState(state)
		a.Code, a.Text = amtp.Code(text(code)), text(reason)
		list = append(list, a)
		return err
	}, "SELECT at, address, state, code, text, http, took FROM gw_attempts WHERE message = $1 ORDER BY at", seq)
	if err != nil {
		return nil, fmt.Errorf("attempts: %w", err)
	}
	return list, nil
}
