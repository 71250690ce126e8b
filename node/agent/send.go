package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
)

// send seals what is due and hands over what is sealed.
func (c *clerk) send() (bool, error) {
	if err := c.readNewRows(); err != nil {
		return false, err
	}
	worked := false
	for _, step := range []func(*batch, *session) (bool, error){c.sealReceipts, c.sealPaths, c.sealMessages} {
		s := c.sender()
		if s == nil {
			break
		}
		b := c.begin()
		did, err := step(b, s)
		if err != nil {
			return worked, err
		}
		if err := c.commit(b); err != nil {
			return worked, err
		}
		worked = worked || did
	}
	if c.sender() == nil {
		did, err := c.wantSession()
		if err != nil {
			return worked, err
		}
		worked = worked || did
	}
	return c.handOver() || worked, nil
}

// sealReceipts folds all due lines into one receipt. The envelopes it names point to
// it from now on, so that a repeat of them gets the same bytes.
func (c *clerk) sealReceipts(b *batch, s *session) (bool, error) {
	if s.Control >= c.a.Limits.Window {
		return false, nil
	}
	var keys [][]byte
	receipts := &content.Receipts{}
	err := c.a.Store.View(func(r store.Reader) error {
		return scanJSON(r, c.a.key(rowDue, c.peer[:]), nil, func(k []byte, d dueRow) bool {
			keys = append(keys, bytes.Clone(k))
			if d.Envelope != ([16]byte{}) {
				receipts.Envelopes = append(receipts.Envelopes, d.Envelope)
			}
			if d.State != 0 {
				receipts.Messages = append(receipts.Messages, content.Receipt{
					ID: d.Message, State: d.State, Reason: d.Reason, Text: d.Text, At: d.At.Truncate(time.Millisecond),
				})
			}
			return len(keys) < 2*c.a.Limits.Batch
		})
	})
	if err != nil || len(keys) == 0 {
		return false, err
	}
	f, err := b.seal(s, flightReceipt, receipts)
	if err != nil {
		return false, err
	}
	b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error {
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		for _, id := range receipts.Envelopes {
			row := openedRow{Peer: c.peer, At: b.now, Receipt: f.ID}
			if err := setJSON(tx, c.a.key(rowOpened, id[:]), row); err != nil {
				return err
			}
		}
		return setJSON(tx, c.a.key(rowReceipt, f.ID[:]), receiptRow{Peer: c.peer, At: b.now, Data: f.Data})
	})
	return true, nil
}

// sealPaths tells the peer where we are, when that changed.
func (c *clerk) sealPaths(b *batch, s *session) (bool, error) {
	p := c.a.Carrier.Places()
	text, err := json.Marshal(p)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(text)
	told := hex.EncodeToString(sum[:8])
	if told == c.row.Told || s.Control >= c.a.Limits.Window || len(p.PeerIDs)+len(p.Addresses)+len(p.Relays) == 0 {
		return false, nil
	}
	_, err = b.seal(s, flightControl, &content.Paths{
		Stamp: b.now.Truncate(time.Millisecond), PeerIDs: p.PeerIDs, Addresses: p.Addresses, Relays: p.Relays,
	})
	b.write(func(_ store.Tx, row *peerRow, _ *[]func()) error {
		row.Told = told
		return nil
	})
	return err == nil, err
}

// sealMessages seals messages in their order, as many as the window lets. Ratchet
// step, envelope and row are one transaction before the first byte leaves.
func (c *clerk) sealMessages(b *batch, s *session) (bool, error) {
	free := c.a.Limits.Window
	for _, f := range c.flights {
		if f.Class == flightMessage && f.Sid == s.Sid && f.Chain == s.Chain {
			free--
		}
	}
	free = min(free, c.a.Limits.Batch)
	reason := ""
	sealed := 0
	for _, o := range c.unsealed() {
		body, err := c.body(o)
		if err != nil {
			return false, err
		}
		contents, err := content.Split(o.description(), body)
		if err != nil {
			return false, err
		}
		if len(contents) > free {
			if sealed == 0 && free < c.a.Limits.Batch {
				reason = api.ReasonWindow
			}
			break
		}
		free -= len(contents)
		sealed++
		for _, ct := range contents {
			f, err := b.seal(s, flightMessage, ct)
			if err != nil {
				return false, err
			}
			f.Msg, f.Via, f.Until = o.ID, o.Via, o.Deadline.Add(c.a.Limits.Skew)
		}
		row := o
		row.Session, row.Reason = s.Sid, ""
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			return c.advance(tx, row, b.now, after)
		})
	}
	c.setReason(reason)
	return sealed > 0, nil
}

// unsealed lists the messages that were never sealed, in order.
func (c *clerk) unsealed() []outRow {
	var rows []outRow
	for _, o := range c.open {
		if o.row.Session == "" {
			rows = append(rows, o.row)
		}
	}
	slices.SortFunc(rows, func(x, y outRow) int { return cmp.Compare(x.Seq, y.Seq) })
	return rows
}

func (c *clerk) body(o outRow) ([]byte, error) {
	var body []byte
	err := c.a.Store.View(func(r store.Reader) error {
		b, err := r.Get(c.a.key(rowOutBody, o.ID[:]))
		body = bytes.Clone(b)
		return err
	})
	return body, err
}

