package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// conditions are what a query's rows have to fulfil, with their arguments.
type conditions struct {
	text []string
	args []any
}

// add adds a condition in which %s stands for each argument's placeholder in turn.
func (c *conditions) add(format string, args ...any) {
	names := make([]any, len(args))
	for i, a := range args {
		c.args = append(c.args, a)
		names[i] = "$" + strconv.Itoa(len(c.args))
	}
	c.text = append(c.text, fmt.Sprintf(format, names...))
}

func (c *conditions) where() string {
	if len(c.text) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.text, " AND ")
}

// page ends a query that has these conditions.
func (c *conditions) page(limit, offset int) string {
	c.args = append(c.args, limit, offset)
	n := len(c.args)
	return " LIMIT $" + strconv.Itoa(n-1) + " OFFSET $" + strconv.Itoa(n)
}

// RecipientBytes is about how much a recipient adds to what a message takes in memory.
const RecipientBytes = 256

// weight is about how much a message takes in memory, in bytes.
var weight = fmt.Sprintf("length(m.document) + %d * (SELECT count(*) FROM gw_recipients r WHERE r.message = m.seq)", RecipientBytes)

// List lists messages.
func (s *Store) List(ctx context.Context, q Query) (l Listing, err error) {
	var c conditions
	if q.Sender != "" {
		c.add("m.sender = %s", q.Sender)
	}
	if q.Recipient != "" {
		c.add("m.seq IN (SELECT r.message FROM gw_recipients r WHERE r.address IN (%s, %s))", q.Recipient, fold(q.Recipient))
	}
	if q.Party != "" {
		c.add("(m.sender = %s OR m.seq IN (SELECT r.message FROM gw_recipients r WHERE r.address IN (%s, %s)))", q.Party, q.Party, fold(q.Party))
	}
	if !q.Since.IsZero() {
		c.add("m.accepted >= %s", sqldb.Micros(q.Since))
	}
	if q.Status != "" {
		c.text = append(c.text, overall(q.Status))
	}
	from := " FROM gw_messages m" + c.where()
	ask := s.read(ctx)
	if err := ask.QueryRow("SELECT count(*)"+from, c.args...).Scan(&l.Total); err != nil {
		return l, fmt.Errorf("list messages: %w", err)
	}
	page, _, err := pageOf(ask, "SELECT m.seq, "+weight+from+" ORDER BY m.seq DESC"+c.page(q.Limit, q.Offset), c.args, q.Bytes)
	if err != nil || len(page) == 0 {
		return l, err
	}
	query := "SELECT " + foundColumns + " FROM gw_messages m WHERE m.seq IN (" + places(1, len(page)) + ") ORDER BY m.seq DESC"
	if l.Messages, err = messages(ask, query, page...); err != nil {
		return l, fmt.Errorf("list messages: %w", err)
	}
	return l, nil
}

// pageOf are the numbers of the messages that a query for numbers and weights finds, as many
// from the first on as weigh so much together, and one at least; cut says that there are more. No
// bound: 0.
func pageOf(ask asker, query string, args []any, most int64) (page []any, cut bool, err error) {
	var size int64
	err = ask.Query(func(scan func(...any) error) error {
		var seq, weight int64
		if err := scan(&seq, &weight); err != nil {
			return err
		}
		size += weight
		cut = cut || most > 0 && size > most && len(page) > 0
		if !cut {
			page = append(page, seq)
		}
		return nil
	}, query, args...)
	if err != nil {
		return nil, false, fmt.Errorf("list messages: %w", err)
	}
	return page, cut, nil
}

// overall holds of messages that amtp.Overall says are in a state.
func overall(state amtp.State) string {
	some := func(s amtp.State) string { return fmt.Sprintf(there, "= "+strconv.Itoa(packState(s))) }
	var text []string
	for _, s := range []amtp.State{amtp.Failed, amtp.Retrying, amtp.Queued, amtp.Pending} {
		if state == s {
			return strings.Join(append(text, some(s)), " AND ")
		}
		text = append(text, "NOT "+some(s))
	}
	// What is left has recipients that are delivered, being delivered, or both.
	if state == amtp.Delivered {
		return "NOT " + fmt.Sprintf(there, "<> "+strconv.Itoa(delivered))
	}
	return strings.Join(append(text, some(amtp.Delivering)), " AND ")
}

// there holds of messages with a recipient in a state.
const there = "EXISTS (SELECT 1 FROM gw_recipients r WHERE r.message = m.seq AND r.state %s)"
