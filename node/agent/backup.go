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
// no session and no prekey (session.md §8.7). After a restore the agent is of a higher
// epoch, what is unfinished is sealed in new sessions, and peers that write on an old
// one are asked for a new one (§8.6).

// inBackup says of every kind of row whether a backup holds it.
var inBackup = map[byte]bool{
	rowOut: true, rowOutBody: true, rowOutIndex: true,
	rowIn: true, rowInBody: true, rowInIndex: true, rowHeld: true, rowSeen: true,
	rowDue: true, rowSkip: true, rowPeer: true,
	rowGrant: true, rowReturn: true, rowContact: true, rowRevoked: true, rowVerified: true, rowCard: true, rowProof: true, rowIdem: true, rowCounter: true, rowRelay: true, rowName: true, rowRegistry: true,

	// Sessions, prekeys and what was sealed with them.
	rowSession: false, rowPrekeys: false, rowOneTime: false, rowReady: false, rowDeposit: false, rowFlight: false, rowSealed: false,
	// They name envelopes and knocks of those sessions.
	rowOpened: false, rowReceipt: false, rowKnock: false, rowReplay: false, rowResume: false,
	// Their messages are sealed again, and come whole.
	rowParts: false, rowPart: false,
	// They would have uses again that were used (invite.md §4).
	rowInvite: false, rowGuest: false, rowJoin: false,
}

// countersInBackup says the same of every counter.
var countersInBackup = map[byte]bool{
	counterArrival: true, counterSequence: true, counterRecord: true, counterCard: true,
	// A restore has an epoch of its own, and counts anew.
	counterEpoch: false, counterSealed: false, counterOneTime: false, counterBack: false, counterRoom: false,
}

// backedUp reports whether a backup holds the row with a key, which is without the
// AMID. What nobody has thought of is in no backup.
func backedUp(key []byte) bool {
	if len(key) > 0 && key[0] == rowCounter {
		return len(key) > 1 && countersInBackup[key[1]]
	}
	return len(key) > 0 && inBackup[key[0]]
}

// Backup calls row for every row of an agent that a backup holds, with its key
// without the AMID. Key and value are valid only during the call. It ends with the
// first error of row.
func Backup(r store.Reader, amid identity.AMID, row func(key, value []byte) error) error {
	var bad error
	var over finished
	err := r.Scan(amid[:], nil, func(k, v []byte) bool {
		k = k[len(amid):]
		if backedUp(k) {
			bad = row(k, v)
		}
		if bad == nil && len(k) > 0 && k[0] == rowOut {
			bad = over.look(v, row)
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}

// finished finds sequences that the peer would wait for in vain. With a new epoch it
// starts at the lowest that is not finished; those above it that are finished have
// been told to the peer in sessions that are gone, or never.
type finished struct {
	peer identity.AMID
	open bool // a row of the peer that is not finished was seen
}

// look takes the outgoing messages of a peer in their order.
func (f *finished) look(value []byte, row func(key, value []byte) error) error {
	var o outRow
	if err := json.Unmarshal(value, &o); err != nil {
		return fmt.Errorf("row %q: %w", rowOut, err)
	}
	if o.Peer != f.peer {
		f.peer, f.open = o.Peer, false
	}
	if !o.State.Terminal() {
		f.open = true
	}
	if !f.open || !o.State.Terminal() {
		return nil // what is not finished comes again, in its turn
	}
	key := append([]byte{rowSkip}, o.Peer[:]...)
	return row(append(key, be64(o.Seq)...), nil)
}

// ErrRow is returned by Restorer for what Backup never gives.
var ErrRow = errors.New("not a row of a backup")

// StoredEpoch is the epoch of an agent as its store has it.
func StoredEpoch(r store.Reader, amid identity.AMID) (uint32, error) {
	v, _, err := counter(r, append(amid[:len(amid):len(amid)], rowCounter, counterEpoch))
	return uint32(max(v, 1)), err
}

const (
	// restoreRows and restoreBytes bound what a Restorer writes at once: far below
	// what the store takes as one, even if every row is of the largest.
	restoreRows  = 256
	restoreBytes = 2 << 20
)

// Restorer writes the rows of a backup into a store that has nothing of the agent.
type Restorer struct {
	st    store.Store
	amid  identity.AMID
	batch [][2][]byte
	bytes int
}

// NewRestorer begins with an agent. Its store must be empty of it.
func NewRestorer(st store.Store, amid identity.AMID) *Restorer { return &Restorer{st: st, amid: amid} }

// Row takes a row as Backup gave it, or returns ErrRow or an error of the store.
func (r *Restorer) Row(ctx context.Context, key, value []byte) error {
	if !backedUp(key) {
		return fmt.Errorf("%w: key %.8q", ErrRow, key)
	}
	value, err := restored(key[0], value)
	if err != nil {
		return fmt.Errorf("%w: key %.8q: %v", ErrRow, key, err)
	}
	r.batch = append(r.batch, [2][]byte{append(r.amid[:len(r.amid):len(r.amid)], key...), bytes.Clone(value)})
	r.bytes += len(value)
	if len(r.batch) < restoreRows && r.bytes < restoreBytes {
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
