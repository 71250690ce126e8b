package boxtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/relay/mailbox"
)

func roundTrip(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b := who(1), who(2)
	envelope := mailbox.Magic + "\x00\xFFsealed"
	sent := []mailbox.Message{
		{From: a, To: b, ID: mailbox.PayloadID(""), Kind: mailbox.KindStatus},
		{From: a, To: b, ID: mailbox.EnvelopeID([]byte(envelope)), Kind: mailbox.KindAccept, Payload: envelope, Binary: true, Once: true},
		{From: b, To: b, ID: mailbox.PayloadID("ä\u2028\""), Kind: mailbox.KindOptimistic, Payload: "ä\u2028\"", Once: true,
			Candidates: json.RawMessage(`[{"candidate":"c","sdp_mid":null,"sdp_mline_index":1}]`)},
		// Longer than what a store keeps beside its keys.
		note(a, b, strings.Repeat("long", 15_000)),
	}
	for _, k := range []mailbox.Kind{
		mailbox.KindKnock, mailbox.KindReject, mailbox.KindMessage, mailbox.KindClose,
	} {
		sent = append(sent, mailbox.Message{From: a, To: b, ID: mailbox.PayloadID("k"), Kind: k, Payload: "k"})
	}
	before := time.Now().Add(-time.Second)
	for i, s := range put(t, m, sent...) {
		if s.Err != nil || s.Repeated || s.Expires.Sub(before) < 72*time.Hour {
			t.Errorf("message %d: %+v", i, s)
		}
	}
	rows := list(t, m, b, 0)
	if len(rows) != len(sent) {
		t.Fatalf("%d rows of %d", len(rows), len(sent))
	}
	for i, r := range rows {
		if diff := cmp.Diff(sent[i], r.Message); diff != "" {
			t.Errorf("message %d (-sent +listed)\n%s", i, diff)
		}
		if r.At.Before(before) || r.Expires.Sub(r.At) != 72*time.Hour || r.Notice != nil || r.Cursor == 0 {
			t.Errorf("message %d: %+v", i, r)
		}
	}
	taken, err := m.Take(context.Background(), b, 100)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rows, taken); diff != "" {
		t.Errorf("taken rows (-listed +taken)\n%s", diff)
	}
}

func order(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c := who(1), who(2), who(3)
	put(t, m, note(a, b, "1"), note(c, b, "2"))
	put(t, m, note(a, c, "not b's"), note(a, b, "3"))
	rows := list(t, m, b, 0)
	if diff := cmp.Diff([]string{"1", "2", "3"}, payloads(rows)); diff != "" {
		t.Error(diff)
	}
	if !slices.IsSortedFunc(rows, func(x, y mailbox.Row) int { return int(x.Cursor) - int(y.Cursor) }) {
		t.Error("cursors do not ascend")
	}
	if _, err := m.Take(context.Background(), b, 10); err != nil {
		t.Fatal(err)
	}
	put(t, m, note(a, b, "4"))
	if got := list(t, m, b, rows[2].Cursor); len(got) != 1 || got[0].Cursor <= rows[2].Cursor {
		t.Errorf("a cursor came again in an emptied mailbox: %v", got)
	}
}

func once(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c := who(1), who(2), who(3)
	first := put(t, m, note(a, b, "x"))[0]
	used := usage(t, m, b)
	again := put(t, m, note(a, b, "x"))[0]
	if !again.Repeated || !again.Expires.Equal(first.Expires) || usage(t, m, b) != used {
		t.Errorf("repeat: %+v, first %+v", again, first)
	}
	twice := put(t, m, note(a, b, "y"), note(a, b, "y"))
	if twice[0].Repeated || !twice[1].Repeated {
		t.Errorf("in one call: %+v", twice)
	}
	legacy := note(a, b, "x")
	legacy.Once = false
	put(t, m, note(c, b, "x"), legacy, legacy)
	rows := list(t, m, b, 0)
	if diff := cmp.Diff([]string{"x", "y", "x", "x", "x"}, payloads(rows)); diff != "" {
		t.Error(diff)
	}
	if n, err := m.Delete(context.Background(), b, []mailbox.Cursor{rows[0].Cursor}); n != 1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	if put(t, m, note(a, b, "x"))[0].Repeated {
		t.Error("a deleted message is still known by name")
	}
}

