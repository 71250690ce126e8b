package marks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay/mailbox"
)

func open(t *testing.T, s store.Store, l Limits) *Disk {
	t.Helper()
	d, err := New(s, l)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func keep(t *testing.T, d *Disk, n byte, mark string, replaces bool) string {
	t.Helper()
	kept, err := d.Keep(t.Context(), identity.AMID{n}, []byte(mark), func([]byte) bool { return replaces })
	if err != nil {
		t.Fatal(err)
	}
	return string(kept)
}

func get(t *testing.T, d *Disk, n byte) string {
	t.Helper()
	mark, err := d.Get(t.Context(), identity.AMID{n})
	if err != nil {
		t.Fatal(err)
	}
	return string(mark)
}

func TestOneMarkForEachAgent(t *testing.T) {
	disk := store.NewMemory()
	d := open(t, disk, Limits{})
	if got := get(t, d, 1); got != "" {
		t.Errorf("found %q", got)
	}
	for _, c := range []struct {
		n        byte
		mark     string
		replaces bool
		want     string
	}{
		{1, "first", false, "first"},
		{1, "lower", false, "first"},
		{1, "higher", true, "higher"},
		{2, "another's", false, "another's"},
	} {
		if got := keep(t, d, c.n, c.mark, c.replaces); got != c.want {
			t.Errorf("%s: kept %q, want %q", c.mark, got, c.want)
		}
	}
	d = open(t, disk.Reopen(), Limits{})
	if a, b := get(t, d, 1), get(t, d, 2); a != "higher" || b != "another's" {
		t.Errorf("after a restart: %q, %q", a, b)
	}
}

func TestNoMarkGivesWayToAnother(t *testing.T) {
	disk := store.NewMemory()
	limits := Limits{Entries: 2, Forget: time.Hour, SweepRows: 1}
	d := open(t, disk, limits)
	keep(t, d, 1, "a", false)
	keep(t, d, 2, "b", false)
	full := func() {
		t.Helper()
		if _, err := d.Keep(t.Context(), identity.AMID{3}, []byte("c"), nil); !errors.Is(err, mailbox.ErrFull) {
			t.Errorf("a third: %v", err)
		}
	}
	full()
	if got := keep(t, d, 2, "b2", true); got != "b2" {
		t.Errorf("kept %q", got)
	}
	d = open(t, disk.Reopen(), limits)
	full()
}

// T57: marks are forgotten after running time that nobody asked in, whatever the wall
// clock shows and however long the relay was away.
func TestForgottenAfterRunningTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := store.NewMemory()
		limits := Limits{Entries: 100, Forget: 8 * time.Hour, SweepRows: 2}
		d := open(t, disk, limits)
		for n := range byte(5) {
			keep(t, d, n, fmt.Sprint("mark of ", n), false)
		}
		sweep := func() {
			t.Helper()
			if err := d.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Hour)
		sweep()
		if got := get(t, d, 1); got != "mark of 1" {
			t.Errorf("found %q", got)
		}
		time.Sleep(1000 * time.Hour) // away: no sweep wrote this down
		d = open(t, disk.Reopen(), limits)
		sweep() // as a relay does when it starts
		time.Sleep(3*time.Hour + time.Second)
		sweep()
		for n := range byte(5) {
			want := ""
			if n == 1 {
				want = "mark of 1"
			}
			if got := get(t, d, n); got != want {
				t.Errorf("%d: found %q, want %q", n, got, want)
			}
		}
		if d.entries != 1 {
			t.Errorf("%d entries counted", d.entries)
		}
	})
}

// T46: what rotted is no mark; it is replaced, or forgotten.
func TestDamagedRowsAreNoMarks(t *testing.T) {
	disk := store.NewMemory()
	d := open(t, disk, Limits{})
	keep(t, d, 1, "mark", false)
	keep(t, d, 2, "mark", false)
	err := disk.Update(t.Context(), func(tx store.Tx) error {
		return errors.Join(tx.Set(keyOf(identity.AMID{1}), []byte{rowVersion, 0}),
			tx.Set(keyOf(identity.AMID{2}), bytes.Repeat([]byte{9}, 30)), tx.Set([]byte{keyClock}, []byte("x")))
	})
	if err != nil {
		t.Fatal(err)
	}
	d = open(t, disk.Reopen(), Limits{})
	if got := get(t, d, 1); got != "" {
		t.Errorf("found %q", got)
	}
	if got := keep(t, d, 1, "new", false); got != "new" {
		t.Errorf("kept %q", got)
	}
	if err := d.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, b := get(t, d, 1), get(t, d, 2); a != "new" || b != "" {
		t.Errorf("after the sweep: %q, %q", a, b)
	}
}

// CP 9: what Keep returned is there after any crash.
func TestKeptMeansSynced(t *testing.T) {
	for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
		disk := store.NewMemory()
		d := open(t, disk, Limits{})
		keep(t, d, 1, "old", false)
		disk.CrashAt(disk.Commits()+1, phase)
		_, err := d.Keep(context.Background(), identity.AMID{1}, []byte("new"), func([]byte) bool { return true })
		if !errors.Is(err, mailbox.ErrStorage) && !errors.Is(err, mailbox.ErrBroken) {
			t.Errorf("crash: %v", err)
		}
		want := map[store.Phase]string{store.BeforeCommit: "old", store.AfterCommit: "new"}[phase]
		if got := get(t, open(t, disk.Reopen(), Limits{}), 1); got != want {
			t.Errorf("after a crash: %q, want %q", got, want)
		}
	}
}

func TestLimitsAreChecked(t *testing.T) {
	if _, err := New(nil, Limits{}); err == nil {
		t.Error("no store")
	}
	if _, err := New(store.NewMemory(), Limits{Entries: 1}); err == nil {
		t.Error("no time to forget")
	}
}
