package mailbox

import (
	"errors"
	"fmt"
	"time"
)

// Limits are the numbers of a mailbox. Start from DefaultLimits and change what
// differs. The zero Limits stands for the defaults.
type Limits struct {
	// TTL is how long a message waits for its receiver. Default 72 h.
	TTL time.Duration
	// LegacyBox bounds the mailbox of an agent that last connected without
	// "ack", or never. Default 100 messages and 16 MiB.
	LegacyBox Size
	// Box bounds the mailbox of an agent that last connected with "ack".
	// Default 1,000 messages and 64 MiB.
	Box Size
	// Total bounds all mailboxes together. Default 1,000,000 messages and 8 GiB.
	Total Size
	// SweepRows is how many expired messages are removed in one commit.
	// Default 256.
	SweepRows int
	// ClockJump is the most that may count as time passed while the relay was
	// not running; more looks like a wrong clock and expires nothing. Default 1 h.
	ClockJump time.Duration
	// ForgetBox is how long an empty mailbox remembers that its agent speaks
	// "ack". Default 30 days.
	ForgetBox time.Duration
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
		TTL:       72 * time.Hour,
		LegacyBox: Size{Messages: 100, Bytes: 16 << 20},
		Box:       Size{Messages: 1000, Bytes: 64 << 20},
		Total:     Size{Messages: 1_000_000, Bytes: 8 << 30},
		SweepRows: 256,
		ClockJump: time.Hour, ForgetBox: 30 * 24 * time.Hour,
	}
}

// Check refuses limits that cannot work.
func (l Limits) Check() error {
	return errors.Join(
		positive("TTL", l.TTL), l.LegacyBox.Check("LegacyBox"), l.Box.Check("Box"), l.Total.Check("Total"),
		positive("SweepRows", int64(l.SweepRows)),
	)
}

// orDefault replaces the zero Limits and refuses those that cannot work.
func (l Limits) orDefault() (Limits, error) {
	if l == (Limits{}) {
		return DefaultLimits(), nil
	}
	return l, l.Check()
}

func positive[N int64 | float64 | time.Duration](name string, n N) error {
	if n <= 0 {
		return fmt.Errorf("limit %s must be positive", name)
	}
	return nil
}