func credit(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b := who(1), who(2)
	put(t, m, note(a, b, "aaaaaaaaaa"), note(a, b, "bbbbbbbbbb"), note(a, b, "cccccccccc"))
	for _, c := range []struct {
		max  mailbox.Size
		want int
	}{
		{mailbox.Size{Messages: 2, Bytes: 100}, 2},
		{mailbox.Size{Messages: 9, Bytes: 29}, 2},
		{mailbox.Size{Messages: 9, Bytes: 30}, 3},
		{mailbox.Size{Messages: 9, Bytes: 1}, 1},
	} {
		rows, err := m.List(context.Background(), b, 0, c.max)
		if err != nil || len(rows) != c.want {
			t.Errorf("%+v: %d rows, %v, want %d", c.max, len(rows), err, c.want)
		}
	}
	rows := list(t, m, b, 0)
	if diff := cmp.Diff([]string{"bbbbbbbbbb", "cccccccccc"}, payloads(list(t, m, b, rows[0].Cursor))); diff != "" {
		t.Errorf("behind the first: %s", diff)
	}
	if got := list(t, m, b, rows[2].Cursor); len(got) != 0 {
		t.Errorf("behind the last: %v", payloads(got))
	}
}

func takeOnce(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b := who(1), who(2)
	open(t, m, b, true)
	put(t, m, notes(a, b, "", 100)...)
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for last := -1; ; {
				rows, err := m.Take(context.Background(), b, 7)
				if err != nil || len(rows) == 0 {
					return
				}
				for _, r := range rows {
					var n int
					fmt.Sscan(r.Payload, &n)
					if n <= last {
						t.Errorf("%d taken after %d", n, last)
					}
					last = n
					mu.Lock()
					seen[r.Payload]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if len(seen) != 100 {
		t.Errorf("%d messages of 100", len(seen))
	}
	for p, n := range seen {
		if n != 1 {
			t.Errorf("message %s taken %d times", p, n)
		}
	}
	if used := usage(t, m, b); used != (mailbox.Size{}) {
		t.Errorf("left: %+v", used)
	}
}

func deletes(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b := who(1), who(2)
	put(t, m, append(notes(a, b, "b", 5), note(a, a, "a's"))...)
	rows := list(t, m, b, 0)
	cursors := []mailbox.Cursor{rows[3].Cursor, rows[1].Cursor, rows[1].Cursor, rows[1].Cursor + 1<<40, 0}
	if n, err := m.Delete(context.Background(), b, cursors); n != 2 || err != nil {
		t.Errorf("deleted %d, %v, want 2", n, err)
	}
	if n, err := m.Delete(context.Background(), b, cursors); n != 0 || err != nil {
		t.Errorf("deleted again %d, %v", n, err)
	}
	if n, err := m.Delete(context.Background(), b, nil); n != 0 || err != nil {
		t.Errorf("nothing deleted %d, %v", n, err)
	}
	if n, err := m.Delete(context.Background(), who(9), []mailbox.Cursor{rows[0].Cursor}); n != 0 || err != nil {
		t.Errorf("somebody else deleted %d, %v", n, err)
	}
	if diff := cmp.Diff([]string{"b0", "b2", "b4"}, payloads(list(t, m, b, 0))); diff != "" {
		t.Error(diff)
	}
	if got := usage(t, m, b); got != (mailbox.Size{Messages: 3, Bytes: 6}) {
		t.Errorf("usage %+v", got)
	}
}

// bulk: more than a store takes at once is no trouble of the caller's.
func bulk(t *testing.T, mk Maker) {
	l := mailbox.DefaultLimits()
	l.Box = mailbox.Size{Messages: 10_000, Bytes: 1 << 30}
	l.Share = l.Box
	m := mk.New(t, l)
	a, b, c := who(1), who(2), who(3)
	open(t, m, b, true)
	open(t, m, c, true)
	if n := stored(put(t, m, notes(a, b, strings.Repeat("x", 200), 3100)...)); n != 3100 {
		t.Errorf("stored %d of 3,100", n)
	}
	if n := stored(put(t, m, notes(a, c, strings.Repeat("long", 15_000), 300)...)); n != 300 {
		t.Errorf("stored %d long ones of 300", n)
	}
	var cursors []mailbox.Cursor
	for _, r := range list(t, m, b, 0) {
		cursors = append(cursors, r.Cursor)
	}
	if n, err := m.Delete(context.Background(), b, cursors); n != 3100 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	taken := 0
	for {
		rows, err := m.Take(context.Background(), c, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		taken += len(rows)
	}
	if s := m.Stats(); taken != 300 || s.Messages != 0 || s.Bytes != 0 {
		t.Errorf("taken %d, %+v", taken, s)
	}
}

// contention: writers to two mailboxes, with a reader who acknowledges.
func contention(t *testing.T, mk Maker) {
	const writers, each = 8, 40
	m := mk.New(t, mailbox.Limits{})
	b, c := who(100), who(101)
	open(t, m, b, true)
	open(t, m, c, true)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				text := fmt.Sprintf("%d.%03d", w, i)
				for _, s := range put(t, m, note(who(w), b, text), note(who(w), c, text), note(who(w), b, text)) {
					if s.Err != nil {
						t.Errorf("%s: %v", text, s.Err)
					}
				}
			}
		})
	}
	var got []string
	wg.Go(func() {
		var cursor mailbox.Cursor
		for len(got) < writers*each {
			rows, err := m.List(context.Background(), b, cursor, mailbox.Size{Messages: 10, Bytes: 1 << 20})
			if err != nil {
				t.Error(err)
				return
			}
			var done []mailbox.Cursor
			for _, r := range rows {
				cursor = r.Cursor
				done = append(done, cursor)
				got = append(got, r.Payload)
			}
			if n, err := m.Delete(context.Background(), b, done); n != len(done) || err != nil {
				t.Errorf("deleted %d of %d, %v", n, len(done), err)
			}
		}
	})
	wg.Wait()
	for _, texts := range [][]string{got, payloads(list(t, m, c, 0))} {
		if len(texts) != writers*each {
			t.Errorf("%d messages, want %d", len(texts), writers*each)
		}
		last := map[byte]string{}
		for _, text := range texts {
			if text <= last[text[0]] {
				t.Errorf("%s after %s", text, last[text[0]])
			}
			last[text[0]] = text
		}
	}
	if used := usage(t, m, b); used != (mailbox.Size{}) {
		t.Errorf("left: %+v", used)
	}
}

