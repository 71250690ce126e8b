package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	sealedPrefixes = [][]byte{[]byte("ann/y/"), []byte("ann/s/"), []byte("bob/s/")}
	someDay        = time.Date(2026, 8, 30, 12, 0, 0, 0, time.UTC)
)

// vault is a store with sealed rows, its key, and every file the key ever lay in.
type vault struct {
	t     *testing.T
	mem   *Memory
	path  string
	key   *StateKey
	old   idKey             // the key at the beginning
	rows  map[string]string // what every sealed row must open to
	files []*os.File
}

// newVault seals so many rows that one Update is not enough for them.
func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{t: t, mem: NewMemory(), rows: map[string]string{}}
	v.key, v.path = newStateKey(t)
	v.old = v.key.ring.Load().keys[0]
	for i := range changeRows + 20 {
		v.rows[fmt.Sprintf("ann/s/%04d", i)] = fmt.Sprint("session ", i)
	}
	v.rows["ann/y/1"], v.rows["bob/s/1"] = "prekeys", "another's session"
	err := v.mem.Update(t.Context(), func(tx Tx) error {
		for row, plain := range v.rows {
			if err := tx.Set([]byte(row), v.key.Seal([]byte(row), []byte(plain))); err != nil {
				return err
			}
		}
		return tx.Set([]byte("ann/t/1"), []byte("not sealed"))
	})
	if err != nil {
		t.Fatal(err)
	}
	v.watch()
	t.Cleanup(func() {
		for _, f := range v.files {
			f.Close()
		}
	})
	return v
}

// watch opens what lies under the key's names, so that it can be looked into when
// it has no name any more.
func (v *vault) watch() {
	v.t.Helper()
	for _, name := range v.names() {
		f, err := os.Open(name)
		if err != nil {
			v.t.Fatal(err)
		}
		if slices.ContainsFunc(v.files, func(g *os.File) bool { return sameFile(v.t, f, g) }) {
			f.Close()
			continue
		}
		v.files = append(v.files, f)
	}
}

