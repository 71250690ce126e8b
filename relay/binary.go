package relay

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"
	"amesh/internal/wire"
	"amesh/relay/mailbox"
	"amesh/relay/socket"

	"github.com/coder/websocket"
)

// The frames of the extension "binary" (relay.md §8):
//
//	version u8 = 1 ‖ type u8 ‖ flags u8 = 0 ‖ fields, to the end of the message
const (
	// binaryVersion is the first byte of a binary frame. No JSON begins so.
	binaryVersion = 1

	binarySend    = 1 // to 20 ‖ kind u8 ‖ LP8(client_id) ‖ envelope
	binaryReceive = 2 // from 20 ‖ kind u8 ‖ id 16 ‖ timestamp i64 ‖ envelope
	binaryAck     = 3 // id 16, once or several times
	binaryRelayed = 4 // LP8(client_id) ‖ id 16 ‖ expires i64
	binaryRefused = 5 // LP8(client_id) ‖ LP8(code) ‖ retry_after_s u32
)

// binaryKinds numbers the kinds on the wire: append only.
var binaryKinds = []Kind{KindKnock, KindAccept, KindReject, KindMessage, KindClose, KindStatus, KindOptimistic}

// messageType tells the frames of a queue apart: what is no binary frame is JSON.
func messageType(frame []byte) websocket.MessageType {
	if len(frame) > 0 && frame[0] == binaryVersion {
		return websocket.MessageBinary
	}
	return websocket.MessageText
}

func newBinary(typ uint8, size int) *wire.Writer {
	w := wire.NewWriter(3 + size)
	w.U8(binaryVersion)
	w.U8(typ)
	w.U8(0)
	return w
}

// readBinary takes the head off a frame.
func readBinary(data []byte) (typ uint8, r *wire.Reader, err error) {
	r = wire.NewReader(data)
	version, typ, flags := r.U8(), r.U8(), r.U8()
	if r.Err() != nil || version != binaryVersion || flags != 0 {
		return 0, nil, fmt.Errorf("%w: binary head %.3x", errMalformed, data)
	}
	return typ, r, nil
}

// readEnvelope takes what is left as an envelope.
func readEnvelope(r *wire.Reader) []byte {
	b := r.Fixed(r.Len())
	if !isEnvelope(b) {
		r.Fail("no envelope")
	}
	return b
}

func isEnvelope(b []byte) bool { return len(b) >= len(Magic) && string(b[:len(Magic)]) == Magic }

// readKind takes a kind; it is empty for a number without one.
func readKind(r *wire.Reader) Kind {
	if n := int(r.U8()); n < len(binaryKinds) {
		return binaryKinds[n]
	}
	return ""
}

func writeKind(w *wire.Writer, k Kind) { w.U8(uint8(slices.Index(binaryKinds, k))) }

func binarySendFrame(to identity.AMID, k Kind, clientID string, envelope []byte) []byte {
	w := newBinary(binarySend, len(to)+2+len(clientID)+len(envelope))
	w.Fixed(to[:])
	writeKind(w, k)
	w.LP8([]byte(clientID))
	w.Fixed(envelope)
	return w.Bytes()
}

// binaryAckFrame acknowledges all of ids that are ids.
func binaryAckFrame(ids []string) []byte {
	w := newBinary(binaryAck, len(ids)*len(MessageID{}))
	for _, id := range ids {
		if b, err := hex.DecodeString(id); err == nil && len(b) == len(MessageID{}) {
			w.Fixed(b)
		}
	}
	return w.Bytes()
}

func binaryReceiveFrame(row *mailbox.Row, envelope []byte) []byte {
	w := newBinary(binaryReceive, identity.AMIDSize+1+len(row.ID)+8+len(envelope))
	w.Fixed(row.From[:])
	writeKind(w, row.Kind)
	w.Fixed(row.ID[:])
	w.I64(row.At.UnixMicro())
	w.Fixed(envelope)
	return w.Bytes()
}

func binaryRelayedFrame(clientID string, id MessageID, expires time.Time) []byte {
	w := newBinary(binaryRelayed, 1+len(clientID)+len(id)+8)
	w.LP8([]byte(clientID))
	w.Fixed(id[:])
	w.I64(expires.UnixMicro())
	return w.Bytes()
}

func binaryRefusedFrame(clientID string, code RefusalCode, retry int) []byte {
	w := newBinary(binaryRefused, 6+len(clientID)+len(code))
	w.LP8([]byte(clientID))
	w.LP8([]byte(code))
	w.U32(uint32(min(max(retry, 0), math.MaxUint32)))
	return w.Bytes()
}

// parseClientBinary reads a binary frame as a client sends it.
func parseClientBinary(data []byte, l Limits) (any, error) {
	typ, r, err := readBinary(data)
	if err != nil {
		return nil, err
	}
	switch typ {
	case binarySend:
		return parseBinarySend(r, l)
	case binaryAck:
		var ids []string
		for r.Len() > 0 && r.Err() == nil {
			ids = append(ids, hex.EncodeToString(r.Fixed(len(MessageID{}))))
		}
		return ackFrame{Type: typeAck, IDs: ids}, malformedBy(r.Done())
	}
	return nil, errUnknownType
}

