package mailbox

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/internal/store"

	"github.com/google/go-cmp/cmp"
)

func testBox(t *testing.T, s store.Store, l Limits) *Disk {
	t.Helper()
	m, err := NewDisk(s, l)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func note(from, to identity.AMID, text string) Message {
	return Message{From: from, To: to, ID: PayloadID(text), Kind: KindMessage, Payload: text, Once: true}
}

func put(t *testing.T, m Mailbox, messages ...Message) []Stored {
	t.Helper()
	stored, err := m.Put(context.Background(), messages)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func list(t *testing.T, m Mailbox, owner identity.AMID, after Cursor) []Row {
	t.Helper()
	rows, err := m.List(context.Background(), owner, after, Size{Messages: 10_000, Bytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func payloads(rows []Row) []string {
	var p []string
	for _, r := range rows {
		p = append(p, r.Payload)
	}
	return p
}

func usage(t *testing.T, m Mailbox, owner identity.AMID) Size {
	t.Helper()
	used, err := m.Usage(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func TestMailboxKeepsOrderAcrossRestarts(t *testing.T) {
	a, b, c := identity.AMID{1}, identity.AMID{2}, identity.AMID{3}
	disk := store.NewMemory()
	m := testBox(t, disk, Limits{})
	put(t, m, note(a, b, "1"), note(c, b, "2"))
	put(t, m, note(a, c, "not b's"), note(a, b, "3"))
	disk = disk.Reopen()
	m = testBox(t, disk, Limits{})
	put(t, m, note(a, b, "4"))
	rows := list(t, m, b, 0)
	if diff := cmp.Diff([]string{"1", "2", "3", "4"}, payloads(rows)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"3", "4"}, payloads(list(t, m, b, rows[1].Cursor))); diff != "" {
		t.Errorf("after a cursor: %s", diff)
	}
	if rows[1].From != c || rows[1].Kind != KindMessage || rows[1].ID != PayloadID("2") {
		t.Errorf("row changed: %+v", rows[1])
	}
}

func TestMailboxStoresANameOnce(t *testing.T) {
	a, b, c := identity.AMID{1}, identity.AMID{2}, identity.AMID{3}
	disk := store.NewMemory()
	m := testBox(t, disk, Limits{})
	first := put(t, m, note(a, b, "x"))[0]
	before := disk.Hash()
	again := put(t, m, note(a, b, "x"))[0]
	if !again.Repeated || !again.Expires.Equal(first.Expires) {
		t.Errorf("repeat: %+v, first %+v", again, first)
	}
	if disk.Hash() != before {
		t.Error("a repeat changed the store")
	}
	twice := put(t, m, note(a, b, "y"), note(a, b, "y"))
	if twice[0].Repeated || !twice[1].Repeated {
		t.Errorf("in one batch: %+v", twice)
	}
	legacy := note(a, b, "x")
	legacy.Once = false
	put(t, m, note(c, b, "x"), legacy, legacy)
	if diff := cmp.Diff([]string{"x", "y", "x", "x", "x"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Error(diff)
	}
	rows := list(t, m, b, 0)
	if n, err := m.Delete(t.Context(), b, []Cursor{rows[0].Cursor, 7}); n != 1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if put(t, m, note(a, b, "x"))[0].Repeated {
		t.Error("a deleted message is still known by name")
	}
}

// T43: the newest is refused; nothing is evicted.
func TestFullMailboxRefusesTheNewest(t *testing.T) {
	a, b, c := identity.AMID{1}, identity.AMID{2}, identity.AMID{3}
	l := DefaultLimits()
	l.LegacyBox = Size{Messages: 2, Bytes: 10}
	l.Box = Size{Messages: 4, Bytes: 20}
	l.Total = Size{Messages: 6, Bytes: 100}
	m := testBox(t, store.NewMemory(), l)
	refused := func(s Stored) bool { return errors.Is(s.Err, ErrFull) }

	got := put(t, m, note(a, b, "1"), note(a, b, "22222222222"), note(a, b, "3"), note(a, b, "4"))
	if refused(got[0]) || !refused(got[1]) || refused(got[2]) || !refused(got[3]) {
		t.Errorf("small box: %+v", got)
	}
	if pending, err := m.Open(t.Context(), b, true); pending != 2 || err != nil {
		t.Errorf("open: %d, %v", pending, err)
	}
	got = put(t, m, note(a, b, "5"), note(a, b, "6"), note(a, b, "7"))
	if refused(got[0]) || refused(got[1]) || !refused(got[2]) {
		t.Errorf("wide box: %+v", got)
	}
	got = put(t, m, note(a, c, "8"), note(b, c, "9"), note(b, a, "10"))
	if refused(got[0]) || refused(got[1]) || !refused(got[2]) {
		t.Errorf("all boxes together: %+v", got)
	}
	if diff := cmp.Diff([]string{"1", "3", "5", "6"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Error(diff)
	}
	if _, err := m.Take(t.Context(), b, 10); err != nil {
		t.Fatal(err)
	}
	if refused(put(t, m, note(b, a, "10"))[0]) {
		t.Error("room that was freed is not used")
	}
}

func TestTakeGivesEachMessageOnce(t *testing.T) {
	a, b := identity.AMID{1}, identity.AMID{2}
	disk := store.NewMemory()
	m := testBox(t, disk, Limits{})
	var all []Message
	for i := range 100 {
		all = append(all, note(a, b, fmt.Sprint(i)))
	}
	put(t, m, all...)
	got := make(chan []Row)
	for range 4 {
		go func() {
			var mine []Row
			for {
				rows, err := m.Take(context.Background(), b, 7)
				if err != nil || len(rows) == 0 {
					got <- mine
					return
				}
				mine = append(mine, rows...)
			}
		}()
	}
	seen := map[string]int{}
	for range 4 {
		for _, r := range <-got {
			seen[r.Payload]++
		}
	}
	if len(seen) != 100 {
		t.Errorf("%d messages of 100", len(seen))
	}
	for p, n := range seen {
		if n != 1 {
			t.Errorf("message %s taken %d times", p, n)
		}
	}
	if used := usage(t, m, b); used != (Size{}) {
		t.Errorf("left: %+v", used)
	}
}

func TestListStaysWithinTheCredit(t *testing.T) {
	a, b := identity.AMID{1}, identity.AMID{2}
	m := testBox(t, store.NewMemory(), Limits{})
	put(t, m, note(a, b, "aaaaaaaaaa"), note(a, b, "bbbbbbbbbb"), note(a, b, "cccccccccc"))
	for _, c := range []struct {
		max  Size
		want int
	}{
		{Size{Messages: 2, Bytes: 100}, 2},
		{Size{Messages: 9, Bytes: 29}, 2},
		{Size{Messages: 9, Bytes: 30}, 3},
		{Size{Messages: 9, Bytes: 1}, 1},
	} {
		rows, err := m.List(t.Context(), b, 0, c.max)
		if err != nil || len(rows) != c.want {
			t.Errorf("%+v: %d rows, %v, want %d", c.max, len(rows), err, c.want)
		}
	}
}

func TestMessagesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := identity.AMID{1}, identity.AMID{2}, identity.AMID{3}
		m := testBox(t, store.NewMemory(), Limits{})
		old := put(t, m, note(a, b, "old"), note(a, c, "old"))[0]
		if want := time.Now().Add(72 * time.Hour); !old.Expires.Equal(want) {
			t.Errorf("expires %v, want %v", old.Expires, want)
		}
		time.Sleep(time.Hour)
		put(t, m, note(a, b, "young"))
		time.Sleep(71*time.Hour - time.Millisecond)
		if got := len(list(t, m, b, 0)); got != 2 {
			t.Errorf("%d messages before the time is over", got)
		}
		time.Sleep(time.Millisecond)
		if diff := cmp.Diff([]string{"young"}, payloads(list(t, m, b, 0))); diff != "" {
			t.Errorf("before the sweep: %s", diff)
		}
		if put(t, m, note(a, b, "old"))[0].Repeated {
			t.Error("an expired message still has its name")
		}
		if n, err := m.Expire(t.Context()); n != 2 || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
		if diff := cmp.Diff([]string{"young", "old"}, payloads(list(t, m, b, 0))); diff != "" {
			t.Errorf("after the sweep: %s", diff)
		}
		time.Sleep(73 * time.Hour)
		if rows, err := m.Take(t.Context(), b, 10); len(rows) != 0 || err != nil {
			t.Errorf("took expired %v, %v", payloads(rows), err)
		}
	})
}

func TestEmptyMailboxesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := store.NewMemory()
		m := testBox(t, disk, Limits{})
		if _, err := m.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n := range byte(3) {
			if _, err := m.Open(t.Context(), identity.AMID{n}, n > 0); err != nil {
				t.Fatal(err)
			}
		}
		put(t, m, note(identity.AMID{9}, identity.AMID{2}, "x"))
		count := func() (n int) {
			_ = disk.View(func(r store.Reader) error {
				return r.Scan([]byte{keyBox}, nil, func(_, _ []byte) bool { n++; return true })
			})
			return n
		}
		if got := count(); got != 2 {
			t.Errorf("%d rows, want one for each agent with ack", got)
		}
		time.Sleep(31 * 24 * time.Hour)
		if _, err := m.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := count(); got != 0 {
			t.Errorf("%d rows after a month", got)
		}
	})
}

// T57: a clock that jumps while the relay is down expires nothing early.
func TestClockJumpsAcrossRestarts(t *testing.T) {
	a, b := identity.AMID{1}, identity.AMID{2}
	for _, c := range []struct {
		name string
		down time.Duration // what the wall clock says has passed
		wait time.Duration // until the message is gone
	}{
		{"half an hour", 30 * time.Minute, 71*time.Hour + 30*time.Minute},
		{"four days ahead", 96 * time.Hour, 71 * time.Hour},
		{"four days back", -96 * time.Hour, 72 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := store.NewMemory()
				m := testBox(t, disk, Limits{})
				put(t, m, note(a, b, "x"))
				// Written by hand: what a sweep leaves, with a wall clock that is
				// wrong by the jump.
				now, err := m.clock.now()
				if err != nil {
					t.Fatal(err)
				}
				moved := clock{store: disk}
				err = disk.Update(t.Context(), func(tx store.Tx) error {
					if err := moved.save(tx, now); err != nil {
						return err
					}
					return shiftClock(tx, -c.down)
				})
				if err != nil {
					t.Fatal(err)
				}
				m = testBox(t, disk.Reopen(), Limits{})
				if _, err := m.Usage(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if got := len(list(t, m, b, 0)); got != 1 {
					t.Fatal("expired by the jump")
				}
				time.Sleep(c.wait - time.Second)
				if got := len(list(t, m, b, 0)); got != 1 {
					t.Error("expired early")
				}
				time.Sleep(time.Second)
				if got := len(list(t, m, b, 0)); got != 0 {
					t.Error("not expired")
				}
			})
		})
	}
}

