// Package mailbox keeps messages for agents that are away: what a relay has
// promised to hold, until its receiver says that it has it. Disk is the mailbox
// of a real relay, in a store.Store.
package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"amesh/identity"
)

var (
	// ErrFull refuses a message because its receiver's mailbox, or the
	// relay as a whole, has no room. Nothing is ever evicted to make room.
	ErrFull = errors.New("mailbox full")
	// ErrStorage reports that a mailbox could not be read or written now; trying
	// later makes sense.
	ErrStorage = errors.New("storage unavailable")
	// ErrBroken reports that the mailbox must not be used again in this process.
	// Server.Run returns it.
	ErrBroken = errors.New("storage broken")
)

// Cursor is a message's place in its mailbox. Later messages have greater
// cursors; no cursor is ever used twice in one mailbox.
type Cursor uint64

// Message is what a sender leaves for a receiver.
type Message struct {
	From, To identity.AMID
	ID       MessageID
	Kind     Kind
	Payload  string
	// Candidates is a JSON list of ICE candidates, or nil.
	Candidates json.RawMessage
	// Once asks that the message be stored only if the mailbox does not hold the
	// same ID from the same sender already. Messages of 0.2 clients do not ask:
	// two equal texts are two messages.
	Once bool
}

// Size is what the message counts for, in bytes.
func (m *Message) Size() int64 { return int64(len(m.Payload) + len(m.Candidates)) }

// Stored says what became of a message given to Put.
type Stored struct {
	// Expires is when the message is given up; for a repeated message, as it was
	// stored the first time.
	Expires time.Time
	// Repeated says that nothing was stored because it was there already.
	Repeated bool
	// Err is nil or ErrFull.
	Err error
}

// Row is a message in a mailbox.
type Row struct {
	Message
	Cursor  Cursor
	At      time.Time
	Expires time.Time
}

// Mailbox keeps messages until their receivers have them. It is safe for
// concurrent use. Every change is on disk before the call returns nil; an error
// wraps ErrStorage or ErrBroken, and then nothing was changed, unless ErrBroken
// says that nobody knows. Rows survive restarts, in their order.
type Mailbox interface {
	// Open says that owner connects, with "ack" (wide) or without, which decides
	// how much its mailbox holds from now on. It returns the number of messages
	// waiting; messages above a cap that shrank stay.
	Open(ctx context.Context, owner identity.AMID, wide bool) (pending int, err error)

	// Put stores messages in their order, all in one commit, and answers each.
	// Concurrent calls share commits. The answers are valid only when err is nil.
	Put(ctx context.Context, messages []Message) ([]Stored, error)

	// List returns owner's unexpired messages after a cursor, oldest first, as
	// many as fit into max, but at least one if there is any. The rows stay.
	List(ctx context.Context, owner identity.AMID, after Cursor, max Size) ([]Row, error)

	// Take removes owner's oldest messages, at most n, and returns the unexpired
	// ones: whoever gets a row from Take is the only one who ever will.
	Take(ctx context.Context, owner identity.AMID, n int) ([]Row, error)

	// Delete removes messages of owner. Cursors that name nothing are ignored; it
	// returns how many named something.
	Delete(ctx context.Context, owner identity.AMID, cursors []Cursor) (int, error)

	// Usage counts what owner's mailbox holds, expired messages included.
	Usage(ctx context.Context, owner identity.AMID) (Size, error)

	// Expire removes messages whose time is over and returns how many.
	Expire(ctx context.Context) (int, error)
}
