package store

import (
	"context"
	"slices"
	"strings"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// outcome is an Outcome as it goes into rows.
type outcome struct {
	Outcome
	id      []byte
	address string // as in the row, for all but remote recipients
	notice  *entry
}

// Finish writes down what came of jobs: the outcomes of one job at once. What is
// delivered stays so, whoever says otherwise later; the try is among the attempts even so.
func (s *Store) Finish(ctx context.Context, outcomes []Outcome) error {
	w := &work{}
	for _, o := range outcomes {
		one := &outcome{Outcome: o, id: packID(o.MessageID), address: o.Address}
		if o.Notice != nil {
			var err error
			if one.notice, err = newEntry(*o.Notice); err != nil {
				return err
			}
		}
		w.outcomes = append(w.outcomes, one)
	}
	if len(w.outcomes) == 0 {
		return nil
	}
	return s.submit(ctx, w)
}

// ofOutcome selects an outcome's row, by message $1 and address $2.
const ofOutcome = `message = (SELECT seq FROM gw_messages WHERE id = $1) AND address = $2`

// ofTarget selects the place in the queue of an outcome's row.
const ofTarget = `message = (SELECT seq FROM gw_messages WHERE id = $1)
	AND target = (SELECT r.target FROM gw_recipients r WHERE r.message = gw_queue.message AND r.address = $2)`

// isOpen holds of recipients that have to be delivered.
const isOpen = `state IN (1, 5)`

// openThere holds of those in one place of the queue.
const openThere = `r.message = gw_queue.message AND r.target = gw_queue.target AND r.` + isOpen

const (
	// updateOutcome takes an outcome of whoever is open, and a delivery always.
	updateOutcome = `UPDATE gw_recipients SET
			state = CASE WHEN CAST($3 AS SMALLINT) = -1 THEN state ELSE CAST($3 AS SMALLINT) END,
			attempts = attempts + CAST($4 AS INTEGER), changed = COALESCE(CAST($5 AS BIGINT), changed), next = CAST($6 AS BIGINT),
			dead = CAST($7 AS BIGINT),
			mode = COALESCE(CAST($10 AS SMALLINT), mode), inbox = CASE WHEN CAST($10 AS SMALLINT) IS NULL THEN inbox ELSE 1 END,
			code = CASE WHEN CAST($3 AS SMALLINT) = -1 THEN code ELSE CAST($8 AS TEXT) END,
			text = CASE WHEN CAST($3 AS SMALLINT) = -1 THEN text ELSE CAST($9 AS TEXT) END
		WHERE ` + ofOutcome + ` AND (` + isOpen + ` OR CAST($3 AS SMALLINT) = 3 AND state <> 3)`
	insertAttempt = `INSERT INTO gw_attempts (message, at, address, state, code, text, http, took)
		SELECT seq, CAST($3 AS BIGINT), CAST($2 AS TEXT), CAST($4 AS SMALLINT), CAST($5 AS TEXT), CAST($6 AS TEXT), CAST($7 AS INTEGER),
			CAST($8 AS BIGINT) FROM gw_messages WHERE id = $1`
	requeue = `UPDATE gw_queue SET worker = NULL, due = COALESCE((SELECT min(COALESCE(r.next, CAST($3 AS BIGINT))) FROM gw_recipients r
		WHERE ` + openThere + `), due) WHERE ` + ofTarget
	dequeue = `DELETE FROM gw_queue WHERE ` + ofTarget + ` AND NOT EXISTS (SELECT 1 FROM gw_recipients r WHERE ` + openThere + `)`
)

// args are those of updateOutcome. What was put back keeps its state and its error.
func (o *outcome) args() []any {
	state, attempts, changed := packState(o.State), 1, moment(o.At)
	var next, dead *int64
	switch {
	case o.State == amtp.Retrying:
		next = moment(o.Next)
	case o.State == amtp.Failed:
		dead = moment(o.At)
	}
	if o.Untried {
		attempts = 0
		if o.State == amtp.Retrying {
			state, changed = -1, nil
		}
	}
	code, text := clean(string(o.Code)), clean(o.Text)
	if o.State == amtp.Delivered || o.State == amtp.Delivering {
		code, text = nil, nil
	}
	var pulled *int
	if o.State == amtp.Delivered && o.Inbox {
		n := packMode(Pull)
		pulled = &n
	}
	return []any{o.id, o.address, state, attempts, changed, next, dead, code, text, pulled}
}

func (o *outcome) attemptArgs() []any {
	return []any{o.id, o.address, sqldb.Micros(o.At), packState(o.State), clean(string(o.Code)), clean(o.Text), o.HTTPStatus, o.Took.Microseconds()}
}

// took notes how many rows the outcome changed: the notice of what came too late, such as
// a failure after the delivery, is not written.
func (o *outcome) took(rows int64) {
	if o.notice != nil {
		o.notice.void = rows == 0 && o.State == amtp.Failed
	}
}

// sorted are the outcomes of works in an order that is the same for all gateways, so
// that they do not wait for each other in a circle.
func sorted(works []*work) []*outcome {
	var all []*outcome
	for _, w := range works {
		all = append(all, w.outcomes...)
	}
	slices.SortStableFunc(all, func(a, b *outcome) int {
		if c := strings.Compare(string(a.id), string(b.id)); c != 0 {
			return c
		}
		return strings.Compare(a.address, b.address)
	})
	return all
}
