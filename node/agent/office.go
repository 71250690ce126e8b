package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// What local callers ask for. The methods mirror api.Backend, without the name of
// the agent.

// Send submits a message and waits for the state that the caller asked for.
func (a *Agent) Send(ctx context.Context, r api.SendRequest, idemKey string) (api.Message, error) {
	peer, err := a.Resolve(r.To)
	if err != nil {
		return api.Message{}, err
	}
	if r.Wait == "" {
		r.Wait = api.StateAccepted
	}
	if !r.Wait.Waitable() {
		return api.Message{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "cannot wait for %q", r.Wait).
			WithHint("wait for accepted, relayed, delivered, leased or handled")
	}
	row, err := a.submit(ctx, peer, r, idemKey)
	if err != nil {
		return api.Message{}, err
	}
	if r.Wait == api.StateAccepted {
		return a.message(row), nil
	}
	return a.wait(ctx, row.ID, r.Wait, time.Duration(r.TimeoutMS)*time.Millisecond)
}

// Message returns an outgoing message, after it reached a state or cannot any more.
func (a *Agent) Message(ctx context.Context, id string, wait api.State, timeout time.Duration) (api.Message, error) {
	u, err := parseID(id)
	if err != nil {
		return api.Message{}, err
	}
	if wait == "" {
		timeout = 0
	}
	return a.wait(ctx, u, wait, timeout)
}

// wait answers when the message reached a state, when it no longer can, or when the
// time is over; with the message as it is then.
func (a *Agent) wait(ctx context.Context, id uuid.UUID, want api.State, timeout time.Duration) (api.Message, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		changed := a.changed.wait()
		row, err := a.readOut(id)
		if err != nil {
			return api.Message{}, err
		}
		if timeout <= 0 || row.State.Reached(want) || row.State.Terminal() {
			return a.message(row), nil
		}
		select {
		case <-changed:
		case <-timer.C:
			timeout = 0
		case <-ctx.Done():
			return a.message(row), nil
		}
	}
}

func (a *Agent) readOut(id uuid.UUID) (row outRow, err error) {
	err = a.Store.View(func(r store.Reader) error {
		var found bool
		if row, found, err = a.outRow(r, id); err == nil && !found {
			err = api.Problemf(http.StatusNotFound, api.CodeNotFound, "no message with the id %s", id)
		}
		return err
	})
	return row, err
}

// message is a row as callers see it: with the reason why it waits.
func (a *Agent) message(o outRow) api.Message {
	m := api.Message{
		ID: o.ID.String(), To: o.Peer, State: o.State, Reason: o.Reason, Text: o.Text, Path: o.Path, Where: o.Where,
		Expires: o.Deadline, Created: o.Created, Changed: o.Changed, Intent: o.Intent, FileName: o.FileName,
		Thread: o.Thread, Size: int64(o.Size), SHA256: o.SHA256, Sequence: o.Seq,
		Mode: modeName(o.Mode),
	}
	if o.ReplyTo != uuid.Nil {
		m.ReplyTo = o.ReplyTo.String()
	}
	if o.State == api.StateAccepted {
		if m.Where == "" {
			m.Where = "this node"
		}
		a.mu.Lock()
		c := a.clerks[o.Peer]
		a.mu.Unlock()
		if c != nil {
			if reason, _ := c.why(); reason != "" && (o.Session == "" || o.Tail || reason == api.ReasonMailboxFull) {
				m.State, m.Reason = api.StateWaiting, reason
			}
		}
	}
	return m
}

// Messages lists outgoing messages, newest first.
func (a *Agent) Messages(limit int) ([]api.Message, error) {
	if limit <= 0 {
		limit = 100
	}
	var ids [][]byte
	var rows []outRow
	err := a.Store.View(func(r store.Reader) error {
		prefix := a.key(rowOutIndex)
		err := r.Scan(prefix, nil, func(k, _ []byte) bool {
			ids = append(ids, bytes.Clone(k[len(prefix):]))
			return true
		})
		if err != nil {
			return err
		}
		slices.Reverse(ids) // UUIDv7: in order of time
		for _, id := range ids[:min(limit, len(ids))] {
			row, found, err := a.outRow(r, uuid.UUID(id))
			if err != nil {
				return err
			}
			if found {
				rows = append(rows, row)
			}
		}
		return nil
	})
	out := make([]api.Message, 0, len(rows))
	for _, row := range rows {
		out = append(out, a.message(row))
	}
	return out, err
}

