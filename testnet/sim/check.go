package sim

import (
	"fmt"
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
func Check(history []Event, slack Slack) []string {
	j := &judge{
		slack: slack, messages: make(map[string]*message), nodes: make(map[string]*node),
		marks: make(map[string]string), sealed: make(map[string]bool), carried: make(map[string]bool),
		promised: make(map[string]bool), opened: make(map[string]bool), lines: make(map[string]*line),
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
	envelopes    map[string]bool // that carried it or a part of it

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
}

// line is the order in which one agent was shown the messages of another.
type line struct {
	last  uint64
	shown []*message // in the order of the inbox
	bySeq map[uint64]*message
}

type judge struct {
	slack    Slack
	messages map[string]*message // by sender, receiver and id
	nodes    map[string]*node
	lines    map[string]*line  // by sender and receiver
	marks    map[string]string // what it sealed
	sealed   map[string]bool   // by node and envelope
	carried  map[string]bool   // by receiver and envelope
	promised map[string]bool
	opened   map[string]bool // by node and envelope
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
		m = &message{from: from, to: to, id: id, envelopes: make(map[string]bool)}
		j.messages[key] = m
	}
	return m
}

func (j *judge) line(from, to string) *line {
	l := j.lines[from+">"+to]
	if l == nil {
		l = &line{bySeq: make(map[uint64]*message)}
		j.lines[from+">"+to] = l
	}
	return l
}

func (j *judge) take(e Event) {
	j.now = e
	if j.nodes[e.Who] == nil {
		j.nodes[e.Who] = &node{}
	}
	n := j.nodes[e.Who]
	switch e.Kind {
	case Started:
		n.started, n.up = e.At, true
	case Crashed:
		n.up, j.unkept = false, true
	case Stopped:
		n.up = false
		if e.Note != "" {
			j.complain("the mailroom ended by itself: %s", e.Note)
		}
	case Healed:
		j.healed = e.At
	case Accepted:
		j.accepted(e)
	case OutRow:
		j.outRow(e)
	case Sealed:
		j.sealed[e.Who+e.Envelope] = true
		if e.ID != "" {
			j.message(e.Who, e.Peer, e.ID).envelopes[e.Envelope] = true
		}
	case Carried:
		j.leaves(e)
	case Varied:
		j.carried[e.Peer+e.Envelope] = true
	case Forgot:
		j.unkept = true
	case Promised:
		j.promised[e.Envelope] = true
	case Acknowledged:
		if e.Openable && !j.opened[e.Who+e.Envelope] {
			j.complain("I6: %s acknowledged an envelope that is good, before it was on disk", e.Who)
		}
	case Opened:
		j.opened[e.Who+e.Envelope] = true
		if !j.carried[e.Who+e.Envelope] {
			j.complain("I10: %s opened an envelope that nobody sealed", e.Who)
		}
	case Seen:
		m := j.message(e.Peer, e.Who, e.ID)
		m.seen, m.refused = true, e.Reason
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

func (j *judge) accepted(e Event) {
	m := j.message(e.Who, e.Peer, e.ID)
	m.accepted, m.due = true, e.Due
	if m.seq == 0 {
		j.complain("I6: accepted without a row")
	}
}

// outRow judges a step of the sender's row by what is durable at the receiver.
func (j *judge) outRow(e Event) {
	m := j.message(e.Who, e.Peer, e.ID)
	if m.seq == 0 {
		l := j.line(e.Who, e.Peer)
		if l.bySeq[e.Seq] != nil {
			j.complain("I4: sequence %d was given twice", e.Seq)
		}
		l.bySeq[e.Seq] = m
	} else if m.seq != e.Seq {
		j.complain("I4: the sequence of a message changed from %d to %d", m.seq, e.Seq)
	}
	m.seq, m.digest = e.Seq, e.Digest
	if m.ended && !terminal(e.State) {
		j.complain("I1: %s had its end and is %s", m.state, e.State)
	}
	m.state = e.State
	j.believed(e, m)
	if !terminal(e.State) || m.ended {
		return
	}
	m.ended = true
	if m.accepted {
		j.inTime(e, m)
	}
}

// inTime judges the moment at which a message came to its end.
func (j *judge) inTime(e Event, m *message) {
	if limit := max(m.due+j.slack.End, j.nodes[e.Who].started+grace); e.At > limit {
		j.complain("I1: the end came %s after the deadline", e.At-m.due)
	}
	timeOut := e.State == string(api.StateExpired) || e.State == string(api.StateDead) ||
		(e.State == string(api.StateRefused) && e.Reason == "expired")
	if timeOut && e.At < m.due-j.slack.Early {
		j.complain("I1: given up %s before the deadline", m.due-e.At)
	}
	// The word that a message was handled is not sent until it is known to have arrived: a
	// relay that forgets can lose it, and so can a node that dies while it holds it back.
	lost := j.unkept && m.shown > 0
	if timeOut && !lost && j.healed > 0 && m.due > j.healed+j.slack.Heal {
		j.complain("I1: given up, and there were %s to bring it after the last trouble", m.due-j.healed)
	}
}

// believed checks what the sender was told against the receiver's rows.
func (j *judge) believed(e Event, m *message) {
	missing := ""
	switch api.State(e.State) {
	case api.StateRelayed:
		missing = "no envelope of it is at a relay"
		for env := range m.envelopes {
			if j.promised[env] {
				missing = ""
			}
		}
	case api.StateDelivered:
		if !m.seen || m.refused != "" {
			missing = "the receiver does not have it"
		}
	case api.StateLeased:
		if !m.leased {
			missing = "the receiver never leased it"
		}
	case api.StateHandled, api.StateFailed:
		if m.in != e.State {
			missing = "the receiver's row is " + m.in
		}
	case api.StateRefused:
		if m.in != e.State && m.refused == "" && m.shown > 0 {
			missing = "the receiver took it"
		}
	}
	if missing != "" {
		j.complain("I6: %s at the sender, but %s", e.State, missing)
	}
}

// leaves judges an envelope that goes out.
func (j *judge) leaves(e Event) {
	j.carried[e.Peer+e.Envelope] = true
	if !j.sealed[e.Who+e.Envelope] {
		j.complain("I6: an envelope left that is not on disk")
	}
	if len(e.Marks) == 0 {
		j.complain("I5: an envelope left whose header key is in no session on disk")
	}
	for _, mark := range e.Marks {
		if first := j.marks[mark.Use]; first == "" {
			j.marks[mark.Use] = mark.Box
		} else if first != mark.Box {
			j.complain("I5: %s sealed something else before", mark.Use)
		}
	}
}

// inRow judges what an agent is shown.
func (j *judge) inRow(e Event) {
	m := j.message(e.Peer, e.Who, e.ID)
	if m.in != "" && inboxEnd(m.in) && e.State != m.in {
		j.complain("I3: the message was %s and is %s", m.in, e.State)
	}
	m.in = e.State
	m.leased = m.leased || e.State != string(api.InboxNew)
	if !e.Shown {
		return
	}
	if m.shown++; m.shown > 1 {
		j.complain("I2: the message entered the inbox %d times", m.shown)
	}
	if m.seq == 0 {
		j.complain("I10: nobody sent this message")
	}
	if m.digest != e.Digest {
		j.complain("I2: another body arrived")
	}
	l := j.line(e.Peer, e.Who)
	l.shown = append(l.shown, m)
	if e.Seq <= l.last {
		if !e.Late {
			j.complain("I4: shown after sequence %d, and not marked late", l.last)
		}
		return
	}
	missing := uint64(0)
	for seq := l.last + 1; seq < e.Seq; seq++ {
		if !excused(l.bySeq[seq]) {
			missing++
		}
	}
	l.last = e.Seq
	if missing > e.Gap {
		j.complain("I4: %d messages are missing before this one, %d were told", missing, e.Gap)
	}
}

// leases judges what an agent is given to work on.
func (j *judge) leases(e Event) {
	m := j.message(e.Peer, e.Who, e.ID)
	if m.settled {
		j.complain("I3: %s was given a message again that it was told is done", e.Who)
	}
	for _, before := range j.line(e.Peer, e.Who).shown {
		if before == m {
			return
		}
		if !inboxEnd(before.in) {
			j.complain("I4: sequence %d was given out before sequence %d was done", m.seq, before.seq)
			return
		}
	}
}

// excused reports whether the receiver may go on without a message: it never was, the
// sender ended it, the receiver refused it, or it was shown out of turn.
func excused(m *message) bool {
	return m == nil || m.refused != "" || m.shown > 0 || (m.ended && m.state != string(api.StateHandled))
}

func inboxEnd(state string) bool {
	switch api.InboxState(state) {
	case api.InboxHandled, api.InboxFailed, api.InboxRefused:
		return true
	}
	return false
}

func (j *judge) end() {
	for _, m := range j.messages {
		what := ""
		switch {
		case m.seq != 0 && !m.accepted:
			what = "was sent, but nobody was told so"
		case m.accepted && !m.ended:
			what = fmt.Sprintf("is %s at the end, due %s", m.state, m.due)
		default:
			continue
		}
		j.bad = append(j.bad, fmt.Sprintf("I1: %s→%s message %s (sequence %d) %s", m.from, m.to, tail(m.id), m.seq, what))
	}
}
