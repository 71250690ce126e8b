package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
)

// Options say what a world is like. The zero value, with a StateKey, has a perfect
// network and nobody crashes.
type Options struct {
	StateKey *store.StateKey // seals the sessions of everybody, until a state is restored
	Limits   agent.Limits    // zero: agent.DefaultLimits(), with few one-time keys
	Seed     uint64          // of every dice

	// CrashAt are numbers of points at which the process that passes dies: the first
	// counts from the beginning of the run, each later one from the crash before it.
	CrashAt []int
	// CrashChance is the probability of dying at each point, MostCrashes their number.
	CrashChance float64
	MostCrashes int

	Weather Weather
	Quiet   bool // the nodes log nothing, even when tests are verbose
}

// Weather is what the network does to envelopes. The chances are probabilities.
type Weather struct {
	Delay      time.Duration // of each step of the way; default 5 ms
	Jitter     time.Duration // at most this much is added
	Lost       float64       // does not come to the relay, or to the peer on a direct path
	Unreported float64       // comes to the relay, whose word is lost
	Twice      float64       // is handed out twice
	Full       float64       // the relay refuses it for now
	NotFound   float64       // a lookup that fails
}

// restartAfter is how long a process stays dead.
const restartAfter = time.Second

// World is a mesh in a bubble of testing/synctest. Its methods are called by the
// goroutine that made it.
type World struct {
	Options
	Slack Slack // what Finish forgives
	t     testing.TB
	began time.Time
	poke  chan struct{} // an event was added, or somebody died

	mu       sync.Mutex
	people   []*Person
	byAMID   map[identity.AMID]*Person
	events   []event // in order of time
	count    uint64  // of events, so that equal times keep their order
	points   int     // passed since the beginning or the last crash
	crashes  int
	attempts uint64 // offers that were made
	history  []Event
	tap      wiretap
	net      network
	book     map[identity.AMID][]byte // newest records
}

type event struct {
	at time.Time
	n  uint64
	do func()
}

// NewWorld makes an empty world that begins now.
func NewWorld(t testing.TB, o Options) *World {
	if o.Limits == (agent.Limits{}) {
		o.Limits = agent.DefaultLimits()
		// Keys that nobody asks for cost most of the time there is.
		o.Limits.OneTime, o.Limits.OneTimeKEM = 3, 2
	}
	if o.Weather.Delay == 0 {
		o.Weather.Delay = 5 * time.Millisecond
	}
	return &World{
		Options: o, Slack: DefaultSlack(), t: t, began: time.Now(), poke: make(chan struct{}, 1),
		byAMID: make(map[identity.AMID]*Person),
		tap:    newWiretap(), net: newNetwork(), book: make(map[identity.AMID][]byte),
	}
}

// Now is the true time, as no node of the world knows it for sure.
func (w *World) Now() time.Time { return time.Now().Round(0) }

// Crashes is how many processes have died.
func (w *World) Crashes() int { return w.crashes }

// Points is how many points were passed since the beginning or the last crash.
func (w *World) Points() int { return w.points }

// After lets f happen later, on the goroutine of the world.
func (w *World) After(d time.Duration, f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.after(d, f)
}

// after is After with w.mu held. No two events are at the same time, so that never
// two processes are woken by the clock together, in an order that nobody decided.
func (w *World) after(d time.Duration, f func()) {
	w.count++
	e := event{at: time.Now().Add(d + time.Duration(w.count)), n: w.count, do: f}
	i, _ := slices.BinarySearchFunc(w.events, e, func(a, b event) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.n, b.n))
	})
	w.events = slices.Insert(w.events, i, e)
	w.nudge()
}

// nudge has the goroutine of the world look again at what there is to do.
func (w *World) nudge() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// Until lets events happen until cond holds, and fails the test if that takes longer
// than limit.
func (w *World) Until(what string, limit time.Duration, cond func() bool) {
	w.t.Helper()
	if !w.run(time.Now().Add(limit), cond) {
		w.report(nil)
		w.t.Fatalf("%s: not within %s", what, limit)
	}
}

// Pass lets events happen for some time.
func (w *World) Pass(d time.Duration) { w.run(time.Now().Add(d), func() bool { return false }) }