// shiftClock moves the wall clock in the clock's row.
func shiftClock(tx store.Tx, d time.Duration) error {
	v, err := tx.Get([]byte{keyClock})
	if err != nil {
		return err
	}
	row := append([]byte(nil), v...)
	var wall int64
	for _, b := range row[9:] {
		wall = wall<<8 | int64(b)
	}
	wall += d.Microseconds()
	for i := range 8 {
		row[9+i] = byte(wall >> (56 - 8*i))
	}
	return tx.Set([]byte{keyClock}, row)
}

func TestStorageErrorsSayWhatToDo(t *testing.T) {
	a, b := identity.AMID{1}, identity.AMID{2}
	disk := store.NewMemory()
	m := testBox(t, disk, Limits{})
	disk.Fail(syscall.ENOSPC)
	if _, err := m.Put(t.Context(), []Message{note(a, b, "x")}); !errors.Is(err, ErrStorage) || errors.Is(err, ErrBroken) {
		t.Errorf("full disk: %v", err)
	}
	if put(t, m, note(a, b, "x"))[0].Repeated {
		t.Error("the failed commit left something behind")
	}
	disk.Fail(syscall.EIO)
	if _, err := m.Put(t.Context(), []Message{note(a, b, "y")}); !errors.Is(err, ErrBroken) {
		t.Errorf("failed sync: %v", err)
	}
}

