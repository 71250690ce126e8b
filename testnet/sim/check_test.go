package sim

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// goodHistory is one message from ann to bob, as it should be.
func goodHistory() []Event {
	const day = 24 * time.Hour
	return []Event{
		{Kind: Started, Who: "ann"},
		{Kind: Started, Who: "bob"},
		{Kind: OutRow, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, State: "accepted", Digest: "d"},
		{Kind: Accepted, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, Due: day},
		{Kind: Sealed, Who: "ann", Peer: "bob", Envelope: "e1", ID: "m1"},
		{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e1", Marks: []Mark{{"key 1", "box 1"}, {"nonce 1", "box 1"}}},
		{Kind: Promised, Who: "relay", Peer: "bob", Envelope: "e1"},
		{Kind: OutRow, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, State: "relayed", Digest: "d"},
		{Kind: Opened, Who: "bob", Envelope: "e1"},
		{Kind: Seen, Who: "bob", Peer: "ann", ID: "m1"},
		{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "new", Shown: true, Digest: "d"},
		{Kind: Acknowledged, Who: "bob", Peer: "ann", Envelope: "e1"},
		{Kind: OutRow, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, State: "delivered", Digest: "d"},
		{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "leased", Digest: "d"},
		{Kind: Leased, Who: "bob", Peer: "ann", ID: "m1"},
		{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "handled", Digest: "d"},
		{Kind: Settled, Who: "bob", Peer: "ann", ID: "m1", State: "handled"},
		{Kind: OutRow, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, State: "handled", Digest: "d"},
	}
}

func without(drop func(e Event) bool) func([]Event) []Event {
	return func(h []Event) []Event { return slices.DeleteFunc(h, drop) }
}

func and(more ...Event) func([]Event) []Event {
	return func(h []Event) []Event { return append(h, more...) }
}

// Each promise is seen to be broken where it is broken, and nothing else is.
func TestCheckSeesEveryBrokenPromise(t *testing.T) {
	if bad := Check(goodHistory(), DefaultSlack()); len(bad) != 0 {
		t.Fatalf("the good history: %q", bad)
	}
	row := func(id string, seq uint64, state string) Event {
		return Event{Kind: OutRow, Who: "ann", Peer: "bob", ID: id, Seq: seq, State: state, Digest: "d"}
	}
	shown := func(id string, seq uint64) Event {
		return Event{Kind: InRow, Who: "bob", Peer: "ann", ID: id, Seq: seq, State: "new", Shown: true, Digest: "d"}
	}
	late := func(e Event, at time.Duration) Event { e.At = at; return e }
	accepted := func(id string, due time.Duration) Event {
		return Event{Kind: Accepted, Who: "ann", Peer: "bob", ID: id, Due: due}
	}
	handled := func(id string) Event { return Event{Kind: InRow, Who: "bob", Peer: "ann", ID: id, State: "handled"} }
	for _, c := range []struct {
		name string
		want string
		how  func([]Event) []Event
	}{
		{"never ends", "I1", and(row("m2", 2, "accepted"), accepted("m2", time.Hour))},
		{"ends late", "I1", and(row("m2", 2, "accepted"), accepted("m2", time.Hour), late(row("m2", 2, "dead"), 2*time.Hour))},
		{"ends early", "I1", and(row("m2", 2, "accepted"), accepted("m2", time.Hour), late(row("m2", 2, "expired"), time.Minute))},
		{"opens again after its end", "I1", and(row("m1", 1, "delivered"))},
		{"given up without need", "I1", and(row("m2", 2, "accepted"), accepted("m2", 48*time.Hour), Event{Kind: Healed, At: time.Hour}, late(row("m2", 2, "dead"), 48*time.Hour))},
		{"submitted once, sent twice", "I1", and(row("m2", 2, "cancelled"))},
		{"shown twice", "I2", and(shown("m1", 1))},
		{"another body", "I2", and(row("m2", 2, "accepted"), accepted("m2", time.Hour), row("m2", 2, "cancelled"),
			Event{Kind: InRow, Who: "bob", Peer: "ann", ID: "m2", Seq: 2, State: "new", Shown: true, Digest: "other"})},
		{"given out after it was done", "I3", and(Event{Kind: Leased, Who: "bob", Peer: "ann", ID: "m1"})},
		{"open again after it was handled", "I3", and(Event{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "new"})},
		{"out of order", "I4", and(row("m2", 2, "accepted"), accepted("m2", time.Hour), row("m3", 3, "accepted"), accepted("m3", time.Hour),
			shown("m3", 3), handled("m3"), shown("m2", 2), handled("m2"), row("m2", 2, "handled"), row("m3", 3, "handled"))},
		{"gap not told", "I4", and(row("m2", 2, "accepted"), accepted("m2", time.Hour), row("m3", 3, "accepted"), accepted("m3", time.Hour),
			shown("m3", 3), handled("m3"), row("m3", 3, "handled"), row("m2", 2, "cancelled"))},
		{"given out too early", "I4", and(row("m2", 2, "accepted"), accepted("m2", time.Hour), row("m3", 3, "accepted"), accepted("m3", time.Hour),
			shown("m2", 2), shown("m3", 3), Event{Kind: Leased, Who: "bob", Peer: "ann", ID: "m3"},
			row("m2", 2, "cancelled"), row("m3", 3, "cancelled"))},
		{"sequence given twice", "I4", and(row("m2", 1, "accepted"), accepted("m2", time.Hour), row("m2", 1, "cancelled"))},
		{"message key used twice", "I5", and(Event{Kind: Sealed, Who: "ann", Peer: "bob", Envelope: "e2"},
			Event{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e2", Marks: []Mark{{"key 1", "box 2"}}})},
		{"unknown key", "I5", and(Event{Kind: Sealed, Who: "ann", Peer: "bob", Envelope: "e2"},
			Event{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e2"})},
		{"left before it was on disk", "I6", without(func(e Event) bool { return e.Kind == Sealed })},
		{"relayed by nobody", "I6", without(func(e Event) bool { return e.Kind == Promised })},
		{"delivered nowhere", "I6", without(func(e Event) bool { return e.Kind == Seen })},
		{"leased by nobody", "I6", func(h []Event) []Event {
			h = slices.DeleteFunc(h, func(e Event) bool { return e.State == "handled" || e.State == "leased" || e.Kind == Leased })
			return append(h, row("m1", 1, "leased"), row("m1", 1, "cancelled"))
		}},
		{"handled by nobody", "I6", without(func(e Event) bool { return e.Who == "bob" && e.State == "handled" })},
		{"told before it was on disk", "I6", without(func(e Event) bool { return e.Kind == InRow && e.State == "handled" })},
		{"acknowledged before it was on disk", "I6", and(Event{Kind: Acknowledged, Who: "bob", Envelope: "e9", Openable: true})},
		{"opened what nobody sealed", "I10", and(Event{Kind: Opened, Who: "bob", Envelope: "e9"})},
		{"shown what nobody sent", "I10", and(shown("m9", 9))},
		{"ended by itself", "by itself", and(Event{Kind: Stopped, Who: "ann", Note: "storage failed"})},
	} {
		bad := Check(c.how(goodHistory()), DefaultSlack())
		if !slices.ContainsFunc(bad, func(s string) bool { return strings.Contains(s, c.want) }) {
			t.Errorf("%s: complaints %q, want %s", c.name, bad, c.want)
		}
	}
}
