package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

var (
	// errMalformed reports a frame that lacks something required, or is no frame.
	errMalformed = errors.New("malformed frame")
	// errUnknownType reports a frame whose type this version does not know.
	errUnknownType = errors.New("unknown frame type")
)

// members are the parts of one JSON object, under their exact names: the usual
// decoder would also fill "to" from "TO".
type members map[string]json.RawMessage

func parseMembers(data []byte) (members, error) {
	if m, ok := scanMembers(data); ok {
		return m, nil
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: not UTF-8", errMalformed)
	}
	var m members
	if err := json.Unmarshal(data, &m); err != nil || m == nil {
		return nil, fmt.Errorf("%w: not a JSON object", errMalformed)
	}
	return m, nil
}

// text is a required string; its absence is noted in *ok.
func (m members) text(name string, ok *bool) string {
	raw, have := m[name]
	if !have || len(raw) < 2 || raw[0] != '"' {
		*ok = false
		return ""
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		*ok = false
	}
	return s
}

// optional is a string that may be absent or of another type.
func (m members) optional(name string) string {
	ok := true
	return m.text(name, &ok)
}

// parseClientFrame reads a frame as a client sends it (AgentMesh §2.2). Members
// it does not know are ignored.
func parseClientFrame(data []byte, l Limits) (any, error) {
	m, err := parseMembers(data)
	if err != nil {
		return nil, err
	}
	ok := true
	frame := m.clientFrame(m.text("type", &ok), &ok, l)
	if !ok {
		return nil, errMalformed
	}
	if frame == nil {
		return nil, errUnknownType
	}
	return frame, nil
}

func (m members) clientFrame(typ string, ok *bool, l Limits) any {
	switch typ {
	case typeConnect:
		return m.connect(ok, l)
	case typeSend:
		return m.send(ok, l)
	case typeKnockMessage:
		return m.knockWithMessage(ok)
	case typeAck:
		return ackFrame{Type: typ, IDs: m.ids()}
	case typeAllow:
		return m.allow(ok)
	case typeDeposit:
		return m.deposit()
	case typePresence:
		f := presenceFrame{Type: typ, Status: m.text("status", ok)}
		*ok = *ok && slices.Contains(statuses, f.Status)
		return f
	case typePresenceQuery:
		return presenceQueryFrame{Type: typ, AMID: m.text("amid", ok)}
	case typeICEOffer, typeICEAnswer:
		f := iceFrame{Type: typ, To: m.text("to", ok), SDP: m.text("sdp", ok)}
		f.Candidates = m.candidates("candidates", ok)
		*ok = *ok && f.Candidates != nil
		return f
	case typeP2P, typeP2PAlso:
		return p2pFrame{Type: typeP2P, Peer: m.text("peer", ok)}
	case typePing:
		return pingFrame{Type: typ, Timestamp: m.text("timestamp", ok)}
	case typeDisconnect:
		return disconnectFrame{Type: typ, Reason: m.text("reason", ok)}
	case typeGetPending:
		return getPendingFrame{}
	}
	return nil
}

func (m members) connect(ok *bool, l Limits) connectFrame {
	f := connectFrame{
		Type: typeConnect, Protocol: m.text("protocol", ok), AMID: m.text("amid", ok),
		PublicKey: m.text("public_key", ok), Signature: m.text("signature", ok), Timestamp: m.text("timestamp", ok),
	}
	if raw, have := m["p2p_capable"]; have && json.Unmarshal(raw, &f.P2PCapable) != nil {
		*ok = false
	}
	f.Relay = m.optional("relay")
	// Extensions are strangers to 0.2: whatever is no list of names is ignored.
	if json.Unmarshal(m["extensions"], &f.Extensions) != nil || len(f.Extensions) > l.Extensions {
		f.Extensions = nil
	}
	return f
}

func (m members) send(ok *bool, l Limits) sendFrame {
	fine := true
	f := sendFrame{
		Type: typeSend, To: m.text("to", &fine), Payload: m.text("encrypted_payload", &fine),
		Kind: Kind(m.text("message_type", &fine)), Candidates: m.candidates("ice_candidates", &fine),
		ClientID: m.optional("client_id"),
	}
	if len(f.ClientID) > l.ClientIDBytes {
		fine, f.ClientID = false, ""
	}
	fine = fine && f.Kind.Valid()
	if !fine && f.ClientID != "" {
		return sendFrame{Type: typeSend, ClientID: f.ClientID, broken: true}
	}
	*ok = *ok && fine
	return f
}

