package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
)

// What the agent does with its inbox.

const (
	defaultLease = time.Minute
	longestLease = time.Hour
	longestWait  = time.Minute
	mostLeased   = 100
	pageDefault  = 100
	pageMost     = 500
)

func (in *inRow) item(now, wall time.Time) api.InboxItem {
	it := api.InboxItem{
		ID: in.Local.String(), From: in.Peer, State: in.State, Intent: in.Intent, ReceivedAt: in.Received,
		Size: int64(in.Size), SHA256: in.SHA256, ContentType: in.ContentType, FileName: in.FileName, Thread: in.Thread,
		SentAt: in.Sent, Path: in.Path, Mode: modeName(in.Mode), Attempt: in.Attempt, Sequence: in.Seq, Late: in.Late, GapBefore: in.Gap,
	}
	if in.ReplyTo != uuid.Nil {
		it.ReplyTo = in.ReplyTo.String()
	}
	if in.State == api.InboxLeased {
		// One that would last longer than any was given by a clock that was set back since.
		if now.Before(in.Lease) && in.Lease.Sub(wall) <= longestLease {
			until := in.Lease
			it.LeasedUntil = &until
		} else {
			it.State = api.InboxNew // the lease ended; it is anybody's again
		}
	}
	return it
}

// Inbox lists incoming messages in the order of their arrival.
func (a *Agent) Inbox(q api.InboxQuery) (api.InboxPage, error) {
	page := api.InboxPage{Items: []api.InboxItem{}}
	limit := q.Limit
	if limit <= 0 {
		limit = pageDefault
	}
	limit = min(limit, pageMost)
	var from identity.AMID
	if q.From != "" {
		var err error
		if from, err = a.Resolve(q.From); err != nil {
			return page, err
		}
	}
	start := a.key(rowIn)
	if q.Cursor != "" {
		after, err := hex.DecodeString(q.Cursor)
		if err != nil || len(after) != 8 {
			return page, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "not a cursor").
				WithHint("use `next` of the page before")
		}
		start = a.key(rowIn, after)
	}
	now, wall := a.times()
	err := a.Store.View(func(r store.Reader) error {
		return scanJSON(r, a.key(rowIn), start, func(k []byte, in inRow) bool {
			if (!q.All && inboxTerminal(in.State)) || (!from.IsZero() && in.Peer != from) {
				return true
			}
			if len(page.Items) == limit {
				page.Next = hex.EncodeToString(k[len(k)-8:])
				return false
			}
			page.Items = append(page.Items, in.item(now, wall))
			return true
		})
	})
	return page, err
}

// Lease hands out messages that nobody works on, oldest first, and waits for the
// first one if asked to.
func (a *Agent) Lease(ctx context.Context, r api.LeaseRequest) ([]api.InboxMessage, error) {
	most := min(max(r.Max, 1), mostLeased)
	lease := leaseTime(time.Duration(r.LeaseSeconds) * time.Second)
	wait := min(time.Duration(max(r.WaitSeconds, 0))*time.Second, longestWait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		changed := a.changed.wait()
		keys, err := a.free(most)
		if err != nil {
			return nil, err
		}
		got := []api.InboxMessage{}
		for _, k := range keys {
			m, err := a.lease(ctx, k, lease, false)
			if errors.Is(err, errTaken) {
				continue
			}
			if err != nil {
				return got, a.storageProblem(err)
			}
			got = append(got, m)
		}
		if len(got) > 0 || wait == 0 {
			return got, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			wait = 0
		case <-ctx.Done():
			return got, nil
		}
	}
}

func leaseTime(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultLease
	}
	return min(d, longestLease)
}

// free lists messages that nobody works on. While somebody works on a message of a
// peer, the later ones of that peer wait: the order is a promise to the agent too,
// also when the answer to a lease was lost.
func (a *Agent) free(most int) ([][]byte, error) {
	var keys [][]byte
	now, wall := a.times()
	busy := make(map[identity.AMID]bool)
	err := a.Store.View(func(r store.Reader) error {
		return scanJSON(r, a.key(rowIn), nil, func(k []byte, in inRow) bool {
			switch in.item(now, wall).State {
			case api.InboxLeased:
				busy[in.Peer] = true
			case api.InboxNew:
				if !busy[in.Peer] {
					keys = append(keys, bytes.Clone(k))
				}
			}
			return len(keys) < most
		})
	})
	return keys, err
}

var errTaken = errors.New("somebody else has it")

