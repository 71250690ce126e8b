package sim

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/internal/wire"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// Kinds of rows, and the fields of them, that say what was promised; the others of
// node/agent/rows.go are its own affair.
const (
	kindOut     = 'o'
	kindFlight  = 'e'
	kindSealed  = 'E'
	kindSession = 's'
	kindOpened  = 'd'
	kindSeen    = 'm'
	kindIn      = 'i'
	kindKnock   = 'k'
	kindReceipt = 'R'
	kindOneTime = 'Y'
)

type outRow struct {
	ID       uuid.UUID     `json:"id"`
	Peer     identity.AMID `json:"peer"`
	Seq      uint64        `json:"seq"`
	Deadline time.Time     `json:"deadline"`
	SHA256   string        `json:"sha256"`
	State    api.State     `json:"state"`
	Reason   string        `json:"reason"`
}

type inRow struct {
	ID     uuid.UUID      `json:"id"`
	Peer   identity.AMID  `json:"peer"`
	Seq    uint64         `json:"seq"`
	SHA256 string         `json:"sha256"`
	State  api.InboxState `json:"state"`
	Late   bool           `json:"late"`
	Gap    uint64         `json:"gap"`
}

type flightRow struct {
	ID    ratchet.ID `json:"id"`
	Msg   uuid.UUID  `json:"msg"`
	Class string     `json:"class"`
}

type receiptRow struct {
	Peer identity.AMID `json:"peer"`
	Sid  string        `json:"sid"`
}

type seenRow struct {
	Refused content.Reason `json:"refused"`
}

type knockRow struct {
	Hash  [32]byte      `json:"hash"`
	Peer  identity.AMID `json:"peer"`
	Out   bool          `json:"out"`
	State string        `json:"state"`
	// Answer is our newest one, by its envelope.
	Answer ratchet.ID `json:"answer"`

	At      time.Time `json:"at"`
	Expires time.Time `json:"expires"`
}

type sessionRow struct {
	Asker bool           `json:"asker"`
	Ask   knock.AskState `json:"ask"`

	stored []byte
}

// write is one row of a transaction; value is nil for a deletion.
type write struct{ key, value []byte }

// ledger is what is durable at one person, as far as it was promised to somebody.
type ledger struct {
	out      map[uuid.UUID]outRow
	in       map[string]inRow                        // by arrival
	sessions map[identity.AMID]map[string]sessionRow // by peer and sid
	opened   map[ratchet.ID]bool
	knocks   map[[32]byte]knockRow
	rejects  map[ratchet.ID]bool // envelopes whose session was erased with the knock
}

func newLedger() *ledger {
	return &ledger{
		out: make(map[uuid.UUID]outRow), in: make(map[string]inRow), opened: make(map[ratchet.ID]bool),
		sessions: make(map[identity.AMID]map[string]sessionRow), knocks: make(map[[32]byte]knockRow),
		rejects: make(map[ratchet.ID]bool),
	}
}

// committed turns the rows of a transaction into events; w.mu is held.
func (p *Person) committed(writes []write) {
	p.spent = nil
	for _, row := range writes {
		if len(row.key) == identity.AMIDSize+1+5 && row.key[identity.AMIDSize] == kindOneTime && row.value == nil {
			name := row.key[identity.AMIDSize+1:]
			p.spent = append(p.spent, keyName(knock.KeyName{
				Kind: identity.KeyKind(name[0]), ID: binary.BigEndian.Uint32(name[1:]),
			}))
		}
	}
	for _, row := range writes {
		if len(row.key) <= identity.AMIDSize {
			continue
		}
		kind, rest := row.key[identity.AMIDSize], row.key[identity.AMIDSize+1:]
		if row.value == nil {
			p.deleted(kind, rest)
			continue
		}
		if err := p.wrote(kind, rest, row); err != nil {
			p.w.t.Errorf("sim: row %q of %s: %v", kind, p.Name, err)
		}
	}
}

func (p *Person) deleted(kind byte, rest []byte) {
	switch kind {
	case kindIn:
		delete(p.rows.in, string(rest))
	case kindSession:
		delete(p.rows.sessions[identity.AMID(rest[:identity.AMIDSize])], string(rest[identity.AMIDSize:]))
	case kindOpened:
		delete(p.rows.opened, ratchet.ID(rest))
	}
}