// knockWithMessage is a frame of the JavaScript SDK: a knock and the message that
// goes with it, split here.
func (m members) knockWithMessage(ok *bool) sendFrame {
	to := m.text("to", ok)
	kind := Kind(m.optional("message_type"))
	if kind == "" {
		kind = KindOptimistic
	}
	*ok = *ok && kind.Valid()
	message := &sendFrame{Type: typeSend, To: to, Payload: m.text("message_payload", ok), Kind: kind}
	return sendFrame{Type: typeSend, To: to, Payload: m.text("knock_payload", ok), Kind: KindKnock, second: message}
}

// ids reads message_ids, or the JavaScript SDK's single message_id, which names
// nothing of ours and falls out later.
func (m members) ids() []string {
	var ids []string
	if json.Unmarshal(m["message_ids"], &ids) != nil {
		return nil
	}
	return ids
}

// candidates reads a list of ICE candidates and writes it as the Rust relay does,
// the two optional members as null. It is nil when the member is absent.
func (m members) candidates(name string, ok *bool) json.RawMessage {
	raw, have := m[name]
	if !have || string(raw) == "null" {
		return nil
	}
	list := []candidate{}
	if json.Unmarshal(raw, &list) != nil {
		*ok = false
		return nil
	}
	return encode(list)
}

// parseRelayFrame reads a frame as a relay sends it to a client. Types that the
// client does not use are errUnknownType.
func parseRelayFrame(data []byte) (any, error) {
	m, err := parseMembers(data)
	if err != nil {
		return nil, err
	}
	ok := true
	frame := m.relayFrame(m.text("type", &ok), &ok)
	if !ok {
		return nil, errMalformed
	}
	if frame == nil {
		return nil, errUnknownType
	}
	return frame, nil
}

func (m members) relayFrame(typ string, ok *bool) any {
	switch typ {
	case typeConnected:
		f := connectedFrame{Type: typ, SessionID: m.text("session_id", ok)}
		m.number("pending_messages", &f.Pending)
		f.STUN, f.Mark, f.RelayKey = m.optional("stun"), m.optional("mark"), m.optional("relay_key")
		if json.Unmarshal(m["extensions"], &f.Extensions) != nil {
			f.Extensions = nil
		}
		return f
	case typeReceive:
		f := receiveFrame{
			Type: typ, From: m.text("from", ok), Payload: m.text("encrypted_payload", ok),
			Kind: Kind(m.text("message_type", ok)), Timestamp: m.optional("timestamp"), ID: m.optional("id"),
		}
		*ok = *ok && f.Kind.Valid()
		return f
	case typeError:
		f := errorFrame{Type: typ, Code: m.text("code", ok), Message: m.optional("message"), Error: m.optional("error")}
		m.number("retry_after_seconds", &f.RetryAfter)
		return f
	case typeRelayed:
		return relayedFrame{
			Type: typ, ClientID: m.text("client_id", ok), ID: m.optional("id"), Expires: m.text("expires", ok),
		}
	case typeRefused:
		f := refusedFrame{Type: typ, ClientID: m.text("client_id", ok), Code: RefusalCode(m.text("code", ok))}
		m.number("retry_after_s", &f.RetryAfter)
		return f
	case typeDraining:
		return drainingFrame{Type: typ}
	case typeExpired:
		return expiredFrame{Type: typ, ID: m.text("id", ok), Notice: m.text("notice", ok)}
	case typeDeposited:
		return depositedFrame{Type: typ, Mark: m.optional("mark"), Code: RefusalCode(m.optional("code"))}
	case typeAllowed:
		f := allowedFrame{Type: typ, Code: RefusalCode(m.optional("code"))}
		*ok = *ok && json.Unmarshal(m["version"], &f.Version) == nil
		return f
	}
	return nil
}

// number fills n when the member is a whole number, and leaves it otherwise.
func (m members) number(name string, n *int) {
	var v int
	if json.Unmarshal(m[name], &v) == nil {
		*n = v
	}
}