// lease marks a message as worked on and returns it with its body. With force the
// caller takes it whatever its state, as a person does who reads it.
func (a *Agent) lease(ctx context.Context, key []byte, d time.Duration, force bool) (api.InboxMessage, error) {
	var m api.InboxMessage
	var peer identity.AMID
	now, wall := a.times()
	err := a.Store.Update(ctx, func(tx store.Tx) error {
		in, found, err := getJSON[inRow](tx, key)
		if err != nil || !found {
			return errors.Join(err, errTaken)
		}
		state := in.item(now, wall).State
		if state != api.InboxNew && !force {
			return errTaken
		}
		if !inboxTerminal(state) && d > 0 {
			in.State, in.Lease = api.InboxLeased, wall.Add(d).UTC()
			in.Attempt++
			if err := setJSON(tx, key, in); err != nil {
				return err
			}
			if in.Attempt == 1 {
				due := dueRow{Message: in.ID, State: content.Leased, At: wall}
				if err := a.putDue(tx, in.Peer, due); err != nil {
					return err
				}
				peer = in.Peer
			}
		}
		body, err := tx.Get(a.key(rowInBody, in.Local[:]))
		if err != nil {
			return err
		}
		m = api.InboxMessage{InboxItem: in.item(now, wall), Body: bytes.Clone(body)}
		m.Proof, err = a.proof(tx, &in)
		return err
	})
	if err != nil {
		return m, err
	}
	a.tell(peer)
	return m, nil
}

// tell wakes the clerk that has receipts to seal.
func (a *Agent) tell(peer identity.AMID) {
	if peer.IsZero() {
		return
	}
	a.wake(peer)
	a.changed.broadcast()
}

// Read returns a message with its body; with a positive lease it is leased too.
func (a *Agent) Read(ctx context.Context, id string, d time.Duration) (api.InboxMessage, error) {
	key, err := a.inKey(id)
	if err != nil {
		return api.InboxMessage{}, err
	}
	m, err := a.lease(ctx, key, min(d, longestLease), true)
	if err != nil {
		return m, a.storageProblem(err)
	}
	return m, nil
}

func (a *Agent) inKey(id string) ([]byte, error) {
	u, err := parseID(id)
	if err != nil {
		return nil, err
	}
	var key []byte
	err = a.Store.View(func(r store.Reader) error {
		n, err := r.Get(a.key(rowInIndex, u[:]))
		if errors.Is(err, store.ErrNotFound) {
			return api.Problemf(http.StatusNotFound, api.CodeNotFound, "no message with the id %s in the inbox", id).
				WithHint("`amesh inbox --all` lists every id")
		}
		key = a.key(rowIn, n)
		return err
	})
	return key, err
}

// Ack ends the work on a message and tells the sender.
func (a *Agent) Ack(ctx context.Context, id string, r api.AckRequest) (api.InboxItem, error) {
	if r.Outcome == "" {
		r.Outcome = api.InboxHandled
	}
	if !inboxTerminal(r.Outcome) {
		return api.InboxItem{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "outcome %q", r.Outcome).
			WithHint("the outcome is handled, failed or refused")
	}
	return a.settle(ctx, id, func(tx store.Tx, in *inRow, wall time.Time) (bool, error) {
		if in.State == r.Outcome {
			return false, nil
		}
		if inboxTerminal(in.State) {
			return false, api.Problemf(http.StatusConflict, api.CodeConflict, "the message is %s already", in.State)
		}
		in.State, in.Lease = r.Outcome, time.Time{}
		due := dueRow{
			Message: in.ID, State: receiptState(in.State, in.Attempt), At: wall, Text: content.Clean(r.Text, content.MaxReceiptText),
		}
		if r.Outcome != api.InboxHandled {
			due.Reason = content.ReasonAgent
		}
		return true, a.putDue(tx, in.Peer, due)
	})
}

// Nack gives a leased message back at once.
func (a *Agent) Nack(ctx context.Context, id string) (api.InboxItem, error) {
	return a.settle(ctx, id, func(_ store.Tx, in *inRow, _ time.Time) (bool, error) {
		if inboxTerminal(in.State) {
			return false, api.Problemf(http.StatusConflict, api.CodeConflict, "the message is %s already", in.State)
		}
		in.State, in.Lease = api.InboxNew, time.Time{}
		return true, nil
	})
}

func (a *Agent) settle(ctx context.Context, id string, f func(store.Tx, *inRow, time.Time) (bool, error)) (api.InboxItem, error) {
	key, err := a.inKey(id)
	if err != nil {
		return api.InboxItem{}, err
	}
	var in inRow
	now, wall := a.times()
	err = a.Store.Update(ctx, func(tx store.Tx) error {
		var found bool
		if in, found, err = getJSON[inRow](tx, key); err != nil {
			return err
		}
		if !found {
			return api.Problemf(http.StatusNotFound, api.CodeNotFound, "the message is gone")
		}
		changed, err := f(tx, &in, wall)
		if err != nil || !changed {
			return err
		}
		return setJSON(tx, key, in)
	})
	if err != nil {
		return api.InboxItem{}, a.storageProblem(err)
	}
	a.tell(in.Peer)
	return in.item(now, wall), nil
}
