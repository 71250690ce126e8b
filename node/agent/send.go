package agent

import (
	"bytes"
	"cmp"
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
	if c.blocked {
		return c.handOver(), nil
	}
	if c.parted() {
		return c.sendParted()
	}
	worked, err := c.retire()
	if err != nil {
		return worked, err
	}
	cleared, err := c.clearVoid()
	if err != nil {
		return worked, err
	}
	worked = worked || cleared
	if c.receiptSession() == nil {
		if c.mute, err = c.owes(); err != nil {
			return worked, err
		}
	}
	for _, step := range []struct {
		session func() *session
		seal    func(*batch, *session) (bool, error)
	}{
		{c.receiptSession, c.sealReceipts}, {c.controlSession, c.sealSkips}, {c.controlSession, c.sealPaths}, {c.sender, c.sealMessages},
	} {
		s := step.session()
		if s == nil {
			continue
		}
		b := c.begin()
		did, err := step.seal(b, s)
		if err != nil {
			return worked, err
		}
		if err := c.commit(b); err != nil {
			return worked, err
		}
		worked = worked || did
	}
	did, err := c.tendKnock()
	if err != nil {
		return worked, err
	}
	return c.handOver() || worked || did, nil
}

// retire stops sending on a session whose window is full of envelopes that nobody will
// confirm any more, because their time is over. A new session replaces it.
func (c *clerk) retire() (bool, error) {
	s := c.controlSession()
	if s == nil || (s.Messages < c.a.Limits.Window && s.Control < c.a.Limits.Window) || c.turning(s) {
		return false, nil
	}
	b := c.begin()
	b.session(s).Closed = true
	c.a.Logger.Info("session ended, nothing was confirmed for long", "peer", c.peer.Short())
	return true, c.commit(b)
}

// receiptSession is the session that carries receipts: the one we send on, else the
// newest that the peer closed, on which receipts are still allowed.
func (c *clerk) receiptSession() *session {
	best := c.sender()
	if best != nil {
		return best
	}
	for _, s := range c.sess {
		if s.accepted() && !s.Void && (best == nil || s.Used.After(best.Used)) {
			best = s
		}
	}
	return best
}

// owes reports whether receipts are due.
func (c *clerk) owes() (due bool, err error) {
	err = c.a.Store.View(func(r store.Reader) error {
		return r.Scan(c.a.key(rowDue, c.peer[:]), nil, func(_, _ []byte) bool {
			due = true
			return false
		})
	})
	return due, err
}

// sealReceipts folds all due lines into one receipt. The envelopes it names point to
// it from now on, so that a repeat of them gets the same bytes.
func (c *clerk) sealReceipts(b *batch, s *session) (bool, error) {
	var keys [][]byte
	receipts := &content.Receipts{}
	err := c.a.Store.View(func(r store.Reader) error {
		return scanJSON(r, c.a.key(rowDue, c.peer[:]), nil, func(k []byte, d dueRow) bool {
			keys = append(keys, bytes.Clone(k))
			if d.Envelope != ([16]byte{}) {
				receipts.Envelopes = append(receipts.Envelopes, d.Envelope)
			}
			if d.State > content.Handled && d.Reason == 0 {
				d.Reason = content.ReasonAgent // of a version that left it out
			}
			if d.State != 0 {
				receipts.Messages = append(receipts.Messages, content.Receipt{
					ID: d.Message, State: d.State, Reason: d.Reason, Text: d.Text, At: d.At.Truncate(time.Millisecond),
				})
			}
			return len(keys) < 2*c.batch
		})
	})
	full := s.Control >= c.a.Limits.Window
	c.mute = full && s.Closed && len(keys) > 0
	if err != nil || len(keys) == 0 || full {
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
			row := openedRow{Peer: c.peer, At: b.wall, Receipt: f.ID}
			if err := setJSON(tx, c.a.key(rowOpened, id[:]), row); err != nil {
				return err
			}
		}
		return setJSON(tx, c.a.key(rowReceipt, f.ID[:]), receiptRow{Peer: c.peer, Sid: s.Sid, At: b.wall, Data: f.data})
	})
	return true, nil
}

