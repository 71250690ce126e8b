// Package homing chooses the relays on which an agent is homed: where others leave
// mail for it. It is a table that hears what happens to the relays and how long they
// take to answer, and says which lines to keep and what to tell others. It has no
// clock, no network and no goroutine; node does what it says.
//
//	           in reach, a place is free,                  drains, refuses us,
//	           or clearly faster for long                  out of reach too long
//	┌─────────┐                          ┌──────┐                       ┌─────────┐
//	│ standby ├─────────────────────────►│ home ├──────────────────────►│ leaving │
//	└─────────┘                          └──────┘                       └────┬────┘
//	     ▲             ▲    nobody can have mail for us there any more       │
//	     └─────────────┴─────────────────────────────────────────────────────┘
//
// Nothing is lost by a move: the line to a relay that was a home is kept as long as
// anybody may know us there, and until what lies there is read.
package homing

import (
	"slices"
	"time"
)

// Role is what a relay is to the agent.
type Role string

// The roles of a relay.
const (
	Home     Role = "home"     // the agent is homed on it
	Standby  Role = "standby"  // the owner named it, and it is not needed now
	Draining Role = "draining" // it was a home and said that it is going
	Leaving  Role = "leaving"  // it was a home: its mail is still fetched
)

// Loss is why a line ended.
type Loss int

// The ways in which a line ends.
const (
	Gone    Loss = iota // it broke, or cannot be made
	Drained             // the relay said that it is going
	Refused             // the relay does not want us
	Ended               // we hung up
)

// Past is what is remembered of a relay from one start to the next.
type Past struct {
	URL string `json:"url"`
	// Rank is its place among the homes that others are told of, from 1; 0 for none.
	Rank int `json:"rank,omitempty"`
	// Left is since when others are not told of it any more; zero if they are, or
	// never were.
	Left time.Time `json:"left,omitzero"`
}

// Plan is what is to be done.
type Plan struct {
	// Homes are the agent's homes, the best first.
	Homes []string
	// Told are those that others are told of, in the same order.
	Told []string
	// Lines are the relays to be connected to: homes, and those being left.
	Lines []string
	// Next is when the plan may be another one without news; zero for never.
	Next time.Time
}

// View is a relay as the owner sees it.
type View struct {
	URL     string
	Role    Role
	Told    bool
	Latency time.Duration // 0: not measured
	SameAs  string        // not empty: the same relay under another name
}

// Table is what is known of an agent's relays. It is not safe for concurrent use.
type Table struct {
	limits Limits
	all    []*entry // in the owner's order, then those that are only left
	homes  []*entry // the best first
	told   []*entry
	trial  *entry // to take the place of a slower home, once it is connected
}

// entry is one relay.
type entry struct {
	url  string
	own  bool   // the owner names it
	same string // it is the same relay as that one

	connected bool
	since     time.Time // of connected
	draining  bool
	refused   time.Time // it refused us, and is not asked before then
	waiting   int       // messages that lie there for us, as far as known

	tried   bool      // it was measured, or connected
	reach   bool      // it answered last time
	steady  time.Time // since when it has answered every time
	samples []time.Duration

	lapsed bool      // others were told of it until it was lost
	left   time.Time // since when they are not
}

// New begins with the relays that the owner names and with what was remembered.
func New(l Limits, urls []string, past []Past, now time.Time) *Table {
	t := &Table{limits: l}
	for _, url := range urls {
		t.all = append(t.all, &entry{url: url, own: true, since: now})
	}
	past = slices.Clone(past)
	slices.SortStableFunc(past, func(a, b Past) int { return a.Rank - b.Rank })
	for _, p := range past {
		e := t.find(p.URL)
		if e == nil {
			e = &entry{url: p.URL, since: now}
			t.all = append(t.all, e)
		}
		e.left = p.Left
		switch {
		case p.Rank > 0 && e.own:
			t.told = append(t.told, e)
			t.homes = append(t.homes, e)
		case e.left.IsZero():
			e.left = now // the owner named it until now
		}
	}
	return t
}

