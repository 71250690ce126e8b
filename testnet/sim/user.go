package sim

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"amesh/node/agent"
	"amesh/node/api"
)

// userPatience is how long a user waits for something that should come at once, with
// crashes in between.
const userPatience = 30 * time.Minute

// longestPause is how long a user without work waits at most before looking again.
const longestPause = 10 * time.Minute

// do has a node do something for its user, and tries again when the node died before
// it answered.
func (w *World) do(p *Person, what string, f func(ctx context.Context, a *agent.Agent) error) error {
	w.t.Helper()
	for {
		w.Until(p.Name+" is up", userPatience, p.Up)
		pr := p.proc
		w.Pass(time.Microsecond) // nobody does two things at the same time
		if pr.dead.Load() {
			continue
		}
		type answer struct {
			err  error
			came bool
		}
		done := make(chan answer, 1)
		go func() {
			err := f(pr.ctx, pr.a)
			done <- answer{err, !pr.dead.Load()}
			w.nudge() // it may have waited for nothing but its own patience
		}()
		w.Until(what, userPatience, func() bool { return len(done) > 0 || pr.dead.Load() })
		w.Until(what+" ends", userPatience, func() bool { return len(done) > 0 })
		if a := <-done; a.came {
			return a.err
		}
	}
}

// Say submits a message, and submits it again under the same key until the node has
// said that it is accepted. A ttl of 0 is the longest.
func (w *World) Say(from, to *Person, text string, ttl time.Duration) {
	w.t.Helper()
	w.Send(from, to, text, api.SendRequest{Body: []byte(text), TTLSeconds: int64(ttl / time.Second)})
}

// Send is Say for a request of which everything but the address is given; name is
// what it is called from here on.
func (w *World) Send(from, to *Person, name string, r api.SendRequest) {
	w.t.Helper()
	r.To = to.AMID().String()
	var m api.Message
	err := w.do(from, "submit "+name, func(ctx context.Context, a *agent.Agent) (err error) {
		m, err = a.Send(ctx, r, from.Name+name)
		return err
	})
	if err != nil {
		w.t.Fatalf("%s submits %s: %v", from.Name, name, err)
	}
	due := m.Expires.Add(-time.Duration(from.offset.Load())).Sub(w.began)
	from.sent[name] = m.ID
	w.mu.Lock()
	defer w.mu.Unlock()
	from.note(Event{Kind: Accepted, Peer: to.Name, ID: m.ID, Seq: m.Sequence, Due: due})
}

// State is what a person's disk says about a message.
func (p *Person) State(name string) (state api.State, reason string) {
	for id, o := range p.rows.out {
		if id.String() == p.sent[name] {
			return o.State, o.Reason
		}
	}
	return "", ""
}

// Reaches waits until a message is in a state.
func (w *World) Reaches(p *Person, name string, want api.State, limit time.Duration) {
	w.t.Helper()
	w.Until(name+" is "+string(want), limit, func() bool {
		state, _ := p.State(name)
		return state == want
	})
}

// waiting is the oldest knock that waits for the person's answer, nil for none.
func (p *Person) waiting() (oldest *knockRow) {
	for _, k := range p.rows.knocks {
		if !k.Out && k.State == "pending" && p.Clock().Before(k.Expires) && (oldest == nil || k.At.Before(oldest.At)) {
			oldest = &k
		}
	}
	return oldest
}

// Decide gives an owner's answer to the oldest knock that waits for it, once it is there.
func (w *World) Decide(p *Person, approve bool) {
	w.t.Helper()
	w.Until("a knock waits for "+p.Name, userPatience, func() bool { return p.waiting() != nil })
	hash := p.waiting().Hash
	err := w.do(p, "decide", func(ctx context.Context, a *agent.Agent) error {
		if p.rows.knocks[hash].State != "pending" {
			return nil // the answer is on disk; the node died before it could say so
		}
		_, err := a.Decide(ctx, hex.EncodeToString(hash[:8]), approve, api.DecideRequest{})
		return err
	})
	if err != nil {
		w.t.Fatalf("%s decides: %v", p.Name, err)
	}
}

