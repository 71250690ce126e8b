package store

import (
	"context"
	"fmt"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// inQueue and areDead are the tables of recipients in the queue, and of dead letters.
const (
	inQueue = ` FROM gw_queue q JOIN gw_recipients r ON r.message = q.message AND r.target = q.target AND r.` + isOpen + `
		JOIN gw_messages m ON m.seq = r.message`
	areDead = ` FROM gw_recipients r JOIN gw_messages m ON m.seq = r.message`
)

// conditions are those of a selection among the rows of inQueue or areDead. false: it
// selects nothing.
func (sel Selection) conditions(since string) (c conditions, some bool) {
	if sel.MessageID != "" {
		c.add("m.id = %s", packID(sel.MessageID))
	}
	if sel.Address != "" {
		c.add("r.address IN (%s, %s)", sel.Address, fold(sel.Address))
	}
	if sel.Target != "" {
		c.add("r.target = %s", sel.Target)
	}
	if !sel.Before.IsZero() {
		c.add(since+" < %s", sqldb.Micros(sel.Before))
	}
	return c, sel.All || len(c.args) > 0
}

// Queue lists recipients in the queue.
func (s *Store) Queue(ctx context.Context, sel Selection) (Deliveries, error) {
	c, some := sel.conditions("COALESCE(r.queued, m.accepted)")
	return s.deliveries(ctx, sel, c, some, inQueue, "q.due", "q.due, r.message, r.n")
}

// DeadLetters lists recipients that were given up.
func (s *Store) DeadLetters(ctx context.Context, sel Selection) (Deliveries, error) {
	c, some := sel.conditions("r.dead")
	c.text = append(c.text, "r.dead IS NOT NULL")
	return s.deliveries(ctx, sel, c, some, areDead, "0", "r.dead DESC, r.message DESC, r.n DESC")
}

// allRows is a LIMIT that is none.
const allRows = 1 << 40

func (s *Store) deliveries(ctx context.Context, sel Selection, c conditions, some bool, from, due, order string) (d Deliveries, err error) {
	if !some {
		return d, nil
	}
	from += c.where()
	q := s.read(ctx)
	if err := q.QueryRow("SELECT count(*)"+from, c.args...).Scan(&d.Total); err != nil {
		return d, fmt.Errorf("list deliveries: %w", err)
	}
	limit := sel.Limit
	if limit == 0 {
		limit = allRows
	}
	err = q.Query(func(scan func(...any) error) error {
		var r row
		var id []byte
		var sender string
		var accepted, next int64
		var dead *int64
		if err := r.scan(scan, &id, &sender, &accepted, &dead, &next); err != nil {
			return err
		}
		one := Delivery{
			MessageID: unpackID(id), Sender: sender, Address: r.address, Mode: unpackMode(r.mode), Target: text(r.target),
			State: unpackState(r.state), Attempts: r.attempts, Accepted: sqldb.Time(accepted), Dead: fromMoment(dead),
			Code: amtp.Code(text(r.code)), Text: text(r.text),
		}
		if next > 0 {
			one.Next = sqldb.Time(next)
		}
		d.Items = append(d.Items, one)
		return nil
	}, "SELECT m.id, m.sender, m.accepted, r.dead, "+due+", r.n, r.mode, r.state, r.attempts, r.address, r.shown, r.target, r.code, r.text, "+
		"r.changed, r.next, r.acked"+from+" ORDER BY "+order+c.page(limit, sel.Offset), c.args...)
	if err != nil {
		return d, fmt.Errorf("list deliveries: %w", err)
	}
	return d, nil
}

// chosen is a recipient that a change is about.
type chosen struct {
	message int64
	n, mode int
	target  string
	id      []byte
}

// choose finds the recipients of a selection, and locks them: limit and one more, which
// tells that there are more.
func (s *Store) choose(tx *sqldb.Tx, limit int, c conditions, from string) (list []chosen, err error) {
	query := "SELECT r.message, r.n, r.mode, COALESCE(r.target, ''), m.id" + from + c.where() + " ORDER BY r.message, r.n" + c.page(limit+1, 0)
	if s.postgres {
		query += " FOR UPDATE OF r"
	}
	err = tx.Query(func(scan func(...any) error) error {
		var one chosen
		err := scan(&one.message, &one.n, &one.mode, &one.target, &one.id)
		list = append(list, one)
		return err
	}, query, c.args...)
	return list, err
}

// change does something to the recipients of a selection, MaxChange at most, in one
// transaction, and tells whose messages changed. before hears of them before the first is
// changed, as often as the transaction runs.
func (s *Store) change(ctx context.Context, sel Selection, c conditions, from string, before func([]chosen), each func(*sqldb.Tx, chosen) error) (Changed, error) {
	limit := MaxChange
	if sel.Limit > 0 {
		limit = min(limit, sel.Limit)
	}
	if sel.After != (Place{}) {
		c.add("(r.message > %s OR r.message = %s AND r.n > %s)", sel.After.Message, sel.After.Message, sel.After.N)
	}
	var list []chosen
	var next Place
	err := s.db.Write(ctx, func(tx *sqldb.Tx) (err error) {
		if list, err = s.choose(tx, limit, c, from); err != nil {
			return err
		}
		if next = (Place{}); len(list) > limit {
			list = list[:limit]
			next = Place{list[limit-1].message, list[limit-1].n}
		}
		before(list)
		for _, one := range list {
			if err := each(tx, one); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Changed{}, err
	}
	ids := make([]string, len(list))
	for i, one := range list {
		ids[i] = unpackID(one.id)
	}
	s.tellChange(ids)
	return Changed{len(list), next}, nil
}

// tellHurry tells for which targets somebody wants jobs to be due now.
func (s *Store) tellHurry(list []chosen) {
	s.hurried.Lock()
	defer s.hurried.Unlock()
	if s.hurried.fn == nil || len(list) == 0 {
		return
	}
	seen := make(map[string]bool)
	var names []string
	for _, one := range list {
		if !seen[one.target] {
			seen[one.target] = true
			names = append(names, one.target)
		}
	}
	s.hurried.fn(names)
}

// Redrive puts dead letters back into the queue, due now, and returns how many.
func (s *Store) Redrive(ctx context.Context, sel Selection, now time.Time) (Changed, error) {
	c, some := sel.conditions("r.dead")
	if !some {
		return Changed{}, nil
	}
	c.text = append(c.text, "r.dead IS NOT NULL", "r.target IS NOT NULL")
	at := sqldb.Micros(now)
	done, err := s.change(ctx, sel, c, areDead, s.tellHurry, func(tx *sqldb.Tx, one chosen) error {
		_, err := tx.Exec(`UPDATE gw_recipients SET state = $3, changed = $4, queued = $4, base = attempts, next = NULL, dead = NULL, code = NULL,
			text = NULL WHERE message = $1 AND n = $2`, one.message, one.n, queued, at)
		if err != nil {
			return err
		}
		return enqueue(tx, one.message, one.target, one.mode, at)
	})
	if err != nil {
		return Changed{}, fmt.Errorf("redrive: %w", err)
	}
	if done.Count > 0 {
		s.wake()
	}
	return done, nil
}

// Expedite makes what waits in the queue due now, and returns how many.
func (s *Store) Expedite(ctx context.Context, sel Selection, now time.Time) (Changed, error) {
	c, some := sel.conditions("COALESCE(r.queued, m.accepted)")
	if !some {
		return Changed{}, nil
	}
	at := sqldb.Micros(now)
	c.text = append(c.text, "q.worker IS NULL")
	c.add("q.due > %s", at)
	done, err := s.change(ctx, sel, c, inQueue, s.tellHurry, func(tx *sqldb.Tx, one chosen) error {
		_, err := tx.Exec("UPDATE gw_recipients SET next = $3 WHERE message = $1 AND n = $2", one.message, one.n, at)
		if err != nil {
			return err
		}
		return enqueue(tx, one.message, one.target, one.mode, at)
	})
	if err != nil {
		return Changed{}, fmt.Errorf("expedite: %w", err)
	}
	if done.Count > 0 {
		s.wake()
	}
	return done, nil
}

// Purge forgets dead letters: their recipients stay failed, and cannot be redriven. It
// returns how many.
func (s *Store) Purge(ctx context.Context, sel Selection) (Changed, error) {
	c, some := sel.conditions("r.dead")
	if !some {
		return Changed{}, nil
	}
	c.text = append(c.text, "r.dead IS NOT NULL")
	done, err := s.change(ctx, sel, c, areDead, func([]chosen) {}, func(tx *sqldb.Tx, one chosen) error {
		_, err := tx.Exec("UPDATE gw_recipients SET dead = NULL WHERE message = $1 AND n = $2", one.message, one.n)
		return err
	})
	if err != nil {
		return Changed{}, fmt.Errorf("purge: %w", err)
	}
	return done, nil
}
