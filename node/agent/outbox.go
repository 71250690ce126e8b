package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
)

// DefaultIntent is the intent of a message whose sender named none.
const DefaultIntent = "message"

// rankOf orders the states in which an outgoing message can be.
var rankOf = map[api.State]int{
	api.StateAccepted: 1, api.StateRelayed: 2, api.StateDelivered: 3, api.StateLeased: 4,
	api.StateExpired: 5, api.StateDead: 5, api.StateCancelled: 6,
	api.StateHandled: 6, api.StateFailed: 6, api.StateRefused: 6,
}

// submit commits a message, its sequence and its idempotency row in one transaction;
// after that it is accepted (CP 1, CP 2).
func (a *Agent) submit(ctx context.Context, peer identity.AMID, r api.SendRequest, idemKey string) (outRow, error) {
	row, err := a.newOutRow(peer, r)
	if err != nil {
		return outRow{}, err
	}
	fingerprint, err := requestFingerprint(r)
	if err != nil {
		return outRow{}, err
	}
	err = a.Store.Update(ctx, func(tx store.Tx) error {
		if idemKey != "" {
			sum := sha256.Sum256([]byte(idemKey))
			key := a.key(rowIdem, sum[:])
			old, found, err := getJSON[idemRow](tx, key)
			if err != nil {
				return err
			}
			if found {
				return a.sameAnswer(tx, old, fingerprint, &row)
			}
			if err := setJSON(tx, key, idemRow{Request: fingerprint, ID: row.ID, At: row.Created}); err != nil {
				return err
			}
		}
		var err error
		if row.Seq, err = a.nextCounter(tx, counterSequence, peer[:]); err != nil {
			return err
		}
		if err := tx.Set(a.key(rowOutBody, row.ID[:]), r.Body); err != nil {
			return err
		}
		index := append(append([]byte(nil), peer[:]...), be64(row.Seq)...)
		if err := tx.Set(a.key(rowOutIndex, row.ID[:]), index); err != nil {
			return err
		}
		// The peer's row makes the clerk come back after a restart.
		if _, found, err := getJSON[peerRow](tx, a.key(rowPeer, peer[:])); err != nil || !found {
			if err != nil {
				return err
			}
			if err := setJSON(tx, a.key(rowPeer, peer[:]), peerRow{}); err != nil {
				return err
			}
		}
		return setJSON(tx, a.key(rowOut, peer[:], be64(row.Seq)), row)
	})
	if err != nil {
		return outRow{}, a.storageProblem(err)
	}
	if c := a.clerk(peer); c != nil {
		c.poke()
	}
	return row, nil
}

// sameAnswer finds the message that an idempotency key was used for before.
func (a *Agent) sameAnswer(tx store.Tx, old idemRow, request [32]byte, row *outRow) error {
	if old.Request != request {
		return api.Problemf(http.StatusConflict, api.CodeConflict,
			"the idempotency key was used for another message").WithHint("use a new key for a new message")
	}
	first, found, err := a.outRow(tx, old.ID)
	if err != nil {
		return err
	}
	if !found {
		return api.Problemf(http.StatusConflict, api.CodeConflict, "the message of this idempotency key is gone")
	}
	*row = first
	return nil
}

func requestFingerprint(r api.SendRequest) ([32]byte, error) {
	r.Wait, r.TimeoutMS = "", 0
	b, err := json.Marshal(r)
	return sha256.Sum256(b), err
}

