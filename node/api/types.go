package api

import (
	"time"

	"amesh/identity"
)

// State is where an outgoing message is (docs/protocol/session.md §9).
type State string

// The states of an outgoing message, in the order in which they are reached.
// The first five may change; the others are terminal.
const (
	StateAccepted  State = "accepted"  // synced on this node's disk
	StateWaiting   State = "waiting"   // accepted, and held back for Reason
	StateRelayed   State = "relayed"   // a relay promised to keep it
	StateDelivered State = "delivered" // the peer's node has it, said end to end
	StateLeased    State = "leased"    // the peer's agent is looking at it
	StateHandled   State = "handled"   // the peer's agent took responsibility
	StateFailed    State = "failed"    // the peer's agent said it failed
	StateRefused   State = "refused"   // the peer's agent, node or policy said no
	StateExpired   State = "expired"   // the deadline came first
	StateCancelled State = "cancelled" // the sender took it back
	StateDead      State = "dead"      // given up, see Reason
)

// Terminal reports whether the state is final.
func (s State) Terminal() bool {
	switch s {
	case StateHandled, StateFailed, StateRefused, StateExpired, StateCancelled, StateDead:
		return true
	}
	return false
}

// rank orders the states that a sender can wait for.
var rank = map[State]int{
	StateWaiting: 1, StateAccepted: 1, StateRelayed: 2, StateDelivered: 3, StateLeased: 4,
	StateHandled: 5, StateFailed: 5, StateRefused: 5,
}

// Reached reports whether a message in state s has been at least as far as want.
// A refused, expired, cancelled or dead message reached nothing.
func (s State) Reached(want State) bool {
	if s == StateRefused {
		return false
	}
	return rank[s] > 0 && rank[s] >= rank[want]
}

// Waitable reports whether a sender may wait for the state.
func (s State) Waitable() bool {
	switch s {
	case StateAccepted, StateRelayed, StateDelivered, StateLeased, StateHandled:
		return true
	}
	return false
}

// Reasons of a waiting message, and of some terminal ones.
const (
	ReasonNoBundle    = "no_bundle"      // the peer's keys were not found yet
	ReasonKnockSent   = "knock_sent"     // asked, no answer yet
	ReasonOwner       = "owner_deciding" // the peer's owner is asked
	ReasonMailboxFull = "mailbox_full"   // the peer's mailbox at the relay is full
	ReasonWindow      = "window_full"    // too much is unconfirmed
	ReasonRejected    = "rejected"       // the knock was rejected
	ReasonUnconfirmed = "unconfirmed"    // deadline passed without any word
	ReasonLimits      = "limits"         // more than a session carries; waits for the next, or refused
	ReasonRevoked     = "key_revoked"    // the key of one side has left
	ReasonBlocked     = "blocked"        // our own policy blocks the peer
	ReasonGivenUp     = "relay_gave_up"  // the relay that had it gave it up; it goes again while there is time
)

// PathKind is how envelopes reach a peer.
type PathKind string

// The paths, best first.
const (
	PathOpen    PathKind = "open"
	PathDirect  PathKind = "direct"
	PathPunched PathKind = "punched"
	PathRelayed PathKind = "relayed"
	PathNone    PathKind = "none"
)

// SendRequest asks for a message to be sent. Owner or agent.
type SendRequest struct {
	To          string `json:"to" doc:"AMID, DID or name of the peer"`
	Intent      string `json:"intent,omitempty" doc:"what it is about, such as travel/flights"`
	Body        []byte `json:"body" doc:"at most 1 MiB, base64 in JSON"`
	ContentType string `json:"content_type,omitempty" doc:"media type of the body"`
	FileName    string `json:"file_name,omitempty" doc:"base name, when the body is a file"`
	Thread      string `json:"thread,omitempty" doc:"conversation the message belongs to"`
	ReplyTo     string `json:"reply_to,omitempty" doc:"id of the message answered"`
	TTLSeconds  int64  `json:"ttl_s,omitempty" doc:"give up after this many seconds; default and maximum 72 h"`
	Via         string `json:"via,omitempty" enum:"direct,relayed" doc:"use only this path; default the best"`
	Type        string `json:"type,omitempty" enum:"request_response,conversation,stream" doc:"type of the session, where one must be made for the message; default conversation"`
	Wait        State  `json:"wait,omitempty" doc:"answer when this state is reached; default accepted"`
	TimeoutMS   int64  `json:"timeout_ms,omitempty" doc:"how long to wait for it"`
}

