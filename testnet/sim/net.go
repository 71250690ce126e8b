package sim

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"amesh/identity"
	"amesh/knock"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/ratchet"
)

// relayURL is the one relay there is.
const relayURL = "ws://127.0.0.1:1/v1/connect"

// ackWithin is how long a direct path waits for an acknowledgement before the same
// bytes go by relay (session.md §11.2).
const ackWithin = time.Second

// retention is how long the relay keeps an envelope.
const retention = 72 * time.Hour

// places is where everybody says to be.
var places = agent.Places{Relays: []string{relayURL}}

var errLine = errors.New("the line broke")

// network is the relay's mailboxes and what is cut or joined.
type network struct {
	boxes  map[identity.AMID][]*mail
	direct map[direction]bool
	cut    map[identity.AMID]bool
	dice   map[direction]*rand.Rand
	passed []agent.Envelope // the last ones, for those who repeat and forge
}

// mostPassed is how many envelopes somebody on the line remembers.
const mostPassed = 200

func (n *network) remember(e agent.Envelope) {
	if len(n.passed) == mostPassed {
		n.passed = n.passed[1:]
	}
	n.passed = append(n.passed, e)
}

type mail struct {
	e     agent.Envelope
	until time.Time
	gone  bool
}

func newNetwork() network {
	return network{
		boxes: make(map[identity.AMID][]*mail), dice: make(map[direction]*rand.Rand),
		direct: make(map[direction]bool), cut: make(map[identity.AMID]bool),
	}
}

// Direct joins two people by a direct path, or takes it away.
func (w *World) Direct(a, b *Person, up bool) {
	w.mu.Lock()
	w.net.direct[direction{a.AMID(), b.AMID()}] = up
	w.net.direct[direction{b.AMID(), a.AMID()}] = up
	w.mu.Unlock()
	for _, p := range []*Person{a, b} {
		if up && p.Up() {
			w.kick(p)
		}
	}
}

// Cut takes a person's node off the network, or joins it again.
func (w *World) Cut(p *Person, cut bool) {
	w.mu.Lock()
	w.net.cut[p.AMID()] = cut
	w.mu.Unlock()
	if !cut && p.Up() {
		w.connect(p)
		w.kick(p)
	}
}

// Passed are the last envelopes that left anybody.
func (w *World) Passed() []agent.Envelope { return slices.Clone(w.net.passed) }

// Inject hands bytes to a node that a stranger on the line made up or kept.
func (w *World) Inject(to *Person, e agent.Envelope) {
	e.ID = ratchet.EnvelopeID(e.Data)
	w.receive(to, e, api.PathRelayed, func() {})
}

// InjectTail hands a knock to a node with another tail behind it. A tail is not signed,
// so this is a knock like the one that its sender made, in another envelope.
func (w *World) InjectTail(to *Person, e agent.Envelope, tail []byte) {
	e.Data = append(slices.Clone(e.Data), tail...)
	w.mu.Lock()
	w.history = append(w.history, Event{
		At: time.Since(w.began), Kind: Varied, Peer: to.Name, Envelope: ratchet.EnvelopeID(e.Data).String(),
	})
	w.mu.Unlock()
	w.Inject(to, e)
}

// Forget has the relay lose its disk (CP 16).
func (w *World) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, box := range w.net.boxes {
		for _, m := range box {
			m.gone = true
		}
	}
	clear(w.net.boxes)
	w.history = append(w.history, Event{At: time.Since(w.began), Who: "relay", Kind: Forgot})
}

// kick tells a node that something came within its reach, and nobody else at that
// moment.
func (w *World) kick(p *Person) {
	p.proc.a.Kick()
	w.Pass(time.Microsecond)
}

// connect has the relay hand out what it keeps for a person.
func (w *World) connect(p *Person) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.net.boxes[p.AMID()] {
		w.handOut(p, m)
	}
}

