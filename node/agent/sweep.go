package agent

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
)

// sweepEvery is how often rows are looked at whose time is over. All their windows
// are hours and days, so the grain does not matter.
const sweepEvery = time.Hour

// sweepLoop renews our prekeys and takes away what time has ended.
func (a *Agent) sweepLoop(ctx context.Context) {
	tick, look := time.NewTicker(sweepEvery), time.NewTicker(lookEvery)
	defer tick.Stop()
	defer look.Stop()
	for {
		if err := a.sweep(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNoSpace) {
			a.fail(err)
			return
		}
		if !a.watchClock(ctx, tick.C, look.C) {
			return
		}
	}
}

// watchClock waits for the next sweep. Meanwhile it wakes the clerks when the time
// jumped or the machine slept: they sleep until moments that are nearer now, or
// farther; and it tries whether a full disk has room. It reports false when ctx ended.
func (a *Agent) watchClock(ctx context.Context, sweep, look <-chan time.Time) bool {
	for looked := a.Uptime(); ; {
		select {
		case <-ctx.Done():
			return false
		case <-sweep:
			return true
		case <-a.oneTime.low:
			return true
		case <-look:
			up := a.Uptime()
			slept := up-looked > 2*lookEvery // with the machine; timers stood still
			looked = up
			a.tryRoom(ctx)
			if a.expiry.moved() || slept {
				for _, c := range a.allClerks() {
					c.nudge()
				}
			}
		}
	}
}

