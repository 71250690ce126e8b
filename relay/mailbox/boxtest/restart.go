package boxtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/relay/mailbox"
)

func restart(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c := who(1), who(2), who(3)
	open(t, m, b, true)
	put(t, m, notes(a, b, "x", 30)...)
	put(t, m, notes(c, b, "y", 30)...)
	before := list(t, m, b, 0)
	if _, err := m.Take(context.Background(), b, 2); err != nil {
		t.Fatal(err)
	}
	figures := m.Stats()
	m = mk.Reopen(t, m)
	if diff := cmp.Diff(before[2:], list(t, m, b, 0)); diff != "" {
		t.Errorf("rows (-before +after)\n%s", diff)
	}
	if diff := cmp.Diff(figures, m.Stats()); diff != "" {
		t.Errorf("figures (-before +after)\n%s", diff)
	}
	if again := put(t, m, note(a, b, "x5"))[0]; !again.Repeated || !again.Expires.Equal(before[5].Expires) {
		t.Errorf("repeat: %+v, stored %+v", again, before[5])
	}
	if n := stored(put(t, m, notes(a, b, "z", 600)...)); n != 472 {
		t.Errorf("%d more of one sender, want 472: a wide mailbox with 28 of it", n)
	}
	last := list(t, m, b, before[59].Cursor)
	if diff := cmp.Diff("z0", last[0].Payload); diff != "" {
		t.Errorf("after the restart: %s", diff)
	}
}

// A history is what somebody outside knows of a mailbox that crashed.
type history struct {
	order   []string        // of what was stored, as far as is known
	stored  map[string]bool // true: acknowledged; false: perhaps
	removed map[string]bool // likewise
}

// crashes plays a day in the life of a mailbox once for every commit in it, and
// looks at what the next process finds. Whatever was acknowledged is there once
// and in order, unless its removal was begun; what was removed never comes back;
// and whatever expired has one notice.
func crashes(t *testing.T, mk Maker) {
	for n := 1; ; n++ {
		finished := 0
		for _, after := range []bool{false, true} {
			m := mk.New(t, mailbox.Limits{})
			mk.CrashAt(m, n, after)
			h := history{stored: map[string]bool{}, removed: map[string]bool{}}
			if h.play(m) {
				finished++
			}
			h.check(t, mk.Reopen(t, m), fmt.Sprintf("commit %d, after it %v", n, after))
			if t.Failed() {
				return
			}
		}
		if finished == 2 {
			return
		}
	}
}

// play reports whether nothing failed.
func (h *history) play(m mailbox.Mailbox) bool {
	ctx := context.Background()
	a, b, c := who(1), who(2), who(3)
	fine := true
	did := func(err error) bool {
		fine = fine && err == nil
		return err == nil
	}
	send := func(texts ...string) {
		var batch []mailbox.Message
		for _, text := range texts {
			if _, known := h.stored[text]; !known {
				h.order = append(h.order, text)
			}
			h.stored[text] = h.stored[text] || false
			batch = append(batch, note(a, b, text))
		}
		answers, err := m.Put(ctx, batch)
		if did(err) {
			for i, text := range texts {
				h.stored[text] = answers[i].Err == nil
			}
		}
	}
	_, err := m.Open(ctx, b, true)
	did(err)
	send("1", "2")
	send("2", "3", "4")
	rows, err := m.List(ctx, b, 0, mailbox.Size{Messages: 1, Bytes: 1 << 20})
	if did(err) && len(rows) == 1 {
		h.removed[rows[0].Payload] = false
		_, err := m.Delete(ctx, b, []mailbox.Cursor{rows[0].Cursor})
		h.removed[rows[0].Payload] = did(err)
	}
	// Who takes takes the oldest that is there.
	for _, text := range h.order {
		if !h.removed[text] {
			h.removed[text] = h.removed[text] || false
			break
		}
	}
	rows, err = m.Take(ctx, b, 1)
	if did(err) {
		for _, r := range rows {
			h.removed[r.Payload] = true
		}
	}
	send("5")
	_, err = m.Put(ctx, []mailbox.Message{note(b, a, "answer")})
	did(err)
	_, err = m.Expire(ctx)
	did(err)
	time.Sleep(ttl - time.Minute)
	send("6")
	_, err = m.Put(ctx, []mailbox.Message{note(c, b, "of another")})
	did(err)
	time.Sleep(time.Minute)
	_, err = m.Expire(ctx)
	did(err)
	return fine
}

func (h *history) check(t *testing.T, m mailbox.Mailbox, when string) {
	t.Helper()
	a, b := who(1), who(2)
	// The clock of the next process may be behind by what was not written down.
	time.Sleep(time.Hour)
	expired := expire(t, m)
	there := map[string]int{}
	var kept []string
	for _, r := range list(t, m, b, 0) {
		if r.Notice == nil && r.From == a {
			there[r.Payload]++
			kept = append(kept, r.Payload)
		}
	}
	told := map[mailbox.MessageID]int{}
	for _, r := range list(t, m, a, 0) {
		if r.Notice != nil {
			told[r.Notice.ID]++
		}
	}
	sorted := slices.Clone(kept)
	slices.SortFunc(sorted, func(x, y string) int { return slices.Index(h.order, x) - slices.Index(h.order, y) })
	if !slices.Equal(kept, sorted) {
		t.Errorf("%s: order %v", when, kept)
	}
	for _, text := range slices.Sorted(maps.Keys(h.stored)) {
		sure := h.stored[text]
		gone, tried := h.removed[text]
		n := there[text] + told[mailbox.PayloadID(text)]
		switch {
		case n > 1:
			t.Errorf("%s: message %s is there %d times, its notice %d times", when, text, there[text], told[mailbox.PayloadID(text)])
		case n == 1 && gone:
			t.Errorf("%s: message %s comes back", when, text)
		case n == 0 && sure && !tried:
			t.Errorf("%s: message %s is lost", when, text)
		}
	}
	sum := 0
	for _, owner := range []int{1, 2, 3} {
		used := usage(t, m, who(owner))
		rows := list(t, m, who(owner), 0)
		n := 0
		for _, r := range rows {
			if r.Notice == nil {
				n++
			}
		}
		if used.Messages != n {
			t.Errorf("%s: mailbox %d counts %+v and holds %d", when, owner, used, n)
		}
		sum += n
	}
	if s := m.Stats(); s.Messages != sum {
		t.Errorf("%s: all mailboxes count %d and hold %d; %d expired", when, s.Messages, sum, expired)
	}
}
