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
		{Kind: Runs, Who: "ann", Epoch: 1},
		{Kind: Started, Who: "bob"},
		{Kind: Runs, Who: "bob", Epoch: 1},
		{Kind: Sealed, Who: "ann", Peer: "bob", Envelope: "e0"},
		{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e0", ID: "k1", OneTime: []string{"4-1"}, Marks: []Mark{{"key 0", "box 0"}, {"nonce 0", "box 0"}}},
		{Kind: Opened, Who: "bob", Envelope: "e0"},
		{Kind: Knock, Who: "bob", Peer: "ann", ID: "k1", State: "pending", OneTime: []string{"4-1"}},
		{Kind: Knock, Who: "bob", Peer: "ann", ID: "k1", State: "accepted"},
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

// undoneHistory is what is right after goodHistory: bob loses his state and is given the
// message again, ann's is one of before she knew of the end.
func undoneHistory() []Event {
	return append(goodHistory(),
		Event{Kind: Undone, Who: "bob", Note: "lost"},
		Event{Kind: Runs, Who: "bob", Epoch: 2},
		Event{Kind: Undone, Who: "ann", Note: "put back"},
		Event{Kind: OutRow, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, State: "accepted", Digest: "d", Found: true},
		Event{Kind: Runs, Who: "ann", Epoch: 2},
		Event{Kind: Sealed, Who: "ann", Peer: "bob", Envelope: "e2", ID: "m1"},
		Event{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e2", Marks: []Mark{{"key 2", "box 2"}, {"nonce 2", "box 2"}}},
		Event{Kind: Opened, Who: "bob", Envelope: "e2"},
		Event{Kind: Seen, Who: "bob", Peer: "ann", ID: "m1"},
		Event{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "new", Shown: true, Digest: "d"},
		Event{Kind: OutRow, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, State: "delivered", Digest: "d"},
		Event{Kind: Leased, Who: "bob", Peer: "ann", ID: "m1"},
		Event{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "handled", Digest: "d"},
		Event{Kind: OutRow, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, State: "handled", Digest: "d"},
	)
}

// Each promise is seen to be broken where it is broken, and nothing else is.
func TestCheckSeesEveryBrokenPromise(t *testing.T) {
	for _, h := range [][]Event{goodHistory(), undoneHistory()} {
		if bad := Check(h, DefaultSlack()); len(bad) != 0 {
			t.Fatalf("a good history: %q", bad)
		}
	}
	row := func(id string, seq uint64, state string) Event {
		return Event{Kind: OutRow, Who: "ann", Peer: "bob", ID: id, Seq: seq, State: state, Digest: "d"}
	}
	shown := func(id string, seq uint64) Event {
		return Event{Kind: InRow, Who: "bob", Peer: "ann", ID: id, Seq: seq, State: "new", Shown: true, Digest: "d"}
	}
	knocked := func(hash string) Event {
		return Event{
			Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e0", ID: hash, OneTime: []string{"4-1"},
			Marks: []Mark{{"key 0", "box 0"}, {"nonce 0", "box 0"}},
		}
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
		{"sent before the yes", "T37", and(Event{Kind: Sealed, Who: "ann", Peer: "bob", Envelope: "e2"},
			Event{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e2", Early: true, Marks: []Mark{{"key 2", "box 2"}}})},
		{"answered again", "T19", and(Event{Kind: Knock, Who: "bob", Peer: "ann", ID: "k1", State: "rejected"})},
		{"a knock of nobody", "I10", and(Event{Kind: Knock, Who: "bob", Peer: "ann", ID: "k9", State: "accepted"})},
		{"a one-time key stays", "T20", and(knocked("k2"), Event{Kind: Knock, Who: "bob", Peer: "ann", ID: "k2", State: "accepted"})},
		{"a one-time key for two", "T20", and(knocked("k2"))},
		{"a one-time key opens two", "T20", and(knocked("k2"), Event{Kind: Knock, Who: "bob", Peer: "ann", ID: "k2", State: "accepted", OneTime: []string{"4-1"}})},
		{"undone, and nobody noticed", "T31", and(Event{Kind: Undone, Who: "bob"}, Event{Kind: Runs, Who: "bob", Epoch: 1})},
		{"noticed, and nothing was undone", "T31", and(Event{Kind: Runs, Who: "bob", Epoch: 2})},
		{"an old session seals again", "T31", and(Event{Kind: Undone, Who: "ann"}, Event{Kind: Runs, Who: "ann", Epoch: 2},
			Event{Kind: Sealed, Who: "ann", Peer: "bob", Envelope: "e2"},
			Event{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e2", Old: true, Marks: []Mark{{"key 2", "box 2"}}})},
		{"shown again, known to the older state", "I2", and(Event{Kind: Undone, Who: "bob"},
			Event{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "new", Shown: true, Digest: "d", Found: true},
			Event{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "new", Shown: true, Digest: "d"})},
		{"given out again, done in the older state", "I3", and(Event{Kind: Undone, Who: "bob"},
			Event{Kind: InRow, Who: "bob", Peer: "ann", ID: "m1", Seq: 1, State: "handled", Shown: true, Digest: "d", Found: true},
			Event{Kind: Leased, Who: "bob", Peer: "ann", ID: "m1"})},
		{"known to the older state, never ends", "I1", and(Event{Kind: Undone, Who: "ann"},
			Event{Kind: OutRow, Who: "ann", Peer: "bob", ID: "m1", Seq: 1, State: "relayed", Digest: "d", Found: true})},
		{"of the moment, sent later", "§9.6", and(Event{Kind: Uttered, Who: "ann", Envelope: "e1"},
			Event{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e1", At: time.Minute, Marks: []Mark{{"key 1", "box 1"}}})},
		{"of the moment, sent by another process", "§9.6", and(Event{Kind: Uttered, Who: "ann", Envelope: "e1"}, Event{Kind: Started, Who: "ann", At: time.Second},
			Event{Kind: Carried, Who: "ann", Peer: "bob", Envelope: "e1", At: 2 * time.Second, Marks: []Mark{{"key 1", "box 1"}}})},
		{"an offer of nobody", "I10", and(Event{Kind: Heard, Who: "bob", Peer: "ann", ID: "a1", State: "offer"})},
		{"an answer to nobody", "I10", and(Event{Kind: Offered, Who: "ann", Peer: "bob", ID: "a1"}, Event{Kind: Heard, Who: "bob", Peer: "ann", ID: "a1", State: "answer"})},
		{"an old offer is taken", "§9.6", and(Event{Kind: Offered, Who: "ann", Peer: "bob", ID: "a1"},
			Event{Kind: Heard, Who: "bob", Peer: "ann", ID: "a1", State: "offer", At: time.Minute})},
		{"an offer is taken twice", "I2", and(Event{Kind: Offered, Who: "ann", Peer: "bob", ID: "a1"},
			Event{Kind: Heard, Who: "bob", Peer: "ann", ID: "a1", State: "offer"}, Event{Kind: Heard, Who: "bob", Peer: "ann", ID: "a1", State: "offer"})},
		{"ended by itself", "by itself", and(Event{Kind: Stopped, Who: "ann", Note: "storage failed"})},
	} {
		bad := Check(c.how(goodHistory()), DefaultSlack())
		if !slices.ContainsFunc(bad, func(s string) bool { return strings.Contains(s, c.want) }) {
			t.Errorf("%s: complaints %q, want %s", c.name, bad, c.want)
		}
	}
}
