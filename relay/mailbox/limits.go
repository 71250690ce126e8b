package mailbox

import (
	"errors"
	"fmt"
	"time"
)

// Limits are the numbers of a mailbox. Start from DefaultLimits and change what
// differs. The zero Limits stands for the defaults.
type Limits struct {
	// TTL is how long a message waits for its receiver, and a notice for its
	// sender. Default 72 h.
	TTL time.Duration
	// LegacyBox bounds the mailbox of an agent that last connected without
	// "ack", or never. Default 100 messages and 16 MiB.
	LegacyBox Size
	// LegacyShare is how much of such a mailbox one sender may have. By default all of
	// it, as a 0.2 sender expects: its hundred messages are what a minute allows, and
	// names cost nothing, so a smaller share would keep out nobody who means harm.
	LegacyShare Size
	// Box bounds the mailbox of an agent that last connected with "ack". Put looks
	// at every row of a mailbox, so ten thousand are many. Default 1,000 messages
	// and 64 MiB.
	Box Size
	// Share is how much of such a mailbox one sender may have, so that one who writes
	// much leaves room for the others. Default 500 messages and 32 MiB, which is more
	// than a node has unconfirmed in a chain.
	Share Size
	// Total bounds all mailboxes together. Default 1,000,000 messages and 8 GiB.
	Total Size
	// Strangers is how many messages senders who are not on the allow list may
	// have in one mailbox, all together; StrangerEach is how many each of them.
	// Default 20 and 4.
	Strangers    int
	StrangerEach int
	// Notices is how many notices wait for one owner. Default 256.
	Notices int
	// Taken is how many names of messages that were taken are remembered for one
	// mailbox, at most 4,000; a repeat of an older one is a new message. Default 1,000.
	Taken int
	// TakenTotal bounds these names in all mailboxes together; each has 64 bytes of
	// memory. Where fewer than Taken are free, a mailbox has no more than are free.
	// Default 1,000,000.
	TakenTotal int
	// AllowEntries is the longest allow list. Default 4,096 agents.
	AllowEntries int
	// AllowTotal bounds all allow lists together, counting one for each list and
	// one for each of its entries, which has 16 bytes. Default 4,000,000.
	AllowTotal int
	// Boxes is how many mailboxes are known at a time. Beyond it an agent without
	// mail is not remembered when it connects, and has the small mailbox. Default
	// 1,000,000.
	Boxes int
	// SweepRows is how many expired rows are removed in one commit, at most 1,000.
	// Default 256.
	SweepRows int
	// ClockJump is the most that may count as time passed while the relay was
	// not running; more looks like a wrong clock and expires nothing. Default 1 h.
	ClockJump time.Duration
	// ForgetBox is how long an empty mailbox remembers that its agent speaks
	// "ack" or has an allow list. Default 30 days.
	ForgetBox time.Duration
	// Quarantine is how many damaged rows are kept, for TTL, to be looked at.
	// Default 1,000.
	Quarantine int
}

// Size is a number of messages together with their bytes.
type Size struct {
	Messages int
	Bytes    int64
}

// Plus adds messages and their bytes.
func (s Size) Plus(messages int, bytes int64) Size {
	return Size{Messages: s.Messages + messages, Bytes: s.Bytes + bytes}
}

// Fits reports whether one more message of so many bytes stays within room.
func (s Size) Fits(bytes int64, room Size) bool {
	return s.Messages < room.Messages && s.Bytes+bytes <= room.Bytes
}

// Check says whether both numbers are positive; name is what they limit.
func (s Size) Check(name string) error {
	return errors.Join(positive(name+".Messages", int64(s.Messages)), positive(name+".Bytes", s.Bytes))
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits {
	return Limits{
		TTL:         72 * time.Hour,
		LegacyBox:   Size{Messages: 100, Bytes: 16 << 20},
		LegacyShare: Size{Messages: 100, Bytes: 16 << 20},
		Box:         Size{Messages: 1000, Bytes: 64 << 20},
		Share:       Size{Messages: 500, Bytes: 32 << 20},
		Total:       Size{Messages: 1_000_000, Bytes: 8 << 30},
		Strangers:   20, StrangerEach: 4, Notices: 256, Taken: 1000, TakenTotal: 1_000_000,
		AllowEntries: 4096, AllowTotal: 4_000_000, Boxes: 1_000_000,
		SweepRows: 256, ClockJump: time.Hour, ForgetBox: 30 * 24 * time.Hour, Quarantine: 1000,
	}
}

// Check refuses limits that cannot work.
func (l Limits) Check() error {
	return errors.Join(
		positive("TTL", l.TTL), l.LegacyBox.Check("LegacyBox"), l.LegacyShare.Check("LegacyShare"),
		l.Box.Check("Box"), l.Share.Check("Share"), l.Total.Check("Total"),
		positive("StrangerEach", int64(l.StrangerEach)), positive("AllowEntries", int64(l.AllowEntries)),
		atMost("Taken", l.Taken, maxTaken),
		positive("AllowTotal", int64(l.AllowTotal)), positive("Boxes", int64(l.Boxes)),
		positive("SweepRows", int64(l.SweepRows)), atMost("SweepRows", l.SweepRows, maxSweepRows),
	)
}

// orDefault replaces the zero Limits and refuses those that cannot work.
func (l Limits) orDefault() (Limits, error) {
	if l == (Limits{}) {
		return DefaultLimits(), nil
	}
	return l, l.Check()
}

const (
	// maxSweepRows expired rows, with their notices, fit into one commit.
	maxSweepRows = 1000
	// maxTaken names can give way in one commit.
	maxTaken = 4000
)

func atMost(name string, n, most int) error {
	if n > most {
		return fmt.Errorf("limit %s must be at most %d", name, most)
	}
	return nil
}

func positive[N int64 | time.Duration](name string, n N) error {
	if n <= 0 {
		return fmt.Errorf("limit %s must be positive", name)
	}
	return nil
}