// sealSkips tells the peer which sequences will never come, neighbours folded into one
// range.
func (c *clerk) sealSkips(b *batch, s *session) (bool, error) {
	var ranges []content.Skip
	var keys [][]byte
	err := c.a.Store.View(func(r store.Reader) error {
		return r.Scan(c.a.key(rowSkip, c.peer[:]), nil, func(k, _ []byte) bool {
			seq := readOrder(k)
			if n := len(ranges); n > 0 && ranges[n-1].To+1 == seq {
				ranges[n-1].To = seq
			} else {
				ranges = append(ranges, content.Skip{From: seq, To: seq})
			}
			keys = append(keys, bytes.Clone(k))
			return len(keys) < 4*c.batch
		})
	})
	free := c.a.Limits.Window - s.Control
	if err != nil || len(ranges) == 0 || free <= 0 {
		return false, err
	}
	last := ranges[min(len(ranges), free, c.batch)-1].To
	for _, skip := range ranges {
		if skip.To <= last {
			f, err := b.seal(s, flightControl, &skip)
			if err != nil {
				return false, err
			}
			f.Skip = &skip
		}
	}
	b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error {
		for _, k := range keys {
			if readOrder(k) > last {
				break
			}
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	return true, nil
}

// sealPaths tells the peer where we are when that changed. It also turns a chain that
// carries nothing but receipts: those are confirmed by no receipt, but the answer to
// this comes under a new ratchet key, which ends the chain (session.md §9.3).
func (c *clerk) sealPaths(b *batch, s *session) (bool, error) {
	p := c.a.Carrier.Places()
	told := p.String()
	turn := s.Control >= c.a.Limits.Window/2 && !c.turning(s)
	if (told == c.row.Told && !turn) || s.Control >= c.a.Limits.Window {
		return false, nil
	}
	_, err := b.seal(s, flightControl, &content.Paths{
		Stamp: b.wall.Truncate(time.Millisecond), PeerIDs: p.PeerIDs, Addresses: p.Addresses, Relays: p.Relays,
	})
	b.write(func(_ store.Tx, row *peerRow, _ *[]func()) error {
		row.Told = told
		return nil
	})
	return err == nil, err
}

// turning reports whether something of the chain is under way that the peer will answer.
func (c *clerk) turning(s *session) bool {
	for _, f := range c.flights {
		if f.Class.wantsReceipt() && f.Sid == s.Sid && f.Chain == s.Chain {
			return true
		}
	}
	return false
}

// sealMessages seals messages in their order, as many as the window lets. Ratchet
// step, envelope and row are one transaction before the first byte leaves.
func (c *clerk) sealMessages(b *batch, s *session) (bool, error) {
	window := c.a.Limits.Window - s.Messages
	free := min(window, c.batch)
	long := c.longUnderWay()
	reason := ""
	sealed := 0
	out := s.Out
	for _, o := range c.unsealed() {
		if !s.lets(out, o.Size, b.now) {
			if sealed == 0 {
				return true, c.meetEnd(b, s, o)
			}
			break
		}
		if free == 0 || (o.Size > content.SliceSize && long >= c.a.Limits.PartsPerPeer) {
			break
		}
		body, err := c.body(o)
		if err != nil {
			return false, err
		}
		contents, err := content.Split(c.describe(s, &o, body), body)
		if err != nil {
			return false, err
		}
		if len(contents) > free && (sealed > 0 || len(contents) > window) {
			break
		}
		if len(contents) > 1 {
			long++
		}
		free = max(0, free-len(contents))
		sealed++
		out = out.Plus(o.Size)
		for _, ct := range contents {
			f, err := b.seal(s, flightMessage, ct)
			if err != nil {
				return false, err
			}
			f.Msg, f.Via, f.Until = o.ID, o.Via, o.Deadline.Add(c.a.Limits.Skew)
		}
		for _, old := range c.flightsOf(o.ID) {
			b.land(old) // sealed in a session that is void
		}
		n := b.session(s)
		n.Out, n.Last = out, max(n.Last, o.Seq)
		c.talks(b, n, &c.sentAt)
		row := o
		row.Session, row.Reason, row.Tail, row.Mode = s.Sid, "", false, s.mode()
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			return c.advance(tx, row, b.wall, after)
		})
	}
	if sealed == 0 && window < content.MaxParts && len(c.unsealed()) > 0 {
		reason = api.ReasonWindow
	}
	c.setReason(reason)
	return sealed > 0, nil
}

// longUnderWay counts long messages that the peer has not put together yet; it takes
// only so many at a time.
func (c *clerk) longUnderWay() int {
	n := 0
	for _, o := range c.open {
		if !c.waits(o) && o.Size > content.SliceSize && undelivered(o) {
			n++
		}
	}
	return n
}

// unsealed lists the messages that wait for a session, in order.
func (c *clerk) unsealed() []outRow {
	var rows []outRow
	for _, o := range c.open {
		if c.waits(o) && o.Seq > c.row.Refused {
			rows = append(rows, *o)
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
	up := c.a.Uptime()
	if up < c.paused {
		return false
	}
	did := false
	for _, f := range c.flights {
		if f.carried || up < f.next || c.futile(f) || c.early(f) {
			continue
		}
		data, err := c.flightData(f)
		if err != nil {
			c.a.Logger.Error("stored envelope cannot be read", "peer", c.peer.Short(), "err", err)
			f.next = up + c.a.Limits.ResendMost
			continue
		}
		f.carried, did = true, true
		order := f.order
		c.a.Carrier.Carry(Envelope{
			From: c.a.amid, To: c.peer, ID: f.ID, Data: data, Knock: f.Class == flightKnock, Via: f.Via,
		}, func(o Outcome) { c.report(order, o) })
		// The bytes are in the store; memory holds them only until they left.
		f.data = nil
	}
	return did
}

func (c *clerk) flightData(f *flight) ([]byte, error) {
	if f.data != nil {
		return f.data, nil
	}
	var data []byte
	err := c.a.Store.View(func(r store.Reader) error {
		b, err := r.Get(c.a.key(rowSealed, c.peer[:], be64(f.order)))
		data = bytes.Clone(b)
		return err
	})
	return data, err
}