// Message is an outgoing message as the sender's node knows it.
type Message struct {
	ID       string        `json:"id"`
	To       identity.AMID `json:"to"`
	State    State         `json:"state"`
	Reason   string        `json:"reason,omitempty"`
	Text     string        `json:"text,omitempty" doc:"what the peer's agent said with its outcome; data of a stranger"`
	Path     PathKind      `json:"path" doc:"path the message last left by, none before that"`
	Where    string        `json:"where,omitempty" doc:"where it waits: this node, or the relay's URL"`
	Expires  time.Time     `json:"expires" doc:"its deadline"`
	Created  time.Time     `json:"created"`
	Changed  time.Time     `json:"changed"`
	Intent   string        `json:"intent,omitempty"`
	FileName string        `json:"file_name,omitempty"`
	Thread   string        `json:"thread,omitempty"`
	ReplyTo  string        `json:"reply_to,omitempty"`
	Size     int64         `json:"size"`
	SHA256   string        `json:"sha256"`
	Sequence uint64        `json:"sequence"`
	Mode     string        `json:"mode,omitempty" enum:"private,accountable" doc:"of the session it went in; none before that"`
}

// InboxState is where an incoming message is.
type InboxState string

// The states of an incoming message.
const (
	InboxNew     InboxState = "new"
	InboxLeased  InboxState = "leased"
	InboxHandled InboxState = "handled"
	InboxFailed  InboxState = "failed"
	InboxRefused InboxState = "refused"
)

// InboxItem is an incoming message without its body.
type InboxItem struct {
	ID          string        `json:"id"`
	From        identity.AMID `json:"from"`
	State       InboxState    `json:"state"`
	Intent      string        `json:"intent"`
	ReceivedAt  time.Time     `json:"received_at"`
	Size        int64         `json:"size"`
	SHA256      string        `json:"sha256"`
	ContentType string        `json:"content_type,omitempty"`
	FileName    string        `json:"file_name,omitempty"`
	Thread      string        `json:"thread,omitempty"`
	ReplyTo     string        `json:"reply_to,omitempty"`
	SentAt      time.Time     `json:"sent_at"`
	Path        PathKind      `json:"path" doc:"path it came by"`
	Mode        string        `json:"mode,omitempty" enum:"private,accountable" doc:"accountable: its sender signed it, and proof shows that to others"`
	Attempt     int           `json:"attempt" doc:"how often it was handed out"`
	LeasedUntil *time.Time    `json:"leased_until,omitempty"`
	Sequence    uint64        `json:"sequence"`
	Late        bool          `json:"late,omitempty" doc:"it came after its hole had been reported as a gap"`
	GapBefore   uint64        `json:"gap_before,omitempty" doc:"how many messages before it never came"`
}

// InboxMessage is an incoming message with its body.
type InboxMessage struct {
	InboxItem
	Body  []byte `json:"body"`
	Proof *Proof `json:"proof,omitempty" doc:"of an accountable message"`
}

// Proof shows a third party who said a message, and to whom: Signature is Key's, over
// "amesh/1 message", a zero byte, Binding, the message's sequence (8 bytes) and
// ContentHash; Binding is the SHA-256 of Transcript and Knock, which names both agents
// and is signed by the one who asked (docs/protocol/session.md §9.2, §9.5).
type Proof struct {
	Signature   []byte    `json:"signature"`
	Key         []byte    `json:"key" doc:"the sender's Ed25519 key"`
	ContentHash []byte    `json:"content_hash"`
	Deadline    time.Time `json:"deadline" doc:"of the message; the content hash covers it"`
	Binding     []byte    `json:"binding"`
	Transcript  []byte    `json:"transcript"`
	Knock       []byte    `json:"knock"`
}

// InboxPage is a page of the inbox, oldest first. Next is empty on the last page.
type InboxPage struct {
	Items []InboxItem `json:"items"`
	Next  string      `json:"next,omitempty"`
}

// InboxQuery selects incoming messages.
type InboxQuery struct {
	All    bool   // also what was handled, failed or refused
	From   string // only of this peer (AMID or DID)
	Limit  int    // 1 to 500; 0: 100
	Cursor string // Next of the page before
}

// LeaseRequest asks for messages to work on. Nobody else gets them until the
// lease ends; what is not acknowledged by then is handed out again.
type LeaseRequest struct {
	Max          int `json:"max,omitempty" doc:"at most this many, default 1, at most 100"`
	LeaseSeconds int `json:"lease_s,omitempty" doc:"default 60, at most 3600"`
	WaitSeconds  int `json:"wait_s,omitempty" doc:"wait this long for the first one, at most 60"`
}

