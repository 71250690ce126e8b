package relay

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"amesh/relay/mailbox"

	"github.com/google/go-cmp/cmp"
)

// Every frame once as a struct and once as bytes (AgentMesh §2.2).
func TestFramesAreWrittenExactly(t *testing.T) {
	const a, b = "3QjuXXdCYYk6MbRqjFYt1JA9uS8p", "8yLMRXo4yEwkkKRBBMQRGxWYUb6q"
	cases := []struct {
		name  string
		frame any
		want  string
	}{
		{"connect as our client sends it", connectFrame{
			Type: typeConnect, Protocol: protocol02, AMID: a, PublicKey: "ECDAaN0=", Signature: "gUSPBg==",
			Timestamp: "2026-11-20T09:22:46+00:00", Extensions: []Extension{ExtensionAck},
		}, `{"type":"connect","protocol":"agentmesh/0.2","amid":"` + a + `","public_key":"ECDAaN0=","signature":"gUSPBg==","timestamp":"2026-11-20T09:22:46+00:00","p2p_capable":false,"extensions":["ack"]}`},
		{"connected to a 0.2 client", connectedFrame{Type: typeConnected, SessionID: "0b6c"},
			`{"type":"connected","session_id":"0b6c","pending_messages":0}`},
		{"connected with ack", connectedFrame{Type: typeConnected, SessionID: "0b6c", Pending: 2, Extensions: []Extension{ExtensionAck}},
			`{"type":"connected","session_id":"0b6c","pending_messages":2,"extensions":["ack"]}`},
		{"send", sendFrame{Type: typeSend, To: b, Payload: `{"type":"knock"}`, Kind: KindKnock},
			`{"type":"send","to":"` + b + `","encrypted_payload":"{\"type\":\"knock\"}","message_type":"knock"}`},
		{"send with ack", sendFrame{Type: typeSend, To: b, Payload: "o21zaA==", Kind: KindMessage, ClientID: "7"},
			`{"type":"send","to":"` + b + `","encrypted_payload":"o21zaA==","message_type":"message","client_id":"7"}`},
		{"receive", receiveFrame{Type: typeReceive, From: a, Payload: `{"type":"knock"}`, Kind: KindKnock, Timestamp: "2026-11-20T09:22:47.015276Z"},
			`{"type":"receive","from":"` + a + `","encrypted_payload":"{\"type\":\"knock\"}","message_type":"knock","timestamp":"2026-11-20T09:22:47.015276Z"}`},
		{"receive with ack keeps <, > and &", receiveFrame{Type: typeReceive, From: a, Payload: "<a>&", Kind: KindMessage, Timestamp: "2026-11-20T09:22:47Z", ID: "00ff"},
			`{"type":"receive","from":"` + a + `","encrypted_payload":"<a>&","message_type":"message","timestamp":"2026-11-20T09:22:47Z","id":"00ff"}`},
		{"error names its text twice", errorOf(CodeRateLimited, "Rate limit exceeded", 40_500_000_000),
			`{"type":"error","code":"RATE_LIMITED","message":"Rate limit exceeded","error":"Rate limit exceeded","retry_after_seconds":41}`},
		{"relayed", relayedFrame{Type: typeRelayed, ClientID: "7", ID: "00ff", Expires: "2026-11-23T09:22:47Z"},
			`{"type":"relayed","client_id":"7","id":"00ff","expires":"2026-11-23T09:22:47Z"}`},
		{"refused for a while", refusedFrame{Type: typeRefused, ClientID: "7", Code: RefusedMailboxFull, RetryAfter: 30},
			`{"type":"refused","client_id":"7","code":"mailbox_full","retry_after_s":30}`},
		{"refused for good", refusedFrame{Type: typeRefused, ClientID: "7", Code: RefusedInvalid},
			`{"type":"refused","client_id":"7","code":"invalid"}`},
		{"connect over a challenge", connectFrame{
			Type: typeConnect, Protocol: protocol02, AMID: a, PublicKey: "ECDAaN0=", Signature: "gUSPBg==",
			Timestamp: "2026-11-20T09:22:46+00:00", Relay: "relay.example:443", Extensions: []Extension{ExtensionChallenge},
		}, `{"type":"connect","protocol":"agentmesh/0.2","amid":"` + a + `","public_key":"ECDAaN0=","signature":"gUSPBg==","timestamp":"2026-11-20T09:22:46+00:00","p2p_capable":false,"relay":"relay.example:443","extensions":["challenge"]}`},
		{"connected with all there is to tell", connectedFrame{Type: typeConnected, SessionID: "0b6c", Extensions: []Extension{ExtensionEpoch}, STUN: ":3478", Mark: "AQ==", RelayKey: "ECDAaN0="},
			`{"type":"connected","session_id":"0b6c","pending_messages":0,"extensions":["epoch"],"stun":":3478","mark":"AQ==","relay_key":"ECDAaN0="}`},
		{"allowed nobody", allowedFrame{Type: typeAllowed, Version: 2, Count: new(int)}, `{"type":"allowed","version":2,"count":0}`},
		{"not allowed", allowedFrame{Type: typeAllowed, Version: 2, Code: RefusedTooMany}, `{"type":"allowed","version":2,"code":"too_many"}`},
		{"deposited", depositedFrame{Type: typeDeposited, Mark: "AQ=="}, `{"type":"deposited","mark":"AQ=="}`},
		{"expired", expiredFrame{Type: typeExpired, ID: "00ff", Notice: "AQ=="}, `{"type":"expired","id":"00ff","notice":"AQ=="}`},
		{"ack", ackFrame{Type: typeAck, IDs: []string{"00ff", "11ee"}}, `{"type":"ack","message_ids":["00ff","11ee"]}`},
		{"presence of somebody away", presenceReplyFrame{Type: typePresenceReply, AMID: b, Status: statusOffline},
			`{"type":"presence_response","amid":"` + b + `","status":"offline"}`},
		{"pong", pingFrame{Type: typePong, Timestamp: "2026-11-20T09:22:47Z"}, `{"type":"pong","timestamp":"2026-11-20T09:22:47Z"}`},
		{"nothing pending", pendingFrame{Type: typePending, Messages: []struct{}{}}, `{"type":"pending_messages","messages":[]}`},
		{"ICE offer", iceFrame{Type: typeICEOffer, To: a, SDP: "v=0", Candidates: json.RawMessage(`[]`)},
			`{"type":"ice_offer","to":"` + a + `","sdp":"v=0","candidates":[]}`},
		{"P2P established", p2pFrame{Type: typeP2P, Peer: a}, `{"type":"p2_p_established","peer":"` + a + `"}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, string(encode(c.frame))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClientFramesAreRead(t *testing.T) {
	l := DefaultLimits()
	cases := []struct {
		name, in string
		want     any
	}{
		{"send with unknown members", `{"type":"send","to":"B","encrypted_payload":"x","message_type":"status","colour":3}`,
			sendFrame{Type: typeSend, To: "B", Payload: "x", Kind: KindStatus}},
		{"escapes in a payload", `{"type":"send","to":"B","encrypted_payload":"\"\u00e4\n","message_type":"message"}`,
			sendFrame{Type: typeSend, To: "B", Payload: "\"ä\n", Kind: KindMessage}},
		{"candidates get their nulls", `{"type":"send","to":"B","encrypted_payload":"x","message_type":"knock","ice_candidates":[{"candidate":"c","sdp_mid":"0"}]}`,
			sendFrame{Type: typeSend, To: "B", Payload: "x", Kind: KindKnock, Candidates: json.RawMessage(`[{"candidate":"c","sdp_mid":"0","sdp_mline_index":null}]`)}},
		{"send without payload but with client_id wants an answer", `{"type":"send","to":"B","message_type":"message","client_id":"9"}`,
			sendFrame{Type: typeSend, ClientID: "9", broken: true}},
		{"other spelling of P2P established", `{"type":"p2p_established","peer":"B"}`, p2pFrame{Type: typeP2P, Peer: "B"}},
		{"ack", `{"type":"ack","message_ids":["a","b"]}`, ackFrame{Type: typeAck, IDs: []string{"a", "b"}}},
		{"ack of the JavaScript SDK", `{"type":"ack","message_id":"a"}`, ackFrame{Type: typeAck}},
		{"extensions that are no list", `{"type":"connect","protocol":"p","amid":"A","public_key":"k","signature":"s","timestamp":"t","extensions":"ack"}`,
			connectFrame{Type: typeConnect, Protocol: "p", AMID: "A", PublicKey: "k", Signature: "s", Timestamp: "t"}},
		{"knock with message", `{"type":"knock_with_message","to":"B","knock_payload":"k","message_payload":"m","message_type":"message"}`,
			sendFrame{Type: typeSend, To: "B", Payload: "k", Kind: KindKnock,
				second: &sendFrame{Type: typeSend, To: "B", Payload: "m", Kind: KindMessage}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseClientFrame([]byte(c.in), l)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(sendFrame{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// T53: what is no frame is an error, never a panic.
func TestMalformedFramesAreErrors(t *testing.T) {
	cases := []struct {
		name, in string
		want     error
	}{
		{"empty", ``, errMalformed},
		{"null", `null`, errMalformed},
		{"list", `["send"]`, errMalformed},
		{"no type", `{"to":"B"}`, errMalformed},
		{"type in capitals", `{"TYPE":"ping","timestamp":"x"}`, errMalformed},
		{"type is a number", `{"type":7}`, errMalformed},
		{"unknown type", `{"type":"teleport"}`, errUnknownType},
		{"nack is silent", `{"type":"nack","message_id":"a","reason":"r"}`, errUnknownType},
		{"invalid UTF-8", "{\"type\":\"ping\",\"timestamp\":\"\xff\"}", errMalformed},
		{"send without to", `{"type":"send","encrypted_payload":"x","message_type":"message"}`, errMalformed},
		{"send of unknown kind", `{"type":"send","to":"B","encrypted_payload":"x","message_type":"shout"}`, errMalformed},
		{"client_id too long", `{"type":"send","to":"B","encrypted_payload":"x","message_type":"message","client_id":"` + strings.Repeat("x", 65) + `"}`, errMalformed},
		{"candidates that are no list", `{"type":"ice_offer","to":"B","sdp":"s","candidates":{}}`, errMalformed},
		{"unknown status", `{"type":"presence","status":"busy"}`, errMalformed},
		{"deep nesting", `{"type":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, errMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseClientFrame([]byte(c.in), DefaultLimits())
			if !errors.Is(err, c.want) {
				t.Errorf("got %v and error %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestEnvelopeIDIsTheSameOnEveryPath(t *testing.T) {
	envelope := []byte(Magic + "\x01sealed bytes")
	text := mailbox.EnvelopeText(envelope)
	cases := []struct {
		name, payload string
		want          MessageID
	}{
		{"canonical base64 of an envelope", text, EnvelopeID(envelope)},
		{"line break inside", text[:12] + "\n" + text[12:], EnvelopeID([]byte(text[:12] + "\n" + text[12:]))},
		{"no padding", strings.TrimRight(text, "="), EnvelopeID([]byte(strings.TrimRight(text, "=")))},
		{"base64 of something else", "aGVsbG8gd29ybGQ=", EnvelopeID([]byte("aGVsbG8gd29ybGQ="))},
		{"plain text", `{"type":"knock"}`, EnvelopeID([]byte(`{"type":"knock"}`))},
		{"empty", "", EnvelopeID(nil)},
	}
	if !strings.HasSuffix(text, "=") {
		t.Fatal("the envelope of this test must need padding")
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := mailbox.PayloadID(c.payload); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	// SHA-256 of nothing, halved: the id's spelling is fixed.
	if got := mailbox.PayloadID("").String(); got != "e3b0c44298fc1c149afbf4c8996fb924" {
		t.Errorf("spelling: %s", got)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(`{"type":"connect","protocol":"agentmesh/0.2","amid":"A","public_key":"k","signature":"s","timestamp":"t","extensions":["ack"]}`))
	f.Add([]byte(`{"type":"send","to":"B","encrypted_payload":"\ud800","message_type":"message","client_id":"1","ice_candidates":[{"candidate":""}]}`))
	f.Add([]byte(`{"type":"knock_with_message","to":"B","knock_payload":"k","message_payload":"m"}`))
	f.Add([]byte(`{"type":"ack","message_ids":[""]}`))
	f.Add([]byte(`{"type":"receive","from":"A","encrypted_payload":"x","message_type":"message","timestamp":"2026-11-20T09:22:47Z","id":"x"}`))
	f.Add([]byte(`{"type":"relayed","client_id":"1","id":"x","expires":"2026-11-20T09:22:47Z"}`))
	f.Add([]byte(`{"type":"allow","version":1,"salt":"c3Nzc3Nzc3Nzc3Nzc3Nzcw==","set":""}`))
	f.Add([]byte(`{"type":"allow","version":2,"add":"","remove":"c3Nzc3Nzc3Nzc3Nzc3Nzcw=="}`))
	f.Add([]byte(`{"type":"deposit","mark":"AQ=="}`))
	f.Add([]byte(`{"type":"allowed","version":2,"code":"too_many"}`))
	f.Add([]byte(`{"type":"deposited","mark":"AQ=="}`))
	f.Add([]byte(`{"type":"expired","id":"00","notice":"AQ=="}`))
	l := DefaultLimits()
	f.Fuzz(func(t *testing.T, data []byte) {
		if frame, err := parseClientFrame(data, l); err == nil {
			again(t, frame, func(b []byte) (any, error) { return parseClientFrame(b, l) })
		}
		if frame, err := parseRelayFrame(data); err == nil {
			again(t, frame, parseRelayFrame)
		}
	})
}

// again checks that a frame that was read can be written and read to the same.
func again(t *testing.T, frame any, parse func([]byte) (any, error)) {
	t.Helper()
	switch f := frame.(type) {
	case getPendingFrame, ackFrame, allowFrame, depositFrame:
		return
	case sendFrame:
		if f.broken || f.second != nil {
			return
		}
	case connectFrame:
		if len(f.Extensions) == 0 {
			return
		}
	case connectedFrame:
		if len(f.Extensions) == 0 {
			return
		}
	case refusedFrame, errorFrame:
		encode(f)
		return
	}
	got, err := parse(encode(frame))
	if err != nil {
		t.Fatalf("%#v does not read back: %v", frame, err)
	}
	if diff := cmp.Diff(frame, got, cmp.AllowUnexported(sendFrame{})); diff != "" {
		t.Fatal(diff)
	}
}
