package store_test

import (
	"errors"
	"syscall"
	"testing"

	"amesh/internal/store"
)

func TestMemoryCrashes(t *testing.T) {
	for _, c := range []struct {
		name    string
		at      int
		phase   store.Phase
		durable []string
		commits int
	}{
		{"before the first commit", 1, store.BeforeCommit, nil, 0},
		{"after the first commit", 1, store.AfterCommit, []string{"a"}, 1},
		{"before the third commit", 3, store.BeforeCommit, []string{"a", "b"}, 2},
		{"after the third commit", 3, store.AfterCommit, []string{"a", "b", "c"}, 3},
		{"never", 9, store.AfterCommit, []string{"a", "b", "c", "d"}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := store.NewMemory()
			m.CrashAt(c.at, c.phase)
			crashed := false
			for i, key := range []string{"a", "b", "c", "d"} {
				// An update without writes is no commit and cannot crash.
				before := m.Update(t.Context(), func(store.Tx) error { return nil })
				err := m.Update(t.Context(), func(tx store.Tx) error { return tx.Set([]byte(key), nil) })
				if errors.Is(before, store.ErrCrashed) != crashed {
					t.Errorf("empty update before %s: %v", key, before)
				}
				crashed = crashed || i+1 == c.at
				if errors.Is(err, store.ErrCrashed) != crashed {
					t.Errorf("update %s: %v", key, err)
				}
			}
			if got := m.Commits(); got != c.commits {
				t.Errorf("%d commits, want %d", got, c.commits)
			}
			if crashed {
				if err := m.View(func(store.Reader) error { return nil }); err != store.ErrCrashed {
					t.Errorf("view: %v", err)
				}
				if err := m.Close(); err != store.ErrCrashed {
					t.Errorf("close: %v", err)
				}
			}
			next := m.Reopen()
			if m.Hash() != next.Hash() || next.Commits() != 0 {
				t.Errorf("reopened with another content, or %d commits", next.Commits())
			}
			for i, key := range []string{"a", "b", "c", "d"} {
				if got := get(t, next, key); (got == "") != (i < len(c.durable)) {
					t.Errorf("%s after the crash: %q", key, got)
				}
			}
			set(t, next, "e", "")
			if err := next.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMemoryReopenedWhileRunning(t *testing.T) {
	m := store.NewMemory()
	set(t, m, "a", "1")
	next := m.Reopen()
	err := m.Update(t.Context(), func(tx store.Tx) error { return tx.Set([]byte("b"), nil) })
	if err != store.ErrCrashed {
		t.Errorf("update of the old one: %v, want ErrCrashed", err)
	}
	set(t, next, "c", "1")
	if got := get(t, next, "a") + get(t, next, "b") + get(t, next, "c"); got != "1(absent)1" {
		t.Errorf("a, b, c are %q", got)
	}

	// One that was closed in order says so.
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	last := next.Reopen()
	if err := next.View(func(store.Reader) error { return nil }); err != store.ErrClosed {
		t.Errorf("view of a closed one: %v", err)
	}
	if got := get(t, last, "c"); got != "1" {
		t.Errorf("c is %q", got)
	}
}

func TestMemoryCrashWhileAnUpdateRuns(t *testing.T) {
	m := store.NewMemory()
	err := m.Update(t.Context(), func(tx store.Tx) error {
		m.Crash()
		return tx.Set([]byte("a"), nil)
	})
	if err != store.ErrCrashed {
		t.Errorf("update: %v, want ErrCrashed", err)
	}
	if got := get(t, m.Reopen(), "a"); got != "(absent)" {
		t.Errorf("a is %q", got)
	}
}

func TestMemoryFails(t *testing.T) {
	m := store.NewMemory()
	write := func() error {
		return m.Update(t.Context(), func(tx store.Tx) error { return tx.Set([]byte("k"), []byte("new")) })
	}
	set(t, m, "k", "old")
	before := m.Hash()

	m.Fail(syscall.ENOSPC)
	if err := m.Update(t.Context(), func(store.Tx) error { return nil }); err != nil {
		t.Errorf("update without writes: %v", err)
	}
	if err := write(); !errors.Is(err, store.ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full disk: %v", err)
	}
	if got := get(t, m, "k"); got != "old" || m.Hash() != before {
		t.Errorf("after a full disk k is %q", got)
	}
	if err := write(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if m.Hash() == before {
		t.Error("the hash does not see a changed value")
	}

	m.Fail(syscall.EIO)
	for range 2 {
		if err := write(); !errors.Is(err, store.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
			t.Errorf("failed sync: %v", err)
		}
	}
	if err := m.View(func(store.Reader) error { return nil }); !errors.Is(err, store.ErrPoisoned) {
		t.Errorf("view: %v", err)
	}
	if err := m.Close(); !errors.Is(err, store.ErrPoisoned) {
		t.Errorf("close: %v", err)
	}
	if got := get(t, m.Reopen(), "k"); got != "new" {
		t.Errorf("after a restart k is %q", got)
	}
}

func TestMemoryHash(t *testing.T) {
	with := func(pairs ...string) [32]byte {
		m := store.NewMemory()
		for i := 0; i < len(pairs); i += 2 {
			set(t, m, pairs[i], pairs[i+1])
		}
		return m.Hash()
	}
	if with("a", "1", "b", "2") != with("b", "0", "a", "1", "b", "2") {
		t.Error("the hash depends on the way, not on the content only")
	}
	seen := map[[32]byte][]string{}
	for _, pairs := range [][]string{nil, {"a", ""}, {"ab", "c"}, {"a", "bc"}, {"a", "b"}, {"a", "b", "c", ""}} {
		h := with(pairs...)
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q have one hash", pairs, other)
		}
		seen[h] = pairs
	}
}
