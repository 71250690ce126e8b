package agent

import (
	"crypto/sha256"
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
	b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
		return c.store(tx, row, after, b.now, incomingMessage{
			session: s, desc: m.Description, body: m.Body, path: arr.Path,
		})
	})
}

type incomingMessage struct {
	session *session
	desc    content.Description
	body    []byte
	path    api.PathKind
}

// store puts a message into the inbox, once: dedup, row, body and receipt are one
// transaction (CP 21).
func (c *clerk) store(tx store.Tx, row *peerRow, after *[]func(), now time.Time, m incomingMessage) error {
	d := &m.desc
	id := d.ID
	seenKey := c.a.key(rowSeen, c.peer[:], id[:])
	hash := content.Hash(*d, m.body)
	seen, found, err := getJSON[seenRow](tx, seenKey)
	if err != nil {
		return err
	}
	if found {
		return c.storeAgain(tx, now, id, hash, seen)
	}
	reason, err := c.objection(tx, m, now)
	if err != nil {
		return err
	}
	if reason != 0 {
		err := setJSON(tx, seenKey, seenRow{Hash: hash, At: now, Refused: reason})
		if err != nil {
			return err
		}
		// Its place in the order is taken, or everything after it would wait.
		if err := c.passOver(tx, row, after, now, d.Sequence); err != nil {
			return err
		}
		return c.a.putDue(tx, c.peer, dueRow{Message: id, State: content.Refused, Reason: reason, At: now})
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
		Sent: d.Created, Deadline: d.Deadline, Received: now, Path: m.path, State: api.InboxNew,
	}
	if err := tx.Set(c.a.key(rowInBody, local[:]), m.body); err != nil {
		return err
	}
	if err := setJSON(tx, seenKey, seenRow{Hash: hash, Local: local, At: now}); err != nil {
		return err
	}
	if err := c.place(tx, row, after, now, in); err != nil {
		return err
	}
	return c.a.putDue(tx, c.peer, dueRow{Message: id, State: content.Delivered, At: now})
}

// storeAgain answers a message id that was seen before: the same content gets the
// same answer again, another content is a conflict and changes nothing.
func (c *clerk) storeAgain(tx store.Tx, now time.Time, id uuid.UUID, hash [32]byte, seen seenRow) error {
	due := dueRow{Message: id, State: content.Delivered, At: now}
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
			due.State = receiptState(in.State, in.Attempt)
		}
	}
	return c.a.putDue(tx, c.peer, due)
}

// objection is the reason for which a message is not taken, 0 when it is. The grant
// and the policy of this moment decide, not those of the knock.
func (c *clerk) objection(r store.Reader, m incomingMessage, now time.Time) (content.Reason, error) {
	if now.After(m.desc.Deadline.Add(c.a.Limits.Skew)) {
		return content.ReasonExpired, nil
	}
	grant, err := c.a.grant(r, c.peer)
	if err != nil {
		return 0, err
	}
	d := c.a.Policy().Evaluate(knock.Facts{Peer: c.peer, Intent: m.desc.Intent, Granted: grant.Valid(now)})
	if d.Verdict != knock.Accept || !grant.Covers(m.desc.Intent) {
		return content.ReasonPolicy, nil
	}
	return 0, nil
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

// place shows a message to the agent if it is its turn, or keeps it behind a hole.
func (c *clerk) place(tx store.Tx, row *peerRow, after *[]func(), now time.Time, in inRow) error {
	row.InNext = max(row.InNext, 1)
	if in.Seq > row.InNext {
		if row.HoleSince.IsZero() {
			row.HoleSince = now
		}
		return setJSON(tx, c.a.key(rowHeld, c.peer[:], be64(in.Seq)), heldRow{Msg: &in})
	}
	in.Late = in.Seq < row.InNext
	if err := c.show(tx, after, in); err != nil {
		return err
	}
	if !in.Late {
		row.InNext++
	}
	return c.release(tx, row, after, now)
}

// show gives a message its arrival number: from now on the agent sees it.
func (c *clerk) show(tx store.Tx, after *[]func(), in inRow) error {
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

// release shows what waited behind a hole that closed.
func (c *clerk) release(tx store.Tx, row *peerRow, after *[]func(), now time.Time) error {
	for {
		held, seq, err := c.firstHeld(tx)
		if err != nil {
			return err
		}
		if held == nil {
			row.HoleSince = time.Time{}
			return nil
		}
		if seq > row.InNext {
			if row.HoleSince.IsZero() {
				row.HoleSince = now
			}
			return nil
		}
		if err := tx.Delete(c.a.key(rowHeld, c.peer[:], be64(seq))); err != nil {
			return err
		}
		if held.SkipTo >= row.InNext {
			row.InNext = held.SkipTo + 1
		}
		if held.Msg != nil {
			held.Msg.Late = seq < row.InNext
			if err := c.show(tx, after, *held.Msg); err != nil {
				return err
			}
			row.InNext = max(row.InNext, seq+1)
		}
		row.HoleSince = time.Time{}
	}
}

func (c *clerk) firstHeld(r store.Reader) (held *heldRow, seq uint64, err error) {
	err = scanJSON(r, c.a.key(rowHeld, c.peer[:]), nil, func(k []byte, row heldRow) bool {
		held, seq = &row, readOrder(k)
		return false
	})
	return held, seq, err
}

// takeSkip closes a hole that the sender knows will never be filled.
func (c *clerk) takeSkip(b *batch, ct *content.Skip) {
	b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
		return c.skip(tx, row, after, b.now, ct.From, ct.To)
	})
}

func (c *clerk) passOver(tx store.Tx, row *peerRow, after *[]func(), now time.Time, seq uint64) error {
	return c.skip(tx, row, after, now, seq, seq)
}

func (c *clerk) skip(tx store.Tx, row *peerRow, after *[]func(), now time.Time, from, to uint64) error {
	row.InNext = max(row.InNext, 1)
	if to < row.InNext || to == ^uint64(0) {
		return nil
	}
	key := c.a.key(rowHeld, c.peer[:], be64(max(from, row.InNext)))
	held, found, err := getJSON[heldRow](tx, key)
	if err != nil {
		return err
	}
	if !found {
		n := 0
		err := tx.Scan(c.a.key(rowHeld, c.peer[:]), nil, func(_, _ []byte) bool { n++; return n < c.a.Limits.Held })
		if err != nil || n >= c.a.Limits.Held {
			return err
		}
	}
	held.SkipTo = max(held.SkipTo, to)
	if err := setJSON(tx, key, held); err != nil {
		return err
	}
	if row.HoleSince.IsZero() && from > row.InNext {
		row.HoleSince = now
	}
	return c.release(tx, row, after, now)
}

// giveUpHole shows what waits behind a hole that did not fill in time, and says how
// much is missing.
func (c *clerk) giveUpHole(b *batch) {
	if h := c.row.HoleSince; h.IsZero() || b.now.Before(h.Add(c.a.Limits.GapTimeout)) {
		return
	}
	b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
		held, seq, err := c.firstHeld(tx)
		if err != nil || held == nil {
			row.HoleSince = time.Time{}
			return err
		}
		if held.Msg != nil && seq > row.InNext {
			held.Msg.Gap = seq - row.InNext
			if err := setJSON(tx, c.a.key(rowHeld, c.peer[:], be64(seq)), held); err != nil {
				return err
			}
		}
		row.InNext = max(row.InNext, seq)
		return c.release(tx, row, after, b.now)
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