// run lets events happen until cond holds or the time has come; it reports whether
// cond holds.
func (w *World) run(end time.Time, cond func() bool) bool {
	for {
		synctest.Wait()
		w.bury()
		w.mu.Lock()
		done, now := cond(), time.Now()
		at := end
		var due *event
		if len(w.events) > 0 && !w.events[0].at.After(end) {
			due = &w.events[0]
			at = due.at
		}
		if due != nil && !done && !at.After(now) {
			f := due.do
			w.events = w.events[1:]
			w.mu.Unlock()
			f()
			continue
		}
		w.mu.Unlock()
		if done || !now.Before(end) {
			return done
		}
		timer := time.NewTimer(at.Sub(now))
		select {
		case <-w.poke:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// bury takes away processes that died, and lets them be started again.
func (w *World) bury() {
	for _, p := range w.people {
		pr := p.proc
		if pr == nil || !pr.dead.Load() {
			continue
		}
		p.proc = nil
		pr.end()
		p.mem = p.mem.Reopen()
		w.After(restartAfter, p.start)
	}
}

// point is passed by a process: it reports whether the process is dead from here on.
// w.mu is held.
func (w *World) point(pr *process, label string) bool {
	if pr.dead.Load() {
		return true
	}
	w.points++
	switch {
	case len(w.CrashAt) > 0:
		if w.points != w.CrashAt[0] {
			return false
		}
		w.CrashAt = w.CrashAt[1:]
	case w.crashes >= w.MostCrashes || pr.p.fate.Float64() >= w.CrashChance:
		return false
	}
	w.points = 0
	w.crashes++
	pr.dead.Store(true)
	pr.p.mem.Crash()
	pr.p.note(Event{Kind: Crashed, Note: label})
	w.nudge()
	return true
}

// note adds an event to the history; w.mu is held.
func (p *Person) note(e Event) {
	if p.finding {
		if e.Kind != OutRow && e.Kind != InRow && e.Kind != Seen {
			return
		}
		e.Found = true
	}
	e.At, e.Who = time.Since(p.w.began), p.Name
	p.w.history = append(p.w.history, e)
}

func (w *World) name(a identity.AMID) string {
	if p := w.byAMID[a]; p != nil {
		return p.Name
	}
	return a.Short()
}

// Heal ends all trouble: from here on nothing is lost and nobody dies.
func (w *World) Heal() {
	w.mu.Lock()
	w.CrashAt, w.CrashChance = nil, 0
	w.Weather = Weather{Delay: w.Weather.Delay}
	clear(w.net.cut)
	w.history = append(w.history, Event{At: time.Since(w.began), Kind: Healed})
	w.mu.Unlock()
	for _, p := range w.people {
		p.Full(false)
		if p.off {
			p.Start()
		}
	}
	w.Until("everybody is up", time.Hour, func() bool {
		return !slices.ContainsFunc(w.people, func(p *Person) bool { return !p.Up() })
	})
	for _, p := range w.people {
		w.connect(p)
		w.kick(p)
	}
}

// Finish lets every message come to its end, stops everybody and checks the history.
func (w *World) Finish() {
	w.t.Helper()
	ended := w.run(time.Now().Add(w.Limits.MaxTTL+w.Limits.Skew+w.Slack.End), w.allEnded)
	w.Pass(time.Minute)
	w.Stop()
	bad := Check(w.history, w.Slack)
	if len(bad) > 0 || !ended {
		w.report(bad)
		w.t.Fail()
	}
}

func (w *World) allEnded() bool {
	for _, p := range w.people {
		if p.proc == nil || p.proc.dead.Load() {
			return false
		}
		for _, o := range p.rows.out {
			if !o.State.Terminal() {
				return false
			}
		}
	}
	return true
}

// Stop ends every process in good order. It is called before the bubble ends.
func (w *World) Stop() {
	for _, p := range w.people {
		p.Stop()
	}
}

// History is what has happened so far.
func (w *World) History() []Event { return slices.Clone(w.history) }

// report logs what a reader of a failure wants to know.
func (w *World) report(bad []string) {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %d crashes\n", w.Seed, w.crashes)
	for _, s := range bad {
		b.WriteString("  " + s + "\n")
	}
	const most = 2000
	for i, e := range w.history {
		if len(w.history)-i <= most {
			b.WriteString(e.String() + "\n")
		}
	}
	w.t.Log(b.String())
}
