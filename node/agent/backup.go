package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"amesh/identity"
	"amesh/internal/store"
)

// A backup holds what an agent would miss, and nothing that could seal an envelope:
// no session and no prekey (session.md §8.7).

// inBackup says of every kind of row whether a backup holds it.
var inBackup = map[byte]bool{
	rowOut: true, rowOutBody: true, rowOutIndex: true,
	rowIn: true, rowInBody: true, rowInIndex: true, rowHeld: true, rowSeen: true,
	rowDue: true, rowSkip: true, rowPeer: true,
	rowGrant: true, rowReturn: true, rowContact: true, rowIdem: true, rowCounter: true,

	// Sessions, prekeys and what was sealed with them.
	rowSession: false, rowPrekeys: false, rowFlight: false, rowSealed: false,
	// They name envelopes and knocks of those sessions.
	rowOpened: false, rowReceipt: false, rowKnock: false, rowReplay: false, rowResume: false,
	// Their messages are sealed again, and come whole.
	rowParts: false, rowPart: false,
}

// Backup calls row for every row of an agent that a backup holds, with its key
// without the AMID.
func Backup(r store.Reader, amid identity.AMID, row func(key, value []byte) error) error {
	var bad error
	err := r.Scan(amid[:], nil, func(k, v []byte) bool {
		k = k[len(amid):]
		if len(k) == 0 || !inBackup[k[0]] {
			return true
		}
		if k[0] == rowCounter && (k[1] == counterEpoch || k[1] == counterSealed) {
			return true // a restore has an epoch of its own, and counts anew
		}
		bad = row(k, v)
		return bad == nil
	})
	return errors.Join(err, bad)
}

// StoredEpoch is the epoch of an agent as its store has it.
func StoredEpoch(r store.Reader, amid identity.AMID) (uint32, error) {
	v, _, err := counter(r, append(amid[:len(amid):len(amid)], rowCounter, counterEpoch))
	return uint32(max(v, 1)), err
}

// Restorer writes the rows of a backup into a store that has nothing of the agent.
type Restorer struct {
	st    store.Store
	amid  identity.AMID
	batch [][2][]byte
	bytes int
}

// NewRestorer begins with an agent. Its store must be empty of it.
func NewRestorer(st store.Store, amid identity.AMID) *Restorer { return &Restorer{st: st, amid: amid} }

// Row takes a row as Backup gave it.
func (r *Restorer) Row(ctx context.Context, key, value []byte) error {
	if len(key) == 0 || !inBackup[key[0]] {
		return fmt.Errorf("a backup holds no row of kind %.8q", key)
	}
	value, err := restored(key[0], value)
	if err != nil {
		return fmt.Errorf("row of kind %q: %w", key[0], err)
	}
	r.batch = append(r.batch, [2][]byte{append(r.amid[:len(r.amid):len(r.amid)], key...), bytes.Clone(value)})
	r.bytes += len(value)
	if len(r.batch) < 256 && r.bytes < 2<<20 {
		return nil
	}
	return r.flush(ctx)
}

func (r *Restorer) flush(ctx context.Context) error {
	err := r.st.Update(ctx, func(tx store.Tx) error {
		for _, kv := range r.batch {
			if err := tx.Set(kv[0], kv[1]); err != nil {
				return err
			}
		}
		return nil
	})
	r.batch, r.bytes = nil, 0
	return err
}

// Done ends the restore of the agent: from now on it is of this epoch, which must be
// above every one that it had.
func (r *Restorer) Done(ctx context.Context, epoch uint32) error {
	r.batch = append(r.batch, [2][]byte{
		append(r.amid[:len(r.amid):len(r.amid)], rowCounter, counterEpoch), be64(uint64(epoch)),
	})
	return r.flush(ctx)
}

// restored is a row as it is to be after a restore. Nothing that was sealed counts:
// unfinished messages wait for new sessions.
func restored(kind byte, value []byte) ([]byte, error) {
	switch kind {
	case rowOut:
		var o outRow
		if err := json.Unmarshal(value, &o); err != nil {
			return nil, err
		}
		if !o.State.Terminal() {
			o.Session = ""
		}
		return json.Marshal(o)
	case rowPeer:
		var p peerRow
		if err := json.Unmarshal(value, &p); err != nil {
			return nil, err
		}
		p.Told, p.Renewed = "", nil
		return json.Marshal(p)
	}
	return value, nil
}
