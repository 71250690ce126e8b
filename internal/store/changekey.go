package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// ChangeKey finishes the change of the key that was begun, or else makes a new key.
// When it returns nil, every row under the prefixes is sealed under the key that k
// seals with now, and the one before is nowhere on the disk: what was deleted from
// these rows can be read no more by who takes the disk (session.md §14).
//
//	{old}       → the file of {new, old} takes its place, {old} is overwritten
//	{new, old}  → k seals with new; rows of old are sealed again, some in each
//	              Update, until one Update went through all of them
//	            → the file of {new} takes its place, {new, old} is overwritten
//	{new}
//
// It may be called while others seal and open, but a second call waits for the
// first. It can be cut short by ctx, an error or a crash anywhere: every row opens
// then, with this StateKey as with one that is loaded again, and the next call goes
// on. Only ErrPoisoned means that the process must stop. ErrSealed, with the row's
// key, says that a row under the prefixes cannot be opened; nothing is given up
// while there is one.
//
// The prefixes are those of all rows that k ever sealed, also of what is not in use
// today: a row that is left out is lost.
func ChangeKey(ctx context.Context, s Store, k *StateKey, now time.Time, prefixes [][]byte) error {
	if len(prefixes) == 0 {
		return errors.New("change state key: no prefixes")
	}
	k.change.Lock()
	defer k.change.Unlock()
	if err := run(k.changeSteps(ctx, s, now, prefixes)); err != nil {
		return fmt.Errorf("change state key: %w", err)
	}
	return nil
}

func (k *StateKey) changeSteps(ctx context.Context, s Store, now time.Time, prefixes [][]byte) []step {
	var steps []step
	both := k.ring.Load()
	if !both.changing() {
		both = both.changed(now)
		steps = append(k.file.replace(both.text()), k.use(both))
	}
	one := both.settled()
	steps = append(steps, func() error { return k.sealAgain(ctx, s, prefixes) })
	steps = append(steps, k.file.replace(one.text())...)
	return append(steps, k.use(one))
}

func (k *StateKey) use(r *keyring) step {
	return func() error { k.ring.Store(r); return nil }
}

// sealAgain seals the rows of the last key under the new one. The Update that goes
// from the beginning to the end is the proof that there are no more: what ran
// before it is seen by it, and what runs after it seals with the new key.
func (k *StateKey) sealAgain(ctx context.Context, s Store, prefixes [][]byte) error {
	var from []byte
	for {
		var next []byte
		err := s.Update(ctx, func(tx Tx) (err error) {
			next, err = k.sealSome(tx, prefixes, from)
			return err
		})
		if err != nil {
			return err
		}
		if from == nil && next == nil {
			return nil
		}
		from = next
	}
}

// sealSome seals rows again from a row key on, as many as one Update should, and
// gives the row key to go on from: nil at the end.
func (k *StateKey) sealSome(tx Tx, prefixes [][]byte, from []byte) (next []byte, err error) {
	var old rows
	size := 0
	id := k.ring.Load().keys[0].id
	for _, prefix := range prefixes {
		err := tx.Scan(prefix, from, func(key, value []byte) bool {
			switch {
			case bytes.HasPrefix(value, id[:]):
			case len(old) == changeRows || size >= changeBytes:
				next = bytes.Clone(key)
			default:
				old = append(old, &row{key: bytes.Clone(key), value: bytes.Clone(value)})
				size += len(value)
			}
			return next == nil
		})
		if err != nil {
			return nil, err
		}
		if next != nil {
			break
		}
	}
	return next, k.sealRows(tx, old)
}

func (k *StateKey) sealRows(tx Tx, old rows) error {
	for _, r := range old {
		plain, err := k.Open(r.key, r.value)
		if err != nil {
			return fmt.Errorf("row %x: %w", r.key, err)
		}
		if err := tx.Set(r.key, k.Seal(r.key, plain)); err != nil {
			return err
		}
	}
	return nil
}
