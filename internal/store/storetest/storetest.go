// Package storetest says what every store.Store does, as tests.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"amesh/internal/store"
)

// Run tests the stores that open gives. Each case asks for an empty store of its
// own and closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	cases := []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"scan in order, by prefix and from a key", scan},
		{"a scan inside an update merges what it wrote", scanMerges},
		{"scans nest", scansNest},
		{"own writes are visible", ownWrites},
		{"the caller's slices may be used again", copies},
		{"an error rolls back its own update only", rollback},
		{"a panic rolls back its own update only", panics},
		{"a view sees one moment", snapshot},
		{"concurrent updates have one order", serial},
		{"errors and counts hold under contention", mixed},
		{"a context that ended before the start", cancelled},
		{"delete", deletes},
		{"empty and big values", values},
		{"limits", limits},
		{"reserved keys", reservedKeys},
		{"closed", closed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.run(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func scan(t *testing.T, s store.Store) {
	put(t, s, "b/2", "x", "a/1", "p", "b/10", "y", "b", "z", "c/1", "q", "b/\xff", "w", "ba", "v")
	for _, c := range []struct {
		name, prefix, from string
		want               []string
	}{
		{"all", "", "", []string{"a/1", "b", "b/10", "b/2", "b/\xff", "ba", "c/1"}},
		{"prefix", "b/", "", []string{"b/10", "b/2", "b/\xff"}},
		{"prefix from a key", "b/", "b/2", []string{"b/2", "b/\xff"}},
		{"prefix from between keys", "b/", "b/11", []string{"b/2", "b/\xff"}},
		{"from before the prefix", "b/", "a", []string{"b/10", "b/2", "b/\xff"}},
		{"from behind the prefix", "b/", "c", nil},
		{"from without prefix", "", "b/2", []string{"b/2", "b/\xff", "ba", "c/1"}},
		{"nothing there", "d", "", nil},
	} {
		view(t, s, func(r store.Reader) {
			if diff := cmp.Diff(c.want, keys(t, r, c.prefix, c.from)); diff != "" {
				t.Errorf("%s: keys (-want +got)\n%s", c.name, diff)
			}
		})
	}
	view(t, s, func(r store.Reader) {
		var seen int
		err := r.Scan(nil, nil, func(_, _ []byte) bool { seen++; return seen < 3 })
		if err != nil || seen != 3 {
			t.Errorf("scan stopped after %d, %v; want 3", seen, err)
		}
	})
}

func scanMerges(t *testing.T, s store.Store) {
	put(t, s, "k/1", "old", "k/3", "old", "k/5", "old", "l", "old")
	update(t, s, func(tx store.Tx) error {
		err := errors.Join(
			tx.Set([]byte("k/0"), []byte("new")),
			tx.Set([]byte("k/3"), []byte("new")),
			tx.Set([]byte("k/4"), []byte("new")),
			tx.Set([]byte("k/9"), []byte("new")),
			tx.Set([]byte("j"), []byte("new")),
			tx.Delete([]byte("k/5")),
			tx.Delete([]byte("k/4")),
		)
		want := []string{"k/0=new", "k/1=old", "k/3=new", "k/9=new"}
		if diff := cmp.Diff(want, rows(t, tx, "k/")); diff != "" {
			t.Errorf("rows inside the update (-want +got)\n%s", diff)
		}
		for stop := 1; stop <= len(want); stop++ {
			var got []string
			_ = tx.Scan([]byte("k/"), nil, func(k, _ []byte) bool {
				got = append(got, string(k))
				return len(got) < stop
			})
			if len(got) != stop {
				t.Errorf("scan stopped after %d rows, want %d", len(got), stop)
			}
		}
		return err
	})
	view(t, s, func(r store.Reader) {
		want := []string{"j=new", "k/0=new", "k/1=old", "k/3=new", "k/9=new", "l=old"}
		if diff := cmp.Diff(want, rows(t, r, "")); diff != "" {
			t.Errorf("rows afterwards (-want +got)\n%s", diff)
		}
	})
}

func scansNest(t *testing.T, s store.Store) {
	put(t, s, "a/1", "", "a/2", "", "b/1", "")
	update(t, s, func(tx store.Tx) error {
		var got int
		err := tx.Scan([]byte("a/"), nil, func(_, _ []byte) bool {
			got += len(keys(t, tx, "b/", ""))
			return true
		})
		if got != 2 {
			t.Errorf("inner scans saw %d rows, want 2", got)
		}
		return err
	})
}

func ownWrites(t *testing.T, s store.Store) {
	put(t, s, "k", "before")
	update(t, s, func(tx store.Tx) error {
		if got := get(t, tx, "k"); got != "before" {
			t.Errorf("before the write: %q", got)
		}
		err := tx.Set([]byte("k"), []byte("after"))
		if got := get(t, tx, "k"); got != "after" {
			t.Errorf("after the write: %q", got)
		}
		err = errors.Join(err, tx.Delete([]byte("k")))
		if got := get(t, tx, "k"); got != absent {
			t.Errorf("after the delete: %q", got)
		}
		return errors.Join(err, tx.Set([]byte("k"), []byte("again")))
	})
	expect(t, s, "k", "again")
}

func copies(t *testing.T, s store.Store) {
	key, value := []byte("key"), []byte("value")
	update(t, s, func(tx store.Tx) error {
		err := tx.Set(key, value)
		key[0], value[0] = 'x', 'x'
		return err
	})
	key[1], value[1] = 'x', 'x'
	expect(t, s, "key", "value")
}

func rollback(t *testing.T, s store.Store) {
	put(t, s, "kept", "1", "deleted", "1")
	boom := errors.New("boom")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		_ = tx.Set([]byte("kept"), []byte("2"))
		_ = tx.Set([]byte("new"), []byte("2"))
		_ = tx.Delete([]byte("deleted"))
		return boom
	})
	if err != boom {
		t.Errorf("update: %v, want the error of f itself", err)
	}
	view(t, s, func(r store.Reader) {
		if diff := cmp.Diff([]string{"deleted=1", "kept=1"}, rows(t, r, "")); diff != "" {
			t.Errorf("rows (-want +got)\n%s", diff)
		}
	})
}

