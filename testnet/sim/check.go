package sim

import (
	"fmt"
	"strings"
	"time"

	"amesh/node/api"
)

// Slack is what Check forgives.
type Slack struct {
	// End is how long after its deadline a message that was accepted may reach its
	// end, on a node that runs; a node that starts later has as long as its start.
	End time.Duration
	// Early is how long before its deadline a message may be given up: as much as
	// clocks were set forward for good.
	Early time.Duration
	// Heal is how long after the last trouble everything that has time left arrives.
	Heal time.Duration
}

// grace is the time from the moment at which something is due to its row.
const grace = 2 * time.Minute

// DefaultSlack is what docs/protocol/session.md promises: the skew of two clocks after
// the deadline.
func DefaultSlack() Slack { return Slack{End: 10*time.Minute + grace, Heal: 12 * time.Hour} }

// Check returns what of the promises a history breaks, nothing for a good one:
//
//	I1  a submit makes one message, however often it was tried (CP 2);
//	    what was accepted reaches its end in time and not too early, and stays there;
//	    nothing is given up that could have arrived
//	I2  a message enters an inbox once, with the body that was submitted
//	I3  what was handled is never shown again
//	I4  messages of a peer are shown in their order; what is missing is told
//	I5  no message key and no nonce is used for two envelopes
//	I6  accepted, relayed, delivered, leased and handled are said, and envelopes leave
//	    and are acknowledged, only after the rows that make it true
//	I10 only what an agent sealed is ever opened
//	T19 a knock gets one final answer
//	T20 a one-time key is for one knock, and goes with it
//	T31 the epoch rises when a state was undone, and then only; no session of before
//	    seals again
//	T37 nothing but the knock leaves before the accept
//	§9.6 what is of the moment is sent for half a minute, and taken once or not at all
//
// Where a state is undone, all of this is said of what the state holds: a message that
// it does not know was never accepted there, one that it has not seen may come again.
func Check(history []Event, slack Slack) []string {
	j := &judge{
		slack: slack, messages: make(map[string]*message), nodes: make(map[string]*node),
		marks: make(map[string]string), sealed: make(map[string]int), carried: make(map[string]bool),
		promised: make(map[string]bool), opened: make(map[string]bool), lines: make(map[string]*line),
		uttered: make(map[string]time.Duration), offered: make(map[string]time.Duration), toldIn: make(map[string]int),
		knocks: make(map[string]*knocked), given: make(map[string]bool), spent: make(map[string]string),
	}
	for _, e := range history {
		j.take(e)
	}
	j.end()
	return j.bad
}

// message is what a history says about one message, at both ends.
type message struct {
	from, to, id string
	seq          uint64
	digest       string
	accepted     bool
	due          time.Duration
	state        string // the sender's durable row
	ended        bool
	gone         bool            // the sender lost the row with its state
	envelopes    map[string]bool // that carried it or a part of it

	atReceiver
	ever map[string]bool // what the receiver's rows ever said of it
}

// atReceiver is what the receiver's state says of a message.
type atReceiver struct {
	seen    bool // in the receiver's dedup
	refused string
	shown   int
	in      string // the receiver's durable row
	leased  bool   // the row was leased once
	settled bool   // the user was told so
}

type node struct {
	started time.Duration
	up      bool
	epoch   uint32
	undone  bool // since the epoch was told
	life    int  // counts the states
}

// line is the order in which one agent was shown the messages of another.
type line struct {
	last uint64
	anew bool // the sender counts in a new epoch, of which nothing came yet
	old  bool // there was an epoch before this one
	// unanswered says that the receiver lost a knock which it was going to answer. The
	// sender waits for that until the knock expires, longer than its messages live.
	unanswered bool
	shown      []*message // in the order of the inbox
	// bySeq has the sender's messages, in each of its epochs.
	bySeq []map[uint64]*message
}

// now is what the sender counts in its present epoch.
func (l *line) now() map[uint64]*message { return l.bySeq[len(l.bySeq)-1] }

// knocked is what a history says about one knock.
type knocked struct {
	from  string
	keys  []string // one-time keys of the receiver that it names
	state string
}

type judge struct {
	slack    Slack
	messages map[string]*message // by sender, receiver and id
	nodes    map[string]*node
	lines    map[string]*line  // by sender and receiver
	marks    map[string]string // what it sealed
	sealed   map[string]int    // in which life, from 1; by node and envelope
	carried  map[string]bool   // by receiver and envelope
	promised map[string]bool
	opened   map[string]bool          // by node and envelope
	knocks   map[string]*knocked      // by receiver and hash
	given    map[string]bool          // by receiver and one-time key
	spent    map[string]string        // the knock, by receiver, life and one-time key
	uttered  map[string]time.Duration // when, by node and envelope
	offered  map[string]time.Duration // when, by node and attempt
	toldIn   map[string]int           // in which life, by node and offer or answer
	bad      []string
	now      Event
	healed   time.Duration // 0: never
	unkept   bool          // somebody lost what was acknowledged: a relay its disk, a node its memory
}

func (j *judge) complain(format string, args ...any) {
	j.bad = append(j.bad, fmt.Sprintf(format, args...)+"\n    at "+j.now.String())
}

