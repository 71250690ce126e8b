package sim

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/node/agent"
	"amesh/node/api"
)

// What people's nodes say to each other for the moment: offers of a direct path with their
// answers, and echoes.

// momentPause is how long somebody waits after a try that came to nothing.
const momentPause = 40 * time.Second

// Punch has a person's node offer a direct path until an answer comes. Every node says
// yes to every offer.
func (w *World) Punch(from, to *Person) {
	w.t.Helper()
	for end := time.Now().Add(userPatience); time.Now().Before(end); w.Pass(momentPause) {
		if w.offerOnce(from, to) {
			return
		}
	}
	w.report(nil)
	w.t.Fatalf("%s's offers to %s were not answered", from.Name, to.Name)
}

// offerOnce makes one offer; it reports whether the answer came.
func (w *World) offerOnce(from, to *Person) bool {
	w.t.Helper()
	o := &content.ICEOffer{ICEDescription: described(from)}
	err := w.do(from, "offer", func(ctx context.Context, a *agent.Agent) error {
		w.mu.Lock()
		w.attempts++
		binary.BigEndian.PutUint64(o.Attempt[:], w.attempts)
		from.note(Event{Kind: Offered, Peer: to.Name, ID: attemptName(o)})
		w.mu.Unlock()
		return a.Signal(ctx, to.AMID(), o)
	})
	if err != nil && !errors.Is(err, agent.ErrNoSession) && !errors.Is(err, agent.ErrTooOften) {
		w.t.Fatalf("%s offers: %v", from.Name, err)
	}
	return err == nil && w.run(time.Now().Add(momentPause), func() bool { return from.answered[o.Attempt] })
}

func described(p *Person) content.ICEDescription {
	return content.ICEDescription{
		PeerID: "peer-" + p.Name, Ufrag: "ufrag", Password: strings.Repeat("password", 4), Candidates: []string{"1 1 udp 1 192.0.2.1 1 typ host"},
	}
}

func attemptName(s content.Signal) string {
	attempt := s.Of()
	return hex.EncodeToString(attempt[:8])
}

// Echo has a person ask a peer's node for an echo until one comes back, by the path it
// left by if via names one.
func (w *World) Echo(from, to *Person, via api.PathKind) {
	w.t.Helper()
	var err error
	for end := time.Now().Add(userPatience); time.Now().Before(end); w.Pass(momentPause) {
		var path api.PathKind
		err = w.do(from, "echo", func(ctx context.Context, a *agent.Agent) (err error) {
			_, path, err = a.Echo(ctx, to.AMID(), via)
			return err
		})
		switch {
		case err == nil && via != "" && path != via:
			w.t.Fatalf("%s's echo left by the %s path, and its reply came by the %s one", from.Name, via, path)
		case err == nil:
			return
		}
	}
	w.report(nil)
	w.t.Fatalf("no echo of %s's came back from %s: %v", from.Name, to.Name, err)
}

// Signalled implements agent.Carrier: an offer is taken, a little later.
func (c carrier) Signalled(peer identity.AMID, s content.Signal) {
	p, w := c.pr.p, c.pr.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.pr.dead.Load() {
		return
	}
	_, isOffer := s.(*content.ICEOffer)
	e := Event{Kind: Heard, Peer: w.name(peer), ID: attemptName(s), State: "answer"}
	if isOffer {
		e.State = "offer"
	}
	p.note(e)
	if !isOffer {
		p.answered[s.Of()] = true
		return
	}
	answer := &content.ICEAnswer{Attempt: s.Of(), ICEDescription: described(p)}
	w.after(time.Millisecond, func() {
		if !c.pr.dead.Load() {
			go func() { _ = c.pr.a.Signal(c.pr.ctx, peer, answer) }() // it may die at that
		}
	})
}

// WantDirect implements agent.Carrier: here paths are opened by hand.
func (c carrier) WantDirect(identity.AMID) {}

// momentLife is how long what is said for the moment is sent, and taken, after it was
// sealed (session.md §9.6), and never by another process.
const momentLife = 30 * time.Second

// heard judges an offer or an answer that a carrier was told of.
func (j *judge) heard(e Event) {
	offered := e.Who
	if e.State == "offer" {
		offered = e.Peer
	}
	at, known := j.offered[offered+" "+e.ID]
	told := e.State + " " + e.ID + " " + e.Who
	switch {
	case !known:
		j.complain("I10: %s was told of an attempt that nobody made", e.Who)
	case e.At-at > momentLife:
		j.complain("§9.6: an %s was taken %s after the attempt was made", e.State, e.At-at)
	case j.toldIn[told] == j.node(e.Who).life:
		j.complain("I2: the same %s was taken twice", e.State)
	}
	j.toldIn[told] = j.node(e.Who).life
}