// handOver gives the carrier every flight whose time has come.
func (c *clerk) handOver() bool {
	now := c.a.Clock()
	if now.Before(c.paused) {
		return false
	}
	did := false
	for _, f := range c.flights {
		if f.carried || now.Before(f.next) {
			continue
		}
		data, err := c.flightData(f)
		if err != nil {
			c.a.Logger.Error("stored envelope cannot be read", "peer", c.peer.Short(), "err", err)
			f.next = now.Add(c.a.Limits.ResendMost)
			continue
		}
		f.carried, did = true, true
		order := f.order
		c.a.Carrier.Carry(Envelope{
			From: c.a.amid, To: c.peer, ID: f.ID, Data: data, Knock: f.Class == flightKnock, Via: f.Via,
		}, func(o Outcome) { c.report(order, o) })
		// The bytes are in the store; memory holds them only until they left.
		f.Data = nil
	}
	return did
}

func (c *clerk) flightData(f *flight) ([]byte, error) {
	if f.Data != nil {
		return f.Data, nil
	}
	var data []byte
	err := c.a.Store.View(func(r store.Reader) error {
		row, found, err := getJSON[flightRow](r, c.a.key(rowFlight, c.peer[:], be64(f.order)))
		if err == nil && !found {
			err = store.ErrNotFound
		}
		data = row.Data
		return err
	})
	return data, err
}

// takeOutcomes notes what became of envelopes that were handed over.
func (c *clerk) takeOutcomes(list []outcome) error {
	if len(list) == 0 {
		return nil
	}
	b := c.begin()
	byOrder := make(map[uint64]*flight, len(c.flights))
	for _, f := range c.flights {
		byOrder[f.order] = f
	}
	for _, o := range list {
		f := byOrder[o.order]
		if f == nil {
			continue // it landed meanwhile
		}
		f.carried = false
		c.takeOutcome(b, f, o.Outcome)
	}
	return c.commit(b)
}

func (c *clerk) takeOutcome(b *batch, f *flight, o Outcome) {
	if o.Err != nil {
		c.takeFailure(b, f, o)
		return
	}
	f.tries++
	f.next = b.now.Add(c.backoff(f.tries))
	c.usedPath(o.Path)
	c.setBoxFull(false)
	if !o.Promise.IsZero() {
		f.Promise = o.Promise
	}
	switch {
	case !f.Class.wantsReceipt() && f.Class != flightKnock && (o.Acked || f.tries >= 3):
		// Nobody will name it in a receipt; the peer's own repeats ask for it again.
		b.land(f)
		return
	case !o.Promise.IsZero():
		b.touched[f.order] = f
	}
	if f.Class == flightMessage {
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			return c.left(tx, f, o, b.now, after)
		})
	}
}

// left notes by which path a message left, and that a relay promised to keep it.
func (c *clerk) left(tx store.Tx, f *flight, o Outcome, now time.Time, after *[]func()) error {
	row, found, err := c.a.outRow(tx, f.Msg)
	if err != nil || !found || row.State.Terminal() {
		return err
	}
	before := row
	row.Path = o.Path
	if !o.Promise.IsZero() && rankOf[row.State] < rankOf[api.StateRelayed] && c.lastPart(f) {
		row.State = api.StateRelayed
	}
	if rankOf[row.State] <= rankOf[api.StateRelayed] {
		row.Where = o.Where
	}
	if row == before {
		return nil
	}
	return c.advance(tx, row, now, after)
}

// lastPart reports whether every other part of the message has its promise.
func (c *clerk) lastPart(f *flight) bool {
	for _, g := range c.flights {
		if g != f && g.Class == flightMessage && g.Msg == f.Msg && g.Promise.IsZero() {
			return false
		}
	}
	return true
}

func (c *clerk) takeFailure(b *batch, f *flight, o Outcome) {
	var no *Refusal
	switch {
	case errors.As(o.Err, &no):
		wait := max(no.RetryAfter, 50*time.Millisecond)
		c.paused = b.now.Add(wait)
		f.next = c.paused
		if no.Code == "mailbox_full" {
			c.setBoxFull(true)
		}
		if no.Code == "too_large" || no.Code == "invalid" {
			f.next = b.now.Add(c.a.Limits.ResendMost)
		}
	case errors.Is(o.Err, ErrNoPath):
		f.next = b.now.Add(c.a.Limits.ResendFirst) // or Kick, whichever is first
	case errors.Is(o.Err, context.Canceled):
		f.next = b.now.Add(c.a.Limits.ResendFirst)
	default:
		f.tries++
		f.next = b.now.Add(min(time.Duration(f.tries)*200*time.Millisecond, c.a.Limits.ResendFirst))
	}
}

// backoff is how long a receipt is waited for before the bytes go again.
func (c *clerk) backoff(tries int) time.Duration {
	d := c.a.Limits.ResendFirst
	for range tries - 1 {
		if d *= 2; d >= c.a.Limits.ResendMost {
			return c.a.Limits.ResendMost
		}
	}
	return d
}
