package path

import (
	"strings"
	"time"
)

// State is how far the way to a peer is.
type State int

// The states.
const (
	Idle     State = iota // nothing is open and nothing is under way
	Dialling              // addresses that the peer told are tried
	Punching              // candidates are tried, of our offer or of the peer's
	Circling              // a circuit through a relay is tried, and punching through that
	Holding               // a connection is there, and does not carry yet
	Proving               // it is asked for an echo, after which it carries
	Open                  // a proven connection carries
	states
)

// String is the state's name, for people.
func (s State) String() string {
	return [...]string{"idle", "dialling", "punching", "circling", "holding", "proving", "open"}[s]
}

// Kind says what happened.
type Kind int

// The kinds of events.
const (
	Need    Kind = iota // an envelope is to leave
	Want                // the traffic calls for a direct path
	Ask                 // the owner asks why it is not direct
	Told                // the peer told where it is, or appeared in the local network
	Moved               // our own network changed
	Tick                // Next has come
	Offered             // the peer offers to punch, and its offer is the one that counts
	Failed              // the attempt of Run failed
	Up                  // there is a connection over which an echo came back
	Down                // the last connection is gone
	kinds
)

// String is the event's name, for people.
func (k Kind) String() string {
	return [...]string{"need", "want", "ask", "told", "moved", "tick", "offered", "failed", "up", "down"}[k]
}

// Event is what happened.
type Event struct {
	Kind Kind
	// Run and Result are of Failed, and of the Up that an attempt led to: which
	// attempt, and what is to be remembered of it.
	Run    uint64
	Result Result
}

// Action is what is to be done now; two of them may be.
type Action int

// The actions.
const (
	Dial    Action = 1 << iota // dial the addresses that are known, for Side when not Dialling
	Punch                      // gather, offer, and punch when the answer comes
	Answer                     // gather, answer the offer, and punch
	Circuit                    // make a circuit and punch through it
	Echo                       // ask the open connection for an echo

	None Action = 0
)

// String names the actions, for people.
func (a Action) String() string {
	text := ""
	for i, name := range [...]string{"dial", "punch", "answer", "circuit", "echo"} {
		if a&(1<<i) != 0 {
			text += "+" + name
		}
	}
	return strings.TrimPrefix(text, "+")
}

// Means are the rungs that exist for a peer right now.
type Means struct {
	Dial    bool // an address and a peer id are known
	Punch   bool // there is a session, and nobody has switched punching off
	Circuit bool // a circuit relay is known by which the peer can be reached
}

// Machine is what is known of the way to one peer. It is not safe for concurrent use.
type Machine struct {
	// Means may be set before every call.
	Means Means

	limits Limits
	state  State
	run    uint64 // counts attempts and changes of state
	sides  uint64 // counts dials beside other attempts
	up     bool   // a connection is there

	used   time.Time // traffic, or somebody who asked
	wanted bool      // the traffic calls for punching
	rungs  [rungs]rung

	since time.Time // of Open, or of Holding
	until time.Time // of Holding; zero once it carried
	flaps int       // deaths, each within Steady of the one before

	answered time.Time // when an offer of the peer was taken last

	attempts []Attempt // the newest last
}

// rung is one way of getting a direct path.
type rung struct {
	failures int       // in a row
	next     time.Time // not before
	began    time.Time // the last attempt
}

const (
	rungDial = iota
	rungPunch
	rungCircuit
	rungs
)

// New returns the machine of a peer of whom nothing is known yet.
func New(l Limits) *Machine { return &Machine{limits: l} }

// State is how far it is.
func (m *Machine) State() State { return m.state }

// Run names the attempt under way. It is another one after every change of state, so
// whoever works on an attempt knows from it whether anybody still waits for the result.
func (m *Machine) Run() uint64 { return m.run }

// Side names the last dial that was begun beside another attempt.
func (m *Machine) Side() uint64 { return sideRuns + m.sides }

// sideRuns is where their numbers begin, beyond all runs.
const sideRuns = 1 << 63

