package boxtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/relay/mailbox"
)

func take(t *testing.T, m mailbox.Mailbox, owner identity.AMID, n int) []string {
	t.Helper()
	rows, err := m.Take(context.Background(), owner, n)
	if err != nil {
		t.Fatal(err)
	}
	return payloads(rows)
}

// wantGone says that a message was taken, and that its sender may repeat it as often
// as it likes: it is answered as the first time and nobody gets it.
func wantGone(t *testing.T, m mailbox.Mailbox, message mailbox.Message, first mailbox.Stored, when string) {
	t.Helper()
	used := usage(t, m, message.To)
	before := m.Stats()
	for range 2 {
		again := put(t, m, message)[0]
		if again.Err != nil || !again.Repeated || !again.Expires.Equal(first.Expires) {
			t.Errorf("%s: the repeat is answered %+v, the first was %+v", when, again, first)
		}
	}
	if rows := list(t, m, message.To, 0); len(rows) != 0 {
		t.Errorf("%s: listed %v", when, payloads(rows))
	}
	if texts := take(t, m, message.To, 9); len(texts) != 0 {
		t.Errorf("%s: taken %v", when, texts)
	}
	if after := usage(t, m, message.To); after != used || used != (mailbox.Size{}) {
		t.Errorf("%s: usage %+v, then %+v", when, used, after)
	}
	if diff := cmp.Diff(before, m.Stats()); diff != "" {
		t.Errorf("%s: figures %s", when, diff)
	}
}

func taken(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c := who(1), who(2), who(3)
	first := put(t, m, note(a, b, "x"))[0]
	row := list(t, m, b, 0)[0]
	if diff := cmp.Diff([]string{"x"}, take(t, m, b, 9)); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff(mailbox.Stats{Boxes: 1, Taken: 1}, m.Stats()); diff != "" {
		t.Errorf("figures: %s", diff)
	}
	wantGone(t, m, note(a, b, "x"), first, "at once")
	if n, err := m.Delete(context.Background(), b, []mailbox.Cursor{row.Cursor}); n != 0 || err != nil {
		t.Errorf("deleted %d of what was taken, %v", n, err)
	}
	wantGone(t, m, note(a, b, "x"), first, "acknowledged, too")
	allowed(t, m, b, listOf(t))
	wantGone(t, m, note(a, b, "x"), first, "with a list without its sender")
	allowed(t, m, b, nil)
	if pending := open(t, m, b, true); pending != 0 {
		t.Errorf("%d pending", pending)
	}
	wantGone(t, m, note(a, b, "x"), first, `with "ack"`)

	legacy := note(a, b, "x")
	legacy.Once = false
	for _, s := range put(t, m, legacy, note(c, b, "x"), note(a, b, "y")) {
		if s.Repeated || s.Err != nil {
			t.Errorf("what only looks alike: %+v", s)
		}
	}
	if diff := cmp.Diff([]string{"x", "x", "y"}, take(t, m, b, 9)); diff != "" {
		t.Error(diff)
	}
	if put(t, m, legacy)[0].Repeated || m.Stats().Taken != 3 {
		t.Errorf("a message without a name has one: %+v", m.Stats())
	}
}

// takenBounds: the oldest names give way, and whoever has many leaves some to others.
func takenBounds(t *testing.T, mk Maker) {
	l := mailbox.DefaultLimits()
	l.Taken, l.TakenTotal = 3, 7
	m := mk.New(t, l)
	a := who(1)
	for _, c := range []struct {
		owner, from, to int // of the messages that are taken
		known           []string
		all             int
	}{
		{10, 0, 5, []string{"2", "3", "4"}, 3},
		{11, 0, 5, []string{"3", "4"}, 5},
		{12, 0, 5, []string{"4"}, 6},
		{13, 0, 5, []string{"4"}, 7},
		{14, 0, 5, nil, 7},
		{10, 5, 6, []string{"4", "5"}, 6},
		{14, 0, 5, []string{"4"}, 7},
	} {
		owner := who(c.owner)
		for i := c.from; i < c.to; i++ {
			put(t, m, note(a, owner, fmt.Sprint(i)))
			take(t, m, owner, 1)
		}
		var known []string
		for i := range c.to {
			if put(t, m, note(a, owner, fmt.Sprint(i)))[0].Repeated {
				known = append(known, fmt.Sprint(i))
			}
		}
		if diff := cmp.Diff(c.known, known); diff != "" || m.Stats().Taken != c.all {
			t.Errorf("owner %d: %s %+v, want %d in all", c.owner, diff, m.Stats(), c.all)
		}
		var cursors []mailbox.Cursor
		for _, r := range list(t, m, owner, 0) {
			cursors = append(cursors, r.Cursor)
		}
		if n, err := m.Delete(context.Background(), owner, cursors); n != len(cursors) || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
	}
}