// newOutRow checks a request and makes its row.
func (a *Agent) newOutRow(peer identity.AMID, r api.SendRequest) (outRow, error) {
	if peer == a.amid {
		return outRow{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "this is the agent's own AMID").
			WithHint("name another agent")
	}
	if len(r.Body) > a.Limits.MaxBody {
		return outRow{}, api.Problemf(http.StatusRequestEntityTooLarge, api.CodeTooLarge,
			"the body has %d bytes, at most %d fit into a message", len(r.Body), a.Limits.MaxBody).
			WithHint("split it, or send a link to it")
	}
	ttl := a.Limits.MaxTTL
	if r.TTLSeconds > 0 {
		ttl = time.Duration(min(r.TTLSeconds, int64(a.Limits.MaxTTL/time.Second))) * time.Second
	}
	id, err := uuid.NewV7()
	if err != nil {
		return outRow{}, err
	}
	var reply uuid.UUID
	if r.ReplyTo != "" {
		if reply, err = uuid.Parse(r.ReplyTo); err != nil {
			return outRow{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "reply_to is not a message id")
		}
	}
	if r.Intent == "" {
		r.Intent = DefaultIntent
	}
	now := a.Clock().Truncate(time.Millisecond).UTC()
	sum := sha256.Sum256(r.Body)
	row := outRow{
		ID: id, Peer: peer, Created: now, Changed: now, Deadline: now.Add(ttl),
		Intent: r.Intent, ContentType: r.ContentType, FileName: r.FileName, Thread: r.Thread, ReplyTo: reply,
		Via: api.PathKind(r.Via), Size: len(r.Body), SHA256: hex.EncodeToString(sum[:]),
		State: api.StateAccepted, Path: api.PathNone,
	}
	// What the peer's node would refuse is refused here, while somebody can mend it.
	check := row
	check.Seq = 1
	if _, err := (&content.Message{Description: check.description()}).Encode(); err != nil {
		return outRow{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
			WithHint("an intent looks like travel/flights; a file name is a base name")
	}
	return row, nil
}

func (o *outRow) description() content.Description {
	return content.Description{
		ID: o.ID, Sequence: o.Seq, Created: o.Created, Deadline: o.Deadline,
		Intent: o.Intent, Thread: o.Thread, ReplyTo: o.ReplyTo,
		ContentType: o.ContentType, FileName: o.FileName,
	}
}

func (a *Agent) outRow(r store.Reader, id uuid.UUID) (outRow, bool, error) {
	index, err := r.Get(a.key(rowOutIndex, id[:]))
	if errors.Is(err, store.ErrNotFound) {
		return outRow{}, false, nil
	}
	if err != nil {
		return outRow{}, false, err
	}
	return getJSON[outRow](r, a.key(rowOut, index))
}

// storageProblem turns errors of the store into what a caller can understand.
func (a *Agent) storageProblem(err error) error {
	switch {
	case errors.Is(err, store.ErrNoSpace):
		return api.Problemf(http.StatusInsufficientStorage, api.CodeStorage, "the disk is full; nothing was stored").
			WithHint("make room and send again")
	case errors.Is(err, store.ErrPoisoned):
		a.fail(err)
		return api.Problemf(http.StatusInternalServerError, api.CodeStorage, "storage failed; the node stops to protect its data").
			WithHint("look at the disk, then start the node again")
	case errors.Is(err, store.ErrClosed):
		return api.Problemf(http.StatusServiceUnavailable, api.CodeBusy, "the node is stopping")
	}
	return err
}

// advance moves an outgoing message on, never back. The caller commits.
func (c *clerk) advance(tx store.Tx, o outRow, now time.Time, after *[]func()) error {
	o.Changed = now
	if err := setJSON(tx, c.a.key(rowOut, c.peer[:], be64(o.Seq)), o); err != nil {
		return err
	}
	if o.State.Terminal() {
		if err := tx.Delete(c.a.key(rowOutBody, o.ID[:])); err != nil {
			return err
		}
	}
	*after = append(*after, func() {
		if o.State.Terminal() {
			delete(c.open, o.Seq)
		} else if open := c.open[o.Seq]; open != nil {
			open.row = o
		}
		c.a.changed.broadcast()
	})
	return nil
}

// landMessage ends the flights of a message.
func (c *clerk) landMessage(b *batch, id uuid.UUID) {
	for _, f := range c.flights {
		if f.Class == flightMessage && f.Msg == id {
			b.land(f)
		}
	}
}

// takeReceipts believes the peer about envelopes and messages addressed to it.
func (c *clerk) takeReceipts(b *batch, ct *content.Receipts) error {
	for _, id := range ct.Envelopes {
		f := c.byID[id]
		if f == nil || b.landed[f.order] {
			continue
		}
		if s := c.find(f.Sid); s != nil && f.Class == flightControl && f.Chain == s.Chain {
			n := b.session(s)
			n.Control = max(0, n.Control-1)
		}
		if f.Class.wantsReceipt() {
			b.land(f)
		}
	}
	for _, m := range ct.Messages {
		c.landMessage(b, m.ID)
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			return c.believe(tx, b.now, m, after)
		})
	}
	return nil
}

