// Package mailbox keeps messages for agents that are away: what a relay has
// promised to hold, until its receiver says that it has it.
//
// Disk is the mailbox of a real relay, in a store.Store. Memory keeps everything
// in maps, for tests, demos and relays that promise nothing beyond their life.
// Another implementation may share its storage among several relays; it holds
// what follows, and package boxtest says it as tests.
//
// # What every mailbox guarantees
//
// Rows. A mailbox belongs to one owner and is a list of rows: messages, and
// notices about messages that its owner sent. Nothing is ever evicted; a row
// leaves by Take, by Delete, by Expire, or because it is damaged.
//
// Order. Rows have cursors. A row that was stored later has the greater cursor,
// in one mailbox; across mailboxes cursors mean nothing. The messages of one Put
// keep their order, and so do two Puts of which the second began after the first
// returned. A cursor never names two rows while the process lives. When a row can
// be seen, every row with a smaller cursor could be seen before it, so that
// List(after) skips nothing.
//
// Durability. What a call reports is synced to disk before it returns, and
// survives the loss of power. Memory alone keeps this for the life of the process
// only. What need not be durable: allow lists, which must not even be written,
// and Stats.
//
// Idempotence. A message with Once is stored by (From, To, ID): as long as a row
// of that name is there and not expired, storing it again changes nothing and
// answers as the first time. After Take that goes on until the message would have
// expired, for the Limits.Taken newest of a mailbox: who takes is not given a
// message twice because its sender repeats it. After Delete the name is free. Open, Allow, Delete and Expire can be repeated, too.
//
// Removal happens once. Take, Delete and Expire contend for a row, and exactly
// one of them gets it: a row that Take returned is returned to nobody else, a row
// that Delete counted has no notice, and the deletion of a row that expired is
// one step with its notice. A row whose time is over stays deletable until Expire
// came: a receiver that has it is right.
//
// Time. Messages live for TTL of time that the mailbox measured itself. A wall
// clock that jumps expires nothing early. Expired rows are not handed out, but
// count until Expire removed them.
//
// Quotas are exact among the calls of one process. Relays that share storage may
// together exceed them by what they were storing at the same moment, and may
// learn of each other's allow lists late; in between they treat the list as
// unknown (see Mailbox.Allow).
//
// Damage. A row that cannot be read is not handed out and stops nothing: it is
// taken out, counted in Stats, and its sender gets a notice if that much can be
// read.
//
// # Errors
//
// An answer of Put carries ErrFull or ErrStranger: that message was not stored, the
// others are not touched by it. An error of a call wraps ErrStorage or ErrBroken.
// With ErrStorage the outcome of this call is unknown — all, nothing, or the first
// messages of a Put were stored — and repeating it is safe; other calls may well
// succeed, and on a full disk List, Take and Delete do. With ErrBroken nobody
// knows what the disk has: the process must end. There is no other error, but for
// ErrList of Allow.
package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"amesh/identity"
)

var (
	// ErrFull refuses a message because its receiver's mailbox, its sender's share
	// of it, or the relay as a whole has no room.
	ErrFull = errors.New("mailbox full")
	// ErrStranger refuses a message that is no knock from a sender who is not on
	// the receiver's allow list. Trying later is of no use; a knock is.
	ErrStranger = errors.New("only knocks from strangers")
	// ErrList refuses an allow list that is longer than AllowEntries, or for which
	// the relay has no memory left. The list before stays in force.
	ErrList = errors.New("allow list too long")
	// ErrStorage reports that a mailbox could not be read or written now; trying
	// later makes sense.
	ErrStorage = errors.New("storage unavailable")
	// ErrBroken reports that the mailbox must not be used again in this process.
	// Server.Run of package relay returns it.
	ErrBroken = errors.New("storage broken")
)

// Cursor is a row's place in its mailbox; the first is greater than zero.
type Cursor uint64

// Message is what a sender leaves for a receiver.
type Message struct {
	From, To identity.AMID
	ID       MessageID
	Kind     Kind
	// Payload is the text of encrypted_payload, or with Binary the envelope's
	// bytes. It comes out as it went in.
	Payload string
	Binary  bool
	// Candidates is a JSON list of ICE candidates, or nil.
	Candidates json.RawMessage
	// Once asks that the message be stored only if the mailbox does not hold the
	// same ID from the same sender already, and that its sender get a notice if it
	// is given up. Messages of 0.2 clients do not ask: two equal texts are two
	// messages.
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
	// Err is nil, ErrFull or ErrStranger.
	Err error
}

