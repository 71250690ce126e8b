package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// switchboard is a network in memory: it carries envelopes between the agents that
// are plugged in, and keeps those for agents that are not, as a relay does.
type switchboard struct {
	t       *testing.T
	mu      sync.Mutex
	agents  map[identity.AMID]*Agent
	mailbox map[identity.AMID][]Envelope
	public  map[identity.AMID]Places // what was last learned of somebody before it said so itself
	// meddle, if set, sees every envelope and says how often it arrives.
	meddle func(e Envelope) int
	// refuse, if set, sees every envelope first; an error is what a relay says to it.
	refuse func(e Envelope) error
	wire   [][]byte     // every byte that passed
	moved  atomic.Bool  // everybody is at another relay
	direct atomic.Bool  // there are direct paths besides the relay
	delay  atomic.Int64 // how long every way takes
	places *Places      // nil: a relay

	signals map[identity.AMID][]content.Signal // told to somebody's carrier
	wanted  map[identity.AMID]int              // how often it was told that a direct path is wanted
	wg      sync.WaitGroup
}

func newSwitchboard(t *testing.T) *switchboard {
	s := &switchboard{
		t: t, agents: make(map[identity.AMID]*Agent), mailbox: make(map[identity.AMID][]Envelope), public: make(map[identity.AMID]Places),
		signals: make(map[identity.AMID][]content.Signal), wanted: make(map[identity.AMID]int),
	}
	t.Cleanup(s.wg.Wait)
	return s
}

// line is one agent's connection to the switchboard; it is its Carrier.
type line struct {
	s  *switchboard
	of identity.AMID
}

func (l line) Carry(e Envelope, report func(Outcome)) {
	s := l.s
	s.mu.Lock()
	if e.Via == api.PathDirect && !s.direct.Load() {
		s.mu.Unlock()
		report(Outcome{Err: ErrNoPath})
		return
	}
	if s.refuse != nil {
		if err := s.refuse(e); err != nil {
			s.mu.Unlock()
			report(Outcome{Err: err})
			return
		}
	}
	times := 1
	if s.meddle != nil {
		times = s.meddle(e)
	}
	s.wire = append(s.wire, bytes.Clone(e.Data))
	to := s.agents[e.To]
	if to == nil {
		for range times {
			s.mailbox[e.To] = append(s.mailbox[e.To], e)
		}
	}
	s.mu.Unlock()
	if to != nil {
		for range times {
			s.deliver(to, e)
		}
	}
	if s.path(e) == api.PathDirect {
		report(Outcome{Path: api.PathDirect, Acked: true})
		return
	}
	report(Outcome{Path: api.PathRelayed, Promise: time.Now().Add(72 * time.Hour), Where: "switchboard"})
}

func (s *switchboard) deliver(to *Agent, e Envelope) {
	s.wg.Go(func() {
		time.Sleep(time.Duration(s.delay.Load()))
		to.Receive(Incoming{From: e.From, Data: e.Data, Path: s.path(e), Ack: func() {}})
	})
}

func (s *switchboard) path(e Envelope) api.PathKind {
	if s.direct.Load() && e.Via != api.PathRelayed {
		return api.PathDirect
	}
	return api.PathRelayed
}

func (l line) Learn(peer identity.AMID, p Places, sealed bool) {
	if !sealed {
		l.s.mu.Lock()
		defer l.s.mu.Unlock()
		l.s.public[peer] = p
	}
}

func (l line) Seen(identity.AMID, string) {}

func (l line) Signalled(_ identity.AMID, s content.Signal) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.signals[l.of] = append(l.s.signals[l.of], s)
}

func (l line) WantDirect(identity.AMID) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.wanted[l.of]++
}

func (l line) Places() Places {
	if l.s != nil && l.s.places != nil {
		return *l.s.places
	}
	if l.s != nil && l.s.moved.Load() {
		return Places{Relays: []string{"ws://elsewhere/v1/connect"}}
	}
	return Places{Relays: []string{"ws://127.0.0.1:1/v1/connect"}}
}

func (s *switchboard) plug(a *Agent) {
	s.mu.Lock()
	s.agents[a.AMID()] = a
	waiting := s.mailbox[a.AMID()]
	delete(s.mailbox, a.AMID())
	s.mu.Unlock()
	for _, e := range waiting {
		s.deliver(a, e)
	}
}

func (s *switchboard) unplug(a *Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.agents, a.AMID())
}

// book is a Directory of everybody on the switchboard.
type book struct {
	mu   sync.Mutex
	recs map[identity.AMID][]byte
}

func (b *book) put(t *testing.T, a *Agent) {
	raw, err := a.Record(t.Context(), line{}.Places())
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recs[a.AMID()] = raw
}

func (b *book) Find(_ context.Context, peer identity.AMID) (*identity.AgentRecord, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	raw := b.recs[peer]
	if raw == nil {
		return nil, errors.New("not in the book")
	}
	return identity.ParseAgentRecord(raw)
}

// memoryMark keeps a rollback mark in memory.
type memoryMark struct {
	raw  []byte
	fail error
}

func (m *memoryMark) Load() ([]byte, error) { return m.raw, nil }

func (m *memoryMark) Save(raw []byte) error {
	if m.fail == nil {
		m.raw = raw
	}
	return m.fail
}

// person is an agent with what outlives its process.
type person struct {
	*Agent
	name   string
	key    identity.PrivateKey
	mem    *store.Memory
	state  *store.StateKey
	policy knock.Policy
	mark   *memoryMark
	stop   context.CancelFunc
	done   chan error

	newPolicy atomic.Pointer[knock.Policy] // takes policy's place, see rule
	tierProof atomic.Pointer[[]byte]       // goes with knocks
}

