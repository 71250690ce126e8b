package mailbox_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"amesh/internal/store"
	"amesh/relay/mailbox"
)

// fullDisk is a store that takes what a full disk takes (store.ErrNoSpace): an
// Update that deletes something and sets no more than 4 KiB.
type fullDisk struct{ *store.Memory }

func (s fullDisk) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.Memory.Update(ctx, func(tx store.Tx) error {
		lean := &leanTx{Tx: tx}
		if err := f(lean); err != nil {
			return err
		}
		if lean.set > 4<<10 || lean.set > 0 && !lean.deletes {
			return store.ErrNoSpace
		}
		return nil
	})
}

type leanTx struct {
	store.Tx
	set     int
	deletes bool
}

func (t *leanTx) Set(key, value []byte) error {
	t.set += len(value)
	return t.Tx.Set(key, value)
}

func (t *leanTx) Delete(key []byte) error {
	t.deletes = true
	return t.Tx.Delete(key)
}

// T44: a full mailbox can be taken from a full disk, and comes no second time.
func TestTakenFromAFullDisk(t *testing.T) {
	disk := store.NewMemory()
	m := newDisks().open(t, disk, mailbox.Limits{})
	var messages []mailbox.Message
	for i := range 100 {
		messages = append(messages, note(fmt.Sprint(i)))
	}
	put(t, m, messages...)
	m = newDisks().open(t, fullDisk{disk}, mailbox.Limits{})
	got := 0
	for {
		rows, err := m.Take(t.Context(), bob, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		got += len(rows)
	}
	if s := m.Stats(); got != 100 || s.Taken != 100 {
		t.Errorf("taken %d of 100, %+v", got, s)
	}
	for i, s := range put(t, m, messages...) {
		if !s.Repeated || s.Err != nil {
			t.Errorf("message %d: %+v", i, s)
		}
	}
}

// T46: the rotten name of a message that was taken stops nothing and is nobody's mail.
func TestARottenNameIsDropped(t *testing.T) {
	s := store.NewMemory()
	m := newDisks().open(t, s, mailbox.Limits{})
	put(t, m, note("a"), note("b"))
	if _, err := m.Take(t.Context(), bob, 9); err != nil {
		t.Fatal(err)
	}
	spoil(t, s, rowsOf(t, s, 'i')[1], flipBit(99))
	m = newDisks().open(t, s.Reopen(), mailbox.Limits{})
	if got := firstLetters(list(t, m, bob)); got != "" {
		t.Errorf("%q is served", got)
	}
	if _, err := m.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := m.Stats(); st.Messages != 0 || st.Taken != 1 || st.Notices != 0 || st.Quarantined != 1 {
		t.Errorf("%+v", st)
	}
	if answers := put(t, m, note("a"), note("b")); !answers[0].Repeated || answers[1].Repeated {
		t.Errorf("%+v", answers)
	}
}

// CP 11: a name is there exactly if its row was removed.
func TestAFailedTakeLeavesNoName(t *testing.T) {
	s := &lateNews{Memory: store.NewMemory()}
	m := newDisks().open(t, s, mailbox.Limits{})
	first := put(t, m, note("a"))[0]
	s.Fail(syscall.ENOSPC)
	s.meanwhile = func() {
		if a := put(t, m, note("a"))[0]; !a.Repeated || !a.Expires.Equal(first.Expires) {
			t.Errorf("before the news: %+v", a)
		}
	}
	if rows, err := m.Take(t.Context(), bob, 1); err == nil {
		t.Errorf("taken %q from a full disk", firstLetters(rows))
	}
	if _, err := m.Usage(t.Context(), bob); err != nil || m.Stats().Taken != 0 || m.Stats().Messages != 1 {
		t.Errorf("%v, %+v", err, m.Stats())
	}
	if rows, err := m.Take(t.Context(), bob, 1); err != nil || firstLetters(rows) != "a" {
		t.Errorf("taken %q, %v", firstLetters(rows), err)
	}
	if a := put(t, m, note("a"))[0]; !a.Repeated || !a.Expires.Equal(first.Expires) {
		t.Errorf("repeated: %+v", a)
	}
}

// Whoever comes back finds its mail on a full disk, also after a send to it failed.
func TestOpenOnAFullDisk(t *testing.T) {
	disk := store.NewMemory()
	m := newDisks().open(t, disk, mailbox.Limits{})
	put(t, m, note("0"), note("1"))
	m = newDisks().open(t, fullDisk{disk}, mailbox.Limits{})
	if stored, err := m.Put(t.Context(), []mailbox.Message{note("2")}); err == nil {
		t.Fatalf("a full disk took %v", stored)
	}
	disk.Fail(syscall.ENOSPC)
	if used, err := m.Usage(t.Context(), bob); err != nil || used.Messages != 2 {
		t.Errorf("uses %+v, %v", used, err)
	}
	for _, wide := range []bool{true, false, true} {
		pending, err := m.Open(t.Context(), bob, wide)
		if err != nil || pending != 2 {
			t.Errorf("wide %v: %d pending, %v", wide, pending, err)
		}
	}
	rows, err := m.List(t.Context(), bob, 0, mailbox.Size{Messages: 9, Bytes: 1 << 20})
	if err != nil || len(rows) != 2 {
		t.Errorf("%d messages, %v", len(rows), err)
	}
}