// Cancel takes a message back.
func (a *Agent) Cancel(ctx context.Context, id string) (api.Message, error) {
	u, err := parseID(id)
	if err != nil {
		return api.Message{}, err
	}
	row, err := a.readOut(u)
	if err != nil {
		return api.Message{}, err
	}
	_, err = ask(ctx, a, row.Peer, func(c *clerk) (struct{}, error) { return struct{}{}, c.cancel(u) })
	if err != nil {
		return api.Message{}, err
	}
	if row, err = a.readOut(u); err != nil {
		return api.Message{}, err
	}
	return a.message(row), nil
}

// ask has a peer's clerk do something and waits for its answer. An error of the
// store ends the clerk's round as well; a Problem is only for the caller.
func ask[T any](ctx context.Context, a *Agent, peer identity.AMID, f func(*clerk) (T, error)) (T, error) {
	var none, v T
	var failed error
	err := a.onClerk(ctx, peer, func(c *clerk) error {
		v, failed = f(c)
		if _, harmless := failed.(*api.Problem); harmless {
			return nil
		}
		return failed
	})
	switch {
	case errors.Is(err, ErrNotRunning):
		return none, api.Problemf(http.StatusServiceUnavailable, api.CodeBusy, "the node is stopping")
	case err != nil:
		return none, err
	}
	return v, a.storageProblem(failed)
}

// Knocks lists requests to talk, newest first.
func (a *Agent) Knocks() ([]api.Knock, error) {
	var list []api.Knock
	now := a.expiry.now()
	err := a.Store.View(func(r store.Reader) error {
		return scanJSON(r, a.key(rowKnock), nil, func(_ []byte, row knockRow) bool {
			list = append(list, a.knock(row, now))
			return true
		})
	})
	slices.SortFunc(list, func(x, y api.Knock) int { return y.At.Compare(x.At) })
	return list, err
}

func (a *Agent) knock(row knockRow, now time.Time) api.Knock {
	k := api.Knock{
		ID: knockID(row.Hash), Agent: a.Name, Peer: row.Peer, Direction: "in", Intent: row.Intent,
		State: row.State, Rule: row.Rule, Remark: row.Remark, At: row.At, Expires: row.Expires,
		Type: content.SessionType(row.Type).String(), Mode: modeName(content.Mode(row.Mode)),
	}
	if row.Out {
		k.Direction = "out"
	} else {
		k.Tier = row.Tier.String()
	}
	if (row.State == knockPending || row.State == knockSent) && now.After(row.Expires) {
		k.State = knockExpired
	}
	return k
}

// Decide gives the owner's answer to a pending knock.
func (a *Agent) Decide(ctx context.Context, id string, approve bool, r api.DecideRequest) (api.Knock, error) {
	prefix, err := hex.DecodeString(id)
	notFound := api.Problemf(http.StatusNotFound, api.CodeNotFound, "no knock with the id %.40q", id).
		WithHint("`amesh knocks` lists them")
	if err != nil || len(prefix) != 8 {
		return api.Knock{}, notFound
	}
	var row knockRow
	var found bool
	err = a.Store.View(func(rd store.Reader) error {
		return scanJSON(rd, a.key(rowKnock, prefix), nil, func(_ []byte, k knockRow) bool {
			row, found = k, true
			return false
		})
	})
	if err != nil {
		return api.Knock{}, err
	}
	if !found {
		return api.Knock{}, notFound
	}
	if row.Out {
		return api.Knock{}, api.Problemf(http.StatusConflict, api.CodeConflict, "this is our own knock; its peer decides")
	}
	ttl, err := grantLife(r.TTLSeconds)
	if err != nil {
		return api.Knock{}, err
	}
	row, err = ask(ctx, a, row.Peer, func(c *clerk) (knockRow, error) {
		return c.decide(row.Hash, approve, ttl)
	})
	return a.knock(row, a.expiry.now()), err
}

