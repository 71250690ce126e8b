package path

import (
	"slices"
	"time"
)

// Outcome is how an attempt ended.
type Outcome int

// The outcomes.
const (
	Running Outcome = iota
	Won             // there is a connection
	Lost
	GivenUp // nobody waited for it any more
)

// Attempt is what is remembered of one.
type Attempt struct {
	Rung    State // Dialling, Punching or Circling
	Answer  bool  // the peer offered
	Started time.Time
	Took    time.Duration // when it is over
	Outcome Outcome
	Result

	run uint64
}

// Result is what the attempt found out.
type Result struct {
	// Code is why it failed, and empty for an attempt that did not.
	Code Code
	// Detail is the error, for the owner.
	Detail string
	// Target is what was tried: addresses, or a relay.
	Target string
	// Pairs are the pairs of candidates that were tried.
	Pairs []Pair
}

// Pair is a candidate of ours with one of the peer's.
type Pair struct {
	Local, LocalType   string // IP address and port; host, srflx or prflx
	Remote, RemoteType string
	State              string // waiting, running, succeeded, failed or chosen
	Requests           int    // questions sent
	Responses          int    // answers that came
	RTT                time.Duration
}

// Attempts are the last ones, the newest first.
func (m *Machine) Attempts() []Attempt {
	list := slices.Clone(m.attempts)
	slices.Reverse(list)
	return list
}

// begin remembers that the rung of the state is tried.
func (m *Machine) begin(answer bool, now time.Time) {
	m.remember(Attempt{Rung: m.state, Answer: answer, Started: now, run: m.run})
}

func (m *Machine) remember(a Attempt) {
	if len(m.attempts) >= m.limits.Memory {
		m.attempts = slices.Delete(m.attempts, 0, 1)
	}
	m.attempts = append(m.attempts, a)
}

// end remembers how the attempt of the state ended, if there is one under way.
func (m *Machine) end(o Outcome, now time.Time) { m.current().over(o, now) }

// over is how it ended, unless it had before.
func (a *Attempt) over(o Outcome, now time.Time) {
	if a.Outcome == Running {
		a.Outcome, a.Took = o, now.Sub(a.Started)
	}
}

// current is the attempt of the state; one that counts for nothing when there is none.
func (m *Machine) current() *Attempt {
	for i := range m.attempts {
		if m.attempts[i].run == m.run {
			return &m.attempts[i]
		}
	}
	return &Attempt{Outcome: GivenUp}
}

// dialsBeside reports whether a dial runs beside the attempt of the state.
func (m *Machine) dialsBeside() bool {
	return slices.ContainsFunc(m.attempts, func(a Attempt) bool { return a.run >= sideRuns && a.Outcome == Running })
}

// settle keeps what an attempt found out, also when nobody waits for it any more, and how
// a dial ended that ran beside another attempt.
func (m *Machine) settle(e Event, now time.Time) {
	if e.Run == 0 || e.Kind != Failed && e.Kind != Up {
		return
	}
	for i := range m.attempts {
		a := &m.attempts[i]
		if a.run != e.Run {
			continue
		}
		a.Result = e.Result
		if e.Run >= sideRuns {
			a.over(map[Kind]Outcome{Up: Won, Failed: Lost}[e.Kind], now)
		}
	}
}

// newest is the last attempt at a rung when that was lost, nil otherwise.
func (m *Machine) newest(rung State) *Attempt {
	for i := len(m.attempts) - 1; i >= 0; i-- {
		a := &m.attempts[i]
		switch {
		case a.Rung != rung || a.Outcome == Running || a.Outcome == GivenUp:
		case a.Outcome == Lost:
			return a
		default:
			return nil
		}
	}
	return nil
}