// Carries reports whether envelopes go over the connection.
func (m *Machine) Carries() bool { return m.state == Open }

// Connected reports whether the machine knows of a connection.
func (m *Machine) Connected() bool { return m.up }

// Since is when the path that carries began to.
func (m *Machine) Since() time.Time { return m.since }

// move is a cell of the table.
type move int

const (
	ignore move = iota
	climb       // start the first rung that may be tried now
	carry       // Open, or Holding
	open        // Open
	prove       // ask for an echo, then Open
	echo        // ask for an echo, and stay
	answer      // punch as the peer offers, and dial beside it
	beside      // dial beside what is under way
	fall        // remember a death, then climb
)

// table is the one in doc.go.
var table = [kinds][states]move{
	Need:    {Idle: climb},
	Want:    {Idle: climb},
	Ask:     {Idle: climb},
	Told:    {Idle: climb, Punching: beside, Circling: beside},
	Moved:   {climb, climb, climb, climb, prove, prove, echo},
	Tick:    {Idle: climb, Punching: beside, Circling: beside, Holding: prove},
	Offered: {Idle: answer, Dialling: answer, Punching: answer, Circling: answer, Holding: echo, Open: prove},
	Failed:  {Dialling: climb, Punching: climb, Circling: climb, Proving: fall},
	Up:      {Idle: carry, Dialling: carry, Punching: carry, Circling: carry, Proving: open},
	Down:    {Holding: fall, Proving: fall, Open: fall},
}

// Handle takes an event and says what to do. After Failed of another run than Run
// nothing changed.
func (m *Machine) Handle(e Event, now time.Time) Action {
	m.settle(e, now)
	if e.Kind == Failed && e.Run != m.run {
		return None
	}
	m.notice(e.Kind, now)
	switch e.Kind {
	case Up:
		m.up = true
	case Down:
		m.up = false
	case Tick:
		if m.state == Holding && now.Before(m.until) {
			return None
		}
	}
	switch table[e.Kind][m.state] {
	case climb:
		return m.climb(e.Kind, now)
	case carry:
		m.carry(now)
	case open:
		m.enter(Open, now)
		if !m.until.IsZero() { // it did not carry before
			m.since, m.until = now, time.Time{}
		}
	case prove:
		m.enter(Proving, now)
		return Echo
	case echo:
		return Echo
	case answer:
		if now.Before(m.answered.Add(m.limits.Spacing / 2)) {
			return None // nobody who keeps to Spacing offers again so soon
		}
		m.answered = now
		m.enter(Punching, now)
		m.begin(true, now)
		return Answer | m.beside(now)
	case beside:
		return m.beside(now)
	case fall:
		m.fall(now)
		return m.climb(e.Kind, now)
	}
	return None
}

// notice keeps the books that do not depend on the state.
func (m *Machine) notice(k Kind, now time.Time) {
	if now.Sub(m.used) > m.limits.Interest {
		m.wanted = false
	}
	switch k {
	case Need, Offered:
		m.used = now
	case Want:
		m.used, m.wanted = now, true
	case Ask:
		m.used, m.wanted = now, true
		m.refresh()
	case Told:
		m.refresh()
	case Moved:
		m.refresh()
		m.flaps = 0
	}
}

// refresh ends the pauses of all rungs, but for the spacing.
func (m *Machine) refresh() {
	for i := range m.rungs {
		r := &m.rungs[i]
		r.failures, r.next = 0, time.Time{}
		if i != rungDial && !r.began.IsZero() {
			r.next = r.began.Add(m.limits.Spacing)
		}
	}
}

// interested reports whether anything is tried by itself.
func (m *Machine) interested(now time.Time) bool {
	return !m.used.IsZero() && now.Sub(m.used) <= m.limits.Interest
}

// climb starts the first rung that may be tried now. What fails on the way is counted.
func (m *Machine) climb(why Kind, now time.Time) Action {
	if why == Failed {
		m.failed(now)
	}
	if m.interested(now) {
		for i, may := range m.may() {
			if may && !now.Before(m.rungs[i].next) {
				return m.start(i, now)
			}
		}
	}
	m.enter(Idle, now)
	return None
}

