package agent

import (
	"errors"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// Incoming is sealed bytes that arrived for this agent.
type Incoming struct {
	From identity.AMID // what the outside of the envelope says; a hint, never believed
	Data []byte
	Path api.PathKind
	// PeerID is the libp2p peer id it came from, empty for a relay.
	PeerID string
	// Ack is called once, after the commit or after the envelope was dropped for good.
	Ack func()
}

// arrival is an Incoming with what was found out about it.
type arrival struct {
	Incoming
	id    ratchet.ID
	know  *knock.Knock  // a knock that passed the cheap checks
	renew bool          // a renew, of which nothing was checked yet
	up    time.Duration // the uptime when it came
}

// Receive takes an envelope. It may block while the peer's clerk is busy, so that
// the connection it came from slows down.
func (a *Agent) Receive(in Incoming) {
	peer := in.From
	arr := arrival{Incoming: in, id: ratchet.EnvelopeID(in.Data), up: a.Uptime()}
	typ, err := ratchet.ParsePrefix(in.Data)
	arr.renew = err == nil && typ == ratchet.TypeRenew
	switch {
	case err != nil:
		a.drop(in, err)
		return
	case typ == ratchet.TypeKnock:
		k, err := a.screen(in.Data)
		if err != nil {
			a.drop(in, err)
			return
		}
		peer, arr.know = k.From, k // signed; the outside is not
	case typ == ratchet.TypeMessage, typ == ratchet.TypeRenew:
		if !a.isKnown(peer) {
			a.drop(in, errors.New("no session with the sender"))
			return
		}
	default:
		a.drop(in, ratchet.ErrUnsupported)
		return
	}
	if peer == a.amid || a.Policy().Blocked(peer) {
		a.drop(in, errors.New("blocked"))
		return
	}
	for {
		c := a.clerk(peer)
		if c == nil {
			return // not running: no ack, it comes again
		}
		if c.deliver(arr) {
			return
		}
	}
}

// drop acknowledges what will never be opened, so that nobody keeps it for us.
func (a *Agent) drop(in Incoming, err error) {
	a.Logger.Debug("envelope dropped", "peer", in.From.Short(), "err", err)
	in.Ack()
}

// receive opens a batch of envelopes and commits what was in them.
func (c *clerk) receive(ins []arrival) error {
	if len(ins) == 0 && (!c.hold.ready || len(c.hold.list) == 0) {
		return nil
	}
	if c.blocked {
		c.shun(ins)
		return nil
	}
	b := c.begin()
	seen := make(map[ratchet.ID]bool, len(ins))
	for _, arr := range append(c.hold.take(b.up, c.a.Limits), ins...) {
		again, err := c.repeated(b, arr.id)
		if err != nil {
			return err
		}
		if again || seen[arr.id] {
			b.then(arr.Ack)
			continue
		}
		switch {
		case arr.know != nil:
			if err = c.takeKnock(b, arr); errors.Is(err, errDropped) {
				err = c.renew(b, arr, err)
			}
		case arr.renew:
			err = c.takeRenew(b, arr)
		default:
			err = c.openEnvelope(b, arr)
		}
		switch {
		case errors.Is(err, errHeld):
			c.hold.add(b.up, arr, c.counts(arr), c.a.Limits)
		case errors.Is(err, errDropped):
			c.a.Logger.Debug("envelope not opened", "peer", c.peer.Short(), "err", err)
			if errors.Is(err, ratchet.ErrDuplicate) && c.counts(arr) {
				c.lose(arr.id) // its key is gone, and we never opened it
			}
		case err != nil:
			return err
		default:
			seen[arr.id] = true
			c.regain(arr.id)
		}
		b.then(arr.Ack)
	}
	return c.commit(b)
}

var (
	// errDropped wraps the reason why an envelope was dropped without any change.
	errDropped = errors.New("dropped")
	// errHeld says that an envelope is tried again after the next session.
	errHeld = errors.New("held")
)

// hold keeps envelopes in memory that came too early: what follows an accept may
// overtake it. They are acknowledged; after a crash their sender sends them again.
type hold struct {
	list  []heldArrival
	bytes int
	// ready says that a session came or was accepted since the last try.
	ready bool
}

type heldArrival struct {
	arrival
	since time.Duration // uptime
	// counts says that it is a reason to resume, if no session opens it in time.
	counts bool
}

func (h *hold) add(up time.Duration, arr arrival, counts bool, l Limits) {
	for len(h.list) > 0 && up-h.list[0].since >= l.HoldFor {
		h.bytes -= len(h.list[0].Data)
		h.list = h.list[1:]
	}
	if len(h.list) >= l.HoldEnvelopes || h.bytes+len(arr.Data) > l.HoldBytes {
		return
	}
	arr.Ack = func() {} // it was acknowledged when it came
	h.list = append(h.list, heldArrival{arr, up, counts})
	h.bytes += len(arr.Data)
}

// take empties the hold when there is a new chance to open what is in it.
func (h *hold) take(up time.Duration, l Limits) []arrival {
	if !h.ready {
		return nil
	}
	var again []arrival
	for _, x := range h.list {
		if up-x.since < l.HoldFor {
			again = append(again, x.arrival)
		}
	}
	*h = hold{}
	return again
}

// repeated recognises an envelope that was committed before, without any
// decryption, and answers it with the stored bytes of the receipt that named it.
func (c *clerk) repeated(b *batch, id ratchet.ID) (bool, error) {
	var again bool
	var answer ratchet.ID
	var data []byte
	err := c.a.Store.View(func(r store.Reader) error {
		row, found, err := getJSON[openedRow](r, c.a.key(rowOpened, id[:]))
		if err != nil || !found {
			return err
		}
		again = true
		if row.Peer != c.peer || row.Receipt == (ratchet.ID{}) {
			return nil
		}
		rec, found, err := getJSON[receiptRow](r, c.a.key(rowReceipt, row.Receipt[:]))
		if err != nil || !found {
			return err
		}
		answer, data = row.Receipt, rec.Data
		return nil
	})
	if err != nil || data == nil {
		return again, err
	}
	if last, ok := c.repeats[answer]; ok && b.up-last < c.a.Limits.RepeatEvery {
		return true, nil
	}
	c.repeats[answer] = b.up
	c.forgetRepeats(b.up)
	b.then(func() {
		c.a.Carrier.Carry(Envelope{From: c.a.amid, To: c.peer, ID: answer, Data: data}, func(Outcome) {})
	})
	return true, nil
}

func (c *clerk) forgetRepeats(up time.Duration) {
	for id, at := range c.repeats {
		if up-at >= c.a.Limits.RepeatEvery {
			delete(c.repeats, id)
		}
	}
}

// openEnvelope tries the sessions, the sending one first, and queues what the
// content says for the commit.
func (c *clerk) openEnvelope(b *batch, arr arrival) error {
	var why error
	for _, s := range b.list() {
		n := b.try(s)
		r := n.r
		early := n.Asker && !n.accepted()
		before := r.SkippedKeys()
		if early {
			r = r.Clone() // it may turn out that this must wait
		}
		opened, err := r.Open(b.now, c.a.Rand, arr.Data)
		if err != nil {
			why = err
			continue
		}
		ct, err := content.Parse(opened.Plaintext)
		if err != nil {
			// The peer sealed nonsense: its ratchet step counts, its content does not.
			ct = &content.Unknown{}
		}
		if early && !isAnswer(ct) {
			return errHeld // it overtook the accept; the ratchet is left as it was
		}
		n.r = r
		n = b.session(n)
		c.boundSkipped(n, before)
		c.stepped(b, n, opened)
		c.cameBy(b, arr)
		return c.take(b, n, arr, ct)
	}
	if why == nil || errors.Is(why, ratchet.ErrDecrypt) {
		return errHeld // perhaps of a session that is still to come
	}
	return errors.Join(errDropped, why)
}

func isAnswer(ct content.Content) bool {
	switch ct.Type() {
	case content.TypeAccept, content.TypeReject, content.TypePending:
		return true
	}
	return false
}

// cameBy notes the path of something that was opened.
func (c *clerk) cameBy(b *batch, arr arrival) {
	c.usedPath(arr.Path)
	if arr.PeerID != "" {
		b.then(func() { c.a.Carrier.Seen(c.peer, arr.PeerID) })
	}
}

// stepped notes what an opened envelope means for our own sending.
func (c *clerk) stepped(b *batch, s *session, o ratchet.Opened) {
	s.Used = b.wall
	s.r.Expire(b.now.Add(-c.a.Limits.SkippedKeep))
	if !o.NewChain {
		return
	}
	s.Chain++
	s.Messages, s.Control = 0, 0
	b.then(func() {
		// The key pair of the next turn, made while nobody waits for it.
		if err := s.r.Prepare(c.a.Rand); err != nil {
			c.a.Logger.Error("no randomness for the next ratchet key", "peer", c.peer.Short(), "err", err)
		}
	})
	if s.Heard.IsZero() {
		s.Heard = b.wall
	}
	// The peer answered our chain: what only had to reach it, did so or is of no
	// use any more.
	for _, f := range c.flights {
		if f.Sid == s.Sid && f.Chain < s.Chain && f.Class == flightReceipt && !f.Promise.IsZero() {
			b.land(f)
		}
	}
}

// take queues the rows that a content asks for.
func (c *clerk) take(b *batch, s *session, arr arrival, ct content.Content) error {
	b.write(func(tx store.Tx, row *peerRow, _ *[]func()) error {
		row.LastSeen = b.wall
		return setJSON(tx, c.a.key(rowOpened, arr.id[:]), openedRow{Peer: c.peer, At: b.wall})
	})
	if c.parted() {
		return c.takeParted(b, s, arr, ct)
	}
	switch ct := ct.(type) {
	case *content.Accept:
		return c.takeAccept(b, s, arr, ct)
	case *content.Reject:
		if ct.Code == content.Busy {
			return c.takeBusy(b, s, ct)
		}
		return c.takeAnswer(b, s, ct.Knock, knock.GotReject, arr, nil)
	case *content.Pending:
		return c.takeAnswer(b, s, ct.Knock, knock.GotPending, arr, nil)
	case *content.Receipts:
		return c.takeReceipts(b, ct)
	}
	if !s.accepted() {
		// Nothing but answers counts before both sides said yes (T37).
		return nil
	}
	c.owe(b, dueRow{Envelope: arr.id, At: b.wall})
	switch ct := ct.(type) {
	case *content.Message:
		c.takeMessage(b, s, arr, ct)
	case *content.Part:
		c.takePart(b, s, arr, ct)
	case *content.Skip:
		c.takeSkip(b, s, ct)
	case *content.Close:
		c.takeClose(s, ct)
	case *content.Paths:
		c.takePaths(b, ct)
	case *content.Revocation:
		return c.takeRevocation(b, ct)
	case content.Signal:
		c.takeSignal(b, ct)
	case *content.Echo:
		return c.takeEcho(b, arr, ct)
	case *content.EchoReply:
		c.takeEchoReply(b, arr, ct)
	}
	return nil
}

// owe queues a line of the next receipt, in the same transaction as what it confirms.
func (c *clerk) owe(b *batch, d dueRow) {
	b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error { return c.a.putDue(tx, c.peer, d) })
}

func (c *clerk) takePaths(b *batch, ct *content.Paths) {
	b.write(func(_ store.Tx, row *peerRow, after *[]func()) error {
		if !ct.Stamp.After(row.PlacesAt) {
			return nil
		}
		row.PlacesAt = ct.Stamp
		row.Places = Places{PeerIDs: ct.PeerIDs, Addresses: ct.Addresses, Relays: ct.Relays}
		places := row.Places
		*after = append(*after, func() { c.a.Carrier.Learn(c.peer, places, true) })
		return nil
	})
}
