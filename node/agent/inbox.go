package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// putDue adds a line to the receipts that are to be sealed for a peer.
func (a *Agent) putDue(tx store.Tx, peer identity.AMID, d dueRow) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	return setJSON(tx, a.key(rowDue, peer[:], id[:]), d)
}

// takeMessage queues a whole message for the inbox.
func (c *clerk) takeMessage(b *batch, s *session, arr arrival, m *content.Message) {
	hash := s.signedHash(&m.Description, m.Body)
	in := incomingMessage{
		desc: m.Description, body: m.Body, path: arr.Path, epoch: s.PeerEpoch, proof: s.proofOf(&m.Description, hash),
	}
	in.breach = c.breach(s, &m.Description, hash, len(m.Body))
	c.talks(b, s, &c.gotAt)
	b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
		return c.store(tx, row, after, b, in)
	})
}

type incomingMessage struct {
	desc  content.Description
	body  []byte
	path  api.PathKind
	epoch uint32 // the peer's, of the session it came in
	// breach is why the session does not let it through, 0 when it does.
	breach content.Reason
	proof  *proofRow // nil: it came in a private session
}

// store puts a message into the inbox, once: dedup, row, body and receipt are one
// transaction (CP 21).
func (c *clerk) store(tx store.Tx, row *peerRow, after *[]func(), b *batch, m incomingMessage) error {
	d, wall := &m.desc, b.wall
	id := d.ID
	seenKey := c.a.key(rowSeen, c.peer[:], id[:])
	hash := content.Hash(*d, m.body)
	seen, found, err := getJSON[seenRow](tx, seenKey)
	if err != nil {
		return err
	}
	if found {
		if err := c.placed(tx, row, after, b, m.epoch, d.Sequence); err != nil {
			return err
		}
		return c.storeAgain(tx, wall, id, hash, seen)
	}
	reason, err := c.objection(tx, row, m, b)
	if err != nil {
		return err
	}
	if reason != 0 {
		err := setJSON(tx, seenKey, seenRow{Hash: hash, At: wall, Refused: reason})
		if err != nil {
			return err
		}
		// Its place in the order is taken, or everything after it would wait.
		if m.epoch == row.InEpoch {
			if err := c.skip(tx, row, after, b, d.Sequence, d.Sequence); err != nil {
				return err
			}
		}
		return c.a.putDue(tx, c.peer, dueRow{Message: id, State: content.Refused, Reason: reason, At: wall})
	}
	local, err := c.localID(tx, id)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(m.body)
	in := inRow{
		Local: local, ID: id, Peer: c.peer, Seq: d.Sequence,
		Intent: d.Intent, ContentType: d.ContentType, FileName: d.FileName, Thread: d.Thread,
		ReplyTo: d.ReplyTo, Size: len(m.body), SHA256: hex.EncodeToString(sum[:]),
		Sent: d.Created, Deadline: d.Deadline, Received: wall, Path: m.path, State: api.InboxNew,
	}
	if err := c.keepProof(tx, &in, m.proof); err != nil {
		return err
	}
	if err := tx.Set(c.a.key(rowInBody, local[:]), m.body); err != nil {
		return err
	}
	if err := setJSON(tx, seenKey, seenRow{Hash: hash, Local: local, At: wall}); err != nil {
		return err
	}
	if err := c.place(tx, row, after, b, in, m.epoch); err != nil {
		return err
	}
	return c.a.putDue(tx, c.peer, dueRow{Message: id, State: content.Delivered, At: wall})
}

// placed closes the place of a message that we have already: in a new epoch the sender
// counts anew, and what follows would wait for it.
func (c *clerk) placed(tx store.Tx, row *peerRow, after *[]func(), b *batch, epoch uint32, seq uint64) error {
	if epoch != row.InEpoch {
		return nil
	}
	return c.skip(tx, row, after, b, seq, seq)
}

// storeAgain answers a message id that was seen before: the same content gets the
// same answer again, another content is a conflict and changes nothing.
func (c *clerk) storeAgain(tx store.Tx, wall time.Time, id uuid.UUID, hash [32]byte, seen seenRow) error {
	due := dueRow{Message: id, State: content.Delivered, At: wall}
	switch {
	case seen.Hash != hash:
		due.State, due.Reason = content.Refused, content.ReasonConflict
	case seen.Refused != 0:
		due.State, due.Reason = content.Refused, seen.Refused
	default:
		arrival, err := tx.Get(c.a.key(rowInIndex, seen.Local[:]))
		if errors.Is(err, store.ErrNotFound) {
			break // behind a hole, or long gone
		}
		if err != nil {
			return err
		}
		in, found, err := getJSON[inRow](tx, c.a.key(rowIn, arrival))
		if err != nil {
			return err
		}
		if found {
			if due.State = receiptState(in.State, in.Attempt); due.State > content.Handled {
				due.Reason = content.ReasonAgent
			}
		}
	}
	return c.a.putDue(tx, c.peer, due)
}