// takenExpires: a name is remembered for as long as its message would have been kept.
func takenExpires(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b := who(1), who(2)
	first := put(t, m, note(a, b, "x"))[0]
	time.Sleep(time.Hour)
	second := put(t, m, note(a, b, "y"))[0]
	time.Sleep(time.Hour)
	take(t, m, b, 9)
	time.Sleep(ttl - 2*time.Hour - time.Millisecond)
	expire(t, m)
	wantGone(t, m, note(a, b, "x"), first, "at the end of its time")
	time.Sleep(time.Millisecond)
	if s := put(t, m, note(a, b, "x"))[0]; s.Repeated || !s.Expires.Equal(time.Now().Add(ttl)) {
		t.Errorf("after its time, before the sweep: %+v", s)
	}
	if n := expire(t, m); n != 0 || m.Stats().Taken != 1 {
		t.Errorf("%d expired, %+v", n, m.Stats())
	}
	if diff := cmp.Diff([]string{"x"}, take(t, m, b, 9)); diff != "" {
		t.Error(diff)
	}
	wantGone(t, m, note(a, b, "y"), second, "the younger")
	time.Sleep(ttl)
	if n := expire(t, m); n != 0 {
		t.Errorf("%d messages expired that were taken", n)
	}
	if diff := cmp.Diff(mailbox.Stats{}, m.Stats()); diff != "" {
		t.Errorf("what is left: %s", diff)
	}
	if rows := list(t, m, a, 0); len(rows) != 0 {
		t.Errorf("the sender was told %v of what was taken", payloads(rows))
	}
}

func takenRestart(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b := who(1), who(2)
	first := put(t, m, note(a, b, "x"))[0]
	take(t, m, b, 9)
	figures := m.Stats()
	m = mk.Reopen(t, m)
	wantGone(t, m, note(a, b, "x"), first, "after a restart")
	if diff := cmp.Diff(figures, m.Stats()); diff != "" {
		t.Errorf("figures (-before +after)\n%s", diff)
	}
	open(t, m, b, true)
	m = mk.Reopen(t, m)
	wantGone(t, m, note(a, b, "x"), first, `after two, and with "ack"`)
}

// takenCrashes: the row goes and its name stays in one step, wherever it is cut.
func takenCrashes(t *testing.T, mk Maker) {
	a, b := who(1), who(2)
	message := note(a, b, "x")
	for n := 1; ; n++ {
		finished := 0
		for _, after := range []bool{false, true} {
			m := mk.New(t, mailbox.Limits{})
			mk.CrashAt(m, n, after)
			ctx, got, fine := context.Background(), 0, true
			for range 2 {
				_, err := m.Put(ctx, []mailbox.Message{message})
				fine = fine && err == nil
				rows, err := m.Take(ctx, b, 1)
				fine = fine && err == nil
				got += len(rows)
			}
			m = mk.Reopen(t, m)
			for range 2 {
				if s := put(t, m, message)[0]; s.Err != nil {
					t.Errorf("commit %d, after it %v: %v", n, after, s.Err)
				}
				got += len(take(t, m, b, 1))
			}
			// What was removed and not handed out is lost: it may have reached somebody.
			lost := after && n == 2
			if want := 1; got != want && !(lost && got == 0) {
				t.Errorf("commit %d, after it %v: it came %d times", n, after, got)
			}
			if fine {
				finished++
			}
		}
		if finished == 2 {
			return
		}
	}
}
