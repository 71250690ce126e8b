package relay

import (
	"sync"
	"time"

	"amesh/identity"

	"golang.org/x/time/rate"
)

// rates counts what agents send. Counters belong to the AMID, not to the
// connection, so reconnecting resets nothing. It is safe for concurrent use.
type rates struct {
	limits Limits

	mu     sync.Mutex
	agents map[identity.AMID]*counters
}

type counters struct {
	last           time.Time
	window         time.Time
	sends, knocks  int
	relay, queries *rate.Limiter
}

func newRates(l Limits) *rates {
	return &rates{limits: l, agents: map[identity.AMID]*counters{}}
}

func (r *rates) of(who identity.AMID, now time.Time) *counters {
	c := r.agents[who]
	if c == nil {
		r.makeRoom()
		c = &counters{
			window:  now,
			relay:   rate.NewLimiter(rate.Limit(r.limits.SendRate), r.limits.SendBurst),
			queries: rate.NewLimiter(rate.Limit(r.limits.QueryRate), r.limits.QueryBurst),
		}
		r.agents[who] = c
	}
	c.last = now
	return c
}

// legacy counts messages of a client without "ack" in its fixed window
// (AgentMesh §2.5). It counts all of them or none; if none, it says how long the
// window lasts.
func (r *rates) legacy(who identity.AMID, sends, knocks int, now time.Time) (retry time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.of(who, now)
	if now.Sub(c.window) >= r.limits.LegacyWindow {
		c.window, c.sends, c.knocks = now, 0, 0
	}
	if sends > 0 && c.sends+sends > r.limits.LegacySends || knocks > 0 && c.knocks+knocks > r.limits.LegacyKnocks {
		return c.window.Add(r.limits.LegacyWindow).Sub(now), false
	}
	c.sends += sends
	c.knocks += knocks
	return 0, true
}

// message takes a token for a message of a client with "ack" and says how long
// to hold it back. Holding back a little keeps the order that a refusal in the
// middle of a burst would break.
func (r *rates) message(who identity.AMID, now time.Time) (wait time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spend(r.of(who, now).relay, 1, now)
}

// query takes n tokens for any other frame.
func (r *rates) query(who identity.AMID, n int, now time.Time) (wait time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spend(r.of(who, now).queries, min(n, r.limits.QueryBurst), now)
}

// weight takes n tokens for the length of a frame that was read already, and says how
// long to wait for that: never longer than for a whole burst.
func (r *rates) weight(who identity.AMID, n int, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(who, now).queries.ReserveN(now, min(n, r.limits.QueryBurst)).DelayFrom(now)
}

func (r *rates) spend(b *rate.Limiter, n int, now time.Time) (time.Duration, bool) {
	token := b.ReserveN(now, n)
	wait := token.DelayFrom(now)
	if wait > r.limits.MaxDelay {
		token.CancelAt(now)
		return wait, false
	}
	return wait, true
}

// sweep forgets agents that were silent for RateMemory.
func (r *rates) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for who, c := range r.agents {
		if now.Sub(c.last) > r.limits.RateMemory {
			delete(r.agents, who)
		}
	}
}

// makeRoom keeps the table bounded between sweeps. Which agent is forgotten is
// left to the map: whoever can make that many keys gains a fresh minute for one.
func (r *rates) makeRoom() {
	for who := range r.agents {
		if len(r.agents) < r.limits.RateEntries {
			return
		}
		delete(r.agents, who)
	}
}