var receiptStates = map[content.State]api.State{
	content.Delivered: api.StateDelivered, content.Leased: api.StateLeased,
	content.Handled: api.StateHandled, content.Failed: api.StateFailed, content.Refused: api.StateRefused,
}

var reasonNames = map[content.Reason]string{
	content.ReasonAgent: "agent", content.ReasonConflict: "conflict", content.ReasonParts: "parts",
	content.ReasonBusy: "busy", content.ReasonPolicy: "policy", content.ReasonExpired: "expired",
}

// believe moves a message to the state that a receipt names. A late receipt corrects
// what we had given up.
func (c *clerk) believe(tx store.Tx, now time.Time, m content.Receipt, after *[]func()) error {
	o, found, err := c.a.outRow(tx, m.ID)
	if err != nil || !found || o.Peer != c.peer {
		return err
	}
	state := receiptStates[m.State]
	if rankOf[state] <= rankOf[o.State] && !(o.State == api.StateDead || o.State == api.StateExpired) {
		return nil
	}
	if o.State == api.StateCancelled {
		return nil
	}
	o.State, o.Reason, o.Text, o.Where = state, reasonNames[m.Reason], m.Text, ""
	return c.advance(tx, o, now, after)
}

// endOverdue ends what ran out of time, and tells the peer not to wait for it.
func (c *clerk) endOverdue() error {
	b := c.begin()
	c.giveUpHole(b)
	for _, f := range c.flights {
		if b.now.After(f.Until) {
			b.land(f)
		}
	}
	for _, o := range c.open {
		if b.now.Before(c.endOf(&o.row)) {
			continue
		}
		row := o.row
		switch {
		case rankOf[row.State] >= rankOf[api.StateDelivered]:
			row.State, row.Reason = api.StateExpired, "not handled in time"
		case row.Session != "":
			row.State, row.Reason = api.StateDead, api.ReasonUnconfirmed
		default:
			row.State, row.Reason = api.StateExpired, ""
		}
		if err := c.finish(b, row); err != nil {
			return err
		}
	}
	return c.commit(b)
}

// endOf is when a message is given up. One that left gets some more time: the peer
// may have it, and its word can still come.
func (c *clerk) endOf(o *outRow) time.Time {
	if o.Session != "" && rankOf[o.State] < rankOf[api.StateDelivered] {
		return o.Deadline.Add(c.a.Limits.Skew)
	}
	return o.Deadline
}

// finish ends a message on our side and, in a live session, tells the peer that its
// sequence will not come.
func (c *clerk) finish(b *batch, row outRow) error {
	c.landMessage(b, row.ID)
	if s := c.sender(); s != nil && rankOf[row.State] != rankOf[api.StateHandled] {
		if _, err := b.seal(s, flightControl, &content.Skip{From: row.Seq, To: row.Seq}); err != nil {
			return err
		}
	}
	row.Where = ""
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		return c.advance(tx, row, b.now, after)
	})
	return nil
}

// cancel takes a message back; it runs on the clerk's goroutine.
func (c *clerk) cancel(id uuid.UUID) error {
	if !c.loaded {
		if err := c.load(); err != nil {
			return err
		}
	}
	if err := c.readNewRows(); err != nil {
		return err
	}
	for _, o := range c.open {
		if o.row.ID != id {
			continue
		}
		row := o.row
		row.State, row.Reason = api.StateCancelled, ""
		b := c.begin()
		c.landMessage(b, id)
		if s := c.sender(); s != nil {
			if _, err := b.seal(s, flightControl, &content.Skip{From: row.Seq, To: row.Seq}); err != nil {
				return err
			}
		}
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			return c.advance(tx, row, b.now, after)
		})
		return c.commit(b)
	}
	return api.Problemf(http.StatusConflict, api.CodeConflict, "the message has reached its end already")
}

// endWaiting ends every message that waited for an answer to a knock.
func (c *clerk) endWaiting(b *batch, state api.State, reason string) {
	for _, o := range c.open {
		if o.row.Session != "" {
			continue
		}
		row := o.row
		row.State, row.Reason = state, reason
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			return c.advance(tx, row, b.now, after)
		})
	}
}
