package boxtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/relay/mailbox"
)

var salt = []byte("sixteen bytes at least")

// listOf is an allow list.
func listOf(t *testing.T, friends ...identity.AMID) *mailbox.AllowList {
	t.Helper()
	var hashes []mailbox.AllowHash
	for _, f := range friends {
		hashes = append(hashes, mailbox.HashFor(salt, f))
	}
	l, err := mailbox.NewAllowList(salt, hashes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func allowed(t *testing.T, m mailbox.Mailbox, owner identity.AMID, l *mailbox.AllowList) {
	t.Helper()
	if err := m.Allow(context.Background(), owner, l); err != nil {
		t.Fatal(err)
	}
}

// errs are the answers' errors.
func errs(answers []mailbox.Stored) []error {
	var list []error
	for _, a := range answers {
		list = append(list, a.Err)
	}
	return list
}

func wantErrs(t *testing.T, what string, answers []mailbox.Stored, want ...error) {
	t.Helper()
	for i, err := range errs(answers) {
		if !errors.Is(err, want[i]) {
			t.Errorf("%s: answer %d is %v, want %v", what, i, err, want[i])
		}
	}
}

func full(t *testing.T, mk Maker) {
	a, b, c, d := who(1), who(2), who(3), who(4)
	l := mailbox.DefaultLimits()
	l.LegacyBox = mailbox.Size{Messages: 2, Bytes: 10}
	l.Box = mailbox.Size{Messages: 4, Bytes: 20}
	l.Total = mailbox.Size{Messages: 6, Bytes: 100}
	m := mk.New(t, l)
	no := mailbox.ErrFull
	wantErrs(t, "small box", put(t, m, note(a, b, "1"), note(a, b, "22222222222"), note(c, b, "3"), note(d, b, "4")),
		nil, no, nil, no)
	if pending := open(t, m, b, true); pending != 2 {
		t.Errorf("open: %d", pending)
	}
	wantErrs(t, "wide box", put(t, m, note(a, b, "5"), note(a, b, "6"), note(a, b, "7")), nil, nil, no)
	wantErrs(t, "a repeat in a full box", put(t, m, note(a, b, "5")), nil)
	wantErrs(t, "all boxes together", put(t, m, note(a, c, "8"), note(b, c, "9"), note(b, a, "10")), nil, nil, no)
	if diff := cmp.Diff([]string{"1", "3", "5", "6"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Error(diff)
	}
	if pending := open(t, m, b, false); pending != 4 {
		t.Errorf("shrunk: %d", pending)
	}
	if rows, err := m.Take(context.Background(), b, 1); len(rows) != 1 || err != nil {
		t.Fatal(rows, err)
	}
	wantErrs(t, "shrunk", put(t, m, note(a, b, "11")), no)
	wantErrs(t, "freed elsewhere", put(t, m, note(b, a, "10")), nil)
}

func share(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	b, greedy, friend := who(1), who(2), who(3)
	if n := stored(put(t, m, notes(greedy, b, "x", 140)...)); n != 100 {
		t.Errorf("one sender has %d of a small mailbox, want all of it", n)
	}
	open(t, m, b, true)
	if n := stored(put(t, m, notes(greedy, b, "y", 600)...)); n != 400 {
		t.Errorf("one sender has 100 and %d of a wide mailbox, want 500", n)
	}
	if n := stored(put(t, m, notes(friend, b, "z", 600)...)); n != 500 {
		t.Errorf("a friend with a long outbox has %d, want 500", n)
	}
	l := mailbox.DefaultLimits()
	l.LegacyShare = mailbox.Size{Messages: 9, Bytes: 10}
	m = mk.New(t, l)
	wantErrs(t, "bytes", put(t, m, note(greedy, b, "123456"), note(greedy, b, "abcdef"), note(greedy, b, "wxyz")),
		nil, mailbox.ErrFull, nil)
}

func strangers(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	b, friends := who(1), []identity.AMID{who(2), who(3), who(4)}
	allowed(t, m, b, listOf(t, friends...))
	knocks := 0
	for i := range 100 {
		a := who(1000 + i)
		answers := put(t, m,
			note(a, b, "message"), knock(a, b, fmt.Sprint(i)), knock(a, b, fmt.Sprint(i, "again")))
		if !errors.Is(answers[0].Err, mailbox.ErrStranger) {
			t.Errorf("a stranger's message: %v", answers[0].Err)
		}
		knocks += stored(answers[1:])
		for _, err := range errs(answers[1:]) {
			if err != nil && !errors.Is(err, mailbox.ErrFull) {
				t.Errorf("a stranger's knock: %v", err)
			}
		}
	}
	if knocks != 20 || m.Stats().Strangers != 20 {
		t.Errorf("strangers have %d slots, counted %d, want 20", knocks, m.Stats().Strangers)
	}
	for _, f := range friends {
		if n := stored(put(t, m, notes(f, b, "friendly", 25)...)); n != 25 {
			t.Errorf("a friend got %d of 25 through", n)
		}
	}
	if rows, err := m.Take(context.Background(), b, 1); len(rows) != 1 || err != nil {
		t.Fatal(rows, err)
	}
	wantErrs(t, "a slot that is free again", put(t, m, knock(who(9), b, "1"), knock(who(9), b, "2")), nil, mailbox.ErrFull)
	c, one := who(5), who(6)
	allowed(t, m, c, listOf(t))
	if n := stored(put(t, m, knock(one, c, "1"), knock(one, c, "2"), knock(one, c, "3"), knock(one, c, "4"), knock(one, c, "5"))); n != 4 {
		t.Errorf("one stranger has %d slots, want 4", n)
	}
}

func allow(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c := who(1), who(2), who(3)
	hello := func(from identity.AMID, text string) []mailbox.Stored { return put(t, m, note(from, b, text)) }
	wantErrs(t, "without a list", hello(a, "1"), nil)
	allowed(t, m, b, listOf(t, c))
	wantErrs(t, "not on the list", hello(a, "2"), mailbox.ErrStranger)
	wantErrs(t, "not on the list, but there already", hello(a, "1"), nil)
	wantErrs(t, "on the list", hello(c, "2"), nil)
	open(t, m, b, true)
	wantErrs(t, "the owner came again", hello(a, "3"), mailbox.ErrStranger)
	allowed(t, m, b, listOf(t, a))
	wantErrs(t, "on the new list", hello(a, "3"), nil)
	wantErrs(t, "on the old list", hello(c, "3"), mailbox.ErrStranger)
	allowed(t, m, b, nil)
	wantErrs(t, "the list is gone", hello(c, "3"), nil)
	allowed(t, m, b, nil)
	if diff := cmp.Diff([]string{"1", "2", "3", "3"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Error(diff)
	}
}

func allowBounds(t *testing.T, mk Maker) {
	l := mailbox.DefaultLimits()
	l.AllowEntries, l.AllowTotal, l.Boxes = 5, 10, 3
	m := mk.New(t, l)
	try := func(owner, n int) error {
		var friends []identity.AMID
		for i := range n {
			friends = append(friends, who(100+i))
		}
		return m.Allow(context.Background(), who(owner), listOf(t, friends...))
	}
	for _, c := range []struct {
		name     string
		owner, n int
		want     error
	}{
		{"too long", 1, 6, mailbox.ErrList},
		{"as long as can be", 1, 5, nil},
		{"in its own place", 1, 5, nil},
		{"beside it", 2, 2, nil},
		{"no room, and none that is longer", 3, 5, mailbox.ErrList},
		{"in the place of the longest", 3, 4, nil},
		{"one owner too many", 4, 0, mailbox.ErrList},
	} {
		if err := try(c.owner, c.n); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	stranger := who(50)
	for owner, want := range []error{1: nil, 2: mailbox.ErrStranger, 3: mailbox.ErrStranger} {
		if owner > 0 {
			wantErrs(t, fmt.Sprint("owner ", owner), put(t, m, note(stranger, who(owner), "x")), want)
		}
	}
	open(t, m, who(5), true)
	if n := stored(put(t, m, notes(who(1), who(5), "x", 130)...)); n != 100 || m.Stats().Boxes != 4 {
		t.Errorf("an owner beyond those who are remembered has %d places of one sender, want 100; %+v", n, m.Stats())
	}
	for _, n := range []int{0, mailbox.MinSalt - 1, mailbox.MaxSalt + 1} {
		if _, err := mailbox.NewAllowList(make([]byte, n), nil); err == nil {
			t.Errorf("salt of %d bytes", n)
		}
	}
}

// strangersAfterRestart: the list is not written, so until its owner comes nobody
// can be told from anybody, and a quarter is kept for then.
func strangersAfterRestart(t *testing.T, mk Maker) {
	l := mailbox.DefaultLimits()
	l.LegacyBox = mailbox.Size{Messages: 8, Bytes: 1 << 20}
	m := mk.New(t, l)
	b, friend, stranger := who(1), who(2), who(3)
	allowed(t, m, b, listOf(t, friend))
	m = mk.Reopen(t, m)
	if n := stored(put(t, m, notes(friend, b, "f", 1)...)); n != 1 {
		t.Error("a restart locks friends out")
	}
	if n := stored(put(t, m, notes(stranger, b, "s", 10)...)); n != 5 {
		t.Errorf("a stranger has %d of 8 places, want all but a quarter and one", n)
	}
	allowed(t, m, b, listOf(t, friend))
	wantErrs(t, "the list is back", put(t, m, note(stranger, b, "more")), mailbox.ErrStranger)
	if n := stored(put(t, m, notes(friend, b, "g", 3)...)); n != 2 {
		t.Errorf("a friend has %d of the places that were kept, want 2", n)
	}
	allowed(t, m, b, nil)
	m = mk.Reopen(t, m)
	if _, err := m.Take(context.Background(), b, 8); err != nil {
		t.Fatal(err)
	}
	if n := stored(put(t, m, notes(stranger, b, "t", 10)...)); n != 8 {
		t.Errorf("a mailbox without a list has %d places, want 8", n)
	}
}