// carrier is the Carrier of one process.
type carrier struct{ pr *process }

func (c carrier) Learn(identity.AMID, agent.Places, bool) {}

func (c carrier) Seen(identity.AMID, string) {}

func (c carrier) Places() agent.Places { return places }

func (c carrier) Carry(e agent.Envelope, report func(agent.Outcome)) {
	w := c.pr.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.point(c.pr, "before an envelope leaves") {
		return
	}
	d := direction{e.From, e.To}
	w.net.remember(e)
	c.pr.p.left(e)
	t := &trip{w: w, pr: c.pr, e: e, report: report}
	if w.net.direct[d] && e.Via != api.PathRelayed {
		t.direct()
	} else {
		t.relay()
	}
	w.point(c.pr, "after an envelope left")
}

// left notes an envelope that leaves a person's process; w.mu is held.
func (p *Person) left(e agent.Envelope) {
	w, d := p.w, direction{e.From, e.To}
	seen := w.tap.look(d, e.Data)
	if seen.marks == nil && p.rows.rejects[e.ID] { // the session that sealed it was never on disk
		seen.marks = []Mark{{"reject " + e.ID.String(), e.ID.String()}}
	}
	s, known := p.rows.sessions[e.To][seen.sid]
	p.note(Event{
		Kind: Carried, Peer: w.name(e.To), Envelope: e.ID.String(), Marks: seen.marks, Tail: seen.tail, ID: seen.knock, OneTime: seen.names,
		Old:   seen.sid != "" && w.tap.born[bornKey(d, seen.sid)] < p.life,
		Early: seen.knock == "" && known && s.Asker && s.Ask != knock.AskAccepted,
	})
}

// trip is one envelope on its way.
type trip struct {
	w      *World
	pr     *process
	e      agent.Envelope
	report func(agent.Outcome)
	told   bool
}

// tell gives the sender its word, once and later: a Carrier does not call back from
// Carry.
func (t *trip) tell(after time.Duration, o agent.Outcome) {
	t.w.after(after, func() {
		if !t.told && !t.pr.dead.Load() {
			t.told = true
			t.report(o)
		}
	})
}

func (w *World) chance(d direction, p float64) bool { return p > 0 && w.diceOf(d).Float64() < p }

// diceOf decides what happens in one direction. It is another one for each, so that it
// does not matter in which order a node's clerks have their turn.
func (w *World) diceOf(d direction) *rand.Rand {
	if w.net.dice[d] == nil {
		a, b := w.byAMID[d.from], w.byAMID[d.to]
		w.net.dice[d] = rand.New(rand.NewPCG(w.Seed, uint64(1000+100*slices.Index(w.people, a)+slices.Index(w.people, b))))
	}
	return w.net.dice[d]
}

// delay is how long one step of the way takes.
func (w *World) delay(d direction) time.Duration {
	after := w.Weather.Delay
	if w.Weather.Jitter > 0 {
		after += time.Duration(w.diceOf(d).Int64N(int64(w.Weather.Jitter)))
	}
	return after
}

func (t *trip) way() direction { return direction{t.e.From, t.e.To} }

func (t *trip) direct() {
	w, to := t.w, t.w.byAMID[t.e.To]
	acked := false
	if !w.chance(t.way(), w.Weather.Lost) {
		w.after(w.delay(t.way()), func() {
			w.receive(to, t.e, api.PathDirect, func() {
				acked = true
				t.tell(w.delay(t.way()), agent.Outcome{Path: api.PathDirect, Acked: true})
			})
		})
	}
	w.after(ackWithin, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !acked {
			t.relay()
		}
	})
}