// Past is what to remember.
func (t *Table) Past() []Past {
	var list []Past
	for _, e := range t.all {
		p := Past{URL: e.url, Rank: slices.Index(t.told, e) + 1, Left: e.left}
		if p.Rank > 0 || !p.Left.IsZero() {
			list = append(list, p)
		}
	}
	return list
}

// Own are the relays that the owner names.
func (t *Table) Own() []string {
	var list []string
	for _, e := range t.all {
		if e.own {
			list = append(list, e.url)
		}
	}
	return list
}

// Choice reports whether the owner names more relays than there are homes.
func (t *Table) Choice() bool { return len(t.Own()) > t.limits.Keep }

func (t *Table) find(url string) *entry {
	for _, e := range t.all {
		if e.url == url {
			return e
		}
	}
	return nil
}

// Connected tells that a relay admitted us, and how many messages lie there.
func (t *Table) Connected(url string, waiting int, now time.Time) {
	e := t.find(url)
	if e == nil {
		return
	}
	e.connected, e.since, e.waiting = true, now, waiting
	e.draining, e.refused = false, time.Time{}
	e.inReach(now)
}

// Took tells that one of the messages was fetched. It reports whether that was the last.
func (t *Table) Took(url string) bool {
	e := t.find(url)
	if e == nil || e.waiting == 0 {
		return false
	}
	e.waiting--
	return e.waiting == 0
}

// Waiting is how many messages lie at a relay, as far as known.
func (t *Table) Waiting(url string) int {
	if e := t.find(url); e != nil {
		return e.waiting
	}
	return 0
}

// Drains tells that a relay is going, and still connected.
func (t *Table) Drains(url string) {
	if e := t.find(url); e != nil {
		e.draining = true
	}
}

// Lost tells that a line ended or could not be made.
func (t *Table) Lost(url string, why Loss, now time.Time) {
	e := t.find(url)
	if e == nil {
		return
	}
	if e.connected {
		e.connected, e.since = false, now
	}
	if why == Ended {
		return
	}
	e.outOfReach()
	e.draining = e.draining || why == Drained
	if why == Refused {
		e.refused = now.Add(t.limits.Steady)
	}
}

// Measured tells how long a relay took to answer; 0 means that it did not.
func (t *Table) Measured(url string, took time.Duration, now time.Time) {
	e := t.find(url)
	switch {
	case e == nil:
	case took <= 0 && e.connected:
		// The line is the better witness.
	case took <= 0:
		e.outOfReach()
	default:
		e.inReach(now)
		e.draining = e.draining && e.connected // it is back
		e.samples = append(e.samples, took)
		e.samples = e.samples[max(0, len(e.samples)-t.limits.Samples):]
	}
}

// Same tells that a relay is another one under a second name. It is used no more.
func (t *Table) Same(url, as string) {
	if e := t.find(url); e != nil && url != as {
		e.same = as
	}
}

func (e *entry) inReach(now time.Time) {
	if !e.reach || e.steady.IsZero() {
		e.steady = now
	}
	e.tried, e.reach = true, true
}

func (e *entry) outOfReach() { e.tried, e.reach, e.steady = true, false, time.Time{} }

// latency is the median of what was measured last, 0 for nothing.
func (e *entry) latency() time.Duration {
	if len(e.samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(e.samples))
	return sorted[len(sorted)/2]
}

// Views are all relays, homes first.
func (t *Table) Views() []View {
	list := make([]View, 0, len(t.all))
	for _, e := range slices.Concat(t.homes, t.all) {
		v := View{URL: e.url, Role: Standby, Told: slices.Contains(t.told, e), Latency: e.latency(), SameAs: e.same}
		switch {
		case slices.ContainsFunc(list, func(v View) bool { return v.URL == e.url }):
			continue
		case e.draining && (e.connected || slices.Contains(t.homes, e)):
			v.Role = Draining
		case slices.Contains(t.homes, e):
			v.Role = Home
		case !e.left.IsZero():
			v.Role = Leaving
		}
		list = append(list, v)
	}
	return list
}
