package relay

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/relay/mailbox"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

var (
	binAMID  = identity.AMID([]byte("abcdefghijklmnopqrst"))
	binID    = MessageID([]byte("0123456789abcdef"))
	binStamp = time.Date(2026, 11, 20, 9, 22, 47, 15276000, time.UTC)
)

// Every binary frame once as a struct and once as bytes (relay.md §8).
func TestBinaryFramesAreWrittenExactly(t *testing.T) {
	const (
		amid = "6162636465666768696a6b6c6d6e6f7071727374"
		id   = "30313233343536373839616263646566"
		at   = "000660b1c98a236c"
	)
	l := DefaultLimits()
	client := func(b []byte) (any, error) { return parseClientBinary(b, l) }
	cases := []struct {
		name  string
		frame []byte
		want  string
		parse func([]byte) (any, error)
		read  any
	}{
		{"send", binarySendFrame(binAMID, KindMessage, "7", envelope("x")),
			"010100" + amid + "03" + "0137" + "a36d736878", client,
			sendFrame{Type: typeSend, binary: true, to: binAMID, Kind: KindMessage, ClientID: "7", Payload: Magic + "x"}},
		{"ack", binaryAckFrame([]string{id, "no id", id}), "010300" + id + id, client,
			ackFrame{Type: typeAck, IDs: []string{id, id}}},
		{"receive", binaryReceiveFrame(&mailbox.Row{Message: mailbox.Message{From: binAMID, ID: binID, Kind: KindKnock}, At: binStamp}, envelope("x")),
			"010200" + amid + "00" + id + at + "a36d736878", parseRelayBinary,
			Delivery{From: binAMID, Kind: KindKnock, ID: id, At: binStamp, Payload: envelope("x")}},
		{"relayed", binaryRelayedFrame("7", binID, binStamp), "010400" + "0137" + id + at, parseRelayBinary,
			settled{"7", Result{Expires: binStamp}}},
		{"refused", binaryRefusedFrame("7", RefusedMailboxFull, 30), "010500" + "0137" + "0c6d61696c626f785f66756c6c" + "0000001e", parseRelayBinary,
			settled{"7", Result{Err: &RefusedError{RefusedMailboxFull, 30 * time.Second}}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := hex.EncodeToString(c.frame); got != c.want {
				t.Errorf("got\n%s, want\n%s", got, c.want)
			}
			got, err := c.parse(c.frame)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.read, got, cmp.AllowUnexported(sendFrame{}, settled{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	for i, want := range []Kind{KindKnock, KindAccept, KindReject, KindMessage, KindClose, KindStatus, KindOptimistic} {
		if binaryKinds[i] != want {
			t.Errorf("kind %d is %s", i, binaryKinds[i])
		}
	}
}

// T53: every byte missing, left over or changed in front is an error, never a panic.
func TestMalformedBinaryFrames(t *testing.T) {
	l := DefaultLimits()
	send := binarySendFrame(binAMID, KindMessage, "7", envelope("x"))
	receive := binaryReceiveFrame(&mailbox.Row{Message: mailbox.Message{From: binAMID, Kind: KindKnock}, At: binStamp}, envelope("x"))
	relayed := binaryRelayedFrame("7", binID, binStamp)
	change := func(b []byte, i int, v byte) []byte {
		b = bytes.Clone(b)
		b[i] = v
		return b
	}
	broken := sendFrame{Type: typeSend, ClientID: "7", broken: true}
	for _, c := range []struct {
		name  string
		frame []byte
		want  any // nil: an error
	}{
		{"empty", nil, nil},
		{"another version", change(send, 0, 2), nil},
		{"a frame of the relay", change(send, 1, binaryRelayed), nil},
		{"unknown type", change(send, 1, 99), nil},
		{"a flag", change(send, 2, 1), nil},
		{"no client_id", send[:24], nil},
		{"half a client_id", send[:25], nil},
		{"client_id too long", binarySendFrame(binAMID, KindMessage, strings.Repeat("7", 65), envelope("x")), nil},
		{"no envelope, and nobody waits", binarySendFrame(binAMID, KindMessage, "", []byte("x")), nil},
		{"no envelope", send[:26], broken},
		{"other magic", change(send, 26, 'x'), broken},
		{"unknown kind", change(send, 23, 7), broken},
		{"to nobody", binarySendFrame(identity.AMID{}, KindMessage, "7", envelope("x")), broken},
		{"half an id", binaryAckFrame([]string{binID.String()})[:10], nil},
	} {
		got, err := parseClientBinary(c.frame, l)
		if c.want == nil {
			if !errors.Is(err, errMalformed) && !errors.Is(err, errUnknownType) {
				t.Errorf("%s: %v, %v", c.name, got, err)
			}
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(sendFrame{})); diff != "" || err != nil {
			t.Errorf("%s: %v %s", c.name, err, diff)
		}
	}
	for name, frame := range map[string][]byte{
		"send": send, "receive without envelope": receive[:48], "unknown kind": change(receive, 23, 7),
		"relayed and more": append(bytes.Clone(relayed), 0), "short relayed": relayed[:len(relayed)-1],
	} {
		if got, err := parseRelayBinary(frame); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// nextBinary takes a binary message.
func (c *raw) nextBinary() []byte {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	typ, data, err := c.ws.Read(ctx)
	if err != nil || typ != websocket.MessageBinary {
		c.t.Fatalf("message %v %q: %v", typ, data, err)
	}
	return data
}

func (c *raw) writeBinary(frame []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageBinary, frame); err != nil {
		c.t.Fatal(err)
	}
}

// What a receiver gets depends on what it speaks, never on what the sender spoke.
func TestNobodyCanTellHowAMessageCame(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	b := testKey(t, 2).AMID()
	text := mailbox.EnvelopeText(envelope("x"))
	senders := map[string]func(n byte) *raw{
		"in binary": func(n byte) *raw {
			c, _ := h.join(n, ExtensionAck, ExtensionBinary)
			c.writeBinary(binarySendFrame(b, KindMessage, "1", envelope("x")))
			got, err := parseRelayBinary(c.nextBinary())
			if s, ok := got.(settled); err != nil || !ok || s.key != "1" || s.result.Err != nil {
				t.Fatalf("answer %+v, %v", got, err)
			}
			return c
		},
		"as text": func(n byte) *raw {
			c, _ := h.join(n)
			c.send(b, text, "")
			c.quiet()
			return c
		},
	}
	receivers := map[string]func() (*raw, func(from identity.AMID)){
		"of 0.2": func() (*raw, func(identity.AMID)) {
			c, _ := h.join(2)
			return c, func(from identity.AMID) {
				got := c.next()
				want := object{
					"type": typeReceive, "from": from.String(), "encrypted_payload": text,
					"message_type": "message", "timestamp": got["timestamp"],
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		},
		"with ack": func() (*raw, func(identity.AMID)) {
			c, _ := h.join(2, ExtensionAck)
			return c, func(from identity.AMID) {
				got := c.want(object{"type": typeReceive, "from": from.String(), "encrypted_payload": text})
				c.ack(got["id"].(string))
			}
		},
		"with binary": func() (*raw, func(identity.AMID)) {
			c, _ := h.join(2, ExtensionAck, ExtensionBinary)
			return c, func(from identity.AMID) {
				got, err := parseRelayBinary(c.nextBinary())
				if err != nil {
					t.Fatal(err)
				}
				d := got.(Delivery)
				want := Delivery{From: from, Kind: KindMessage, Payload: envelope("x"), ID: EnvelopeID(envelope("x")).String(), At: d.At}
				if diff := cmp.Diff(want, d); diff != "" {
					t.Error(diff)
				}
				c.writeBinary(binaryAckFrame([]string{d.ID}))
			}
		},
	}
	n := byte(3)
	for how, send := range senders {
		for who, receive := range receivers {
			t.Run(how+" to a receiver "+who, func(t *testing.T) {
				bob, take := receive()
				alice := send(n)
				take(alice.who)
				h.holds(b, 0)
				bob.leave(h)
			})
			n++
		}
	}
}

func TestBinaryWithoutTheExtensionSaysNothing(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	b := testKey(t, 2).AMID()
	for _, ext := range [][]Extension{nil, {ExtensionAck}, {ExtensionBinary}} {
		alice, _ := h.join(1, ext...)
		alice.writeBinary(binarySendFrame(b, KindMessage, "1", envelope("x")))
		alice.quiet()
	}
	h.holds(b, 0)
}

func TestBinarySendsAreRefusedInBinary(t *testing.T) {
	l := DefaultLimits()
	l.Mailbox.LegacyBox.Messages = 1
	h, _ := startRelay(t, l)
	alice, _ := h.join(1, ExtensionAck, ExtensionBinary)
	b := testKey(t, 2).AMID()
	largest := envelope(strings.Repeat("x", 49_152-len(Magic)))
	for _, c := range []struct {
		name  string
		frame []byte
		want  RefusalCode
	}{
		{"too large", binarySendFrame(b, KindMessage, "1", append(largest, 'x')), RefusedTooLarge},
		{"no envelope", binarySendFrame(b, KindMessage, "1", []byte("text")), RefusedInvalid},
		{"the largest", binarySendFrame(b, KindMessage, "1", largest), ""},
		{"mailbox full", binarySendFrame(b, KindMessage, "1", envelope("x")), RefusedMailboxFull},
	} {
		alice.writeBinary(c.frame)
		got, err := parseRelayBinary(alice.nextBinary())
		if err != nil {
			t.Fatal(err)
		}
		var no *RefusedError
		code := RefusalCode("")
		if errors.As(got.(settled).result.Err, &no) {
			code = no.Code
		}
		if code != c.want {
			t.Errorf("%s: %q, want %q", c.name, code, c.want)
		}
	}
}

// What is no envelope, or has candidates, goes as text also between those who speak
// "binary".
func TestTextStaysText(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck, ExtensionBinary)
	bob, _ := h.join(2, ExtensionAck, ExtensionBinary)
	text := mailbox.EnvelopeText(envelope("x"))
	alice.send(bob.who, "hello", "")
	bob.want(object{"encrypted_payload": "hello"})
	alice.send(bob.who, text+"\n", "")
	bob.want(object{"encrypted_payload": text + "\n"})
	alice.writeText(`{"type":"send","to":"` + bob.who.String() + `","encrypted_payload":"` + text + `","message_type":"knock","ice_candidates":[{"candidate":"c"}]}`)
	bob.want(object{"encrypted_payload": text})
	a, b := startAgent(t, 3, h.url(), quick()), startAgent(t, 4, h.url(), quick())
	a.connected()
	b.connected()
	for _, o := range []Outgoing{
		{Payload: envelope("x")},
		{Payload: []byte("no envelope")},
		{Payload: []byte("text"), Text: true},
		{Payload: []byte(text), Text: true},
	} {
		o.To, o.Kind = testKey(t, 4).AMID(), KindMessage
		r := a.send(o)
		d := b.receive()
		if r.Err != nil || d.ID != r.ID {
			t.Errorf("%q: %+v, delivered %+v", o.Payload, r, d)
		}
		b.Ack(d.ID)
		h.holds(o.To, 0) // the last has the id of the first
	}
}

func FuzzBinaryFrames(f *testing.F) {
	f.Add(binarySendFrame(binAMID, KindMessage, "7", envelope("x")))
	f.Add(binaryAckFrame([]string{binID.String()}))
	f.Add(binaryReceiveFrame(&mailbox.Row{Message: mailbox.Message{From: binAMID, ID: binID, Kind: KindKnock}, At: binStamp}, envelope("x")))
	f.Add(binaryRelayedFrame("7", binID, binStamp))
	f.Add(binaryRefusedFrame("7", RefusedMailboxFull, 30))
	l := DefaultLimits()
	f.Fuzz(func(t *testing.T, data []byte) {
		var back []byte
		frame, err := parseClientBinary(data, l)
		switch f := frame.(type) {
		case sendFrame:
			if !f.broken {
				back = binarySendFrame(f.to, f.Kind, f.ClientID, []byte(f.Payload))
			}
		case ackFrame:
			back = binaryAckFrame(f.IDs)
		}
		if err == nil && back != nil && !bytes.Equal(back, data) {
			t.Errorf("%x reads as %+v, which is %x", data, frame, back)
		}
		frame, err = parseRelayBinary(data)
		d, ok := frame.(Delivery)
		if err != nil || !ok {
			return
		}
		row := mailbox.Row{Message: mailbox.Message{From: d.From, Kind: d.Kind}, At: d.At}
		_, _ = hex.Decode(row.ID[:], []byte(d.ID))
		if back = binaryReceiveFrame(&row, d.Payload); !bytes.Equal(back, data) {
			t.Errorf("%x reads as %+v, which is %x", data, d, back)
		}
	})
}
