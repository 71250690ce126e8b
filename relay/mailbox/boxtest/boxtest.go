// Package boxtest says what every mailbox.Mailbox does, as tests. What they are
// for stands in the comment of package mailbox.
package boxtest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"amesh/identity"
	"amesh/relay/mailbox"
)

// Maker makes mailboxes of one implementation.
type Maker struct {
	// New gives an empty mailbox, which it closes when the test ends.
	New func(t *testing.T, l mailbox.Limits) mailbox.Mailbox
	// Reopen gives the mail of m to a process that starts after that of m died. It
	// is nil where nothing outlives the process.
	Reopen func(t *testing.T, m mailbox.Mailbox) mailbox.Mailbox
	// CrashAt makes the process of m die at its n-th commit from now, the first
	// being 1: before that is durable, or after but before anybody is told. It is
	// nil where that cannot be had.
	CrashAt func(m mailbox.Mailbox, n int, after bool)
	// Real says that there are clocks or goroutines of others inside, so that the
	// tests cannot run in a bubble of test time. Those that need one are left out.
	Real bool
}

type testCase struct {
	name string
	run  func(*testing.T, Maker)
}

// Run tests the mailboxes of a maker.
func Run(t *testing.T, m Maker) {
	always := []testCase{
		{"a row comes out as it went in", roundTrip},
		{"rows keep their order", order},
		{"a message is stored once by its name", once},
		{"list stays within the credit and begins behind the cursor", credit},
		{"take gives each message once", takeOnce},
		{"a taken message does not come again", taken},
		{"names of what was taken are bounded", takenBounds},
		{"delete counts what it found", deletes},
		{"more at once than a store takes", bulk},
		{"each writer's order holds under contention", contention},
		{"T43: the newest is refused and nothing is evicted", full},
		{"T43: one sender has a share", share},
		{"T43: a hundred strangers leave room for friends", strangers},
		{"an allow list replaces the one before", allow},
		{"an allow list is bounded", allowBounds},
		{"a context that ended changes nothing", cancelled},
		{"figures add up", figures},
	}
	timed := []testCase{
		{"T57: a message expires when its time is over, not before", expiry},
		{"T56, CP 35: who expires leaves a notice", notices},
		{"T56: notices are few, and expire without a trace", noticeBounds},
		{"T56: acknowledged or expired, never both", race},
		{"a name is free when its message expired", freedName},
		{"a name that was taken is free when its message would have expired", takenExpires},
		{"an owner who stays away is forgotten", forgotten},
	}
	durable := []testCase{
		{"CP 15: mail survives a restart", restart},
		{"CP 15: what was taken does not come again after a restart", takenRestart},
		{"T43: friends and strangers after a restart", strangersAfterRestart},
	}
	run := func(cases []testCase) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				if m.Real {
					c.run(t, m)
					return
				}
				synctest.Test(t, func(t *testing.T) { c.run(t, m) })
			})
		}
	}
	run(always)
	if !m.Real {
		run(timed)
	}
	if m.Reopen != nil {
		run(durable)
	}
	if m.CrashAt != nil && !m.Real {
		run([]testCase{
			{"T42, CP 9-14, 27: a crash at every commit", crashes},
			{"CP 12: taken once, with a crash at every commit", takenCrashes},
		})
	}
}

// who is the n-th agent.
func who(n int) identity.AMID { return identity.AMID{byte(n >> 8), byte(n), 1} }

// note is a message of an amesh node.
func note(from, to identity.AMID, text string) mailbox.Message {
	return mailbox.Message{
		From: from, To: to, ID: mailbox.PayloadID(text), Kind: mailbox.KindMessage, Payload: text, Once: true,
	}
}

func knock(from, to identity.AMID, text string) mailbox.Message {
	m := note(from, to, text)
	m.Kind = mailbox.KindKnock
	return m
}

// notes are n different messages.
func notes(from, to identity.AMID, what string, n int) []mailbox.Message {
	var list []mailbox.Message
	for i := range n {
		list = append(list, note(from, to, fmt.Sprint(what, i)))
	}
	return list
}

func put(t *testing.T, m mailbox.Mailbox, messages ...mailbox.Message) []mailbox.Stored {
	t.Helper()
	stored, err := m.Put(context.Background(), messages)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// stored counts the answers without error.
func stored(answers []mailbox.Stored) (n int) {
	for _, a := range answers {
		if a.Err == nil {
			n++
		}
	}
	return n
}

// everything is more than any mailbox holds.
var everything = mailbox.Size{Messages: 10_000, Bytes: 1 << 30}

func list(t *testing.T, m mailbox.Mailbox, owner identity.AMID, after mailbox.Cursor) []mailbox.Row {
	t.Helper()
	rows, err := m.List(context.Background(), owner, after, everything)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func open(t *testing.T, m mailbox.Mailbox, owner identity.AMID, wide bool) int {
	t.Helper()
	pending, err := m.Open(context.Background(), owner, wide)
	if err != nil {
		t.Fatal(err)
	}
	return pending
}

func usage(t *testing.T, m mailbox.Mailbox, owner identity.AMID) mailbox.Size {
	t.Helper()
	used, err := m.Usage(context.Background(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func expire(t *testing.T, m mailbox.Mailbox) int {
	t.Helper()
	n, err := m.Expire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// payloads are the messages' texts, and "!" with the reason for a notice.
func payloads(rows []mailbox.Row) []string {
	var p []string
	for _, r := range rows {
		if r.Notice != nil {
			p = append(p, fmt.Sprint("!", r.Notice.Reason))
			continue
		}
		p = append(p, r.Payload)
	}
	return p
}