func (j *judge) message(from, to, id string) *message {
	key := from + ">" + to + ">" + id
	m := j.messages[key]
	if m == nil {
		m = &message{from: from, to: to, id: id, envelopes: make(map[string]bool), ever: make(map[string]bool)}
		j.messages[key] = m
	}
	return m
}

func (j *judge) line(from, to string) *line {
	l := j.lines[from+">"+to]
	if l == nil {
		l = &line{bySeq: []map[uint64]*message{make(map[uint64]*message)}}
		j.lines[from+">"+to] = l
	}
	return l
}

func (j *judge) node(name string) *node {
	if j.nodes[name] == nil {
		j.nodes[name] = &node{life: 1}
	}
	return j.nodes[name]
}

func (j *judge) take(e Event) {
	j.now = e
	n := j.node(e.Who)
	switch e.Kind {
	case Started:
		n.started, n.up = e.At, true
	case Runs:
		j.runs(e)
	case Crashed:
		n.up, j.unkept = false, true
	case Stopped:
		n.up = false
		if e.Note != "" {
			j.complain("the mailroom ended by itself: %s", e.Note)
		}
	case Undone:
		j.undone(e)
	case Healed:
		j.healed = e.At
	case Forgot:
		j.unkept = true
	case Accepted:
		j.accepted(e)
	case OutRow:
		j.outRow(e)
	case Sealed:
		if j.sealed[e.Who+e.Envelope] == 0 {
			j.sealed[e.Who+e.Envelope] = n.life
		}
		if e.ID != "" {
			j.message(e.Who, e.Peer, e.ID).envelopes[e.Envelope] = true
		}
	case Uttered:
		if _, known := j.uttered[e.Who+e.Envelope]; !known {
			j.uttered[e.Who+e.Envelope] = e.At
		}
	case Offered:
		j.offered[e.Who+" "+e.ID] = e.At
	case Heard:
		j.heard(e)
	case Carried:
		j.leaves(e)
	case Varied:
		j.carried[e.Peer+e.Envelope] = true
	case Promised:
		j.promised[e.Envelope] = true
		j.promised[e.Tail] = true
	case Acknowledged:
		if e.Openable && !j.opened[e.Who+e.Envelope] {
			j.complain("I6: %s acknowledged an envelope that is good, before it was on disk", e.Who)
		}
	case Opened:
		j.opened[e.Who+e.Envelope] = true
		if !j.carried[e.Who+e.Envelope] {
			j.complain("I10: %s opened an envelope that nobody sealed", e.Who)
		}
	case Knock:
		j.answered(e)
	case Seen:
		j.seen(e)
	case InRow:
		j.inRow(e)
	case Leased:
		j.leases(e)
	case Settled:
		m := j.message(e.Peer, e.Who, e.ID)
		m.settled = true
		if m.in != e.State {
			j.complain("I6: the user was told %s, the row says %s", e.State, m.in)
		}
	}
}

// runs judges the epoch of a node that started.
func (j *judge) runs(e Event) {
	n := j.node(e.Who)
	switch {
	case n.undone && e.Epoch <= n.epoch:
		j.complain("T31: the state was undone, and the epoch is %d as it was %d", e.Epoch, n.epoch)
	case !n.undone && n.epoch != 0 && e.Epoch != n.epoch:
		j.complain("T31: nothing was undone, and the epoch is %d after %d", e.Epoch, n.epoch)
	}
	n.epoch, n.undone = e.Epoch, false
}

// undone forgets what a state held; what the new one holds is told next.
func (j *judge) undone(e Event) {
	n := j.node(e.Who)
	n.undone = true
	n.life++
	for key, k := range j.knocks {
		if strings.HasPrefix(key, e.Who+" ") {
			if k.state == "pending" {
				j.line(k.from, e.Who).unanswered = true
			}
			k.state = ""
		}
	}
	for _, m := range j.messages {
		if m.from == e.Who {
			m.gone, m.seq, m.state, m.ended = true, 0, "", false
		}
		if m.to == e.Who {
			m.atReceiver = atReceiver{}
		}
	}
	for ends, l := range j.lines {
		from, to, _ := strings.Cut(ends, ">")
		if from == e.Who {
			l.anew, l.old = true, true
			l.bySeq = append(l.bySeq, make(map[uint64]*message))
		}
		if to == e.Who {
			l.last, l.shown, l.anew = 0, nil, l.old // the older state may not know the epoch
		}
	}
}

func (j *judge) end() {
	for _, m := range j.messages {
		what := ""
		switch {
		case m.seq != 0 && !m.accepted:
			what = "was sent, but nobody was told so"
		case m.accepted && !m.ended && !m.gone:
			what = fmt.Sprintf("is %s at the end, due %s", m.state, m.due)
		default:
			continue
		}
		j.bad = append(j.bad, fmt.Sprintf("I1: %s→%s message %s (sequence %d) %s", m.from, m.to, tail(m.id), m.seq, what))
	}
}

// terminal reports whether an outgoing message has reached its end.
func terminal(state string) bool { return api.State(state).Terminal() }