// AckRequest ends a lease with the agent's word. Outcome is handled, failed or
// refused; Text (at most 200 bytes) goes to the sender.
type AckRequest struct {
	Outcome InboxState `json:"outcome,omitempty" enum:"handled,failed,refused" doc:"default handled"`
	Text    string     `json:"text,omitempty" maxLength:"200"`
}

// Identity is an agent's public self.
type Identity struct {
	Name   string        `json:"name"`
	AMID   identity.AMID `json:"amid"`
	DID    string        `json:"did"`
	PeerID string        `json:"peer_id"`
	Addrs  []string      `json:"addrs"`
}

// Agent is one agent of this node. What is behind the AMID is there in Status only.
type Agent struct {
	Name       string        `json:"name"`
	AMID       identity.AMID `json:"amid"`
	Epoch      uint32        `json:"epoch,omitempty" doc:"grows whenever the state was put back"`
	RolledBack *time.Time    `json:"rolled_back,omitempty" doc:"when it was last noticed that the state was put back, or that a copy of it ran elsewhere"`
	Echo       bool          `json:"echo,omitempty" doc:"it sends back what it gets, and is open to everybody"`
	OneTime    *OneTimeKeys  `json:"one_time_keys,omitempty" doc:"left to be handed out"`
}

// OneTimeKeys is how many one-time keys of each kind there are.
type OneTimeKeys struct {
	X25519 int `json:"x25519"`
	KEM    int `json:"kem"`
}

// Relay is one relay that this node is homed on, was homed on, or may be. State is
// connected, connecting, refused or standby: no line is kept to it. Error says why it is
// not connected.
type Relay struct {
	URL       string    `json:"url"`
	State     string    `json:"state" enum:"connected,connecting,refused,standby"`
	Since     time.Time `json:"since"`
	Error     string    `json:"error,omitempty"`
	Role      string    `json:"role" enum:"home,standby,draining,leaving" doc:"leaving: it was a home, and its mail is still fetched"`
	Announced bool      `json:"announced" doc:"others are told to leave mail there"`
	LatencyMS float64   `json:"latency_ms,omitempty" doc:"round trip, median of the last measurements; absent when there is none"`
	Via       string    `json:"via,omitempty" enum:"websocket,longpoll" doc:"while connected; longpoll: plain HTTP requests, because somebody in between lets no WebSocket through"`
	Proxy     string    `json:"proxy,omitempty" doc:"the proxy that leads there, without credentials"`
	Trust     string    `json:"trust,omitempty" enum:"pinned,legacy" doc:"pinned: what we sign for it is of use nowhere else, and it must stay so; legacy: of AgentMesh 0.2, the owner allows it"`
	Mailbox   int       `json:"mailbox" doc:"messages that lie there for us, as far as known"`
}

// Peer is another agent that one of ours has to do with.
type Peer struct {
	AMID     identity.AMID `json:"amid"`
	Agent    string        `json:"agent" doc:"our agent's name"`
	Path     PathKind      `json:"path"`
	Session  string        `json:"session" doc:"none, knocking, accepted or rejected"`
	Mode     string        `json:"mode,omitempty" enum:"private,accountable" doc:"of the session that messages to it go in"`
	Granted  bool          `json:"granted"`
	Blocked  bool          `json:"blocked,omitempty" doc:"by our policy"`
	Waiting  int           `json:"waiting" doc:"outgoing messages that its node does not have yet"`
	LastSeen *time.Time    `json:"last_seen,omitempty" doc:"when something of the peer was last opened"`
	Addr     string        `json:"addr,omitempty" doc:"address of the direct path"`
	Verified *time.Time    `json:"verified,omitempty" doc:"when the owner said that the keys were compared and match"`
	Revoked  *Revocation   `json:"revoked,omitempty" doc:"its key has left for ever"`
}

