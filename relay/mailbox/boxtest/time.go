package boxtest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/relay/mailbox"
)

const ttl = 72 * time.Hour

func expiry(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c := who(1), who(2), who(3)
	old := put(t, m, note(a, b, "old"), note(a, c, "old"))[0]
	if want := time.Now().Add(ttl); !old.Expires.Equal(want) {
		t.Errorf("expires %v, want %v", old.Expires, want)
	}
	time.Sleep(time.Hour)
	put(t, m, note(a, b, "young"))
	time.Sleep(ttl - time.Hour - time.Millisecond)
	if n := expire(t, m); n != 0 || len(list(t, m, b, 0)) != 2 {
		t.Errorf("%d expired before the time is over", n)
	}
	time.Sleep(time.Millisecond)
	if diff := cmp.Diff([]string{"young"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Errorf("before the sweep: %s", diff)
	}
	for _, wide := range []bool{false, true, true, false} {
		if pending, used := open(t, m, b, wide), usage(t, m, b); pending != 1 || used.Messages != 2 {
			t.Errorf("before the sweep: %d pending, usage %+v; want what will be handed out, and what takes room", pending, used)
		}
	}
	if n := expire(t, m); n != 2 {
		t.Errorf("swept %d", n)
	}
	if diff := cmp.Diff([]string{"young"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Errorf("after the sweep: %s", diff)
	}
	time.Sleep(ttl)
	if rows, err := m.Take(context.Background(), b, 10); len(rows) != 0 || err != nil {
		t.Errorf("took expired %v, %v", payloads(rows), err)
	}
	expire(t, m)
	if s := m.Stats(); s.Expired != 3 || s.Messages != 0 || s.Bytes != 0 {
		t.Errorf("figures: %+v", s)
	}
}

func notices(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c := who(1), who(2), who(3)
	legacy := note(c, b, "of an SDK")
	legacy.Once = false
	taken := time.Now().UTC()
	put(t, m, note(a, b, "lost"), legacy)
	time.Sleep(time.Hour)
	put(t, m, note(b, a, "before the notice"))
	time.Sleep(ttl - time.Hour + time.Minute)
	if n := expire(t, m); n != 2 {
		t.Errorf("expired %d", n)
	}
	put(t, m, note(b, a, "after the notice"))
	rows := list(t, m, a, 0)
	if diff := cmp.Diff([]string{"before the notice", "!1", "after the notice"}, payloads(rows)); diff != "" {
		t.Fatal(diff)
	}
	id := mailbox.PayloadID("lost")
	want := mailbox.Row{
		Message: mailbox.Message{To: a, ID: id}, Cursor: rows[1].Cursor, At: time.Now().UTC(), Expires: time.Now().UTC().Add(ttl),
		Notice: &mailbox.Notice{Reason: mailbox.Expired, ID: id, To: b, Taken: taken, At: time.Now().UTC()},
	}
	if diff := cmp.Diff(want, rows[1]); diff != "" {
		t.Error(diff)
	}
	if got := list(t, m, c, 0); len(got) != 0 {
		t.Errorf("a sender of 0.2 got %v", payloads(got))
	}
	if pending, used := open(t, m, a, true), usage(t, m, a); pending != 2 || used.Messages != 2 || m.Stats().Notices != 1 {
		t.Errorf("pending %d, usage %+v, %+v: a notice counts as a message", pending, used, m.Stats())
	}
	if rows, err := m.Take(context.Background(), a, 10); len(rows) != 2 || err != nil {
		t.Errorf("took %v, %v", payloads(rows), err)
	}
	if n, err := m.Delete(context.Background(), a, []mailbox.Cursor{rows[1].Cursor}); n != 1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if s := m.Stats(); s.Notices != 0 || len(list(t, m, a, 0)) != 0 {
		t.Errorf("an acknowledged notice stays: %+v", s)
	}
}

func noticeBounds(t *testing.T, mk Maker) {
	l := mailbox.DefaultLimits()
	l.Notices, l.SweepRows = 5, 3
	m := mk.New(t, l)
	a, b := who(1), who(2)
	put(t, m, notes(a, b, "x", 8)...)
	time.Sleep(ttl)
	if n := expire(t, m); n != 8 {
		t.Errorf("expired %d of 8", n)
	}
	rows := list(t, m, a, 0)
	if s := m.Stats(); len(rows) != 5 || s.Notices != 5 || s.NoticesDropped != 3 {
		t.Errorf("%d notices, %+v; want 5, and 3 that found no room", len(rows), s)
	}
	for i, r := range rows {
		// The oldest stay: they are the next that the sender waits for.
		if r.Notice.ID != mailbox.PayloadID(fmt.Sprint("x", i)) {
			t.Errorf("notice %d is about another message", i)
		}
	}
	put(t, m, note(b, a, "mail"))
	time.Sleep(ttl - time.Second)
	if n := expire(t, m); n != 0 || m.Stats().Notices != 5 {
		t.Errorf("notices expired early: %d, %+v", n, m.Stats())
	}
	time.Sleep(time.Second)
	if got := list(t, m, a, 0); len(got) != 0 {
		t.Errorf("listed after their time: %v", payloads(got))
	}
	if n := expire(t, m); n != 1 {
		t.Errorf("expired %d messages, want the mail only", n)
	}
	if diff := cmp.Diff([]string{"!1"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Errorf("what is left is more than the notice about the mail: %s", diff)
	}
}

func race(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b := who(1), who(2)
	put(t, m, note(a, b, "in time"), note(a, b, "late"))
	rows := list(t, m, b, 0)
	time.Sleep(ttl)
	// Its time is over, but nobody was told: the receiver has it, so it is right.
	if n, err := m.Delete(context.Background(), b, []mailbox.Cursor{rows[0].Cursor}); n != 1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	expire(t, m)
	if n, err := m.Delete(context.Background(), b, []mailbox.Cursor{rows[1].Cursor}); n != 0 || err != nil {
		t.Errorf("deleted %d of what expired, %v", n, err)
	}
	got := list(t, m, a, 0)
	if len(got) != 1 || got[0].Notice.ID != mailbox.PayloadID("late") {
		t.Errorf("notices: %v", payloads(got))
	}

	open(t, m, b, true)
	put(t, m, notes(a, b, "x", 200)...)
	rows = list(t, m, b, 0)
	time.Sleep(ttl)
	var acknowledged int
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, r := range rows {
			n, err := m.Delete(context.Background(), b, []mailbox.Cursor{r.Cursor})
			if err != nil {
				t.Error(err)
			}
			acknowledged += n
		}
	})
	expired := 0
	wg.Go(func() { expired = expire(t, m) })
	wg.Wait()
	if told := m.Stats().Notices; acknowledged+expired != 200 || told != expired {
		t.Errorf("%d acknowledged, %d expired, %d told", acknowledged, expired, told)
	}
}

func freedName(t *testing.T, mk Maker) {
	l := mailbox.DefaultLimits()
	l.LegacyBox.Messages = 1
	m := mk.New(t, l)
	a, b := who(1), who(2)
	put(t, m, note(a, b, "x"))
	time.Sleep(ttl)
	again := put(t, m, note(a, b, "x"))[0]
	if again.Repeated || !again.Expires.Equal(time.Now().Add(ttl)) {
		t.Errorf("%+v", again)
	}
	// The sender has sent it again, so that there is nothing to tell.
	if n := expire(t, m); n != 0 || m.Stats().Notices != 0 {
		t.Errorf("expired %d, %+v", n, m.Stats())
	}
	if diff := cmp.Diff([]string{"x"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Error(diff)
	}
}

func forgotten(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c, d := who(1), who(2), who(3), who(4)
	for _, owner := range []int{1, 2, 3} {
		open(t, m, who(owner), owner != 1)
	}
	allowed(t, m, d, listOf(t))
	if n := m.Stats().Boxes; n != 3 {
		t.Errorf("%d mailboxes, want one for each with something to remember", n)
	}
	time.Sleep(29 * 24 * time.Hour)
	open(t, m, c, true)
	put(t, m, note(a, b, "x"))
	expire(t, m)
	time.Sleep(2 * 24 * time.Hour)
	expire(t, m)
	if n := m.Stats().Boxes; n != 2 {
		t.Errorf("%d mailboxes, want the one with mail and the one that was used", n)
	}
	wantErrs(t, "its list is forgotten", put(t, m, note(a, d, "x")), nil)
}