func (a *Agent) sweep(ctx context.Context) error {
	if err := a.prekeys.rotate(ctx); err != nil {
		return err
	}
	now := a.expiry.now()
	doomed, err := a.doomed(now)
	if err != nil {
		return err
	}
	for len(doomed) > 0 {
		n := min(len(doomed), a.Limits.Batch)
		err := a.Store.Update(ctx, func(tx store.Tx) error {
			for _, k := range doomed[:n] {
				if err := tx.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		doomed = doomed[n:]
	}
	return a.oneTime.refill(ctx)
}

// doomed lists the keys of rows whose time is over.
func (a *Agent) doomed(now time.Time) ([][]byte, error) {
	var keys [][]byte
	add := func(k []byte, dead bool) bool {
		if dead {
			keys = append(keys, bytes.Clone(k))
		}
		return true
	}
	dedup := now.Add(-a.Limits.DedupMemory)
	err := a.Store.View(func(r store.Reader) error {
		return errors.Join(
			scanJSON(r, a.key(rowOpened), nil, func(k []byte, row openedRow) bool { return add(k, row.At.Before(dedup)) }),
			scanJSON(r, a.key(rowReceipt), nil, func(k []byte, row receiptRow) bool { return add(k, row.At.Before(dedup)) }),
			scanJSON(r, a.key(rowSeen), nil, func(k []byte, row seenRow) bool { return add(k, row.At.Before(dedup)) }),
			scanJSON(r, a.key(rowReplay), nil, func(k []byte, row replayRow) bool { return add(k, now.After(row.Until)) }),
			scanJSON(r, a.key(rowIdem), nil, func(k []byte, row idemRow) bool {
				return add(k, row.At.Before(now.Add(-a.Limits.IdempotencyKeep)))
			}),
			a.doomedKnocks(r, now, add),
			a.doomedInvites(r, now, add),
			a.doomedParts(r, now, add),
			a.doomedOut(r, now, add),
			a.doomedIn(r, now, add),
			a.doomedSessions(r, now, add),
			a.oneTime.doomed(r, now, add),
			a.oneTime.doomedDeposits(r, now, add),
		)
	})
	return keys, err
}

// doomedKnocks finds knocks that ended long ago, and all but the newest of the refused
// ones, of which strangers can make as many as they like, and of the accepted ones, of
// which there is one for every session.
func (a *Agent) doomedKnocks(r store.Reader, now time.Time, add func([]byte, bool) bool) error {
	type old struct {
		key []byte
		at  time.Time
	}
	var refused, accepted []old
	err := scanJSON(r, a.key(rowKnock), nil, func(k []byte, row knockRow) bool {
		if now.After(row.Expires.Add(a.Limits.SessionKeep)) {
			return add(k, true)
		}
		switch row.State {
		case knockRejected, knockExpired:
			refused = append(refused, old{bytes.Clone(k), row.At})
		case knockAccepted:
			accepted = append(accepted, old{bytes.Clone(k), row.At})
		}
		return true
	})
	for _, list := range [][]old{refused, accepted} {
		slices.SortFunc(list, func(x, y old) int { return y.at.Compare(x.at) })
		for i, x := range list {
			add(x.key, i >= a.Limits.KnockHistory)
		}
	}
	return err
}

// doomedParts finds long messages that were never completed.
func (a *Agent) doomedParts(r store.Reader, now time.Time, add func([]byte, bool) bool) error {
	var over [][]byte
	prefix := a.key(rowParts)
	err := scanJSON(r, prefix, nil, func(k []byte, row partsRow) bool {
		if now.After(row.Deadline.Add(a.Limits.Skew)) {
			over = append(over, bytes.Clone(k[len(prefix):]))
			add(k, true)
		}
		return true
	})
	for _, of := range over {
		err = errors.Join(err, r.Scan(a.key(rowPart, of), nil, func(k, _ []byte) bool { return add(k, true) }))
	}
	return err
}

// doomedOut finds outgoing messages that ended long ago, with their index.
func (a *Agent) doomedOut(r store.Reader, now time.Time, add func([]byte, bool) bool) error {
	return scanJSON(r, a.key(rowOut), nil, func(k []byte, row outRow) bool {
		if row.State.Terminal() && row.Changed.Before(now.Add(-a.Limits.HistoryKeep)) {
			add(k, true)
			add(a.key(rowOutIndex, row.ID[:]), true)
		}
		return true
	})
}

// doomedIn finds incoming messages that the agent has done with long ago.
func (a *Agent) doomedIn(r store.Reader, now time.Time, add func([]byte, bool) bool) error {
	return scanJSON(r, a.key(rowIn), nil, func(k []byte, row inRow) bool {
		if inboxTerminal(row.State) && row.Received.Before(now.Add(-a.Limits.DedupMemory)) {
			add(k, true)
			add(a.key(rowInIndex, row.Local[:]), true)
			add(a.key(rowInBody, row.Local[:]), true)
			add(a.key(rowProof, row.Local[:]), row.Mode == content.Accountable)
		}
		return true
	})
}

// doomedSessions finds sessions that were not used for long.
func (a *Agent) doomedSessions(r store.Reader, now time.Time, add func([]byte, bool) bool) error {
	prefix := a.key(rowSession)
	var bad error
	err := r.Scan(prefix, nil, func(k, v []byte) bool {
		s, err := a.openSession(bytes.Clone(k), v)
		if err != nil {
			bad = err
			return false
		}
		old := s.Used.Before(now.Add(-a.Limits.SessionKeep))
		peer := identity.AMID(k[len(prefix):][:identity.AMIDSize])
		// A clerk at work keeps its sessions in memory and writes them back; only
		// one that went home leaves its rows to us.
		return add(k, old && !a.atWork(peer))
	})
	return errors.Join(err, bad)
}

func (a *Agent) atWork(peer identity.AMID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.clerks[peer] != nil
}

func inboxTerminal(s api.InboxState) bool {
	return s == api.InboxHandled || s == api.InboxFailed || s == api.InboxRefused
}

func parseID(id string) (uuid.UUID, error) {
	u, err := uuid.Parse(id)
	if err != nil || u.String() != id {
		return uuid.Nil, api.Problemf(404, api.CodeNotFound, "no message with the id %.60q", id).
			WithHint("`amesh inbox` lists ids; an id is written as 8-4-4-4-12 hex digits")
	}
	return u, nil
}
