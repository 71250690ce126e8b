package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// Every key starts with the local AMID, then one of these.
const (
	rowOut      = 'o' // peer 20, sequence 8           → outRow
	rowOutBody  = 'O' // message id 16                 → body
	rowOutIndex = 'n' // message id 16                 → peer 20, sequence 8
	rowFlight   = 'e' // peer 20, order 8              → flightRow: an envelope that is sent again until its end
	rowSealed   = 'E' // peer 20, order 8              → its sealed bytes
	rowSession  = 's' // peer 20, sid 16               → session, sealed
	rowOpened   = 'd' // envelope id 16                → openedRow: dedup of envelopes
	rowDue      = 'r' // peer 20, UUIDv7 16            → dueRow: a receipt to be sealed
	rowSkip     = 'w' // peer 20, sequence 8           → nothing: the peer is to be told that it will not come
	rowReceipt  = 'R' // envelope id 16                → receiptRow: bytes of a sealed receipt or answer
	rowSeen     = 'm' // peer 20, message id 16        → seenRow: dedup of messages
	rowParts    = 'P' // peer 20, message id 16        → partsRow
	rowPart     = 'p' // peer 20, message id 16, index → slice
	rowHeld     = 'h' // peer 20, epoch 4, sequence 8  → heldRow: behind a hole
	rowIn       = 'i' // arrival 8                     → inRow
	rowInBody   = 'B' // local id 16                   → body
	rowInIndex  = 'j' // local id 16                   → arrival 8
	rowProof    = 'S' // local id 16                   → proofRow: of an accountable message
	rowPeer     = 'q' // peer 20                       → peerRow
	rowKnock    = 'k' // knock hash 32                 → knockRow
	rowReplay   = 'x' // th0 32                        → replayRow
	rowGrant    = 'g' // peer 20                       → Grant: our owner's or policy's yes
	rowReturn   = 'G' // peer 20                       → Grant: the return of the peer's yes to us
	rowContact  = 'c' // peer 20                       → contactRow
	rowResume   = 'v' // peer 20                       → resumeRow
	rowPrekeys  = 'y' // bundle sequence 8             → prekeySet, sealed
	rowRevoked  = 'L' // peer 20 or our own            → revokedRow
	rowCard     = 'K' //                               → api.CardContent: what the owner says of the agent
	rowVerified = 'V' // peer 20                       → verifiedRow: the owners compared the keys
	rowOneTime  = 'Y' // kind 1, id 4                  → privatePart of a one-time key, sealed
	rowReady    = 'a' // kind 1, id 4                  → the key as it is signed, until somebody was given it
	rowDeposit  = 'T' // kind 1, id 4                  → depositRow: of a key that somebody else hands out
	rowName     = 'M' // peer 20                       → nameRow: what we call it
	rowInvite   = 'I' // invite id 4                   → inviteRow: one that we made
	rowGuest    = 'W' // invite id 4, peer 20          → guestRow: who came in by it
	rowJoin     = 'J' // peer 20                       → joinRow: our wish to enter by its invite
	rowIdem     = 'z' // SHA-256 of the key 32         → idemRow
	rowRelay    = 'H' // URL                           → the node's own: see RowRelay
	rowRegistry = 'N' // URL                           → the node's own: see RowRegistry
	rowCounter  = 'u' // one byte of name              → u64
)

// RowRelay is the kind of the rows in which the node remembers an agent's relays.
const RowRelay = rowRelay

// RowRegistry is the kind of the rows in which the node remembers where an agent is
// registered.
const RowRegistry = rowRegistry

// Names of counters.
const (
	counterArrival  = 'a' // of the inbox
	counterSequence = 's' // followed by the peer: last sequence given to it
	counterRecord   = 'r' // of the agent record
	counterCard     = 'c' // of the agent card
	counterEpoch    = 'e' // the agent's epoch
	counterSealed   = 'n' // envelopes sealed, of which the rollback mark reserves a number
	counterOneTime  = 'o' // id of the next one-time key
	counterRoom     = 'f' // when the disk was found to have room again, in seconds
	counterBack     = 'b' // when it was noticed that the state was put back, in seconds
)