// Counters and rows agree whatever the order of crashes.
func TestCrashLeavesCountersRight(t *testing.T) {
	a, b := identity.AMID{1}, identity.AMID{2}
	for at := 1; at <= 6; at++ {
		for _, phase := range []store.Phase{store.BeforeCommit, store.AfterCommit} {
			disk := store.NewMemory()
			disk.CrashAt(at, phase)
			m := testBox(t, disk, Limits{})
			ctx := t.Context()
			_, _ = m.Open(ctx, b, true)
			_, _ = m.Put(ctx, []Message{note(a, b, "1"), note(a, b, "2")})
			_, _ = m.Put(ctx, []Message{note(a, b, "3")})
			if rows, err := m.List(ctx, b, 0, Size{Messages: 1}); err == nil && len(rows) == 1 {
				_, _ = m.Delete(ctx, b, []Cursor{rows[0].Cursor})
			}
			_, _ = m.Take(ctx, b, 1)
			_, _ = m.Put(ctx, []Message{note(a, b, "4")})
			disk = disk.Reopen()
			m = testBox(t, disk, Limits{})
			rows := list(t, m, b, 0)
			if used := usage(t, m, b); used.Messages != len(rows) || used.Bytes != int64(len(rows)) {
				t.Errorf("crash %d/%d: counted %+v, there are %d", at, phase, used, len(rows))
			}
			var total Size
			if err := disk.View(func(r store.Reader) (err error) { total, err = readTotal(r); return err }); err != nil {
				t.Fatal(err)
			}
			if total.Messages != len(rows) {
				t.Errorf("crash %d/%d: total %+v, there are %d", at, phase, total, len(rows))
			}
		}
	}
}