// beside begins a dial beside what is under way, if one may be tried now.
func (m *Machine) beside(now time.Time) Action {
	r := &m.rungs[rungDial]
	if !m.Means.Dial || now.Before(r.next) {
		return None
	}
	r.failures++
	r.began, r.next = now, now.Add(m.limits.Dial.pause(r.failures))
	m.sides++
	m.remember(Attempt{Rung: Dialling, Started: now, run: m.Side()})
	return Dial
}

// may are the rungs that are open to us, whatever their pauses say.
func (m *Machine) may() [rungs]bool {
	return [rungs]bool{m.Means.Dial, m.wanted && m.Means.Punch, m.wanted && m.Means.Circuit}
}

func (m *Machine) start(i int, now time.Time) Action {
	m.enter([...]State{Dialling, Punching, Circling}[i], now)
	m.begin(false, now)
	return [...]Action{Dial, Punch, Circuit}[i]
}

// rung is the one that the state stands on, nil for none.
func (m *Machine) rung() *rung {
	switch m.state {
	case Dialling:
		return &m.rungs[rungDial]
	case Punching:
		return &m.rungs[rungPunch]
	case Circling:
		return &m.rungs[rungCircuit]
	}
	return nil
}

// failed counts the failure of the rung that the state stands on.
func (m *Machine) failed(now time.Time) {
	r := m.rung()
	if r == nil {
		return
	}
	backoff := [...]Backoff{m.limits.Dial, m.limits.Punch, m.limits.Circuit}[m.state-Dialling]
	r.failures++
	if m.current().Code.final() {
		r.failures = max(r.failures, backoff.Tries)
	}
	r.next = now.Add(backoff.pause(r.failures))
	m.end(Lost, now)
}

// carry takes a connection into use, at once or after a while.
func (m *Machine) carry(now time.Time) {
	if r := m.rung(); r != nil {
		r.failures = 0
		if m.dialsBeside() {
			m.end(GivenUp, now) // the dial was faster
		}
		m.end(Won, now)
	}
	m.rungs[rungDial].failures, m.rungs[rungDial].next = 0, time.Time{} // also of dials beside it
	hold := m.hold()
	if hold == 0 {
		m.enter(Open, now)
		m.since, m.until = now, time.Time{}
		return
	}
	m.enter(Holding, now)
	m.since, m.until = now, now.Add(hold)
}

// hold is how long a connection is watched before it carries.
func (m *Machine) hold() time.Duration {
	if m.flaps < 2 {
		return 0
	}
	h := m.limits.Hold
	for range m.flaps - 2 {
		if h = min(2*h, m.limits.HoldMost); h == m.limits.HoldMost {
			break
		}
	}
	return h
}

// fall counts a death.
func (m *Machine) fall(now time.Time) {
	if m.state == Open && now.Sub(m.since) >= m.limits.Steady {
		m.flaps = 0
	}
	m.flaps++
	m.up = false
}

// enter changes the state. Whatever was under way is no longer waited for.
func (m *Machine) enter(s State, now time.Time) {
	m.end(GivenUp, now)
	m.state = s
	m.run++
	if r := m.rung(); r != nil {
		r.began = now
	}
}

// Next is when Tick is due; zero for never.
func (m *Machine) Next(now time.Time) time.Time {
	switch {
	case m.state == Holding:
		return m.until
	case m.state == Dialling || m.state == Proving || m.state == Open || !m.interested(now):
		return time.Time{}
	}
	next := m.used.Add(m.limits.Interest)
	found := false
	for i, may := range m.may() {
		if m.state != Idle && i != rungDial {
			continue // one of them is under way, and only a dial goes beside it
		}
		if at := m.rungs[i].next; may && !at.After(next) {
			next, found = at, true
		}
	}
	if !found {
		return time.Time{}
	}
	if next.Before(now) {
		return now
	}
	return next
}