func panics(t *testing.T, s store.Store) {
	cause := errors.New("index out of luck")
	err := s.Update(t.Context(), func(tx store.Tx) error {
		_ = tx.Set([]byte("half"), []byte("1"))
		panic(cause)
	})
	if !errors.Is(err, cause) {
		t.Errorf("update: %v, want it to name the panic", err)
	}
	put(t, s, "next", "1")
	view(t, s, func(r store.Reader) {
		if diff := cmp.Diff([]string{"next=1"}, rows(t, r, "")); diff != "" {
			t.Errorf("rows (-want +got)\n%s", diff)
		}
	})
}

func snapshot(t *testing.T, s store.Store) {
	put(t, s, "k", "0", "gone", "0")
	view(t, s, func(r store.Reader) {
		// More commits than one, so that the old version is old to the store too.
		for i := range 20 {
			put(t, s, "k", fmt.Sprint(i+1))
		}
		update(t, s, func(tx store.Tx) error { return tx.Delete([]byte("gone")) })
		if diff := cmp.Diff([]string{"gone=0", "k=0"}, rows(t, r, "")); diff != "" {
			t.Errorf("rows in the old view (-want +got)\n%s", diff)
		}
		if got := get(t, r, "k"); got != "0" {
			t.Errorf("k in the old view: %q, want 0", got)
		}
	})
	view(t, s, func(r store.Reader) {
		if diff := cmp.Diff([]string{"k=20"}, rows(t, r, "")); diff != "" {
			t.Errorf("rows in a new view (-want +got)\n%s", diff)
		}
	})
}

func serial(t *testing.T, s store.Store) {
	const writers, each = 16, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				err := s.Update(t.Context(), func(tx store.Tx) error {
					var n byte
					if b, err := tx.Get([]byte("sum")); err == nil {
						n = b[0]
					}
					// A lost update would write one of these rows twice.
					seq := fmt.Appendf(nil, "seq/%03d", len(keys(t, tx, "seq/", "")))
					return errors.Join(
						tx.Set([]byte("sum"), []byte{n + 1}),
						tx.Set(seq, fmt.Appendf(nil, "%d.%d", w, i)))
				})
				if err != nil {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(r store.Reader) {
		const sum = writers * each
		if got := get(t, r, "sum"); got != string([]byte{byte(sum % 256)}) {
			t.Errorf("sum %x, want %x", got, byte(sum%256))
		}
		authors := map[string]bool{}
		_ = r.Scan([]byte("seq/"), nil, func(_, v []byte) bool { authors[string(v)] = true; return true })
		if len(authors) != sum {
			t.Errorf("%d different updates kept, want %d", len(authors), sum)
		}
	})
}

