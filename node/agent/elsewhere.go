package agent

import (
	"errors"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/internal/store"
)

// Marks that lie elsewhere than on this disk (session.md §8.7): a relay keeps one, where
// even a copy of the whole machine does not reach.

// ErrRolledBack is returned by Run after TakeBack. The next Start does what a state that
// was put back needs.
var ErrRolledBack = errors.New("the state was put back, or a copy of it runs elsewhere")

// RollbackMark is the mark as it was saved last, for who keeps it elsewhere as well.
func (a *Agent) RollbackMark() identity.RollbackMark {
	a.mark.mu.Lock()
	defer a.mark.mu.Unlock()
	return identity.RollbackMark{AMID: a.amid, Epoch: a.mark.epoch, Reserved: a.mark.reserved}
}

// Behind reports whether a mark that was found elsewhere, of our own signature, is ahead
// of the state. left is the highest number that this process has left there itself in its
// epoch, 0 for none. Every start reserves more than all before it, so what is not from us
// and not below our first is of a copy.
func (a *Agent) Behind(found identity.RollbackMark, left uint64) bool {
	m := a.mark
	m.mu.Lock()
	defer m.mu.Unlock()
	if found.Epoch != m.epoch {
		return found.Epoch > m.epoch
	}
	return found.Reserved > m.reserved || found.Reserved >= m.first && found.Reserved > left
}

// TakeBack stops an agent whose state is behind a mark: nothing is sealed any more, Run
// ends with ErrRolledBack, and the next Start is of a higher epoch.
func (a *Agent) TakeBack(found identity.RollbackMark) error {
	m := a.mark
	m.mu.Lock()
	defer m.mu.Unlock()
	m.void = true
	err := m.save(identity.RollbackMark{
		Epoch: max(found.Epoch, m.epoch), Reserved: max(found.Reserved, m.reserved) + markJudged + 1,
	})
	if err != nil {
		err = fmt.Errorf("%w; %w", ErrRolledBack, err)
		a.fail(err)
		return err
	}
	a.fail(ErrRolledBack)
	return nil
}

// RolledBack is when it was last noticed that the state was put back, zero for never.
func (a *Agent) RolledBack() (at time.Time, err error) {
	err = a.Store.View(func(r store.Reader) error {
		v, found, err := counter(r, a.key(rowCounter, []byte{counterBack}))
		if found {
			at = time.Unix(int64(v), 0).UTC()
		}
		return err
	})
	return at, err
}