func (p *Person) wrote(kind byte, rest []byte, row write) error {
	switch kind {
	case kindOut:
		return p.wroteOut(row.value)
	case kindIn:
		return p.wroteIn(string(rest), row.value)
	case kindSession:
		return p.wroteSession(rest, row)
	case kindOpened:
		id := ratchet.ID(rest)
		if !p.rows.opened[id] {
			p.rows.opened[id] = true
			p.note(Event{Kind: Opened, Envelope: id.String()})
		}
	case kindReceipt:
		var r receiptRow
		if err := json.Unmarshal(row.value, &r); err != nil {
			return err
		}
		if r.Sid == "" { // a renew, which is in no other row
			p.note(Event{Kind: Sealed, Peer: p.w.name(r.Peer), Envelope: ratchet.ID(rest).String()})
		}
	case kindSealed:
		to := identity.AMID(rest[:identity.AMIDSize])
		p.note(Event{Kind: Sealed, Peer: p.w.name(to), Envelope: ratchet.EnvelopeID(row.value).String()})
	case kindFlight:
		var f flightRow
		if err := json.Unmarshal(row.value, &f); err != nil {
			return err
		}
		if f.Class == "moment" {
			p.note(Event{Kind: Uttered, Envelope: f.ID.String()})
		}
		if f.Msg == uuid.Nil {
			return nil
		}
		to := identity.AMID(rest[:identity.AMIDSize])
		p.note(Event{Kind: Sealed, Peer: p.w.name(to), Envelope: f.ID.String(), ID: f.Msg.String()})
	case kindSeen:
		var s seenRow
		if err := json.Unmarshal(row.value, &s); err != nil {
			return err
		}
		e := Event{Kind: Seen, Peer: p.w.name(identity.AMID(rest[:identity.AMIDSize])), ID: uuid.UUID(rest[identity.AMIDSize:]).String()}
		if s.Refused != 0 {
			e.Reason = fmt.Sprint("reason ", s.Refused)
		}
		p.note(e)
	case kindKnock:
		var k knockRow
		if err := json.Unmarshal(row.value, &k); err != nil {
			return err
		}
		before, known := p.rows.knocks[k.Hash]
		p.rows.knocks[k.Hash] = k
		if k.State == "rejected" {
			p.rows.rejects[k.Answer] = true
		}
		if !k.Out && (!known || before.State != k.State) {
			p.note(Event{
				Kind: Knock, Peer: p.w.name(k.Peer), ID: hex.EncodeToString(k.Hash[:]), State: k.State, OneTime: p.spent,
			})
		}
	}
	return nil
}

func (p *Person) wroteOut(value []byte) error {
	var o outRow
	if err := json.Unmarshal(value, &o); err != nil {
		return err
	}
	before := p.rows.out[o.ID]
	p.rows.out[o.ID] = o
	if before.State == o.State && before.Reason == o.Reason {
		return nil
	}
	p.note(Event{
		Kind: OutRow, Peer: p.w.name(o.Peer), ID: o.ID.String(), Seq: o.Seq, State: string(o.State), Reason: o.Reason, Digest: o.SHA256,
	})
	return nil
}

func (p *Person) wroteIn(arrival string, value []byte) error {
	var in inRow
	if err := json.Unmarshal(value, &in); err != nil {
		return err
	}
	before, known := p.rows.in[arrival]
	p.rows.in[arrival] = in
	if known && before.State == in.State {
		return nil
	}
	p.note(Event{
		Kind: InRow, Peer: p.w.name(in.Peer), ID: in.ID.String(), Seq: in.Seq, State: string(in.State),
		Shown: !known, Late: in.Late, Gap: in.Gap, Digest: in.SHA256,
	})
	return nil
}

func (p *Person) wroteSession(rest []byte, row write) error {
	plain, err := p.state.Open(row.key, row.value)
	if p.finding && errors.Is(err, store.ErrSealed) {
		return nil // its key is lost
	}
	if err != nil {
		return err
	}
	var s sessionRow
	r := wire.NewReader(plain)
	meta, stored := r.LP32(1<<20), r.LP32(16<<20)
	if err := r.Done(); err != nil {
		return err
	}
	if err := json.Unmarshal(meta, &s); err != nil {
		return err
	}
	s.stored = stored
	peer := identity.AMID(rest[:identity.AMIDSize])
	if p.rows.sessions[peer] == nil {
		p.rows.sessions[peer] = make(map[string]sessionRow)
	}
	sid := string(rest[identity.AMIDSize:])
	p.rows.sessions[peer][sid] = s
	return p.w.tap.learn(direction{p.AMID(), peer}, sid, p.life, stored)
}

// openable reports whether one of the sessions, which were on this person's disk when
// an envelope came, opens it, although it is not recorded as opened, and may not put it
// off: an asker puts off what overtakes the accept (session.md §8.1).
func (p *Person) openable(sessions map[string]sessionRow, envelope []byte) bool {
	if p.rows.opened[ratchet.EnvelopeID(envelope)] {
		return false
	}
	for _, row := range sessions {
		s, err := ratchet.UnmarshalSession(row.stored)
		if err != nil {
			continue
		}
		opened, err := s.Open(p.w.Now(), zeros{}, envelope)
		if err != nil || len(opened.Plaintext) == 0 {
			continue
		}
		if !row.Asker || row.Ask == knock.AskAccepted || isAnswer(opened.Plaintext[0]) {
			return true
		}
	}
	return false
}

func isAnswer(t byte) bool {
	switch content.Type(t) {
	case content.TypeAccept, content.TypeReject, content.TypePending:
		return true
	}
	return false
}

// zeros is no randomness at all, for sessions that are thrown away.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	if len(b) > 0 {
		b[0] = 9
	}
	return len(b), nil
}