// Contact is what is remembered of another agent, whether something is under way
// with it or not.
type Contact struct {
	AMID     identity.AMID  `json:"amid"`
	Agent    string         `json:"agent" doc:"our agent's name"`
	Name     string         `json:"name,omitempty" doc:"what we call it; may stand wherever an AMID may"`
	Source   string         `json:"source" enum:"invite,knock,manual,none" doc:"how it became a contact; none: nothing was agreed"`
	Granted  bool           `json:"granted" doc:"one of the two has said yes to the other"`
	Grants   []ContactGrant `json:"grants,omitempty"`
	Blocked  bool           `json:"blocked,omitempty" doc:"by our policy"`
	LastSeen *time.Time     `json:"last_seen,omitempty" doc:"when something of it was last opened"`
	Verified *time.Time     `json:"verified,omitempty" doc:"when the owner said that the keys were compared and match"`
	Revoked  *Revocation    `json:"revoked,omitempty" doc:"its key has left for ever"`
}

// Revocation is what a signing key said when it left for ever. Who stole the key can
// have said it: whether the successor is the one, its owner is to be asked.
type Revocation struct {
	AMID      identity.AMID  `json:"amid"`
	Issued    time.Time      `json:"issued"`
	Reason    string         `json:"reason" enum:"superseded,compromised,retired"`
	Successor *identity.AMID `json:"successor,omitempty"`
}

// RevokeRequest makes an agent's key leave for ever. A successor consents by signing
// the same second, reason and keys (identity.SignSuccessor).
type RevokeRequest struct {
	Reason    string     `json:"reason" enum:"superseded,compromised,retired"`
	Issued    *time.Time `json:"issued,omitempty" doc:"whole seconds, at most 10 minutes from now; default now"`
	Successor string     `json:"successor,omitempty" doc:"its signing key in base64"`
	Consent   []byte     `json:"consent,omitempty" doc:"its signature, 64 bytes in base64"`
}

// Keys are the public keys of an agent and their age.
type Keys struct {
	Agent               string        `json:"agent"`
	AMID                identity.AMID `json:"amid"`
	SigningKey          string        `json:"signing_key" doc:"base64"`
	Fingerprint         string        `json:"fingerprint" doc:"SHA-256 of the signing key in hex"`
	ExchangeFingerprint string        `json:"exchange_fingerprint" doc:"SHA-256 of the exchange key in hex"`
	Epoch               uint32        `json:"epoch"`
	Sequence            uint64        `json:"sequence" doc:"of the bundle"`
	BundleID            string        `json:"bundle_id" doc:"hex"`
	Created             time.Time     `json:"created" doc:"when the newest keys were made"`
	Expires             time.Time     `json:"expires" doc:"when others stop using them"`
	Sets                int           `json:"sets" doc:"how many sets still open knocks, the newest included"`
	Revoked             *Revocation   `json:"revoked,omitempty"`
}

// Comparison is what the owners of two agents compare on another line, to be sure
// that each has the other's key.
type Comparison struct {
	Agent    string        `json:"agent"`
	Peer     identity.AMID `json:"peer"`
	Words    []string      `json:"words" nullable:"false" doc:"twelve words, to be read out"`
	Value    string        `json:"value" doc:"all of it in hex"`
	QR       string        `json:"qr" doc:"text of the QR code"`
	Verified *time.Time    `json:"verified,omitempty" doc:"when the owner said that they match"`
}

// VerifyRequest is what the owner found in comparing.
type VerifyRequest struct {
	Matches bool `json:"matches" doc:"false takes back what was said before"`
}

// DHT is the node's view of the DHT.
type DHT struct {
	Peers     int  `json:"peers" doc:"entries of the routing table"`
	Published bool `json:"published" doc:"own record was read back from another node"`
	Serving   bool `json:"serving,omitempty" doc:"records are kept for others"`
}

// Neighbour is an agent that was met in the local network.
type Neighbour struct {
	AMID      identity.AMID `json:"amid"`
	PeerID    string        `json:"peer_id" doc:"of its node"`
	Addresses []string      `json:"addresses"`
	LastSeen  time.Time     `json:"last_seen"`
}

// Status is the node at a glance. Agents see it without other agents' peers.
type Status struct {
	Version  string      `json:"version"`
	Home     string      `json:"home"`
	Started  time.Time   `json:"started"`
	PeerID   string      `json:"peer_id"`
	Listen   []string    `json:"listen"`
	Agents   []Agent     `json:"agents"`
	Relays   []Relay     `json:"relays"`
	Peers    []Peer      `json:"peers"`
	DHT      DHT         `json:"dht"`
	NAT      *NAT        `json:"nat,omitempty" doc:"what is in front of the node, as it was found out last"`
	LAN      []Neighbour `json:"lan,omitempty" doc:"agents in the local network"`
	Queued   int         `json:"queued" doc:"outgoing messages that the peer's node does not have yet"`
	Unread   int         `json:"unread" doc:"incoming messages in state new"`
	Knocks   int         `json:"knocks" doc:"knocks waiting for the owner"`
	Degraded []string    `json:"degraded,omitempty" doc:"what does not work right now, one sentence each"`

	Registries []Registry `json:"registries,omitempty"`
}