// will is the policy in force.
func (p *person) will() *knock.Policy {
	if next := p.newPolicy.Load(); next != nil {
		return next
	}
	return &p.policy
}

func (p *person) certificate() []byte {
	if raw := p.tierProof.Load(); raw != nil {
		return *raw
	}
	return nil
}

type world struct {
	clock  func() time.Time // nil: the real one
	limits Limits
	t      *testing.T
	sb     *switchboard
	wrap   func(p *person) store.Store // stands between an agent and its store
	book   *book
	keys   KeySource // nil: nobody asks for one-time keys
	prove  func([]byte, identity.PublicKey) knock.Tier
}

func newWorld(t *testing.T) *world {
	l := DefaultLimits()
	l.ResendFirst, l.ResendMost, l.RepeatEvery, l.LookupFirst = 50*time.Millisecond, time.Second, 20*time.Millisecond, 5*time.Millisecond
	l.OneTime, l.OneTimeKEM = 10, 5 // a full pool takes longer to make than most tests to run
	return &world{t: t, limits: l, sb: newSwitchboard(t), book: &book{recs: make(map[identity.AMID][]byte)}}
}

func (w *world) person(name, strangers string) *person {
	w.t.Helper()
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	state, err := store.LoadStateKey(filepath.Join(w.t.TempDir(), "state.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	p := &person{name: name, key: key, mem: store.NewMemory(), state: state, policy: knock.DefaultPolicy(), mark: &memoryMark{}}
	if p.policy, err = p.policy.Set("strangers", strangers); err != nil {
		w.t.Fatal(err)
	}
	w.start(p)
	w.t.Cleanup(func() { w.end(p) })
	return p
}

func (w *world) start(p *person) {
	w.t.Helper()
	w.begin(p)
	w.book.put(w.t, p.Agent)
	w.sb.plug(p.Agent)
}

// begin starts a person whom nobody can find or reach yet.
func (w *world) begin(p *person) {
	w.t.Helper()
	var st store.Store = p.mem
	if w.wrap != nil {
		st = w.wrap(p)
	}
	a, err := New(Config{
		Name: p.name, Key: p.key, Store: st, StateKey: p.state, Carrier: line{w.sb, p.key.AMID()}, Directory: w.book, KeySource: w.keys,
		Policy: p.will, Mark: p.mark, Limits: w.limits, Clock: w.clock, Certificate: p.certificate, Prove: w.prove,
		Logger: slog.New(slog.NewTextHandler(testWriter{w.t, p.name}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := a.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.Agent, p.stop, p.done = a, stop, make(chan error, 1)
	go func() { p.done <- a.Run(ctx) }()
	<-a.Running()
}

// end stops a person's process in good order.
func (w *world) end(p *person) {
	if p.stop == nil {
		return
	}
	w.sb.unplug(p.Agent)
	p.stop()
	if err := <-p.done; err != nil && !errors.Is(err, store.ErrCrashed) {
		w.t.Errorf("%s ended with %v", p.name, err)
	}
	p.stop = nil
}

type testWriter struct {
	t    *testing.T
	name string
}

func (w testWriter) Write(b []byte) (int, error) {
	if testing.Verbose() {
		fmt.Printf("%s %s", w.name, b)
	}
	return len(b), nil
}

func (w *world) send(from *person, to *person, text string, wait api.State) api.Message {
	w.t.Helper()
	m, err := from.Send(w.t.Context(), api.SendRequest{
		To: to.AMID().String(), Body: []byte(text), Wait: wait, TimeoutMS: 10_000,
	}, "")
	if err != nil {
		w.t.Fatalf("send %q: %v", text, err)
	}
	return m
}

// take waits until n messages are there and leases them.
func (w *world) take(p *person, n int) []api.InboxMessage {
	w.t.Helper()
	late := time.After(10 * time.Second)
	for {
		changed := p.changed.wait()
		page, err := p.Inbox(api.InboxQuery{Limit: 500})
		if err != nil {
			w.t.Fatal(err)
		}
		fresh := 0
		for _, item := range page.Items {
			if item.State == api.InboxNew {
				fresh++
			}
		}
		if fresh >= n {
			break
		}
		select {
		case <-changed:
		case <-late:
			w.t.Fatalf("%d messages of %d came", fresh, n)
		}
	}
	got, err := p.Lease(w.t.Context(), api.LeaseRequest{Max: n})
	if err != nil || len(got) != n {
		w.t.Fatalf("leased %d of %d messages, %v", len(got), n, err)
	}
	return got
}

func TestFirstMessage(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	m := w.send(ann, bob, "hello bob", api.StateDelivered)
	if m.State != api.StateDelivered {
		t.Fatalf("state %s (%s)", m.State, m.Reason)
	}
	got := w.take(bob, 1)[0]
	if string(got.Body) != "hello bob" || got.From != ann.AMID() || got.ID != m.ID {
		t.Fatalf("got %q from %s as %s", got.Body, got.From, got.ID)
	}
	if _, err := bob.Ack(t.Context(), got.ID, api.AckRequest{}); err != nil {
		t.Fatal(err)
	}
	m, err := ann.Message(t.Context(), m.ID, api.StateHandled, 10*time.Second)
	if err != nil || m.State != api.StateHandled {
		t.Fatalf("state %s, %v", m.State, err)
	}
	if m := w.send(bob, ann, "hello ann", api.StateDelivered); m.State != api.StateDelivered {
		t.Fatalf("answer: state %s (%s)", m.State, m.Reason)
	}
}