// objection is the reason for which a message is not taken, 0 when it is. Grant and
// policy of this moment decide, not those of the knock.
func (c *clerk) objection(tx store.Tx, row *peerRow, m incomingMessage, b *batch) (content.Reason, error) {
	if m.breach != 0 {
		return m.breach, nil
	}
	if b.now.After(m.desc.Deadline.Add(c.a.Limits.Skew)) {
		return content.ReasonExpired, nil
	}
	granted, err := c.a.granted(tx, c.peer, m.desc.Intent, b.now)
	if err != nil {
		return 0, err
	}
	d := c.a.Policy().Evaluate(knock.Facts{Peer: c.peer, Intent: m.desc.Intent, Granted: granted})
	if d.Verdict != knock.Accept {
		return content.ReasonPolicy, nil
	}
	if m.desc.Sequence <= row.InNext || m.epoch != row.InEpoch {
		return 0, nil
	}
	return c.heldObjection(tx, row.InEpoch, m.desc.Sequence)
}

// heldObjection bounds what waits behind a hole, and keeps one message a sequence.
func (c *clerk) heldObjection(r store.Reader, epoch uint32, seq uint64) (content.Reason, error) {
	at, found, err := getJSON[heldRow](r, c.heldKey(epoch, seq))
	switch {
	case err != nil:
		return 0, err
	case found && at.Msg != nil:
		return content.ReasonConflict, nil
	case found:
		return 0, nil
	}
	full, err := c.heldFull(r)
	if full {
		return content.ReasonBusy, err
	}
	return 0, err
}

func (c *clerk) heldFull(r store.Reader) (bool, error) {
	n := 0
	err := r.Scan(c.a.key(rowHeld, c.peer[:]), nil, func(_, _ []byte) bool { n++; return n < c.a.Limits.Held })
	return n >= c.a.Limits.Held, err
}

// localID is the message's id in our inbox: its own, unless another peer has used
// the same one.
func (c *clerk) localID(tx store.Tx, id uuid.UUID) (uuid.UUID, error) {
	_, err := tx.Get(c.a.key(rowInBody, id[:]))
	if errors.Is(err, store.ErrNotFound) {
		return id, nil
	}
	if err != nil {
		return id, err
	}
	return uuid.NewV7()
}

// heldKey is where a message of the peer waits behind a hole.
func (c *clerk) heldKey(epoch uint32, seq uint64) []byte {
	return c.a.key(rowHeld, c.peer[:], binary.BigEndian.AppendUint32(nil, epoch), be64(seq))
}

// place shows a message to the agent if it is its turn, or keeps it behind a hole. The
// order is that of the peer's present epoch; what comes of another belongs nowhere.
func (c *clerk) place(tx store.Tx, row *peerRow, after *[]func(), b *batch, in inRow, epoch uint32) error {
	row.InNext = max(row.InNext, 1)
	if in.Seq < row.InNext || epoch != row.InEpoch {
		in.Late = true
		return c.show(tx, row, after, in)
	}
	if in.Seq == row.InNext && b.shows > 0 && !row.Showing {
		b.shows--
		row.InNext++
		if err := c.show(tx, row, after, in); err != nil {
			return err
		}
		return c.release(tx, row, after, b)
	}
	key := c.heldKey(epoch, in.Seq)
	held, _, err := getJSON[heldRow](tx, key)
	if err != nil {
		return err
	}
	held.Msg = &in
	if err := setJSON(tx, key, held); err != nil {
		return err
	}
	return c.release(tx, row, after, b)
}

// show gives a message its arrival number: from now on the agent sees it.
func (c *clerk) show(tx store.Tx, row *peerRow, after *[]func(), in inRow) error {
	in.Gap, row.Gap = row.Gap, 0
	n, err := c.a.nextCounter(tx, counterArrival, nil)
	if err != nil {
		return err
	}
	if err := setJSON(tx, c.a.key(rowIn, be64(n)), in); err != nil {
		return err
	}
	*after = append(*after, c.a.changed.broadcast)
	return tx.Set(c.a.key(rowInIndex, in.Local[:]), be64(n))
}

