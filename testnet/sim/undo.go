package sim

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"

	"amesh/internal/store"
	"amesh/node/agent"
)

// States that come back, or are lost (CP 28 to 31). The identity and the rollback mark
// lie where none of this reaches, but for a restore, which is on another machine.

// markFile keeps a person's rollback mark. Saving it is a point, before and after.
type markFile struct{ pr *process }

func (f markFile) Load() ([]byte, error) { return f.pr.p.mark, nil }

func (f markFile) Save(raw []byte) error {
	p := f.pr.p
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.w.point(f.pr, "before a mark") {
		return store.ErrCrashed
	}
	if p.full.Load() {
		return store.ErrNoSpace
	}
	p.mark = bytes.Clone(raw)
	if p.w.point(f.pr, "after a mark") {
		return store.ErrCrashed
	}
	return nil
}

// Copy is a person's state as it was once: the rows and the key that opens them.
type Copy struct {
	mem    *store.Memory
	state  *store.StateKey
	starts int // of the node until then
}

// Copy copies a person's state, whether its node runs or not.
func (p *Person) Copy() Copy {
	c := Copy{mem: store.NewMemory(), state: p.state, starts: p.starts}
	err := c.mem.Update(context.Background(), func(tx store.Tx) error {
		var bad error
		err := p.disk().View(func(r store.Reader) error {
			return r.Scan(nil, nil, func(k, v []byte) bool {
				bad = tx.Set(k, v)
				return bad == nil
			})
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
	return c
}

// rowsOf begins the keys of a kind of a person's rows.
func (p *Person) rowsOf(kind byte) []byte {
	amid := p.AMID()
	return append(amid[:], kind)
}

// disk is what is durable at a person now.
func (p *Person) disk() *store.Memory {
	if p.proc != nil && p.proc.dead.Load() {
		return p.mem.Reopen()
	}
	return p.mem
}

// Noticed reports whether the node started since a copy was made: only then does it
// notice that the copy was put back (session.md §8.7).
func (p *Person) Noticed(c Copy) bool { return p.starts > c.starts }

// PutBack gives a person a state of before.
func (w *World) PutBack(p *Person, c Copy) {
	w.undo(p, "put back", func() { p.mem, p.state = c.mem.Reopen(), c.state })
}

// Lose deletes a person's state folder.
func (w *World) Lose(p *Person) {
	w.undo(p, "lost", func() { p.mem = store.NewMemory() })
}

// LoseMark deletes a person's rollback mark.
func (w *World) LoseMark(p *Person) {
	w.undo(p, "mark lost", func() { p.mark = nil })
}

// LoseKey deletes the key that a person's sessions and prekeys are sealed under.
func (w *World) LoseKey(p *Person) {
	key := w.newStateKey()
	w.undo(p, "key lost", func() { p.state = key })
}

func (w *World) newStateKey() *store.StateKey {
	w.t.Helper()
	key, err := store.LoadStateKey(filepath.Join(w.t.TempDir(), "state.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

// LoseSessions deletes a person's sessions and nothing else: this is no older state, and
// the node does not notice before it cannot open something.
func (w *World) LoseSessions(p *Person) {
	off := p.off
	p.Stop()
	prefix := p.rowsOf(kindSession)
	err := p.mem.Update(context.Background(), func(tx store.Tx) error {
		var keys [][]byte
		err := tx.Scan(prefix, nil, func(k, _ []byte) bool {
			keys = append(keys, bytes.Clone(k))
			return true
		})
		for _, k := range keys {
			err = errors.Join(err, tx.Delete(k))
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	clear(p.rows.sessions)
	if !off {
		p.Start()
	}
}

// Backup is what a backup of a person holds.
type Backup struct {
	rows  [][2][]byte
	epoch uint32
}

// Backup makes a backup of a person, whose node may run.
func (p *Person) Backup() Backup {
	var b Backup
	err := p.disk().View(func(r store.Reader) (err error) {
		if b.epoch, err = agent.StoredEpoch(r, p.AMID()); err != nil {
			return err
		}
		return agent.Backup(r, p.AMID(), func(k, v []byte) error {
			b.rows = append(b.rows, [2][]byte{bytes.Clone(k), bytes.Clone(v)})
			return nil
		})
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
	return b
}

// Restore gives a person a home on another machine, made of a backup.
func (w *World) Restore(p *Person, b Backup) {
	state := w.newStateKey()
	var err error
	w.undo(p, "restored", func() {
		p.mem, p.mark, p.state = store.NewMemory(), nil, state
		r := agent.NewRestorer(p.mem, p.AMID())
		for _, row := range b.rows {
			err = errors.Join(err, r.Row(context.Background(), row[0], row[1]))
		}
		// As node/restore.go chooses it.
		err = errors.Join(err, r.Done(context.Background(), max(b.epoch+1, uint32(p.Clock().Unix()))))
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// undo ends a person's node, changes what is on its disk, and starts it again if it was
// to run.
func (w *World) undo(p *Person, how string, change func()) {
	off := p.off
	p.Stop()
	change()
	w.mu.Lock()
	p.life++
	p.note(Event{Kind: Undone, Note: how})
	p.find()
	w.mu.Unlock()
	if !off {
		p.Start()
	}
}

// find reads what is on a person's disk; w.mu is held.
func (p *Person) find() {
	p.rows, p.finding = newLedger(), true
	defer func() { p.finding = false }()
	var rows []write
	err := p.mem.View(func(r store.Reader) error {
		return r.Scan(nil, nil, func(k, v []byte) bool {
			rows = append(rows, write{bytes.Clone(k), append([]byte{}, v...)})
			return true
		})
	})
	if err != nil {
		p.w.t.Errorf("sim: %v", err)
	}
	p.committed(rows)
}
