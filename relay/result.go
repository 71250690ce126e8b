package relay

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"amesh/identity"
	"amesh/internal/timestamp"
	"amesh/relay/mailbox"
)

var (
	// ErrDisconnected means that the message's fate is unknown: the relay may or
	// may not have it. Sending it again is safe; the relay stores it once.
	ErrDisconnected = errors.New("relay disconnected")
	// ErrBusy means that InFlight is exhausted and the message was not taken.
	// There is room again after the next done.
	ErrBusy = errors.New("too many messages in flight")
	// ErrReplaced ends a connection because another process connected with the
	// same key.
	ErrReplaced = errors.New("replaced by a newer connection of this agent")
	// ErrNoExtension means that the relay cannot do what was asked of it.
	ErrNoExtension = errors.New("the relay does not speak this extension")
	// ErrLegacyRelay means that the relay sets no challenge and AllowLegacy is off.
	// We said nothing to it.
	ErrLegacyRelay = errors.New("the relay sets no challenge, so what we sign for it could be used at a registry: " +
		"use another relay, or set relay.allow_legacy if you trust this one")
	// ErrLegacyHeld means that ClientConfig.HoldLegacy said not yet.
	ErrLegacyHeld = errors.New("the relay sets no challenge, and the agent is not registered at its registry yet: " +
		"until then what we sign for the relay could be used there")
	// ErrDowngrade means that a relay which bound connections to a challenge before
	// does not now. Somebody may be in between, so we said nothing that is of use.
	ErrDowngrade = errors.New("the relay used challenges before and does not now, somebody may be in between: " +
		"check its address and its operator's news, and remove and add it again only if it is right")
)

// AuthError is the relay's refusal to admit us.
type AuthError struct {
	Code    string
	Message string
}

// Error gives the relay's words, which are not to be trusted with more than being
// shown.
func (e *AuthError) Error() string {
	return fmt.Sprintf("relay refused us: %.40q: %.200q", e.Code, e.Message)
}

// RefusedError is the relay's refusal of one message.
type RefusedError struct {
	Code RefusalCode
	// RetryAfter is how long to wait before trying again; zero if unknown.
	RetryAfter time.Duration
}

// Error names the code.
func (e *RefusedError) Error() string { return fmt.Sprintf("relay refused the message: %.40s", e.Code) }

// Outgoing is a message to send.
type Outgoing struct {
	To   identity.AMID
	Kind Kind
	// Payload is an envelope, which travels in base64 or as it is; with Text it is
	// UTF-8 for 0.2 peers.
	Payload []byte
	Text    bool
	// Session, if not empty, binds the message to one connection: on any other it
	// gets ErrDisconnected. So a later message cannot overtake an earlier one that
	// was lost with its connection and must be sent again first.
	Session string
}

// Result says what became of a Send.
type Result struct {
	// ID is the message's id, whatever happened.
	ID string
	// Expires is until when the relay keeps the message; zero when unconfirmed.
	Expires time.Time
	// Unconfirmed says that the relay does not speak "ack": the frame left, and
	// nothing more will ever be known.
	Unconfirmed bool
	// Err is nil when the relay has the message, ErrDisconnected, ErrBusy or a
	// *RefusedError.
	Err error
}

// Delivery is a message from the relay. Nobody vouches for From but the relay.
type Delivery struct {
	From identity.AMID
	Kind Kind
	// Payload is the envelope; with Legacy it is the text of a 0.2 client.
	Payload []byte
	Legacy  bool
	// ID is for Ack.
	ID string
	// At is when the relay took the message, or zero.
	At time.Time
}

// State is what is known about the connection.
type State struct {
	Connected bool
	// Session is the relay's name for the connection.
	Session string
	// LongPoll says that it goes over plain HTTP requests, because somebody in between
	// lets no WebSocket through.
	LongPoll bool
	// Extensions are what both sides speak; without ExtensionAck sends stay
	// unconfirmed and deliveries come at most once.
	Extensions []Extension
	// Pending is how many messages waited when we connected.
	Pending int
	// STUN is the HOST:PORT of a STUN server beside the relay, or empty.
	STUN string
	// RelayKey is the relay's key, with which it signs notices; zero if it told none.
	RelayKey identity.PublicKey
	// Mark is what the relay keeps for us (see Client.Deposit); nil if that is nothing.
	Mark *identity.RollbackMark
	// Err is why there is no connection: an *AuthError, ErrReplaced or trouble
	// with the network. Run tries again in every case.
	Err error
}

// Speaks reports whether an extension is in use.
func (s State) Speaks(e Extension) bool { return slices.Contains(s.Extensions, e) }

// pending is a Send that was not answered yet.
type pending struct {
	Outgoing
	id     string
	size   int64
	key    string // client_id
	number uint64 // the order in which it left
	sent   time.Time
	done   func(Result)
}

// prepare takes a copy of the payload, which is encoded only once it is known what
// the relay speaks.
func prepare(o Outgoing, l Limits) (*pending, error) {
	p := &pending{Outgoing: o, id: EnvelopeID(o.Payload).String()}
	size := base64.StdEncoding.EncodedLen(len(o.Payload))
	switch {
	case !o.Kind.Valid() || o.To.IsZero() || o.Text && !utf8.Valid(o.Payload):
		return p, &RefusedError{Code: RefusedInvalid}
	case o.Text:
		size = len(o.Payload)
		p.id = mailbox.PayloadID(string(o.Payload)).String()
	case !isEnvelope(o.Payload):
		// Bytes without the magic travel as well, but their id is the text's.
		p.id = mailbox.PayloadID(mailbox.EnvelopeText(o.Payload)).String()
	}
	if size > l.PayloadBytes {
		return p, &RefusedError{Code: RefusedTooLarge}
	}
	p.Payload = bytes.Clone(o.Payload)
	p.size = int64(size)
	return p, nil
}

// encode writes the send frame for a relay that speaks "ack" and "binary", or not.
func (p *pending) encode(ack, binary bool) []byte {
	if binary && !p.Text && isEnvelope(p.Payload) {
		return binarySendFrame(p.To, p.Kind, p.key, p.Payload)
	}
	f := sendFrame{Type: typeSend, To: p.To.String(), Payload: string(p.Payload), Kind: p.Kind}
	if !p.Text {
		f.Payload = mailbox.EnvelopeText(p.Payload)
	}
	if ack {
		f.ClientID = p.key
	}
	return encode(f)
}

// settled is the relay's answer to one Send.
type settled struct {
	key    string
	result Result
}

func deliveryOf(f receiveFrame) (Delivery, error) {
	from, err := identity.ParseAMID(f.From)
	if err != nil {
		return Delivery{}, fmt.Errorf("%w: from: %w", errMalformed, err)
	}
	d := Delivery{From: from, Kind: f.Kind, ID: f.ID}
	d.At, _ = timestamp.Parse(f.Timestamp)
	envelope, ok := mailbox.EnvelopeOf(f.Payload)
	if !ok {
		envelope = []byte(f.Payload)
	}
	d.Payload, d.Legacy = envelope, !ok
	if d.ID == "" {
		d.ID = EnvelopeID(envelope).String()
	}
	return d, nil
}

func signatureText(sig []byte) string { return base64.StdEncoding.EncodeToString(sig) }