// release shows what waited behind a hole that closed, as much as fits into the
// transaction. The clerk comes back for the rest.
func (c *clerk) release(tx store.Tx, row *peerRow, after *[]func(), b *batch) error {
	row.Showing = false
	for {
		held, key, seq, err := c.firstHeld(tx, row)
		if err != nil {
			return err
		}
		if held == nil {
			row.HoleSince = time.Time{}
			return nil
		}
		if seq > row.InNext {
			if row.HoleSince.IsZero() {
				row.HoleSince = b.now
			}
			return nil
		}
		row.HoleSince = time.Time{}
		if b.shows == 0 {
			row.Showing = true
			return nil
		}
		b.shows--
		if err := tx.Delete(key); err != nil {
			return err
		}
		if held.Msg != nil {
			held.Msg.Late = seq < row.InNext
			if err := c.show(tx, row, after, *held.Msg); err != nil {
				return err
			}
			row.InNext = max(row.InNext, seq+1)
		}
		if held.SkipTo >= row.InNext {
			row.InNext = held.SkipTo + 1
		}
	}
}

// firstHeld is the first row that waits. One of an old epoch waits for nothing: it has
// the sequence 0, and a skip of that time means nothing any more.
func (c *clerk) firstHeld(r store.Reader, peer *peerRow) (held *heldRow, key []byte, seq uint64, err error) {
	prefix := c.a.key(rowHeld, c.peer[:])
	err = scanJSON(r, prefix, nil, func(k []byte, row heldRow) bool {
		held, key, seq = &row, bytes.Clone(k), readOrder(k)
		var epoch uint32 // rows of before there were epochs have none
		if rest := k[len(prefix):]; len(rest) == 12 {
			epoch = binary.BigEndian.Uint32(rest)
		}
		if epoch < peer.InEpoch {
			held.SkipTo, seq = 0, 0
		}
		return false
	})
	return held, key, seq, err
}

// takeSkip closes a hole that the sender knows will never be filled.
func (c *clerk) takeSkip(b *batch, s *session, ct *content.Skip) {
	epoch := s.PeerEpoch
	b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
		if epoch != row.InEpoch {
			return nil // of an order that is over
		}
		return c.skip(tx, row, after, b, ct.From, ct.To)
	})
}

func (c *clerk) skip(tx store.Tx, row *peerRow, after *[]func(), b *batch, from, to uint64) error {
	row.InNext = max(row.InNext, 1)
	if to < row.InNext || to == ^uint64(0) {
		return nil
	}
	key := c.heldKey(row.InEpoch, max(from, row.InNext))
	held, found, err := getJSON[heldRow](tx, key)
	if err != nil {
		return err
	}
	if !found {
		if full, err := c.heldFull(tx); err != nil || full {
			return err
		}
	}
	held.SkipTo = max(held.SkipTo, to)
	if err := setJSON(tx, key, held); err != nil {
		return err
	}
	return c.release(tx, row, after, b)
}

// holeLeft is how long the hole may still be waited for. One that seems to have begun
// in the future did so by a clock that was set back since.
func (c *clerk) holeLeft(now time.Time) time.Duration {
	if since := now.Sub(c.row.HoleSince); since > -c.a.Limits.GapTimeout {
		return c.a.Limits.GapTimeout - since
	}
	return 0
}

// showMore goes on with what waits: the rest of a release that did not fit into one
// transaction, or what stands behind a hole that did not fill in time. How much is
// missing is told with the next message.
func (c *clerk) showMore(b *batch) {
	late := !c.row.HoleSince.IsZero() && c.holeLeft(b.now) <= 0
	if !late && !c.row.Showing {
		return
	}
	b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
		held, _, seq, err := c.firstHeld(tx, row)
		if err != nil {
			return err
		}
		if held != nil && late && seq > row.InNext {
			row.Gap += seq - row.InNext
			row.InNext = seq
		}
		return c.release(tx, row, after, b)
	})
}

func receiptState(s api.InboxState, attempt int) content.State {
	switch s {
	case api.InboxHandled:
		return content.Handled
	case api.InboxFailed:
		return content.Failed
	case api.InboxRefused:
		return content.Refused
	}
	if attempt > 0 {
		return content.Leased
	}
	return content.Delivered
}
