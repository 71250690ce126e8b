package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/knock"
)

// retirement is what is to be done so that nothing of before seals again, as steps
// that stand on their own: each may be the last one that a crash leaves done.
type retirement struct {
	a     *Agent
	lost  map[string][]byte // the sessions whose state key is gone, by id
	steps []func(store.Tx) error
}

// retireAll makes every session void, and erases our prekeys, the sessions that wait for
// our owner's word, and our invites, whose uses may have been used. It can be cut short at any point and begun again.
func (a *Agent) retireAll(ctx context.Context) error {
	t := &retirement{a: a, lost: map[string][]byte{}}
	err := a.Store.View(func(r store.Reader) error {
		return errors.Join(t.sessions(r), t.lostSessions(r), t.finished(r), t.prekeys(r), t.invites(r))
	})
	if err != nil {
		return err
	}
	return a.inSteps(ctx, t.steps)
}

func (t *retirement) sessions(r store.Reader) error {
	var bad error
	err := r.Scan(t.a.key(rowSession), nil, func(k, v []byte) bool {
		k = bytes.Clone(k)
		var s *session
		switch s, bad = t.a.openSession(k, v); {
		case errors.Is(bad, store.ErrSealed):
			bad = nil
			peer := len(t.a.key(rowSession)) + identity.AMIDSize
			t.lost[hex.EncodeToString(k[peer:])] = k
		case bad == nil:
			t.steps = append(t.steps, func(tx store.Tx) error { return t.a.retire(tx, k, s) })
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}

func (t *retirement) invites(r store.Reader) error {
	for _, kind := range []byte{rowInvite, rowGuest} {
		err := r.Scan(t.a.key(kind), nil, func(k, _ []byte) bool {
			t.erase(bytes.Clone(k))
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// retire makes a session void.
func (a *Agent) retire(tx store.Tx, key []byte, s *session) error {
	if !s.Asker && s.Answer == knock.AnswerAsked {
		if err := a.endKnock(tx, s.KnockHash); err != nil {
			return err
		}
		return tx.Delete(key)
	}
	s.Closed, s.Void = true, true
	return a.putSession(tx, identity.AMID(key[len(a.key(rowSession)):][:identity.AMIDSize]), s)
}

// lostSessions erases what cannot be opened any more, after the knocks that led
// there: nobody could answer them. The messages that were sealed in there are sealed
// again (again.go).
func (t *retirement) lostSessions(r store.Reader) error {
	err := scanJSON(r, t.a.key(rowKnock), nil, func(_ []byte, row knockRow) bool {
		if t.lost[row.Sid] != nil && (row.State == knockPending || row.State == knockSent) {
			t.steps = append(t.steps, func(tx store.Tx) error { return t.a.endKnock(tx, row.Hash) })
		}
		return true
	})
	for _, key := range t.lost {
		t.erase(key)
	}
	return err
}

// finished tells the peers what they would wait for in vain.
func (t *retirement) finished(r store.Reader) error {
	var over finished
	var bad error
	err := r.Scan(t.a.key(rowOut), nil, func(_, v []byte) bool {
		bad = over.look(v, func(k, _ []byte) error {
			key := append(t.a.key(k[0]), k[1:]...)
			t.steps = append(t.steps, func(tx store.Tx) error { return tx.Set(key, nil) })
			return nil
		})
		return bad == nil
	})
	return errors.Join(err, bad)
}

func (t *retirement) prekeys(r store.Reader) error {
	for _, kind := range []byte{rowPrekeys, rowOneTime, rowReady} {
		err := r.Scan(t.a.key(kind), nil, func(k, _ []byte) bool {
			t.erase(bytes.Clone(k))
			return true
		})
		if err != nil {
			return err
		}
	}
	// Their ids begin anew at a random number: how far they had come is not known.
	t.erase(t.a.key(rowCounter, []byte{counterOneTime}))
	return nil
}

func (t *retirement) erase(key []byte) {
	t.steps = append(t.steps, func(tx store.Tx) error { return tx.Delete(key) })
}

// endKnock has a knock expire that nobody can answer any more.
func (a *Agent) endKnock(tx store.Tx, hash [32]byte) error {
	key := a.key(rowKnock, hash[:])
	row, ok, err := getJSON[knockRow](tx, key)
	if err != nil || !ok {
		return err
	}
	row.State = knockExpired
	return setJSON(tx, key, row)
}

// inSteps takes steps in transactions of a bounded size.
func (a *Agent) inSteps(ctx context.Context, steps []func(store.Tx) error) error {
	for len(steps) > 0 {
		some := steps[:min(len(steps), a.Limits.Batch)]
		err := a.Store.Update(ctx, func(tx store.Tx) error {
			for _, step := range some {
				if err := step(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		steps = steps[len(some):]
	}
	return nil
}