// grantLife checks how long a grant is to last; 0 is until it is taken back.
func grantLife(seconds int64) (time.Duration, error) {
	const longest = 100 * 365 * 24 * 60 * 60
	if seconds < 0 || seconds > longest {
		return 0, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "a grant of %d seconds", seconds).
			WithHint("give a positive time, or none for a grant without an end")
	}
	return time.Duration(seconds) * time.Second, nil
}

// Peers lists the agents that this one has to do with.
func (a *Agent) Peers() ([]api.Peer, error) {
	seen, err := a.findPeers()
	if err != nil {
		return nil, err
	}
	peers := make([]api.Peer, 0, len(seen))
	for amid := range seen {
		p, err := a.peerView(amid)
		if err != nil {
			return nil, err
		}
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(x, y api.Peer) int { return bytes.Compare(x.AMID[:], y.AMID[:]) })
	return peers, nil
}

func (a *Agent) peerView(amid identity.AMID) (api.Peer, error) {
	p := api.Peer{
		AMID: amid, Agent: a.Name, Path: api.PathNone, Session: "none",
		Revoked: a.revocation(amid), Blocked: a.Policy().Blocked(amid),
	}
	err := a.Store.View(func(r store.Reader) error {
		row, _, err := getJSON[peerRow](r, a.key(rowPeer, amid[:]))
		if err != nil {
			return err
		}
		if !row.LastSeen.IsZero() {
			p.LastSeen = &row.LastSeen
		}
		for _, kind := range []byte{rowGrant, rowReturn} {
			grant, found, err := getJSON[Grant](r, a.key(kind, amid[:]))
			if err != nil {
				return err
			}
			p.Granted = p.Granted || found && grant.Valid(a.expiry.now()) && !a.parted(amid)
		}
		sessions, err := a.loadSessions(r, amid)
		if err != nil {
			return err
		}
		p.Session = sessionWord(sessions)
		if best := sender(sessions); best != nil {
			p.Mode = best.mode().String()
		}
		if p.Verified, err = a.verifiedAt(r, amid); err != nil {
			return err
		}
		return scanJSON(r, a.key(rowOut, amid[:]), nil, func(_ []byte, o outRow) bool {
			if undelivered(&o) {
				p.Waiting++
			}
			return true
		})
	})
	a.mu.Lock()
	c := a.clerks[amid]
	a.mu.Unlock()
	if c != nil {
		_, p.Path = c.why()
	}
	return p, err
}

func sessionWord(list []*session) string {
	for _, s := range list {
		if s.accepted() && !s.Closed {
			return "accepted"
		}
	}
	for _, s := range list {
		if s.waiting() || (!s.Asker && s.Answer == knock.AnswerAsked) {
			return "knocking"
		}
	}
	return "none"
}

// undelivered reports whether the peer's node does not have the message yet.
func undelivered(o *outRow) bool { return rankOf[o.State] < rankOf[api.StateDelivered] }

// Counts are the numbers of Status.
type Counts struct{ Queued, Unread, Knocks int }

// Counts counts what waits.
func (a *Agent) Counts() (n Counts, err error) {
	now := a.expiry.now()
	err = a.Store.View(func(r store.Reader) error {
		err := scanJSON(r, a.key(rowOut), nil, func(_ []byte, o outRow) bool {
			if undelivered(&o) {
				n.Queued++
			}
			return true
		})
		if err != nil {
			return err
		}
		err = scanJSON(r, a.key(rowIn), nil, func(_ []byte, in inRow) bool {
			if in.State == api.InboxNew {
				n.Unread++
			}
			return true
		})
		if err != nil {
			return err
		}
		return scanJSON(r, a.key(rowKnock), nil, func(_ []byte, k knockRow) bool {
			if !k.Out && k.State == knockPending && now.Before(k.Expires) {
				n.Knocks++
			}
			return true
		})
	})
	return n, err
}