// Cancel takes a message back that the peer does not have.
func (w *World) Cancel(p *Person, name string) {
	w.t.Helper()
	if err := w.TryCancel(p, name); err != nil {
		w.t.Fatalf("%s cancels %s: %v", p.Name, name, err)
	}
}

// TryCancel takes a message back, if the peer does not have it.
func (w *World) TryCancel(p *Person, name string) error {
	w.t.Helper()
	return w.do(p, "cancel "+name, func(ctx context.Context, a *agent.Agent) error {
		if state, _ := p.State(name); state == api.StateCancelled {
			return nil
		}
		_, err := a.Cancel(ctx, p.sent[name])
		return err
	})
}

// Kill closes the sessions of a person with a peer, if there are any open. What they
// have granted each other stays.
func (w *World) Kill(p, peer *Person) {
	w.t.Helper()
	err := w.do(p, "kill", func(ctx context.Context, a *agent.Agent) error {
		_, err := a.Kill(ctx, peer.AMID().String())
		if problem := (*api.Problem)(nil); errors.As(err, &problem) && problem.Code == api.CodeNotFound {
			return nil
		}
		return err
	})
	if err != nil {
		w.t.Fatalf("%s closes its sessions: %v", p.Name, err)
	}
}

// Work has a user lease messages one by one and acknowledge them, until n are
// handled.
func (w *World) Work(p *Person, n int) {
	w.t.Helper()
	end := time.Now().Add(w.Limits.MaxTTL)
	pause := time.Second
	for p.handled() < n {
		if !time.Now().Before(end) {
			w.report(nil)
			w.t.Fatalf("%s handled %d messages of %d", p.Name, p.handled(), n)
		}
		if !w.workOnce(p) {
			w.Pass(pause)
			pause = min(pause+pause/8, longestPause)
		}
	}
}

// handled counts the messages that the disk says are done.
func (p *Person) handled() int {
	n := 0
	for _, in := range p.rows.in {
		if in.State == api.InboxHandled {
			n++
		}
	}
	return n
}

// workOnce leases and acknowledges one message; it reports whether there was one.
func (w *World) workOnce(p *Person) bool {
	w.t.Helper()
	var got []api.InboxMessage
	err := w.do(p, "lease", func(ctx context.Context, a *agent.Agent) (err error) {
		got, err = a.Lease(ctx, api.LeaseRequest{Max: 1})
		return err
	})
	if err != nil {
		w.t.Fatalf("%s leases: %v", p.Name, err)
	}
	for _, m := range got {
		w.mu.Lock()
		p.note(Event{Kind: Leased, Peer: w.name(m.From), ID: m.ID})
		w.mu.Unlock()
		err := w.do(p, "acknowledge", func(ctx context.Context, a *agent.Agent) error {
			_, err := a.Ack(ctx, m.ID, api.AckRequest{})
			return err
		})
		if err != nil {
			w.t.Fatalf("%s acknowledges: %v", p.Name, err)
		}
		w.mu.Lock()
		p.note(Event{Kind: Settled, Peer: w.name(m.From), ID: m.ID, State: string(api.InboxHandled)})
		w.mu.Unlock()
	}
	return len(got) > 0
}

// Shown lists what a person was shown of a peer, by the names the peer gave.
func (p *Person) Shown(peer *Person) []string {
	names := make(map[string]string, len(peer.sent))
	for name, id := range peer.sent {
		names[id] = name
	}
	var arrivals []string
	for at, in := range p.rows.in {
		if in.Peer == peer.AMID() {
			arrivals = append(arrivals, at)
		}
	}
	slices.Sort(arrivals)
	shown := make([]string, 0, len(arrivals))
	for _, at := range arrivals {
		shown = append(shown, names[p.rows.in[at].ID.String()])
	}
	return shown
}
