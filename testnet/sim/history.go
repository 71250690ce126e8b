package sim

import (
	"fmt"
	"strings"
	"time"
)

// Kind is what happened in an Event.
type Kind string

// The kinds of events. Who is the one it happened at, Peer the other side.
const (
	Started Kind = "started" // a node, again or for the first time
	Crashed Kind = "crashed" // Note: at which point
	Stopped Kind = "stopped" // in good order; Note: the error if it ended by itself
	Stepped Kind = "stepped" // the wall clock was set; Note: by how much
	Healed  Kind = "healed"  // from here on nothing is lost and nobody dies
	Runs    Kind = "runs"    // the node is of Epoch
	Undone  Kind = "undone"  // another state is on the disk, as Note says; Found events tell what is in it

	Accepted Kind = "accepted" // the user was told that message ID will be sent, until Due
	Leased   Kind = "leased"   // the user was given message ID
	Settled  Kind = "settled"  // the user was told that message ID is State

	OutRow Kind = "out row" // durable: outgoing message ID has Seq and is State, Reason
	InRow  Kind = "in row"  // durable: incoming message ID is State; Shown is true for the first time
	Seen   Kind = "seen"    // durable: message ID is known for ever; Reason when it was refused
	Opened Kind = "opened"  // durable: Envelope was opened
	Sealed Kind = "sealed"  // durable: Envelope is to be sent; ID when it carries a message
	Knock  Kind = "knock"   // durable: the knock with the hash ID is State; OneTime keys went with it

	Uttered Kind = "uttered" // durable: Envelope is to be sent for half a minute only
	Offered Kind = "offered" // the node is asked to offer a direct path to Peer; ID is the attempt
	Heard   Kind = "heard"   // the carrier was told of an offer or answer of Peer, which State says; ID is the attempt

	Carried      Kind = "carried"      // Envelope left the process; Marks are its keys and nonces
	Varied       Kind = "varied"       // somebody put another tail behind a knock; it is Envelope now
	Forgot       Kind = "forgot"       // the relay lost its disk
	Promised     Kind = "promised"     // the relay keeps Envelope
	Acknowledged Kind = "acknowledged" // the receiving node said that Envelope need not be kept
)

// Event is one thing that happened. Fields that a kind does not name are empty.
type Event struct {
	At       time.Duration // since the world began
	Kind     Kind
	Who      string
	Peer     string
	ID       string
	Envelope string
	Seq      uint64
	State    string
	Reason   string
	Due      time.Duration // deadline of the message, since the world began
	Shown    bool
	Late     bool
	Gap      uint64
	Digest   string // of the body
	Note     string
	Epoch    uint32
	Found    bool // not new: it was on the disk when the state was undone

	// Openable says of an acknowledged envelope that a session on the node's disk
	// opens it: it was thrown away although it was good.
	Openable bool
	// Marks name what must not be used twice. Empty when the wiretap knows no key that
	// opens the header.
	Marks []Mark
	// Tail is the envelope behind a knock, OneTime are the receiver's keys that it names,
	// or that went in the transaction which opened it.
	Tail    string
	OneTime []string
	// Old says that a session sealed the envelope which was made before the sender's
	// state was undone, Early that it is one whose knock has no yes yet.
	Old, Early bool
}

// Mark is a message key, as far as its chain and number name it, or a nonce, and the
// digest of the bytes that it sealed: these may travel in more than one envelope.
type Mark struct{ Use, Box string }

// String is one line for whoever reads the history of a failed run.
func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%12s %-4s %-12s", e.At.Truncate(time.Microsecond), e.Who, e.Kind)
	add := func(name, v string) {
		if v != "" {
			fmt.Fprintf(&b, " %s=%s", name, v)
		}
	}
	add("peer", e.Peer)
	add("id", tail(e.ID))
	add("env", tail(e.Envelope))
	if e.Seq != 0 {
		fmt.Fprintf(&b, " seq=%d", e.Seq)
	}
	add("state", e.State)
	add("reason", e.Reason)
	for _, word := range []struct {
		is  bool
		say string
	}{
		{e.Shown, " shown"}, {e.Late, " late"}, {e.Openable, " openable"},
		{e.Found, " found"}, {e.Old, " old"}, {e.Early, " early"},
	} {
		if word.is {
			b.WriteString(word.say)
		}
	}
	if e.Gap != 0 {
		fmt.Fprintf(&b, " gap=%d", e.Gap)
	}
	if e.Epoch != 0 {
		fmt.Fprintf(&b, " epoch=%d", e.Epoch)
	}
	add("tail", tail(e.Tail))
	add("keys", strings.Join(e.OneTime, ","))
	add("note", e.Note)
	return b.String()
}

func tail(id string) string {
	if len(id) > 8 {
		return id[len(id)-8:]
	}
	return id
}
