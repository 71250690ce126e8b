package mailbox_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"amesh/internal/store"
	"amesh/relay/mailbox"
)

func idsOf(rows []mailbox.Row) (ids []mailbox.MessageID) {
	for _, r := range rows {
		if r.Notice == nil {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// CP 16: the relay's disk is gone with all that was on it. A fresh folder takes what
// the senders still have, in their order and under the old ids, by which a receiver
// knows what it had already.
func TestTotalLossOfTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "relay")
	open := func() (store.Store, mailbox.Mailbox) {
		s, err := store.Open(dir, store.Options{Schema: mailbox.Schema(), Reserve: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s, newDisks().open(t, s, mailbox.Limits{})
	}
	copies := []mailbox.Message{note("a"), note("b"), note("c")}
	s, m := open()
	put(t, m, copies...)
	before := list(t, m, bob)
	if n, err := m.Delete(t.Context(), bob, []mailbox.Cursor{before[0].Cursor}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := m.Open(t.Context(), bob, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}

	s, m = open()
	if pending, err := m.Open(t.Context(), bob, true); pending != 0 || err != nil {
		t.Errorf("%d pending in a fresh folder, %v", pending, err)
	}
	for i, a := range put(t, m, copies...) {
		if a.Err != nil || a.Repeated {
			t.Errorf("copy %d: %+v", i, a)
		}
	}
	if after := list(t, m, bob); !slices.Equal(idsOf(after), idsOf(before)) {
		t.Errorf("ids %v, before the loss %v", idsOf(after), idsOf(before))
	}
	if st := m.Stats(); st.Messages != 3 || st.Notices != 0 || st.Quarantined != 0 {
		t.Errorf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// copyOf is a backup of what is durable.
func copyOf(t *testing.T, s store.Store) *store.Memory {
	t.Helper()
	backup := store.NewMemory()
	err := s.View(func(r store.Reader) error {
		return backup.Update(t.Context(), func(tx store.Tx) (err error) {
			scan := r.Scan(nil, nil, func(key, value []byte) bool {
				err = tx.Set(bytes.Clone(key), bytes.Clone(value))
				return err == nil
			})
			if err != nil {
				return err
			}
			return scan
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return backup
}

// CP 17: the relay's folder was put back to an old copy. What was acknowledged, taken
// or expired since comes again, as it was and under its ids; what senders repeat is
// recognised; what came since the copy is stored when its sender repeats it; and who
// was told of an expired message is told once more and no oftener.
func TestRestoredFromAnOldCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 72 * time.Hour
		s := store.NewMemory()
		m := newDisks().open(t, s, mailbox.Limits{})
		put(t, m, note("a"))
		time.Sleep(time.Hour)
		put(t, m, note("b"), note("c"))
		if rows, err := m.Take(t.Context(), bob, 1); err != nil || firstLetters(rows) != "a" {
			t.Fatal(firstLetters(rows), err)
		}
		if _, err := m.Expire(t.Context()); err != nil { // which writes the clock down
			t.Fatal(err)
		}
		before := list(t, m, bob)
		old := copyOf(t, s)

		put(t, m, note("d"))
		if n, err := m.Delete(t.Context(), bob, []mailbox.Cursor{before[0].Cursor}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(ttl)
		if n, err := m.Expire(t.Context()); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		if got := firstLetters(list(t, m, ann)); got != "!!" {
			t.Fatalf("the sender has %q", got)
		}

		m = newDisks().open(t, old, mailbox.Limits{})
		after := list(t, m, bob)
		if !slices.Equal(idsOf(after), idsOf(before)) || !after[0].At.Equal(before[0].At) || !after[1].Expires.Equal(before[1].Expires) {
			t.Errorf("restored %+v, copied %+v", after, before)
		}
		answers := put(t, m, note("a"), note("b"), note("c"), note("d"))
		for i, repeated := range []bool{true, true, true, false} {
			if answers[i].Err != nil || answers[i].Repeated != repeated {
				t.Errorf("repeat %d: %+v", i, answers[i])
			}
		}
		if got := firstLetters(list(t, m, bob)); got != "bcd" {
			t.Errorf("%q is served", got)
		}
		for range 2 {
			time.Sleep(ttl - time.Hour)
			if _, err := m.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := firstLetters(list(t, m, bob)); got != "" {
			t.Errorf("%q is served for ever", got)
		}
		if st := m.Stats(); st.Expired != 3 || st.Messages != 0 || st.Taken != 0 || st.Notices != 3 {
			t.Errorf("%+v; want each message told of once", st)
		}
	})
}