func mixed(t *testing.T, s store.Store) {
	boom := errors.New("boom")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				fails := (w+i)%3 == 0
				err := s.Update(t.Context(), func(tx store.Tx) error {
					if err := tx.Set(fmt.Appendf(nil, "%v/%d.%d", fails, w, i), nil); err != nil {
						return err
					}
					if fails {
						return boom
					}
					return nil
				})
				if fails != errors.Is(err, boom) {
					t.Errorf("update %d.%d: %v", w, i, err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(r store.Reader) {
		if got := keys(t, r, "true/", ""); got != nil {
			t.Errorf("failed updates left %q", got)
		}
		want := 0
		for w := range 8 {
			for i := range 20 {
				if (w+i)%3 != 0 {
					want++
				}
			}
		}
		if got := len(keys(t, r, "false/", "")); got != want {
			t.Errorf("%d rows, want %d", got, want)
		}
	})
}

func cancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Update(ctx, func(store.Tx) error { t.Error("f was started"); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("update with an ended context: %v", err)
	}

	// One that ends while another Update runs is given up; one that ends while its
	// own f runs has to be waited for.
	ctx, cancel = context.WithCancel(t.Context())
	started, free := make(chan struct{}), make(chan struct{})
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		first <- s.Update(ctx, func(tx store.Tx) error {
			close(started)
			<-free
			return tx.Set([]byte("first"), nil)
		})
	}()
	<-started
	go func() {
		second <- s.Update(ctx, func(tx store.Tx) error { return tx.Set([]byte("second"), nil) })
	}()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting update: %v", err)
	}
	close(free)
	if err := <-first; err != nil {
		t.Errorf("running update: %v, want it to be finished", err)
	}
	put(t, s, "third", "")
	view(t, s, func(r store.Reader) {
		if diff := cmp.Diff([]string{"first", "third"}, keys(t, r, "", "")); diff != "" {
			t.Errorf("keys (-want +got)\n%s", diff)
		}
	})
}

func deletes(t *testing.T, s store.Store) {
	put(t, s, "a", "1", "b", "1")
	update(t, s, func(tx store.Tx) error {
		return errors.Join(tx.Delete([]byte("a")), tx.Delete([]byte("never there")))
	})
	expect(t, s, "a", absent)
	expect(t, s, "never there", absent)
	put(t, s, "a", "2")
	expect(t, s, "a", "2")
	expect(t, s, "b", "1")
}

func values(t *testing.T, s store.Store) {
	for _, n := range []int{0, 1, 1023, 1024, 45184, 1 << 20, 2 << 20} {
		key, want := fmt.Sprintf("%07d", n), bytes.Repeat([]byte{'v'}, n)
		if n > 0 {
			want[n-1] = 'e'
		}
		update(t, s, func(tx store.Tx) error { return tx.Set([]byte(key), want) })
		view(t, s, func(r store.Reader) {
			got, err := r.Get([]byte(key))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("value of %d bytes: %d bytes, %v", n, len(got), err)
			}
			err = r.Scan([]byte(key), nil, func(_, got []byte) bool {
				if !bytes.Equal(got, want) {
					t.Errorf("value of %d bytes: %d bytes in a scan", n, len(got))
				}
				return true
			})
			if err != nil {
				t.Errorf("scan: %v", err)
			}
		})
	}
	update(t, s, func(tx store.Tx) error { return tx.Set([]byte("nil"), nil) })
	expect(t, s, "nil", "")
}

func limits(t *testing.T, s store.Store) {
	for _, c := range []struct {
		name string
		f    func(store.Tx) error
		want error
	}{
		{"longest key", func(tx store.Tx) error { return tx.Set(make([]byte, 512), nil) }, nil},
		{"key too long", func(tx store.Tx) error { return tx.Set(make([]byte, 513), nil) }, store.ErrTooBig},
		{"delete of a key too long", func(tx store.Tx) error { return tx.Delete(make([]byte, 513)) }, store.ErrTooBig},
		{"empty key", func(tx store.Tx) error { return tx.Set(nil, nil) }, store.ErrKey},
		{"delete of the empty key", func(tx store.Tx) error { return tx.Delete(nil) }, store.ErrKey},
		{"value too big", func(tx store.Tx) error { return tx.Set([]byte("k"), make([]byte, 2<<20+1)) }, store.ErrTooBig},
		{"error ignored", func(tx store.Tx) error { _ = tx.Set(nil, nil); return nil }, store.ErrKey},
		{"many rows", fill(4000, 32), nil},
		{"too many rows", fill(7000, 0), store.ErrTooBig},
		{"many small bytes", fill(450, 1000), nil},
		{"too many small bytes", fill(700, 1000), store.ErrTooBig},
		{"many big bytes", fill(12, 1<<20), nil},
		{"too many big bytes", fill(20, 1<<20), store.ErrTooBig},
	} {
		err := s.Update(t.Context(), c.f)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	view(t, s, func(r store.Reader) {
		if got := len(keys(t, r, "fill/0000/", "")); got != 4000 {
			t.Errorf("%d rows of the many, want 4000", got)
		}
		if got := len(keys(t, r, "fill/", "")); got != 4000+450+12 {
			t.Errorf("%d rows in all: an update that was too big left something", got)
		}
		if _, err := r.Get(nil); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("get of the empty key: %v", err)
		}
	})
}

