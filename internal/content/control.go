package content

import (
	"time"

	"github.com/google/uuid"

	"amesh/internal/wire"
	"amesh/ratchet"
)

// State is what became of a message at its receiver.
type State uint8

// The states.
const (
	Delivered State = 1
	Leased    State = 2
	Handled   State = 3
	Failed    State = 4
	Refused   State = 5
)

// Reason says why a message failed or was refused.
type Reason uint8

// The reasons; NoReason goes with the states up to Handled.
const (
	NoReason        Reason = 0
	ReasonAgent     Reason = 1
	ReasonConflict  Reason = 2
	ReasonParts     Reason = 3
	ReasonBusy      Reason = 4
	ReasonPolicy    Reason = 5
	ReasonExpired   Reason = 6
	ReasonLimits    Reason = 7
	ReasonSignature Reason = 8
)

// Receipt tells the state of one message.
type Receipt struct {
	ID     uuid.UUID
	State  State
	Reason Reason
	At     time.Time // whole milliseconds
	Text   string    // what the agent said: data of a stranger
}

// Receipts says which envelopes came and what became of messages (session.md
// §7.4). Receipts are never receipted.
type Receipts struct {
	Envelopes []ratchet.ID
	Messages  []Receipt
}

// Type is TypeReceipts.
func (*Receipts) Type() Type { return TypeReceipts }

// Encode implements Content.
func (c *Receipts) Encode() ([]byte, error) {
	return encode(c, 5+16*len(c.Envelopes)+64*len(c.Messages))
}

func (c *Receipts) check() error {
	if len(c.Envelopes) > 0xFFFF || len(c.Messages) > 0xFFFF {
		return malformed("%d and %d receipts", len(c.Envelopes), len(c.Messages))
	}
	for i := range c.Messages {
		if err := c.Messages[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Receipt) check() error {
	if err := checkEnum("state", m.State, Refused); err != nil {
		return err
	}
	if m.State <= Handled && m.Reason != NoReason {
		return malformed("state %d with reason %d", m.State, m.Reason)
	}
	if m.State > Handled {
		if err := checkEnum("reason", m.Reason, ReasonSignature); err != nil {
			return err
		}
	}
	if err := checkTime("receipt", m.At); err != nil {
		return err
	}
	return checkText("receipt's text", m.Text, MaxReceiptText)
}

func (c *Receipts) write(w *wire.Writer) {
	w.U16(uint16(len(c.Envelopes)))
	for _, id := range c.Envelopes {
		w.Fixed(id[:])
	}
	w.U16(uint16(len(c.Messages)))
	for _, m := range c.Messages {
		w.Fixed(m.ID[:])
		w.U8(uint8(m.State))
		w.U8(uint8(m.Reason))
		w.I64(m.At.UnixMilli())
		w.LP8([]byte(m.Text))
	}
}

func (c *Receipts) read(r *wire.Reader) {
	for range r.U16() {
		b := r.Fixed(len(ratchet.ID{}))
		if r.Err() != nil {
			return
		}
		c.Envelopes = append(c.Envelopes, ratchet.ID(b))
	}
	for range r.U16() {
		var m Receipt
		r.Into(m.ID[:])
		m.State, m.Reason = State(r.U8()), Reason(r.U8())
		m.At = readMillis(r)
		m.Text = string(r.LP8(MaxReceiptText))
		if r.Err() != nil {
			return
		}
		c.Messages = append(c.Messages, m)
	}
}

// Skip says which sequences will never come, both ends included (session.md
// §7.5).
type Skip struct {
	From, To uint64
}

// Type is TypeSkip.
func (*Skip) Type() Type { return TypeSkip }

// Encode implements Content.
func (c *Skip) Encode() ([]byte, error) { return encode(c, 17) }

func (c *Skip) check() error {
	if c.From == 0 || c.To < c.From {
		return malformed("skip from %d to %d", c.From, c.To)
	}
	return nil
}

func (c *Skip) write(w *wire.Writer) { w.U64(c.From); w.U64(c.To) }
func (c *Skip) read(r *wire.Reader)  { c.From, c.To = r.U64(), r.U64() }

// CloseReason says why a session ends.
type CloseReason uint8

// The reasons for closing.
const (
	CloseDone     CloseReason = 1
	ClosePolicy   CloseReason = 2
	CloseExpired  CloseReason = 3
	CloseLimits   CloseReason = 4
	CloseShutdown CloseReason = 5
)

// Close ends a conversation: its sender seals nothing after it but receipts.
type Close struct {
	Reason       CloseReason
	LastSequence uint64 // 0: nothing was sent
}

// Type is TypeClose.
func (*Close) Type() Type { return TypeClose }

// Encode implements Content.
func (c *Close) Encode() ([]byte, error) { return encode(c, 10) }

func (c *Close) check() error         { return checkEnum("close reason", c.Reason, CloseShutdown) }
func (c *Close) write(w *wire.Writer) { w.U8(uint8(c.Reason)); w.U64(c.LastSequence) }
func (c *Close) read(r *wire.Reader)  { c.Reason, c.LastSequence = CloseReason(r.U8()), r.U64() }

// Paths is how an agent's addresses reach a peer it accepted. The greater Stamp
// wins.
type Paths struct {
	Stamp     time.Time // whole milliseconds
	PeerIDs   []string
	Addresses []string
	Relays    []string
}

// Type is TypePaths.
func (*Paths) Type() Type { return TypePaths }

// Encode implements Content.
func (c *Paths) Encode() ([]byte, error) { return encode(c, 1024) }

func (c *Paths) check() error {
	if err := checkTime("stamp", c.Stamp); err != nil {
		return err
	}
	if err := checkList("peer id", c.PeerIDs, MaxPeerIDs, MaxPeerID); err != nil {
		return err
	}
	if err := checkList("address", c.Addresses, MaxAddresses, MaxAddress); err != nil {
		return err
	}
	return checkList("relay", c.Relays, MaxRelays, MaxRelay)
}

func (c *Paths) write(w *wire.Writer) {
	w.I64(c.Stamp.UnixMilli())
	w.List(c.PeerIDs)
	w.List(c.Addresses)
	w.List(c.Relays)
}

func (c *Paths) read(r *wire.Reader) {
	c.Stamp = readMillis(r)
	c.PeerIDs = r.List(MaxPeerIDs, MaxPeerID)
	c.Addresses = r.List(MaxAddresses, MaxAddress)
	c.Relays = r.List(MaxRelays, MaxRelay)
}

// Revocation carries the statement with which the peer's signing key leaves
// (session.md §2.8). Whether it is the peer's, and signed, is for identity to say.
type Revocation struct {
	Statement []byte
}

// Type is TypeRevocation.
func (*Revocation) Type() Type { return TypeRevocation }

// Encode implements Content.
func (c *Revocation) Encode() ([]byte, error) { return encode(c, 1+len(c.Statement)) }

func (c *Revocation) check() error {
	if n := len(c.Statement); n != revocationSize && n != revocationSuccessorSize {
		return malformed("revocation of %d bytes", n)
	}
	return nil
}

func (c *Revocation) write(w *wire.Writer) { w.Fixed(c.Statement) }
func (c *Revocation) read(r *wire.Reader)  { c.Statement = r.Fixed(r.Len()) }
