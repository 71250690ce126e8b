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
	a.wake(peer)
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
	if err := a.checkParted(peer); err != nil {
		return outRow{}, err
	}
	if len(r.Body) > a.Limits.MaxBody {
		return outRow{}, api.Problemf(http.StatusRequestEntityTooLarge, api.CodeTooLarge,
			"the body has %d bytes, at most %d fit into a message", len(r.Body), a.Limits.MaxBody).
			WithHint("split it, or send a link to it")
	}
	ttl := a.Limits.MaxTTL
	if r.TTLSeconds > int64(ttl/time.Second) {
		return outRow{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "a message is given up after %s at the latest", ttl).
			WithHint("give less time, or none for the longest")
	}
	if r.TTLSeconds > 0 {
		ttl = time.Duration(r.TTLSeconds) * time.Second
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
	kind, err := sessionType(r.Type)
	if err != nil {
		return outRow{}, err
	}
	now := a.Clock().Truncate(time.Millisecond).UTC()
	sum := sha256.Sum256(r.Body)
	row := outRow{
		ID: id, Peer: peer, Created: now, Changed: now, Deadline: now.Add(ttl),
		Intent: r.Intent, ContentType: r.ContentType, FileName: r.FileName, Thread: r.Thread, ReplyTo: reply,
		Via: api.PathKind(r.Via), Type: kind, Size: len(r.Body), SHA256: hex.EncodeToString(sum[:]),
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
			WithHint("make room and try again")
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
func (c *clerk) advance(tx store.Tx, o outRow, wall time.Time, after *[]func()) error {
	o.Changed = wall
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
		} else if c.open[o.Seq] != nil {
			c.open[o.Seq] = &o
		}
		c.a.changed.broadcast()
	})
	return nil
}

// flightsOf are the envelopes of a message that are under way.
func (c *clerk) flightsOf(id uuid.UUID) []*flight {
	var list []*flight
	for _, f := range c.flights {
		if f.Class == flightMessage && f.Msg == id {
			list = append(list, f)
		}
	}
	return list
}

// takeReceipts believes the peer about envelopes and messages addressed to it.
func (c *clerk) takeReceipts(b *batch, ct *content.Receipts) error {
	for _, id := range ct.Envelopes {
		if f := c.byID[id]; f != nil && f.Class.wantsReceipt() {
			b.confirm(f)
		}
	}
	for _, m := range ct.Messages {
		for _, f := range c.flightsOf(m.ID) {
			b.confirm(f) // it has them all
		}
		b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
			return c.believe(tx, b.wall, m, after)
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
	content.ReasonLimits: api.ReasonLimits, content.ReasonSignature: "signature",
}

// believe moves a message to the state that a receipt names, never back. A late
// receipt corrects what we had given up, but does not open it again.
func (c *clerk) believe(tx store.Tx, wall time.Time, m content.Receipt, after *[]func()) error {
	o, found, err := c.a.outRow(tx, m.ID)
	if err != nil || !found || o.Peer != c.peer {
		return err
	}
	state, reason := receiptStates[m.State], reasonNames[m.Reason]
	switch {
	case o.State == api.StateDead && !state.Terminal():
		state, reason = api.StateExpired, reasonUnhandled // it did arrive, at least
	case o.State == api.StateDead, o.State == api.StateExpired && state.Terminal():
	case rankOf[state] <= rankOf[o.State]:
		return nil
	}
	o.State, o.Reason, o.Text, o.Where = state, reason, m.Text, ""
	return c.advance(tx, o, wall, after)
}

// reasonUnhandled is the reason of an expired message that the peer's node has.
const reasonUnhandled = "not handled in time"

// endOverdue ends what ran out of time, as much as fits into one transaction, and
// reports whether there was anything.
func (c *clerk) endOverdue() (bool, error) {
	b := c.begin()
	c.showMore(b)
	room := c.batch
	for _, f := range c.flights {
		if room > 0 && b.now.After(f.Until) {
			b.land(f)
			room--
		}
	}
	for _, o := range c.open {
		refused := c.refusedNow(o)
		if room == 0 || (!refused && !c.shunned(o) && b.now.Before(c.endOf(o))) {
			continue
		}
		room--
		row := *o
		switch {
		case c.shunned(o):
			row.State, row.Reason = api.StateRefused, api.ReasonBlocked
		case refused:
			row.State, row.Reason = api.StateRefused, api.ReasonRejected
		case rankOf[row.State] >= rankOf[api.StateDelivered]:
			row.State, row.Reason = api.StateExpired, reasonUnhandled
		case row.sealed():
			row.State, row.Reason = api.StateDead, api.ReasonUnconfirmed
		default:
			row.State, row.Reason = api.StateExpired, ""
		}
		c.finish(b, row)
	}
	return !b.empty(), c.commit(b)
}

// refusedNow reports whether a message waited for a knock that the peer refused.
func (c *clerk) refusedNow(o *outRow) bool {
	return o.Seq <= c.row.Refused && c.waits(o) && undelivered(o)
}

// endOf is when a message is given up. One that left gets some more time: the peer
// may have it, and its word can still come.
func (c *clerk) endOf(o *outRow) time.Time {
	if o.sealed() && rankOf[o.State] < rankOf[api.StateDelivered] {
		return o.Deadline.Add(c.a.Limits.Skew)
	}
	return o.Deadline
}

// finish ends a message on our side. Unless the peer has it, the peer is told that its
// sequence will not come, in a row of its own: it leaves when the window lets it.
func (c *clerk) finish(b *batch, row outRow) {
	for _, f := range c.flightsOf(row.ID) {
		b.land(f)
	}
	row.Where = ""
	had := c.open[row.Seq]
	untold := had == nil || rankOf[had.State] < rankOf[api.StateDelivered]
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		if untold {
			if err := tx.Set(c.a.key(rowSkip, c.peer[:], be64(row.Seq)), nil); err != nil {
				return err
			}
		}
		return c.advance(tx, row, b.wall, after)
	})
}

// cancel takes a message back; it runs on the clerk's goroutine.
func (c *clerk) cancel(id uuid.UUID) error {
	if err := c.ready(); err != nil {
		return err
	}
	for _, o := range c.open {
		if o.ID != id || rankOf[o.State] >= rankOf[api.StateDelivered] {
			continue
		}
		row := *o
		row.State, row.Reason = api.StateCancelled, ""
		b := c.begin()
		c.finish(b, row)
		return c.commit(b)
	}
	return api.Problemf(http.StatusConflict, api.CodeConflict, "the peer has the message, or it has reached its end").
		WithHint("what was delivered cannot be taken back")
}