// relay is the way of what does not go directly, unless it may go no other way.
func (t *trip) relay() {
	if t.e.Via == api.PathDirect {
		t.tell(t.w.delay(t.way()), agent.Outcome{Err: agent.ErrNoPath})
		return
	}
	w := t.w
	switch {
	case w.net.cut[t.e.From]:
		t.tell(0, agent.Outcome{Err: agent.ErrNoPath})
		return
	case w.chance(t.way(), w.Weather.Full):
		t.tell(w.delay(t.way()), agent.Outcome{Err: &agent.Refusal{Code: "mailbox_full", RetryAfter: 5 * time.Second}})
		return
	case w.chance(t.way(), w.Weather.Lost):
		t.tell(w.delay(t.way()), agent.Outcome{Err: errLine})
		return
	}
	w.after(w.delay(t.way()), func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		until := w.keep(t.e)
		o := agent.Outcome{Path: api.PathRelayed, Promise: until, Where: relayURL}
		if w.chance(t.way(), w.Weather.Unreported) {
			o = agent.Outcome{Err: errLine}
		}
		t.tell(w.delay(t.way()), o)
	})
}

// keep puts an envelope into the receiver's mailbox, unless it is there, and hands it
// out. One that was acknowledged is taken again (relay.md §4).
func (w *World) keep(e agent.Envelope) time.Time {
	for _, m := range w.net.boxes[e.To] {
		if m.e.From == e.From && m.e.ID == e.ID && w.Now().Before(m.until) {
			return m.until
		}
	}
	m := &mail{e: e, until: w.Now().Add(retention)}
	w.net.boxes[e.To] = append(w.net.boxes[e.To], m)
	w.history = append(w.history, Event{
		At: time.Since(w.began), Kind: Promised, Who: "relay", Peer: w.name(e.To), Envelope: e.ID.String(),
		Tail: tailOf(e),
	})
	if to := w.byAMID[e.To]; to != nil && to.Up() {
		w.handOut(to, m)
	}
	return m.until
}

// tailOf is the id of the envelope that travels behind a knock.
func tailOf(e agent.Envelope) string {
	if k, err := knock.ParseKnock(e.Data); err == nil && len(k.Tail) > 0 {
		return ratchet.EnvelopeID(k.Tail).String()
	}
	return ""
}

// handOut gives one envelope to a node that is there; w.mu is held.
func (w *World) handOut(p *Person, m *mail) {
	times, d := 1, direction{m.e.From, p.AMID()}
	if w.chance(d, w.Weather.Twice) {
		times = 2
	}
	for range times {
		w.after(w.delay(d), func() {
			if m.gone || !w.Now().Before(m.until) {
				return
			}
			w.receive(p, m.e, api.PathRelayed, func() {
				w.after(w.delay(d), func() { w.forget(p, m) })
			})
		})
	}
}

func (w *World) forget(p *Person, m *mail) {
	m.gone = true
	box := w.net.boxes[p.AMID()]
	for i, x := range box {
		if x == m {
			w.net.boxes[p.AMID()] = append(box[:i:i], box[i+1:]...)
			return
		}
	}
}

// receive hands an envelope to a node. acked is called with w.mu held, unless the
// node dies before it said so.
func (w *World) receive(p *Person, e agent.Envelope, path api.PathKind, acked func()) {
	if p == nil || !p.Up() {
		return
	}
	pr := p.proc
	w.mu.Lock()
	cut := w.net.cut[p.AMID()]
	sessions := maps.Clone(p.rows.sessions[e.From])
	w.mu.Unlock()
	if cut {
		return
	}
	in := agent.Incoming{From: e.From, Data: e.Data, Path: path, Ack: func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if pr.dead.Load() {
			return
		}
		p.note(Event{
			Kind: Acknowledged, Peer: w.name(e.From), Envelope: e.ID.String(), Openable: p.openable(sessions, e.Data),
		})
		if w.point(pr, "before an acknowledgement") {
			return
		}
		acked()
		w.point(pr, "after an acknowledgement")
	}}
	if path == api.PathDirect {
		in.PeerID = fmt.Sprint("peer id of ", w.name(e.From))
	}
	go pr.a.Receive(in)
}