func sameFile(t *testing.T, f, g *os.File) bool {
	t.Helper()
	x, err := f.Stat()
	y, err2 := g.Stat()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

func (v *vault) names() []string {
	names, err := filepath.Glob(v.path + "*")
	if err != nil {
		v.t.Fatal(err)
	}
	return names
}

func (v *vault) change() error {
	return ChangeKey(v.t.Context(), v.mem, v.key, someDay, sealedPrefixes)
}

// changeWatched is change, with a look at the files after every step, behind which a
// second crash could come.
func (v *vault) changeWatched() error {
	for _, s := range v.key.changeSteps(v.t.Context(), v.mem, someDay, sealedPrefixes) {
		if err := s(); err != nil {
			return err
		}
		v.watch()
		v.keysFor(v.loaded())
	}
	return nil
}

// keysFor says that a key has all that the rows are sealed under.
func (v *vault) keysFor(k *StateKey) {
	v.t.Helper()
	err := v.mem.View(func(r Reader) error {
		for row := range v.rows {
			sealed, err := r.Get([]byte(row))
			if err != nil {
				return err
			}
			if k.ring.Load().find(sealed[:keyIDSize]) == nil {
				return fmt.Errorf("no key for row %s", row)
			}
		}
		return nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// crash restarts the process.
func (v *vault) crash() {
	v.t.Helper()
	v.mem = v.mem.Reopen()
	v.key = v.loaded()
}

func (v *vault) loaded() *StateKey {
	v.t.Helper()
	k, err := LoadStateKey(v.path)
	if err != nil {
		v.t.Fatal(err)
	}
	return k
}

// put writes a sealed row as everybody should.
func (v *vault) put(row, plain string) {
	v.t.Helper()
	v.rows[row] = plain
	err := v.mem.Update(v.t.Context(), func(tx Tx) error {
		return tx.Set([]byte(row), v.key.Seal([]byte(row), []byte(plain)))
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// opens says that no row is lost, neither to this process nor to the next one.
func (v *vault) opens() {
	v.t.Helper()
	for _, k := range []*StateKey{v.key, v.loaded()} {
		err := v.mem.View(func(r Reader) error {
			for row, want := range v.rows {
				sealed, err := r.Get([]byte(row))
				if err != nil {
					return err
				}
				plain, err := k.Open([]byte(row), sealed)
				if err != nil || string(plain) != want {
					return fmt.Errorf("row %s: %q, %w", row, plain, err)
				}
			}
			return nil
		})
		if err != nil {
			v.t.Fatal(err)
		}
	}
}

// showing lists the files, with or without a name, in which the old key can be read.
func (v *vault) showing() []string {
	v.t.Helper()
	var names []string
	for _, f := range v.files {
		data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<10))
		if err != nil {
			v.t.Fatal(err)
		}
		if bytes.Contains(data, hex.AppendEncode(nil, v.old.key[:])) {
			names = append(names, f.Name())
		}
	}
	return names
}

// changed says that the old key is nowhere and not needed.
func (v *vault) changed() {
	v.t.Helper()
	v.opens()
	v.watch()
	if names := v.showing(); len(names) > 0 {
		v.t.Errorf("the old key can be read in what was %q", names)
	}
	if names := v.names(); len(names) != 1 {
		v.t.Errorf("files left: %q", names)
	}
	for _, k := range []*StateKey{v.key, v.loaded()} {
		if n := len(k.ring.Load().keys); n != 1 {
			v.t.Errorf("%d keys", n)
		}
		if k.Unfinished() {
			v.t.Error("the change is called unfinished")
		}
	}
	for _, f := range v.files {
		data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<10))
		if err != nil {
			v.t.Fatal(err)
		}
		if !bytes.Equal(data, v.key.ring.Load().text()) && len(bytes.Trim(data, "\x00")) > 0 {
			v.t.Errorf("what was %s is not all zero", f.Name())
		}
	}
}

func TestKeyIsChanged(t *testing.T) {
	v := newVault(t)
	first := v.key.ring.Load().text()
	if err := v.change(); err != nil {
		t.Fatal(err)
	}
	v.changed()
	if v.key.ring.Load().keys[0].id == v.old.id {
		t.Error("the key is the same")
	}
	if got := v.loaded().Made(); !got.Equal(someDay) {
		t.Errorf("made %v, want %v", got, someDay)
	}
	data, err := io.ReadAll(io.NewSectionReader(v.files[0], 0, 1<<10))
	if err != nil || !bytes.Equal(data, make([]byte, len(first))) {
		t.Errorf("the first file has %d bytes, not %d zeros, %v", len(data), len(first), err)
	}
	if got := read(t, v.mem, "ann/t/1"); got != "not sealed" {
		t.Errorf("a row that is not sealed is %q", got)
	}
	if fi, err := os.Stat(v.path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

// Whatever step a change ends behind, by a crash or by an error, every row opens, and
// the next change leaves nothing of the old key, in no file that it ever lay in.
func TestKeyChangeCutShortAtEveryStep(t *testing.T) {
	v := newVault(t)
	whole := len(v.key.changeSteps(t.Context(), v.mem, someDay, sealedPrefixes))
	for _, how := range []string{"crash", "error"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for n := range whole + 1 {
				t.Run(fmt.Sprint("after step ", n), func(t *testing.T) { cutShort(t, how, n, whole) })
			}
		})
	}
}

func cutShort(t *testing.T, how string, n, whole int) {
	v := newVault(t)
	for _, s := range v.key.changeSteps(t.Context(), v.mem, someDay, sealedPrefixes)[:n] {
		if err := s(); err != nil {
			t.Fatal(err)
		}
		v.watch()
	}
	if how == "crash" {
		v.crash()
		v.settledOrUnfinished()
	}
	v.opens()
	v.put("ann/s/new", "written in between")
	v.put("ann/s/0000", "written again")
	v.opens()
	if n == whole {
		v.changed()
	}
	if err := v.changeWatched(); err != nil {
		t.Fatal(err)
	}
	v.changed()
}

// settledOrUnfinished says that a change which left anything behind is known to be
// unfinished, so that somebody comes to finish it.
func (v *vault) settledOrUnfinished() {
	v.t.Helper()
	if v.key.Unfinished() {
		return
	}
	showing := v.showing()
	untouched := v.key.ring.Load().keys[0] == v.old && len(showing) == 1
	if names := v.names(); len(names) != 1 || len(showing) > 0 && !untouched {
		v.t.Errorf("called finished, with files %q and the old key in %q", names, showing)
	}
}

func TestKeyChangeCutShortAtEveryCommit(t *testing.T) {
	v := newVault(t)
	before := v.mem.Commits()
	if err := v.change(); err != nil {
		t.Fatal(err)
	}
	whole := v.mem.Commits() - before
	for _, phase := range []Phase{BeforeCommit, AfterCommit} {
		for n := range whole {
			t.Run(fmt.Sprintf("commit %d of %d phase %v", n+1, whole, phase), func(t *testing.T) {
				v := newVault(t)
				v.mem.CrashAt(v.mem.Commits()+n+1, phase)
				if err := v.change(); !errors.Is(err, ErrCrashed) {
					t.Fatalf("change: %v", err)
				}
				v.crash()
				if !v.key.Unfinished() {
					t.Error("not called unfinished")
				}
				v.opens()
				begun := v.key.ring.Load().keys[0]
				if err := v.change(); err != nil {
					t.Fatal(err)
				}
				v.changed()
				if v.key.ring.Load().keys[0] != begun {
					t.Error("a change was begun, and another one made")
				}
			})
		}
	}
}

// between is a Store where something happens before the n-th Update.
type between struct {
	Store
	n     int
	event func()
}

func (b *between) Update(ctx context.Context, f func(Tx) error) error {
	if b.n--; b.n == 0 {
		b.event()
	}
	return b.Store.Update(ctx, f)
}

func TestKeyChangeOnAFullDisk(t *testing.T) {
	for n, whole := 1, false; !whole; n++ {
		v := newVault(t)
		s := &between{v.mem, n, func() { v.mem.Fail(syscall.ENOSPC) }}
		err := ChangeKey(t.Context(), s, v.key, someDay, sealedPrefixes)
		if whole = err == nil; !whole {
			if !errors.Is(err, ErrNoSpace) {
				t.Fatalf("update %d: %v", n, err)
			}
			v.opens()
			v.put("ann/s/0000", "written meanwhile")
			if !v.key.Unfinished() {
				t.Errorf("update %d: not called unfinished", n)
			}
			if err := v.change(); err != nil {
				t.Fatal(err)
			}
		} else if n == 1 {
			t.Fatal("the disk was never full")
		}
		v.changed()
	}
}

// A row that the old key sealed and that is committed late, whenever that is, is
// found before the old key goes.
func TestRowOfTheOldKeyCommittedLate(t *testing.T) {
	for n, whole := 1, false; !whole; n++ {
		v := newVault(t)
		// The first row of all: the passes are beyond it soon.
		row := []byte("ann/s/!")
		late := v.key.Seal(row, []byte("late"))
		s := &between{v.mem, n, func() {
			v.rows[string(row)] = "late"
			if err := v.mem.Update(t.Context(), func(tx Tx) error { return tx.Set(row, late) }); err != nil {
				t.Error(err)
			}
		}}
		if err := ChangeKey(t.Context(), s, v.key, someDay, sealedPrefixes); err != nil {
			t.Fatal(err)
		}
		v.changed()
		if whole = s.n > 0; whole && n < 3 {
			t.Fatalf("the change took %d updates, too few to be late for", n-1)
		}
	}
}

// Everybody reads and writes while the key is changed again and again.
func TestSealAndOpenDuringChanges(t *testing.T) {
	for name, open := range map[string]func(*testing.T) Store{
		"memory": func(*testing.T) Store { return NewMemory() },
		"disk":   func(t *testing.T) Store { return openDisk(t, t.TempDir()) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			k, path := newStateKey(t)
			const writers, rowsEach = 4, 10
			var stop atomic.Bool
			var wg sync.WaitGroup
			var views sync.RWMutex // no View may outlive two changes
			for w := range writers {
				wg.Go(func() {
					for i := 0; !stop.Load(); i++ {
						row := fmt.Appendf(nil, "ann/s/%d.%d", w, i%rowsEach)
						err := s.Update(t.Context(), func(tx Tx) error {
							return tx.Set(row, k.Seal(row, row))
						})
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
				wg.Go(func() {
					for !stop.Load() {
						views.RLock()
						err := openAll(s, k)
						views.RUnlock()
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			const changes = 5
			for i := range changes {
				if err := ChangeKey(t.Context(), s, k, someDay, sealedPrefixes); err != nil {
					t.Error(err)
				}
				views.Lock()
				stop.Store(i == changes-1)
				views.Unlock()
			}
			wg.Wait()
			again, err := LoadStateKey(path)
			if err == nil {
				err = openAll(s, again)
			}
			if err := errors.Join(err, s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// openAll opens every sealed row.
func openAll(s Store, k *StateKey) error {
	return s.View(func(r Reader) error {
		var bad error
		err := r.Scan([]byte("ann/s/"), nil, func(row, sealed []byte) bool {
			var plain []byte
			if plain, bad = k.Open(row, sealed); bad == nil && !bytes.Equal(plain, row) {
				bad = fmt.Errorf("row %s holds %q", row, plain)
			}
			return bad == nil
		})
		return errors.Join(err, bad)
	})
}

// A View goes on to see rows as they were, and must be able to open them, also while
// the next change runs.
func TestViewThatOutlivesAChange(t *testing.T) {
	v := newVault(t)
	err := v.mem.View(func(r Reader) error {
		sealed, err := r.Get([]byte("ann/s/0000"))
		if err != nil {
			return err
		}
		if err := v.change(); err != nil {
			return err
		}
		steps := v.key.changeSteps(t.Context(), v.mem, someDay, sealedPrefixes)
		for _, s := range steps[:len(steps)-1] {
			if _, err := v.key.Open([]byte("ann/s/0000"), sealed); err != nil {
				return err
			}
			if err := s(); err != nil {
				return err
			}
		}
		_, err = v.key.Open([]byte("ann/s/0000"), sealed)
		return errors.Join(err, steps[len(steps)-1]())
	})
	if err != nil {
		t.Error(err)
	}
	v.changed()
}

// All of them at once would be more than a transaction can hold.
func TestKeyChangeOfBigRows(t *testing.T) {
	v := newVault(t)
	for i := range 20 {
		v.put(fmt.Sprint("bob/s/", i), string(make([]byte, 1<<20)))
	}
	if err := v.change(); err != nil {
		t.Fatal(err)
	}
	v.changed()
}

// As long as a row cannot be opened no key is given up.
func TestKeyChangeStopsAtARowItCannotOpen(t *testing.T) {
	damage := func(v *vault) []byte {
		sealed := v.key.Seal([]byte("ann/s/0001"), []byte("x"))
		sealed[len(sealed)-1] ^= 1
		return sealed
	}
	for _, c := range []struct {
		name  string
		value func(v *vault) []byte
	}{
		{"damaged", damage},
		{"of a key that is lost", func(*vault) []byte { return keyOf(newIDKey()).Seal([]byte("ann/s/0001"), nil) }},
		{"not sealed", func(*vault) []byte { return []byte("{}") }},
		{"empty", func(*vault) []byte { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVault(t)
			set := func(f func(Tx) error) {
				if err := v.mem.Update(t.Context(), f); err != nil {
					t.Fatal(err)
				}
			}
			delete(v.rows, "ann/s/0001")
			set(func(tx Tx) error { return tx.Set([]byte("ann/s/0001"), c.value(v)) })
			for range 2 {
				if err := v.change(); !errors.Is(err, ErrSealed) {
					t.Errorf("change: %v, want ErrSealed", err)
				}
				v.opens()
				if v.loaded().ring.Load().find(v.old.id[:]) == nil {
					t.Error("the old key was given up")
				}
			}
			set(func(tx Tx) error { return tx.Delete([]byte("ann/s/0001")) })
			if err := v.change(); err != nil {
				t.Fatal(err)
			}
			v.changed()
		})
	}
}

// Without prefixes nothing would be sealed again before the key goes.
func TestKeyChangeWantsPrefixes(t *testing.T) {
	v := newVault(t)
	if err := ChangeKey(t.Context(), v.mem, v.key, someDay, nil); err == nil {
		t.Error("changed")
	}
	if v.key.ring.Load().keys[0] != v.old || v.key.Unfinished() {
		t.Error("a change was begun")
	}
}

func TestKeyFileCannotBeReplaced(t *testing.T) {
	for _, suffix := range []string{".new", ".erase"} {
		v := newVault(t)
		if err := os.Mkdir(v.path+suffix, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := v.change(); !errors.Is(err, ErrKeyFile) {
			t.Errorf("a folder at %s: %v", suffix, err)
		}
		if v.key.ring.Load().keys[0] != v.old {
			t.Errorf("a folder at %s: another key seals, and is in no file", suffix)
		}
		v.opens()
		if err := os.Remove(v.path + suffix); err != nil {
			t.Fatal(err)
		}
		if err := v.change(); err != nil {
			t.Fatal(err)
		}
		v.changed()
	}
}

// T45: after a failed sync of the folder nobody knows which file has the name, so
// none is overwritten.
func TestFolderOfTheKeyCannotBeSynced(t *testing.T) {
	v := newVault(t)
	steps := v.key.changeSteps(t.Context(), v.mem, someDay, sealedPrefixes)
	renamed := slices.IndexFunc(steps, func(s step) bool {
		if err := s(); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(v.path)
		if err != nil {
			t.Fatal(err)
		}
		was, err := v.files[0].Stat()
		return err == nil && !os.SameFile(fi, was)
	})
	if renamed < 0 {
		t.Fatal("the file was never replaced")
	}
	v.key.file.unsynced = fmt.Errorf("%w: input/output error", ErrPoisoned)
	for range 2 {
		if err := v.change(); !errors.Is(err, ErrPoisoned) {
			t.Errorf("change: %v, want ErrPoisoned", err)
		}
	}
	if data, err := os.ReadFile(v.path + ".erase"); err != nil || len(v.showing()) != 1 {
		t.Errorf("the last file has %q, %v", bytes.Trim(data, "\x00"), err)
	}
	v.opens()
	v.crash()
	if err := v.change(); err != nil {
		t.Fatal(err)
	}
	v.changed()
}

// A folder that is gone for the moment is no failed sync.
func TestFolderOfTheKeyIsGone(t *testing.T) {
	v := newVault(t)
	dir := filepath.Dir(v.path)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := v.change(); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrPoisoned) {
		t.Errorf("change: %v, want ErrNotExist", err)
	}
	if err := v.key.file.syncNames(); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrPoisoned) {
		t.Errorf("sync: %v, want ErrNotExist", err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := v.change(); err != nil {
		t.Fatal(err)
	}
	v.changed()
}

func TestFirstKeyCutShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.key")
	for n := 0; ; n++ {
		f := keyFile{path: path}
		r := &keyring{keys: []idKey{newIDKey()}}
		steps := f.replace(r.text())
		if n > len(steps) {
			break
		}
		if err := run(steps[:n]); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadStateKey(path); err != nil {
			t.Errorf("after step %d: %v", n, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if names, _ := filepath.Glob(path + "*"); len(names) != 0 {
			t.Errorf("after step %d: files left: %q", n, names)
		}
	}
}

// Who takes the key file away in the middle of a change has the last keys in the
// file that was to be overwritten.
func TestLastKeysAreNotOverwritten(t *testing.T) {
	v := newVault(t)
	if err := os.Rename(v.path, v.path+".erase"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{v.change(), func() error { _, err := LoadStateKey(v.path); return err }()} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, want ErrNotExist", err)
		}
	}
	if err := os.Rename(v.path+".erase", v.path); err != nil {
		t.Fatal(err)
	}
	v.opens()
}

func TestKeyChangeOfAReadOnlyFile(t *testing.T) {
	v := newVault(t)
	if err := os.Chmod(v.path, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := v.change(); err != nil {
		t.Fatal(err)
	}
	v.changed()
}

// A key behind a link, on another disk perhaps, is changed where it lies.
func TestKeyChangeBehindALink(t *testing.T) {
	v := newVault(t)
	link := filepath.Join(t.TempDir(), "state.key")
	if err := os.Symlink(v.path, link); err != nil {
		t.Skip(err) // not everybody may on every system
	}
	var err error
	if v.key, err = LoadStateKey(link); err != nil {
		t.Fatal(err)
	}
	if err := v.change(); err != nil {
		t.Fatal(err)
	}
	v.changed()
	if fi, err := os.Lstat(link); err != nil || fi.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link became %v, %v", fi.Mode(), err)
	}
}

// A change that was begun by format 1, which knew no time, is finished; the key's age
// stays unknown, so that the next change is due at once.
func TestChangeBegunInFormat1(t *testing.T) {
	v := newVault(t)
	both := &keyring{keys: []idKey{newIDKey(), v.old}}
	if err := run(v.key.file.replace(both.text())); err != nil {
		t.Fatal(err)
	}
	v.crash()
	for _, made := range []time.Time{{}, someDay} {
		if !v.key.Due(someDay) {
			t.Error("not due")
		}
		if err := v.change(); err != nil {
			t.Fatal(err)
		}
		v.changed()
		if got := v.loaded().Made(); !got.Equal(made) {
			t.Errorf("made %v, want %v", got, made)
		}
	}
	if v.key.Due(someDay) {
		t.Error("still due")
	}
}

func TestKeyIsDue(t *testing.T) {
	v := newVault(t)
	if !v.key.Due(someDay) {
		t.Error("a key of unknown age is not due")
	}
	if err := v.change(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		now  time.Time
		want bool
	}{
		{"just made", someDay, false},
		{"nearly a day old", someDay.Add(24*time.Hour - time.Second), false},
		{"a day old", someDay.Add(24 * time.Hour), true},
		{"a year old", someDay.AddDate(1, 0, 0), true},
		{"made while the clock was ahead", someDay.Add(-time.Second), true},
	} {
		for _, k := range []*StateKey{v.key, v.loaded()} {
			if got := k.Due(c.now); got != c.want {
				t.Errorf("%s: due %v", c.name, got)
			}
		}
	}
	if err := os.WriteFile(v.path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !v.key.Due(someDay) {
		t.Error("not due with an unfinished change")
	}
}