// Row is a message in a mailbox, or a notice.
type Row struct {
	// Message is the message as it was given to Put. Of a notice it has To, which
	// is the mailbox's owner, and ID.
	Message
	Cursor  Cursor
	At      time.Time
	Expires time.Time
	// Notice is not nil if the row is a notice.
	Notice *Notice
}

// Reason says why a message was given up.
type Reason uint8

// The reasons. They are stored: append only.
const (
	// Expired: its time was over before the receiver had it.
	Expired Reason = 1
	// Corrupt: the relay cannot read it any more.
	Corrupt Reason = 2
)

// Notice tells a sender that the relay gave up a message that it had promised to
// hold. It holds the facts; whoever hands it out signs.
type Notice struct {
	Reason Reason
	// ID is the message's, and To its receiver.
	ID MessageID
	To identity.AMID
	// Taken is when the relay took the message, At when it gave it up.
	Taken, At time.Time
}

// Mailbox keeps messages until their receivers have them. It is safe for
// concurrent use, and no call keeps what it was given. The package comment says
// what all calls have in common.
type Mailbox interface {
	// Open says that owner connects, with "ack" (wide) or without, which decides
	// how much its mailbox holds from now on. It returns the number of unexpired
	// messages waiting, without notices; messages above a cap that shrank stay.
	Open(ctx context.Context, owner identity.AMID, wide bool) (pending int, err error)

	// Allow puts an allow list in force for owner, in place of the one before; nil
	// removes it. From senders who are not on it the mailbox then takes knocks
	// only, few of each and few together (Limits.Strangers). It holds for every Put
	// that begins after Allow returned, until the process ends, whether or not
	// owner is connected.
	//
	// The list itself is never written. That there is one is: after a restart, and
	// until owner sends it again, all senders count as known, since refusing the
	// owner's friends would be worse than hearing strangers; but then a quarter of
	// the mailbox stays free, so that friends find room as soon as the list is
	// back. It returns ErrList if the list is too long.
	Allow(ctx context.Context, owner identity.AMID, list *AllowList) error

	// Put stores messages in their order and answers each. The answers are valid
	// only when err is nil.
	Put(ctx context.Context, messages []Message) ([]Stored, error)

	// List returns owner's unexpired rows after a cursor, oldest first, as many as
	// fit into max, but at least one if there is any. The rows stay. It costs what
	// it returns, however many rows there are before the cursor.
	List(ctx context.Context, owner identity.AMID, after Cursor, max Size) ([]Row, error)

	// Take removes owner's oldest unexpired messages, at most n, and returns them:
	// whoever gets a row from Take is the only one who ever will. Notices stay:
	// who takes could not understand them. It returns nothing only if there is
	// nothing.
	Take(ctx context.Context, owner identity.AMID, n int) ([]Row, error)

	// Delete removes rows of owner, with as few commits as it takes. Cursors that
	// name nothing are ignored; it returns how many named something.
	Delete(ctx context.Context, owner identity.AMID, cursors []Cursor) (int, error)

	// Usage counts what owner's mailbox holds, without notices, with expired
	// messages.
	Usage(ctx context.Context, owner identity.AMID) (Size, error)

	// Expire removes rows whose time is over and returns how many messages that
	// were. For each message with Once it leaves a notice in its sender's mailbox,
	// in the same step, unless there are Limits.Notices already; then the newest
	// is not stored, because senders have a deadline of their own. Notices expire
	// like messages, and leave nothing. It is called now and then, by one caller.
	Expire(ctx context.Context) (int, error)

	// Stats says what the mailbox holds and what happened to it. It costs next to
	// nothing, waits for no disk, and may be a moment old.
	Stats() Stats
}

// Stats are figures about all mailboxes together.
type Stats struct {
	// Boxes are mailboxes that hold something or are remembered.
	Boxes int
	// Messages and Bytes are what waits, and Strangers how many of the messages
	// came from strangers. Notices are counted apart.
	Messages  int
	Bytes     int64
	Strangers int
	Notices   int
	// Taken are the names that are remembered of messages that were taken.
	Taken int
	// Since the process began: messages that expired, notices that found no
	// room, rows that were damaged, and clocks that jumped.
	Expired        uint64
	NoticesDropped uint64
	Quarantined    uint64
	ClockJumps     uint64
}