func parseBinarySend(r *wire.Reader, l Limits) (any, error) {
	f := sendFrame{Type: typeSend, binary: true}
	r.Into(f.to[:])
	f.Kind = readKind(r)
	f.ClientID = string(r.LP8(l.ClientIDBytes))
	if r.Err() != nil {
		return nil, malformedBy(r.Err())
	}
	f.Payload = string(readEnvelope(r))
	if err := r.Done(); err == nil && f.Kind != "" && !f.to.IsZero() {
		return f, nil
	}
	if f.ClientID == "" {
		return nil, errMalformed
	}
	return sendFrame{Type: typeSend, ClientID: f.ClientID, broken: true}, nil
}

// parseRelayBinary reads a binary frame as a relay sends it: a Delivery or a settled.
func parseRelayBinary(data []byte) (any, error) {
	typ, r, err := readBinary(data)
	if err != nil {
		return nil, err
	}
	var frame any
	switch typ {
	case binaryReceive:
		var d Delivery
		r.Into(d.From[:])
		d.Kind = readKind(r)
		d.ID = hex.EncodeToString(r.Fixed(len(MessageID{})))
		d.At = time.UnixMicro(r.I64()).UTC()
		d.Payload = readEnvelope(r)
		if d.Kind == "" || d.From.IsZero() {
			r.Fail("kind or sender")
		}
		frame = d
	case binaryRelayed:
		s := settled{key: string(r.LP8(math.MaxUint8))}
		r.Fixed(len(MessageID{}))
		s.result.Expires = time.UnixMicro(r.I64()).UTC()
		frame = s
	case binaryRefused:
		s := settled{key: string(r.LP8(math.MaxUint8))}
		no := &RefusedError{Code: RefusalCode(r.LP8(math.MaxUint8))}
		no.RetryAfter = time.Duration(r.U32()) * time.Second
		s.result.Err = no
		frame = s
	default:
		return nil, errUnknownType
	}
	return frame, malformedBy(r.Done())
}

func malformedBy(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(errMalformed, err)
}

// parse reads a message of either form. Without "binary" a binary one says nothing.
func (c *conn) parse(op socket.Op, data []byte) (any, error) {
	switch {
	case op == socket.Text:
		if f, ok := scanSend(data, c.s.limits); ok {
			return f.frame(), nil // the usual one, by the short way
		}
		return parseClientFrame(data, c.s.limits)
	case c.binary:
		return parseClientBinary(data, c.s.limits)
	}
	return nil, errUnknownType
}

// relayedFrame tells the sender that its message is stored, in the form it speaks.
func (c *conn) relayedFrame(clientID string, id MessageID, expires time.Time) []byte {
	if c.binary {
		return binaryRelayedFrame(clientID, id, expires)
	}
	return encode(relayedFrame{Type: typeRelayed, ClientID: clientID, ID: id.String(), Expires: timestamp.Text(expires)})
}

// refusedFrame tells the sender that its message is not.
func (c *conn) refusedFrame(clientID string, code RefusalCode, retry time.Duration) []byte {
	if c.binary {
		return binaryRefusedFrame(clientID, code, seconds(retry))
	}
	return encode(refusedFrame{Type: typeRefused, ClientID: clientID, Code: code, RetryAfter: seconds(retry)})
}

// receiveFrame hands a message to a receiver with "ack", in the form that it speaks,
// whatever its sender spoke.
func (c *conn) receiveFrame(row *mailbox.Row) []byte {
	if row.Notice != nil {
		return encode(expiredFrame{Type: typeExpired, ID: row.ID.String(), Notice: row.Payload})
	}
	if c.binary && len(row.Candidates) == 0 {
		if envelope, ok := payloadEnvelope(row); ok {
			return binaryReceiveFrame(row, envelope)
		}
	}
	return receiveText(row, row.ID.String())
}

// receiver is whom the message is for.
func (f *sendFrame) receiver() (identity.AMID, error) {
	if f.binary {
		return f.to, nil
	}
	return identity.ParseAMID(f.To)
}

// size is what counts of the message, in bytes of text.
func (f *sendFrame) size() int {
	n := len(f.Payload)
	if f.binary {
		n = base64.StdEncoding.EncodedLen(n)
	}
	return n + len(f.Candidates)
}

func (f *sendFrame) id() MessageID {
	if f.binary {
		return EnvelopeID([]byte(f.Payload))
	}
	return mailbox.PayloadID(f.Payload)
}

// payloadText is the encrypted_payload of a message, however it came.
func payloadText(row *mailbox.Row) string {
	if row.Binary {
		return mailbox.EnvelopeText([]byte(row.Payload))
	}
	return row.Payload
}

// payloadEnvelope is the envelope that a message carries, if it does.
func payloadEnvelope(row *mailbox.Row) ([]byte, bool) {
	if row.Binary {
		return []byte(row.Payload), true
	}
	return mailbox.EnvelopeOf(row.Payload)
}