// outRow is an outgoing message.
type outRow struct {
	ID       uuid.UUID     `json:"id"`
	Peer     identity.AMID `json:"peer"`
	Seq      uint64        `json:"seq"`
	Created  time.Time     `json:"created"`
	Changed  time.Time     `json:"changed"`
	Deadline time.Time     `json:"deadline"`

	Intent      string       `json:"intent,omitempty"`
	ContentType string       `json:"ctype,omitempty"`
	FileName    string       `json:"file,omitempty"`
	Thread      string       `json:"thread,omitempty"`
	ReplyTo     uuid.UUID    `json:"reply_to"`
	Via         api.PathKind `json:"via,omitempty"`
	// Type is the type of a session that must be made for the message; 0: conversation.
	Type   content.SessionType `json:"type,omitempty"`
	Size   int                 `json:"size"`
	SHA256 string              `json:"sha256"`
	Mode   content.Mode        `json:"mode,omitempty"` // of the session it was sealed in

	State  api.State    `json:"state"`
	Reason string       `json:"reason,omitempty"`
	Text   string       `json:"text,omitempty"`
	Path   api.PathKind `json:"path"`
	Where  string       `json:"where,omitempty"`

	// Session is the session the row was sealed in, empty before that.
	Session string `json:"session,omitempty"`
	// Tail says that it left only behind a knock that has no answer yet.
	Tail bool `json:"tail,omitempty"`
}

// sealed reports whether the row was ever sealed, in whatever session.
func (o *outRow) sealed() bool { return o.Session != "" }

// flightRow is a sealed envelope that is sent again until its end.
type flightRow struct {
	ID      ratchet.ID   `json:"id"`
	Class   flightClass  `json:"class"`
	Msg     uuid.UUID    `json:"msg"` // for messages and parts
	Sid     string       `json:"sid"`
	Chain   uint64       `json:"chain"` // the sending chain it was sealed in
	At      time.Time    `json:"at"`
	Until   time.Time    `json:"until"` // not sent after this
	Via     api.PathKind `json:"via,omitempty"`
	Promise time.Time    `json:"promise"` // a relay keeps it until then
	// Skip is what a skip says, so that it can be said again in another session.
	Skip *content.Skip `json:"skip,omitempty"`
}

type flightClass string

const (
	flightKnock   flightClass = "knock"   // until an answer opens
	flightAnswer  flightClass = "answer"  // pending, reject: until it was handed over
	flightMessage flightClass = "message" // until its receipt
	flightControl flightClass = "control" // accept, skip, paths: until its receipt
	flightReceipt flightClass = "receipt" // until it was handed over
	flightMoment  flightClass = "moment"  // offer, answer, echo, its reply: until its receipt, for half a minute
)

// wantsReceipt says whether the peer will name the envelope in a receipt.
func (c flightClass) wantsReceipt() bool {
	return c == flightMessage || c == flightControl || c == flightMoment
}

type openedRow struct {
	Peer identity.AMID `json:"peer"`
	At   time.Time     `json:"at"`
	// Receipt is the envelope that named this one; zero until it was sealed.
	Receipt ratchet.ID `json:"receipt"`
}

// dueRow is one line of a receipt that is to be sealed.
type dueRow struct {
	Envelope ratchet.ID     `json:"env"` // zero: only about the message
	Message  uuid.UUID      `json:"msg"` // zero: only about the envelope
	State    content.State  `json:"state,omitempty"`
	Reason   content.Reason `json:"reason,omitempty"`
	Text     string         `json:"text,omitempty"`
	At       time.Time      `json:"at"`
}

type receiptRow struct {
	Peer identity.AMID `json:"peer"`
	Sid  string        `json:"sid,omitempty"` // empty for what is no ratchet message
	At   time.Time     `json:"at"`
	Data []byte        `json:"data"`
}

type seenRow struct {
	Hash  [32]byte  `json:"hash"`
	Local uuid.UUID `json:"local"`
	At    time.Time `json:"at"`
	// Refused is the reason sent back when the message was not taken.
	Refused content.Reason `json:"refused,omitempty"`
}

type partsRow struct {
	Count    int       `json:"count"`
	Total    int       `json:"total"`
	Hash     [32]byte  `json:"hash"`
	Got      uint32    `json:"got"`     // bit i: part i is here
	Content  [32]byte  `json:"content"` // content hash of the message
	Seq      uint64    `json:"seq"`
	Deadline time.Time `json:"deadline"`
}

type heldRow struct {
	SkipTo uint64 `json:"skip_to,omitempty"` // not 0: sequences up to this never come
	Msg    *inRow `json:"msg,omitempty"`
}

