package relay

import (
	"bytes"
	"encoding/json"

	"amesh/identity"
)

// The frame types of AgentMesh §2.2 and of the extensions.
const (
	typeConnect       = "connect"
	typeConnected     = "connected"
	typeSend          = "send"
	typeReceive       = "receive"
	typePresence      = "presence"
	typePresenceQuery = "presence_query"
	typePresenceReply = "presence_response"
	typeICEOffer      = "ice_offer"
	typeICEAnswer     = "ice_answer"
	// serde's snake case of P2PEstablished really is this; the other spelling is
	// accepted, never sent.
	typeP2P          = "p2_p_established"
	typeP2PAlso      = "p2p_established"
	typeError        = "error"
	typePing         = "ping"
	typePong         = "pong"
	typeDisconnect   = "disconnect"
	typeGetPending   = "get_pending_messages"
	typePending      = "pending_messages"
	typeKnockMessage = "knock_with_message"
	typeAck          = "ack"
	typeRelayed      = "relayed"
	typeRefused      = "refused"
	typeAllow        = "allow"
	typeAllowed      = "allowed"
	typeDeposit      = "deposit"
	typeDeposited    = "deposited"
	typeExpired      = "expired"
	typeDraining     = "draining"
)

// The protocol strings in use; we send the first.
const (
	protocol02 = "agentmesh/0.2"
	protocol01 = "agentmesh/0.1"
)

const (
	statusOnline  = "online"
	statusOffline = "offline"
)

var statuses = []string{statusOnline, "away", statusOffline, "dnd"}

// Error codes of error frames (AgentMesh §2.4).
const (
	CodeInvalidSignature = "INVALID_SIGNATURE"
	CodeRecipientOffline = "RECIPIENT_OFFLINE"
	CodeRateLimited      = "RATE_LIMITED"
	CodeMessageTooLarge  = "MESSAGE_TOO_LARGE"
	CodeInvalidMessage   = "INVALID_MESSAGE"
	CodeInternalError    = "INTERNAL_ERROR"
	CodeProtocolMismatch = "PROTOCOL_MISMATCH"
	// CodeWrongRelay refuses a connect frame that names another relay. Clients of
	// 0.2 name none and never see it.
	CodeWrongRelay = "WRONG_RELAY"
	// CodeUnauthorized refuses who is banned.
	CodeUnauthorized = "UNAUTHORIZED"
)

// RefusalCode says why a send was refused under the extension "ack". The list is
// closed and only ever grows.
type RefusalCode string

// The refusal codes of relay.md §4.2, §9 and §10.
const (
	RefusedRateLimited RefusalCode = "rate_limited"
	RefusedMailboxFull RefusalCode = "mailbox_full"
	RefusedNotAllowed  RefusalCode = "not_allowed"
	RefusedTooMany     RefusalCode = "too_many"
	RefusedOutOfOrder  RefusalCode = "out_of_order"
	RefusedTooLarge    RefusalCode = "too_large"
	RefusedInvalid     RefusalCode = "invalid"
	RefusedStorage     RefusalCode = "storage_unavailable"
)

type connectFrame struct {
	Type       string      `json:"type"`
	Protocol   string      `json:"protocol"`
	AMID       string      `json:"amid"`
	PublicKey  string      `json:"public_key"`
	Signature  string      `json:"signature"`
	Timestamp  string      `json:"timestamp"`
	P2PCapable bool        `json:"p2p_capable"`
	Relay      string      `json:"relay,omitempty"`
	Extensions []Extension `json:"extensions,omitempty"`
}

type connectedFrame struct {
	Type       string      `json:"type"`
	SessionID  string      `json:"session_id"`
	Pending    int         `json:"pending_messages"`
	Extensions []Extension `json:"extensions,omitempty"`
	STUN       string      `json:"stun,omitempty"`
	Mark       string      `json:"mark,omitempty"`
	RelayKey   string      `json:"relay_key,omitempty"`
}

type sendFrame struct {
	Type       string          `json:"type"`
	To         string          `json:"to"`
	Payload    string          `json:"encrypted_payload"`
	Kind       Kind            `json:"message_type"`
	Candidates json.RawMessage `json:"ice_candidates,omitempty"`
	ClientID   string          `json:"client_id,omitempty"`
	// second is the message of a knock_with_message frame.
	second *sendFrame
	// binary says that the receiver is to and the payload an envelope's bytes.
	binary bool
	to     identity.AMID
	// broken says that a send with a usable client_id was otherwise malformed:
	// its sender waits for an answer.
	broken bool
}

type receiveFrame struct {
	Type       string          `json:"type"`
	From       string          `json:"from"`
	Payload    string          `json:"encrypted_payload"`
	Kind       Kind            `json:"message_type"`
	Timestamp  string          `json:"timestamp"`
	Candidates json.RawMessage `json:"ice_candidates,omitempty"`
	ID         string          `json:"id,omitempty"`
}

type presenceFrame struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

type presenceQueryFrame struct {
	Type string `json:"type"`
	AMID string `json:"amid"`
}

type presenceReplyFrame struct {
	Type     string `json:"type"`
	AMID     string `json:"amid"`
	Status   string `json:"status"`
	LastSeen string `json:"last_seen,omitempty"`
}

// iceFrame is an offer or an answer. On delivery To is the sender (AgentMesh §2.2).
type iceFrame struct {
	Type       string          `json:"type"`
	To         string          `json:"to"`
	SDP        string          `json:"sdp"`
	Candidates json.RawMessage `json:"candidates"`
}

type p2pFrame struct {
	Type string `json:"type"`
	Peer string `json:"peer"`
}

type candidate struct {
	Candidate string  `json:"candidate"`
	Mid       *string `json:"sdp_mid"`
	MLine     *uint32 `json:"sdp_mline_index"`
}

// drainingFrame says that the relay is about to stop.
type drainingFrame struct {
	Type   string `json:"type"`
	Within int    `json:"within_s"`
}

// errorFrame carries its text twice: the Rust relay writes message, the
// JavaScript SDK reads error.
type errorFrame struct {
	Type       string `json:"type"`
	Code       string `json:"code"`
	Message    string `json:"message"`
	Error      string `json:"error"`
	RetryAfter int    `json:"retry_after_seconds,omitempty"`
}

type pingFrame struct {
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
}

type disconnectFrame struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

type getPendingFrame struct{}

type pendingFrame struct {
	Type     string     `json:"type"`
	Messages []struct{} `json:"messages"`
}

type ackFrame struct {
	Type string   `json:"type"`
	IDs  []string `json:"message_ids"`
}

type relayedFrame struct {
	Type     string `json:"type"`
	ClientID string `json:"client_id"`
	ID       string `json:"id"`
	Expires  string `json:"expires"`
}

type refusedFrame struct {
	Type       string      `json:"type"`
	ClientID   string      `json:"client_id"`
	Code       RefusalCode `json:"code"`
	RetryAfter int         `json:"retry_after_s,omitempty"`
}

// encode writes a frame. Payloads are opaque: Go's escaping of <, > and & for
// browsers would only make them longer.
func encode(frame any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(frame); err != nil {
		// Every frame type above is strings, numbers and JSON that was parsed.
		panic("relay: frame does not encode: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