// Knock is a request to talk, in either direction.
type Knock struct {
	ID        string        `json:"id" doc:"the first 16 hex digits of the knock hash"`
	Agent     string        `json:"agent"`
	Peer      identity.AMID `json:"peer"`
	Direction string        `json:"direction" enum:"in,out"`
	Intent    string        `json:"intent"`
	Type      string        `json:"type" enum:"request_response,conversation,stream" doc:"of the session asked for"`
	Mode      string        `json:"mode" enum:"private,accountable" doc:"accountable: every message will be signed"`
	State     string        `json:"state" enum:"sent,pending,accepted,rejected,expired"`
	Rule      string        `json:"rule,omitempty" doc:"the rule of the policy that decided; only for knocks that came in"`
	Remark    string        `json:"remark,omitempty" doc:"what was wrong with the invite that it came with"`
	Tier      string        `json:"tier,omitempty" enum:"anonymous,verified,organization" doc:"what the peer's certificate proved when it knocked; only for knocks that came in"`
	At        time.Time     `json:"at"`
	Expires   time.Time     `json:"expires"`
}

// Session is an encrypted line to a peer. Of those that are open one sends at a time.
type Session struct {
	ID        string        `json:"id" doc:"the first 16 hex digits of the hash of its knock"`
	Agent     string        `json:"agent"`
	Peer      identity.AMID `json:"peer"`
	Direction string        `json:"direction" enum:"in,out" doc:"who asked for it"`
	State     string        `json:"state" enum:"knocking,pending,unanswered,sending,receiving,closed"`
	Type      string        `json:"type" enum:"request_response,conversation,stream"`
	Mode      string        `json:"mode" enum:"private,accountable"`
	Reason    string        `json:"reason,omitempty" doc:"why it was closed: done, policy, expired, limits or shutdown"`
	Since     *time.Time    `json:"since,omitempty" doc:"when it was accepted"`
	LastUsed  time.Time     `json:"last_used"`
	Limits    SessionLimits `json:"limits" doc:"of what each side may send in it"`
	Sent      SessionUse    `json:"sent"`
	Received  SessionUse    `json:"received"`
}

// SessionLimits are what each side may send in a session; 0 is no limit.
type SessionLimits struct {
	Messages   uint32 `json:"messages"`
	Bytes      uint64 `json:"bytes"`
	TTLSeconds uint32 `json:"ttl_s"`
}

// SessionUse is what one side has sent in a session.
type SessionUse struct {
	Messages uint32 `json:"messages"`
	Bytes    uint64 `json:"bytes" doc:"of their bodies"`
}

// DecideRequest is the owner's answer to a waiting knock.
type DecideRequest struct {
	TTLSeconds int64 `json:"ttl_s,omitempty" doc:"how long the grant lasts; 0: until taken back"`
}

// BackupRequest says where a backup goes and who can read it: whoever knows the
// passphrase, or holds one of the age keys. One of the two is given.
type BackupRequest struct {
	File       string   `json:"file" doc:"absolute path of a new file on the node's machine"`
	Passphrase string   `json:"passphrase,omitempty" doc:"whoever knows it can read the backup; kept nowhere"`
	Recipients []string `json:"recipients,omitempty" doc:"age public keys (age1…)"`
}

// Backup is a backup that was written.
type Backup struct {
	File   string  `json:"file"`
	Size   int64   `json:"size" doc:"bytes"`
	Rows   int     `json:"rows" doc:"of the agents' state"`
	Agents []Agent `json:"agents"`
}

// Policy is the owner's policy as it is in force. Rules is the effective content
// with defaults filled in; Ignored lists keys of other dialects that have no effect.
type Policy struct {
	Agent   string         `json:"agent"`
	File    string         `json:"file"`
	Rules   map[string]any `json:"rules"`
	Ignored []string       `json:"ignored,omitempty"`
	Version string         `json:"version"`
	Default bool           `json:"default,omitempty" doc:"there is no policy file, or nothing in it"`
}

// PolicyChange sets one key. Lists are comma separated; an empty value restores
// the default.
type PolicyChange struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}