// inRow is an incoming message.
type inRow struct {
	Local uuid.UUID     `json:"local"` // its id here: the message id, unless another peer used the same
	ID    uuid.UUID     `json:"id"`
	Peer  identity.AMID `json:"peer"`
	Seq   uint64        `json:"seq"`

	Intent      string       `json:"intent,omitempty"`
	ContentType string       `json:"ctype,omitempty"`
	FileName    string       `json:"file,omitempty"`
	Thread      string       `json:"thread,omitempty"`
	ReplyTo     uuid.UUID    `json:"reply_to"`
	Size        int          `json:"size"`
	SHA256      string       `json:"sha256"`
	Sent        time.Time    `json:"sent"`
	Deadline    time.Time    `json:"deadline"`
	Received    time.Time    `json:"received"`
	Path        api.PathKind `json:"path"`
	Mode        content.Mode `json:"mode,omitempty"`

	State   api.InboxState `json:"state"`
	Lease   time.Time      `json:"lease"`
	Attempt int            `json:"attempt"`
	Late    bool           `json:"late,omitempty"`
	Gap     uint64         `json:"gap,omitempty"`
}

// peerRow is what outlives a clerk: counters and what the peer said of its places.
type peerRow struct {
	InNext    uint64      `json:"in_next"`  // next sequence to be shown; 0: nothing known yet
	InEpoch   uint32      `json:"in_epoch"` // the peer's epoch that InNext belongs to
	HoleSince time.Time   `json:"hole_since"`
	Gap       uint64      `json:"gap"`                // sequences given up, not yet told with a message
	Showing   bool        `json:"showing"`            // more is ready to be shown than fitted into a transaction
	Refused   uint64      `json:"refused,omitempty"`  // messages up to this sequence that waited were refused with a knock
	NotBefore time.Time   `json:"not_before"`         // the peer asked us not to knock before
	Unwanted  bool        `json:"unwanted,omitempty"` // the peer refused our last knock
	Order     uint64      `json:"order"`              // last order given to a flight
	Renewed   []time.Time `json:"renewed,omitempty"`  // knocks made again because of a renew, lately
	LastSeen  time.Time   `json:"last_seen"`
	Places    Places      `json:"places"`
	PlacesAt  time.Time   `json:"places_at"` // stamp of the places
	Told      string      `json:"told"`      // fingerprint of our places as told last
	Farewell  farewell    `json:"farewell"`  // when our key has left
}

