package sim

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/agent"
)

// publishEvery is how often a node signs its record anew.
const publishEvery = 6 * time.Hour

// Person is a user with a node: what outlives the node's process, and the process
// while it runs.
type Person struct {
	Name   string
	Policy knock.Policy

	w       *World
	key     identity.PrivateKey
	mem     *store.Memory
	state   *store.StateKey
	mark    []byte   // the rollback mark
	proc    *process // nil while it is dead
	offset  atomic.Int64
	luck    *mrand.Rand // of lookups, which run beside everything else
	fate    *mrand.Rand // of its processes
	full    atomic.Bool // the disk has no room
	off     bool        // not to be started again
	starts  int         // of the node
	life    int         // counts how often the state was undone
	rows    *ledger
	spent   []string          // one-time keys that go in the transaction at hand
	finding bool              // the ledger is being read from the disk
	sent    map[string]string // message ids by what was said

	answered map[content.Attempt]bool // offers
}

// process is one life of a node.
type process struct {
	p    *Person
	a    *agent.Agent
	born time.Time
	ctx  context.Context
	stop context.CancelFunc
	done chan error  // of Run; nil if it never came to that
	dead atomic.Bool // it has passed a point at which it dies
}

// Join brings a person into the world whose policy says strangers: accept, ask or
// reject.
func (w *World) Join(name, strangers string) *Person {
	w.t.Helper()
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	policy, err := knock.DefaultPolicy().Set("strangers", strangers)
	if err != nil {
		w.t.Fatal(err)
	}
	p := &Person{
		Name: name, Policy: policy, w: w, key: key, mem: store.NewMemory(), state: w.StateKey, rows: newLedger(), sent: make(map[string]string), answered: make(map[content.Attempt]bool),
		luck: mrand.New(mrand.NewPCG(w.Seed, uint64(2+len(w.people)))),
		fate: mrand.New(mrand.NewPCG(w.Seed, uint64(102+len(w.people)))),
	}
	w.people = append(w.people, p)
	w.byAMID[p.AMID()] = p
	w.Pass(time.Millisecond)
	p.start()
	return p
}

// AMID is the person's name on the mesh.
func (p *Person) AMID() identity.AMID { return p.key.AMID() }

// Up reports whether the person's node runs.
func (p *Person) Up() bool { return p.proc != nil && !p.proc.dead.Load() }

// Clock is what the person's node takes for the time.
func (p *Person) Clock() time.Time { return p.w.Now().Add(time.Duration(p.offset.Load())) }

// Step sets the person's wall clock forward, or back.
func (p *Person) Step(d time.Duration) {
	p.offset.Add(int64(d))
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.note(Event{Kind: Stepped, Note: d.String()})
}

// Full fills the person's disk, or makes room again.
func (p *Person) Full(full bool) { p.full.Store(full) }

// start brings the person's node up on what is on its disk. It may die on the way.
func (p *Person) start() {
	if p.proc != nil || p.off {
		return
	}
	p.starts++
	pr := &process{p: p, born: time.Now()}
	pr.ctx, pr.stop = context.WithCancel(context.Background())
	p.proc = pr
	a, err := agent.New(agent.Config{
		Name: p.Name, Key: p.key, Store: &disk{pr: pr, mem: p.mem}, StateKey: p.state,
		Carrier: carrier{pr}, Directory: find{pr}, KeySource: ask{pr}, Mark: markFile{pr}, Policy: func() *knock.Policy { return &p.Policy },
		Limits: p.w.Limits, Clock: p.Clock, Uptime: func() time.Duration { return time.Since(pr.born) },
		Logger: p.logger(),
	})
	if err != nil {
		p.w.t.Fatal(err)
	}
	pr.a = a
	p.w.mu.Lock()
	p.note(Event{Kind: Started})
	p.w.mu.Unlock()
	if err := a.Start(pr.ctx); err != nil {
		p.failed("start", err)
		if !pr.dead.Load() { // there was no room
			p.proc = nil
			pr.end()
			p.mem = p.mem.Reopen()
			p.w.After(restartAfter, p.start)
		}
		return
	}
	p.w.mu.Lock()
	p.note(Event{Kind: Runs, Epoch: a.Epoch()})
	p.w.mu.Unlock()
	pr.done = make(chan error, 1)
	go func() { pr.done <- a.Run(pr.ctx) }()
	select {
	case <-a.Running():
	case err := <-pr.done:
		pr.done <- err
		p.failed("run", err)
		return
	}
	synctest.Wait()
	p.publish()
	p.w.connect(p)
}

// failed takes an error that a dead process may give, and only a dead one.
func (p *Person) failed(what string, err error) {
	if !p.proc.dead.Load() && !errors.Is(err, store.ErrNoSpace) {
		p.w.t.Errorf("%s: %s: %v", p.Name, what, err)
	}
}

// publish puts a fresh record of the person into everybody's reach, now and as long
// as this process lives.
func (p *Person) publish() {
	pr := p.proc
	if pr == nil || pr.dead.Load() {
		return
	}
	if raw, err := pr.a.Record(pr.ctx, places); err != nil {
		p.failed("record", err)
	} else {
		p.w.mu.Lock()
		p.w.book[p.AMID()] = raw
		p.w.mu.Unlock()
	}
	p.w.After(publishEvery, func() {
		if p.proc == pr {
			p.publish()
		}
	})
}

// Stop ends the person's process in good order.
func (p *Person) Stop() {
	p.off = true
	pr := p.proc
	if pr == nil {
		return
	}
	p.proc = nil
	pr.end()
	p.mem = p.mem.Reopen()
}

// Start brings a person back who was stopped.
func (p *Person) Start() {
	p.off = false
	p.start()
}

// end stops what is left of a process and waits for it.
func (pr *process) end() {
	pr.stop()
	if pr.done == nil {
		return
	}
	err := <-pr.done
	if pr.dead.Swap(true) {
		return // it has crashed; what it said then says nothing
	}
	e := Event{Kind: Stopped}
	if err != nil {
		e.Note = err.Error()
	}
	pr.p.w.mu.Lock()
	defer pr.p.w.mu.Unlock()
	pr.p.note(e)
}

// logger shows what the node says when the tests are verbose about it.
func (p *Person) logger() *slog.Logger {
	if !testing.Verbose() || p.w.Quiet {
		return nil
	}
	return slog.New(slog.NewTextHandler(logLine{p}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type logLine struct{ p *Person }

func (l logLine) Write(b []byte) (int, error) {
	fmt.Printf("%12s %s %s", time.Since(l.p.w.began), l.p.Name, b)
	return len(b), nil
}