func cancelled(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b := who(1), who(2)
	put(t, m, note(a, b, "1"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	// An implementation that does not wait may well succeed; one that fails has
	// changed nothing.
	stored, err := m.Put(ctx, []mailbox.Message{note(a, b, "2")})
	want := []string{"1"}
	if err == nil && stored[0].Err == nil {
		want = append(want, "2")
	} else if !errors.Is(err, mailbox.ErrStorage) {
		t.Errorf("put: %v", err)
	}
	if diff := cmp.Diff(want, payloads(list(t, m, b, 0))); diff != "" {
		t.Error(diff)
	}
	if used := usage(t, m, b); used.Messages != len(want) {
		t.Errorf("usage %+v", used)
	}
}

func figures(t *testing.T, mk Maker) {
	m := mk.New(t, mailbox.Limits{})
	a, b, c := who(1), who(2), who(3)
	open(t, m, b, true)
	if err := m.Allow(context.Background(), c, listOf(t)); err != nil {
		t.Fatal(err)
	}
	put(t, m, note(a, b, "12345"), note(a, b, "1"), knock(a, c, "123"))
	want := mailbox.Stats{Boxes: 2, Messages: 3, Bytes: 9, Strangers: 1}
	if diff := cmp.Diff(want, m.Stats()); diff != "" {
		t.Errorf("stored: %s", diff)
	}
	if _, err := m.Take(context.Background(), b, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Take(context.Background(), c, 1); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mailbox.Stats{Boxes: 2, Messages: 1, Bytes: 1, Taken: 2}, m.Stats()); diff != "" {
		t.Errorf("taken: %s", diff)
	}
}