// Places is where a peer's node can be reached.
type Places struct {
	PeerIDs   []string `json:"peer_ids,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Relays    []string `json:"relays,omitempty"`
}

type knockRow struct {
	Hash     [32]byte      `json:"hash"`
	Peer     identity.AMID `json:"peer"`
	Out      bool          `json:"out"`
	Intent   string        `json:"intent"`
	Type     uint8         `json:"type,omitempty"`
	Mode     uint8         `json:"mode,omitempty"`
	State    string        `json:"state"` // sent, pending, accepted, rejected, expired
	Rule     string        `json:"rule,omitempty"`
	Sid      string        `json:"sid,omitempty"`
	Answer   ratchet.ID    `json:"answer"`   // our newest answer
	Envelope ratchet.ID    `json:"envelope"` // the knock's own
	At       time.Time     `json:"at"`
	Expires  time.Time     `json:"expires"`
	// Remark is what was wrong with the invite that it brought.
	Remark string `json:"remark,omitempty"`
	// Tier is what its certificate proved when it came.
	Tier knock.Tier `json:"tier,omitempty"`
	// Retry is when a peer that was refused for now may ask again.
	Retry time.Duration `json:"retry,omitempty"`

	by *inviteRow // what lets the peer in, while the answer is made
}

// Grant is the remembered yes to a peer. It outlives sessions.
type Grant struct {
	Peer    identity.AMID `json:"peer"`
	Intents []string      `json:"intents,omitempty"` // empty: every intent
	Since   time.Time     `json:"since"`
	Expires time.Time     `json:"expires"` // zero: until taken back
	Policy  string        `json:"policy"`  // version of the policy that gave it
	Return  bool          `json:"return"`  // we asked, the peer said yes
	// Limits of every session that we grant the peer, and Invite and Label those of the
	// invite that it came in by.
	Limits content.Limits `json:"limits,omitzero"`
	Invite string         `json:"invite,omitempty"`
	Label  string         `json:"label,omitempty"`
}

// Valid reports whether the grant holds at a time.
func (g *Grant) Valid(now time.Time) bool {
	return (g.Expires.IsZero() || now.Before(g.Expires))
}

// Covers reports whether the grant holds at a time for messages with an intent.
func (g *Grant) Covers(intent string, now time.Time) bool {
	return g.Valid(now) && (len(g.Intents) == 0 || slices.Contains(g.Intents, intent))
}

// granted reports whether a peer may knock and write with an intent: because our side
// said yes to it, or because it said yes to us. The two are kept apart, so that a
// peer's words never change what our owner gave.
func (a *Agent) granted(r store.Reader, peer identity.AMID, intent string, now time.Time) (bool, error) {
	for _, kind := range []byte{rowGrant, rowReturn} {
		g, found, err := getJSON[Grant](r, a.key(kind, peer[:]))
		if err != nil {
			return false, err
		}
		if found && g.Covers(intent, now) {
			return true, nil
		}
	}
	return false, nil
}

// holdsGrant reports whether a peer holds a grant, ours or its return, for whatever intent.
func (a *Agent) holdsGrant(r store.Reader, peer identity.AMID, now time.Time) (bool, error) {
	for _, kind := range []byte{rowGrant, rowReturn} {
		g, found, err := getJSON[Grant](r, a.key(kind, peer[:]))
		if err != nil || found && g.Valid(now) {
			return err == nil, err
		}
	}
	return false, nil
}

// replayRow keeps a knock from being taken twice, as long as the prekeys that it
// named can open it.
type replayRow struct {
	Hash  [32]byte  `json:"hash"`
	Until time.Time `json:"until"`
}

type contactRow struct {
	Epoch    uint32   `json:"epoch"`
	Sequence uint64   `json:"sequence"`
	BundleID [32]byte `json:"bundle_id"`
	Record   []byte   `json:"record,omitempty"`
	// Bundle is newer than the record's, when a renew brought it.
	Bundle  []byte    `json:"bundle,omitempty"`
	Fetched time.Time `json:"fetched"`
}

// resumeRow bounds how often sessions are resumed with a peer (session.md §8.6).
type resumeRow struct {
	Asked time.Time    `json:"asked"`           // our last resume knock
	Named []ratchet.ID `json:"named,omitempty"` // the ids it and those before named, the newest last
	Taken []time.Time  `json:"taken,omitempty"` // the peer's that we accepted within a day
}

type idemRow struct {
	Request [32]byte  `json:"request"`
	ID      uuid.UUID `json:"id"`
	At      time.Time `json:"at"`
}

// key builds a row key of this agent.
func (a *Agent) key(kind byte, parts ...[]byte) []byte {
	k := make([]byte, 0, identity.AMIDSize+1+64)
	k = append(k, a.amid[:]...)
	k = append(k, kind)
	for _, p := range parts {
		k = append(k, p...)
	}
	return k
}

func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// getJSON reads a row; found is false when there is none.
func getJSON[T any](r store.Reader, key []byte) (row T, found bool, err error) {
	b, err := r.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return row, false, nil
	}
	if err != nil {
		return row, false, err
	}
	if err := json.Unmarshal(b, &row); err != nil {
		return row, false, fmt.Errorf("row %q: %w", key[identity.AMIDSize], err)
	}
	return row, true, nil
}

func setJSON(tx store.Tx, key []byte, row any) error {
	b, err := json.Marshal(row)
	if err != nil {
		return err
	}
	return tx.Set(key, b)
}

// scanJSON calls f for each row under a prefix until f returns false.
func scanJSON[T any](r store.Reader, prefix, from []byte, f func(key []byte, row T) bool) error {
	var bad error
	err := r.Scan(prefix, from, func(k, v []byte) bool {
		var row T
		if bad = json.Unmarshal(v, &row); bad != nil {
			bad = fmt.Errorf("row %q: %w", k[identity.AMIDSize], bad)
			return false
		}
		return f(k, row)
	})
	return errors.Join(err, bad)
}

// nextCounter adds one to a counter and returns it.
func (a *Agent) nextCounter(tx store.Tx, name byte, of []byte) (uint64, error) {
	key := a.key(rowCounter, []byte{name}, of)
	var v uint64
	switch b, err := tx.Get(key); {
	case err == nil && len(b) == 8:
		v = binary.BigEndian.Uint64(b)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return 0, err
	}
	v++
	return v, tx.Set(key, be64(v))
}

// String is a fingerprint for comparing places, not for reading them back.
func (p Places) String() string {
	return fmt.Sprintf("%q %q %q", p.PeerIDs, p.Addresses, p.Relays)
}
