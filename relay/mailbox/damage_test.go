package mailbox_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay/mailbox"
)

var ann, bob = identity.AMID{1}, identity.AMID{2}

// rowsOf gives the keys of one kind of row: 'i' or 'm' of bob's, 'b', 'c', 'q'.
func rowsOf(t *testing.T, s store.Store, kind byte) [][]byte {
	t.Helper()
	prefix := []byte{kind}
	if kind == 'i' || kind == 'm' {
		prefix = append(prefix, bob[:]...)
	}
	var keys [][]byte
	err := s.View(func(r store.Reader) error {
		return r.Scan(prefix, nil, func(key, _ []byte) bool { keys = append(keys, bytes.Clone(key)); return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// spoil changes the value under a key; a nil value deletes it.
func spoil(t *testing.T, s store.Store, key []byte, f func([]byte) []byte) {
	t.Helper()
	err := s.Update(context.Background(), func(tx store.Tx) error {
		v, err := tx.Get(key)
		if err != nil {
			return err
		}
		if v = f(bytes.Clone(v)); v == nil {
			return tx.Delete(key)
		}
		return tx.Set(key, v)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func flipBit(n int) func([]byte) []byte {
	return func(v []byte) []byte {
		v[n/8] ^= 1 << (n % 8)
		return v
	}
}

func lengthOf(t *testing.T, s store.Store, key []byte) (n int) {
	t.Helper()
	spoil(t, s, key, func(v []byte) []byte { n = len(v); return v })
	return n
}

// threeForBob is a mailbox with the messages a, b, c on a store in memory.
func threeForBob(t *testing.T) (*store.Memory, mailbox.Mailbox) {
	t.Helper()
	s := store.NewMemory()
	m := newDisks().open(t, s, mailbox.Limits{})
	if _, err := m.Open(t.Context(), bob, true); err != nil {
		t.Fatal(err)
	}
	put(t, m, note("a"), note("b"), note("c"))
	return s, m
}

// survives looks at a mailbox whose message b was damaged.
func survives(t *testing.T, m mailbox.Mailbox, how string) {
	t.Helper()
	if got := firstLetters(list(t, m, bob)); got != "ac" {
		t.Errorf("%s: %q is served", how, got)
	}
	used, err := m.Usage(context.Background(), bob)
	if s := m.Stats(); err != nil || used.Messages != 2 || s.Messages != 2 || s.Bytes != 2 || s.Quarantined != 1 {
		t.Errorf("%s: usage %+v, %v, %+v", how, used, err, s)
	}
	rows := list(t, m, ann)
	if len(rows) != 1 || rows[0].Notice == nil {
		t.Fatalf("%s: the sender has %d rows", how, len(rows))
	}
	n := rows[0].Notice
	if n.Reason != mailbox.Corrupt || n.ID != mailbox.PayloadID("b") || n.To != bob || time.Since(n.Taken) > time.Minute {
		t.Errorf("%s: notice %+v", how, n)
	}
	if s := put(t, m, note("b"))[0]; s.Err != nil || s.Repeated {
		t.Errorf("%s: sent again: %+v", how, s)
	}
	if got := firstLetters(list(t, m, bob)); got != "acb" {
		t.Errorf("%s: then %q is served", how, got)
	}
}

// T46: a flipped bit is noticed wherever it is, and costs that one message.
func TestEveryBitOfAMessageCounts(t *testing.T) {
	s, _ := threeForBob(t)
	for bit := range 8 * lengthOf(t, s, rowsOf(t, s, 'm')[1]) {
		s, m := threeForBob(t)
		spoil(t, s, rowsOf(t, s, 'm')[1], flipBit(bit))
		survives(t, m, "listed")
		if t.Failed() {
			t.Fatalf("bit %d", bit)
		}
	}
}

// T46: whatever is left of a row, and whoever meets it first.
func TestDamagedMessages(t *testing.T) {
	for name, f := range map[string]func([]byte) []byte{
		"gone":        func([]byte) []byte { return nil },
		"empty":       func([]byte) []byte { return []byte{} },
		"torn":        func(v []byte) []byte { return v[:len(v)/2] },
		"one byte":    func(v []byte) []byte { return v[:1] },
		"zeroed":      func(v []byte) []byte { return make([]byte, len(v)) },
		"longer":      func(v []byte) []byte { return append(v, 0) },
		"old version": func(v []byte) []byte { v[0] = 1; return v },
		"newer":       func(v []byte) []byte { v[0] = 3; return v },
	} {
		t.Run(name, func(t *testing.T) {
			s, m := threeForBob(t)
			spoil(t, s, rowsOf(t, s, 'm')[1], f)
			if name == "gone" {
				// A scan does not miss what is not there.
				if _, err := m.Take(t.Context(), bob, 3); err != nil {
					t.Fatal(err)
				}
				if st := m.Stats(); st.Quarantined != 1 || st.Messages != 0 || st.Notices != 1 {
					t.Errorf("taken: %+v", st)
				}
				return
			}
			survives(t, m, "listed")

			s, m = threeForBob(t)
			spoil(t, s, rowsOf(t, s, 'm')[0], f)
			rows, err := m.Take(t.Context(), bob, 1)
			// Nothing would mean that there is nothing, and its receiver would wait.
			if err != nil || firstLetters(rows) != "b" {
				t.Errorf("taken: %q, %v", firstLetters(rows), err)
			}

			s, m = threeForBob(t)
			spoil(t, s, rowsOf(t, s, 'm')[1], f)
			cursors := []mailbox.Cursor{}
			for _, key := range rowsOf(t, s, 'm') {
				cursors = append(cursors, cursorOf(key))
			}
			if n, err := m.Delete(t.Context(), bob, cursors); n != 3 || err != nil {
				t.Errorf("deleted %d, %v", n, err)
			}
			if st := m.Stats(); st.Messages != 0 || st.Notices != 0 {
				t.Errorf("deleted: %+v", st)
			}
		})
	}
}

func cursorOf(key []byte) mailbox.Cursor {
	var c mailbox.Cursor
	for _, b := range key[len(key)-8:] {
		c = c<<8 | mailbox.Cursor(b)
	}
	return c
}

// T46: two rows that changed places are damage, too.
func TestRowsThatChangedPlaces(t *testing.T) {
	s, m := threeForBob(t)
	keys := rowsOf(t, s, 'm')
	var first []byte
	spoil(t, s, keys[0], func(v []byte) []byte { first = v; return v })
	spoil(t, s, keys[1], func([]byte) []byte { return first })
	survives(t, m, "listed")
}

// T46: what a rotten 'i' row said stands in the message, so that nothing is lost.
func TestEveryBitOfAnIndexRow(t *testing.T) {
	s, _ := threeForBob(t)
	for bit := range 8 * lengthOf(t, s, rowsOf(t, s, 'i')[1]) {
		s, _ := threeForBob(t)
		key := rowsOf(t, s, 'i')[1]
		var before []byte
		spoil(t, s, key, func(v []byte) []byte { before = v; return v })
		spoil(t, s, key, flipBit(bit))
		for range 2 {
			s = s.Reopen()
			m := newDisks().open(t, s, mailbox.Limits{})
			if got := firstLetters(list(t, m, bob)); got != "abc" || !put(t, m, note("b"))[0].Repeated {
				t.Errorf("bit %d: %q is served", bit, got)
			}
			if _, err := m.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
			if st := m.Stats(); st.Quarantined != 0 || st.Messages != 3 || st.Bytes != 3 {
				t.Errorf("bit %d: %+v", bit, st)
			}
			spoil(t, s, key, func(v []byte) []byte {
				if !bytes.Equal(v, before) {
					t.Errorf("bit %d: not repaired", bit)
				}
				return v
			})
		}
		if t.Failed() {
			return
		}
	}
}

// T46: a row of which nothing can be read is taken out, though nobody can be told.
func TestBothRowsRotten(t *testing.T) {
	s, _ := threeForBob(t)
	spoil(t, s, rowsOf(t, s, 'i')[1], flipBit(99))
	spoil(t, s, rowsOf(t, s, 'm')[1], flipBit(99))
	m := newDisks().open(t, s.Reopen(), mailbox.Limits{})
	if _, err := m.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := firstLetters(list(t, m, bob)); got != "ac" {
		t.Errorf("%q is served", got)
	}
	if st := m.Stats(); st.Messages != 2 || st.Bytes != 2 || st.Quarantined != 1 || st.Notices != 0 {
		t.Errorf("%+v", st)
	}
}

// T46: a mailbox whose own row is rotten keeps its size, and expires nothing.
func TestRottenBoxAndClock(t *testing.T) {
	for _, kind := range []byte{'b', 'c'} {
		key, bits := []byte(nil), 1
		for bit := 0; bit < bits; bit++ {
			s, m := threeForBob(t)
			if _, err := m.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
			key = rowsOf(t, s, kind)[0]
			bits = 8 * lengthOf(t, s, key)
			spoil(t, s, key, flipBit(bit))
			m = newDisks().open(t, s.Reopen(), mailbox.Limits{})
			if got := firstLetters(list(t, m, bob)); got != "abc" {
				t.Errorf("row %c, bit %d: %q", kind, bit, got)
			}
			many := make([]mailbox.Message, 30)
			for i := range many {
				many[i] = note(strings.Repeat("x", i+1))
			}
			for _, a := range put(t, m, many...) {
				if a.Err != nil {
					t.Fatalf("row %c, bit %d: the mailbox has shrunk: %v", kind, bit, a.Err)
				}
			}
		}
	}
}

// T46: damage on a disk that cannot be written is passed over and comes to order
// when the disk does (T44).
func TestDamageOnAFullDisk(t *testing.T) {
	s, m := threeForBob(t)
	spoil(t, s, rowsOf(t, s, 'm')[1], flipBit(99))
	s.Fail(syscall.ENOSPC)
	if got := firstLetters(list(t, m, bob)); got != "ac" {
		t.Errorf("%q is served", got)
	}
	if st := m.Stats(); st.Quarantined != 0 {
		t.Errorf("%+v", st)
	}
	survives(t, m, "healed")
}

// What is damaged is kept to be looked at, a while, and not too much of it.
func TestDamagedRowsAreKeptAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		l := mailbox.DefaultLimits()
		l.Quarantine = 2
		m := newDisks().open(t, s, l)
		put(t, m, note("a"), note("b"), note("c"), note("d"))
		for _, key := range rowsOf(t, s, 'm')[:3] {
			spoil(t, s, key, flipBit(300))
		}
		if got := firstLetters(list(t, m, bob)); got != "d" || len(rowsOf(t, s, 'q')) != 2 {
			t.Errorf("%q is served, %d are kept", got, len(rowsOf(t, s, 'q')))
		}
		s = s.Reopen()
		m = newDisks().open(t, s, l)
		for range 2 {
			if _, err := m.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(73 * time.Hour)
		}
		if n := len(rowsOf(t, s, 'q')); n != 0 {
			t.Errorf("%d are kept for ever", n)
		}
	})
}

// T46 on the real store: a rotten value log costs the message in it, and the relay
// goes on.
func TestRottenValueLog(t *testing.T) {
	dir := t.TempDir()
	open := func() (store.Store, mailbox.Mailbox) {
		s, err := store.Open(dir, store.Options{Schema: mailbox.Schema(), Reserve: 1, Lossy: true})
		if err != nil {
			t.Fatal(err)
		}
		return s, newDisks().open(t, s, mailbox.Limits{})
	}
	long := func(letter string) mailbox.Message { return note(letter + strings.Repeat(" long", 1000)) }
	s, m := open()
	put(t, m, long("a"), long("b"), long("c"))
	// Twice, since Badger cuts off its newest log where it finds damage.
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, m = open()
		put(t, m, long("a"))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	spoilFile(t, filepath.Join(dir, "db"), "b long long")
	s, m = open()
	for range 2 {
		if got := firstLetters(list(t, m, bob)); got != "ac" {
			t.Errorf("%q is served", got)
		}
	}
	rows := list(t, m, ann)
	if len(rows) != 1 || rows[0].Notice == nil || rows[0].Notice.ID != long("b").ID {
		t.Errorf("the sender's mailbox: %+v", rows)
	}
	if a := put(t, m, long("b"))[0]; a.Err != nil || a.Repeated {
		t.Errorf("sent again: %+v", a)
	}
	if taken, err := m.Take(t.Context(), bob, 10); err != nil || firstLetters(taken) != "acb" {
		t.Errorf("taken %q, %v", firstLetters(taken), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// spoilFile changes one byte behind a text in a value log.
func spoilFile(t *testing.T, dir, text string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, []byte(text)); at >= 0 {
			data[at+20] ^= 1
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the text is in no value log")
}

// badMemory is a store that shows views a wrong bit that is not on the disk.
type badMemory struct {
	*store.Memory
	key []byte
}

func (s *badMemory) View(f func(store.Reader) error) error {
	return s.Memory.View(func(r store.Reader) error { return f(&badReader{r, s.key}) })
}

type badReader struct {
	store.Reader
	key []byte
}

func (r *badReader) Scan(prefix, from []byte, f func(key, value []byte) bool) error {
	return r.Reader.Scan(prefix, from, func(key, value []byte) bool {
		if bytes.Equal(key, r.key) {
			value = flipBit(99)(bytes.Clone(value))
		}
		return f(key, value)
	})
}

// T46: what is whole at a second look is not taken out.
func TestDamageInPassing(t *testing.T) {
	s := &badMemory{Memory: store.NewMemory()}
	m := newDisks().open(t, s, mailbox.Limits{})
	put(t, m, note("a"), note("b"), note("c"))
	s.key = rowsOf(t, s.Memory, 'm')[1]
	if got := firstLetters(list(t, m, bob)); got != "ac" {
		t.Errorf("%q is served", got)
	}
	s.key = nil
	if got := firstLetters(list(t, m, bob)); got != "abc" || m.Stats().Quarantined != 0 {
		t.Errorf("%q is served then, %+v", got, m.Stats())
	}
}

// T44: a full disk refuses mail, hands it out, takes acknowledgements, and heals.
func TestFullDisk(t *testing.T) {
	s, m := threeForBob(t)
	s.Fail(syscall.ENOSPC)
	if _, err := m.Put(t.Context(), []mailbox.Message{note("d")}); !errors.Is(err, mailbox.ErrStorage) {
		t.Errorf("put: %v", err)
	}
	rows := list(t, m, bob)
	if n, err := m.Delete(t.Context(), bob, []mailbox.Cursor{rows[0].Cursor}); n != 1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	put(t, m, note("d"))
	if got := firstLetters(list(t, m, bob)); got != "bcd" {
		t.Errorf("%q is served", got)
	}
}

// T45: after a failed sync nothing is said to be stored any more.
func TestFailedSync(t *testing.T) {
	s, m := threeForBob(t)
	s.Fail(syscall.EIO)
	for range 3 {
		if _, err := m.Put(t.Context(), []mailbox.Message{note("d")}); !errors.Is(err, mailbox.ErrBroken) {
			t.Errorf("put: %v", err)
		}
		if _, err := m.Put(t.Context(), []mailbox.Message{note("a")}); !errors.Is(err, mailbox.ErrBroken) {
			t.Errorf("a repeat: %v", err)
		}
	}
}