func fill(n, size int) func(store.Tx) error {
	return func(tx store.Tx) error {
		for i := range n {
			key := fmt.Appendf(nil, "fill/%04d/%04d", size/1000*10, i)
			if err := tx.Set(key, make([]byte, size)); err != nil {
				return err
			}
		}
		return nil
	}
}

func reservedKeys(t *testing.T, s store.Store) {
	put(t, s, "\x01", "below", "!", "not reserved", "!s", "nor this", "a", "above")
	for _, key := range []string{"!store!schema", "!store!", "!badger!x"} {
		for name, f := range map[string]func(store.Tx) error{
			"set":    func(tx store.Tx) error { return tx.Set([]byte(key), nil) },
			"delete": func(tx store.Tx) error { return tx.Delete([]byte(key)) },
		} {
			if err := s.Update(t.Context(), f); !errors.Is(err, store.ErrKey) {
				t.Errorf("%s %s: %v", name, key, err)
			}
		}
		expect(t, s, key, absent)
	}
	view(t, s, func(r store.Reader) {
		if diff := cmp.Diff([]string{"\x01", "!", "!s", "a"}, keys(t, r, "", "")); diff != "" {
			t.Errorf("keys (-want +got)\n%s", diff)
		}
		if got := keys(t, r, "!store!", ""); got != nil {
			t.Errorf("reserved keys seen: %q", got)
		}
	})
}

func closed(t *testing.T, s store.Store) {
	put(t, s, "k", "v")
	// Close waits for who is inside.
	inside, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.Update(t.Context(), func(tx store.Tx) error {
			close(inside)
			<-free
			return tx.Set([]byte("k"), []byte("w"))
		})
	}()
	<-inside
	end := make(chan error, 1)
	go func() { end <- s.Close() }()
	close(free)
	if err := <-done; err != nil {
		t.Errorf("update that ran while the store was closed: %v", err)
	}
	if err := <-end; err != nil {
		t.Errorf("close: %v", err)
	}
	err := s.View(func(store.Reader) error { t.Error("view was started"); return nil })
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("view: %v", err)
	}
	err = s.Update(t.Context(), func(store.Tx) error { t.Error("update was started"); return nil })
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// absent stands for a key without a value.
const absent = "(absent)"

func get(t *testing.T, r store.Reader, key string) string {
	t.Helper()
	v, err := r.Get([]byte(key))
	if errors.Is(err, store.ErrNotFound) {
		return absent
	}
	if err != nil {
		t.Errorf("get %q: %v", key, err)
	}
	return string(v)
}

func expect(t *testing.T, s store.Store, key, want string) {
	t.Helper()
	view(t, s, func(r store.Reader) {
		t.Helper()
		if got := get(t, r, key); got != want {
			t.Errorf("%q is %q, want %q", key, got, want)
		}
	})
}

func keys(t *testing.T, r store.Reader, prefix, from string) []string {
	t.Helper()
	var out []string
	err := r.Scan([]byte(prefix), []byte(from), func(k, _ []byte) bool {
		out = append(out, string(k))
		return true
	})
	if err != nil {
		t.Errorf("scan: %v", err)
	}
	return out
}

func rows(t *testing.T, r store.Reader, prefix string) []string {
	t.Helper()
	var out []string
	err := r.Scan([]byte(prefix), nil, func(k, v []byte) bool {
		out = append(out, string(k)+"="+string(v))
		return true
	})
	if err != nil {
		t.Errorf("scan: %v", err)
	}
	return out
}

func view(t *testing.T, s store.Store, f func(store.Reader)) {
	t.Helper()
	if err := s.View(func(r store.Reader) error { f(r); return nil }); err != nil {
		t.Fatalf("view: %v", err)
	}
}

func update(t *testing.T, s store.Store, f func(store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// put sets pairs of key and value in one update.
func put(t *testing.T, s store.Store, pairs ...string) {
	t.Helper()
	update(t, s, func(tx store.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Set([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	})
}
