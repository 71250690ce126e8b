package relay

import (
	"context"
	"time"

	"amesh/identity"
	"amesh/relay/mailbox"
)

// metered counts what a server does with its mailbox, and how long commits take.
type metered struct {
	mailbox.Mailbox
	counts *counts
	books  *books
}

func (m metered) Put(ctx context.Context, messages []mailbox.Message) ([]mailbox.Stored, error) {
	began := time.Now()
	stored, err := m.Mailbox.Put(ctx, messages)
	m.counts.commits.add(time.Since(began))
	for i := range stored {
		if stored[i].Repeated {
			m.counts.repeated.Add(1)
		}
	}
	m.books.stored(messages, stored)
	return stored, err
}

func (m metered) Take(ctx context.Context, owner identity.AMID, n int) ([]mailbox.Row, error) {
	began := time.Now()
	rows, err := m.Mailbox.Take(ctx, owner, n)
	if len(rows) > 0 {
		m.counts.commits.add(time.Since(began))
	}
	return rows, err
}

func (m metered) Delete(ctx context.Context, owner identity.AMID, cursors []mailbox.Cursor) (int, error) {
	began := time.Now()
	n, err := m.Mailbox.Delete(ctx, owner, cursors)
	m.counts.commits.add(time.Since(began))
	return n, err
}
