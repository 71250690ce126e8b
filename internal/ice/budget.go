package ice

import (
	"net/netip"
	"sync"
	"time"
)

// budget bounds what one attempt sends, and where. A peer names the addresses, so every
// check may go to somebody who never asked for one.
//
// Each address gets its checks spread over the time there is, the first ones close
// together: the two sides start up to a trip through the relay apart, and checks that
// were all spent before the other side began would open no hole. An address that
// answered, or from which the peer was heard, does not wait for its turn.
type budget struct {
	limits Limits

	mu      sync.Mutex
	start   time.Time
	due     []time.Duration // when the nth check to an address may go out
	checks  int
	answers int
	perIP   map[netip.Addr]*spent
	perPair map[pair]*tries
}

// spent is what one IP address was sent, whatever its ports.
type spent struct{ checks, answers int }

// pair is one of our sockets and an address of the peer.
type pair struct {
	socket int
	remote netip.AddrPort
}

// tries is what happened on a pair.
type tries struct {
	sent     int
	last     time.Time
	heard    bool // the peer's checks came from there
	answered bool
	rtt      time.Duration
}

func newBudget(l Limits) *budget {
	return &budget{limits: l, perIP: make(map[netip.Addr]*spent), perPair: make(map[pair]*tries)}
}

// begin starts the clock for so many pairs.
func (b *budget) begin(pairs int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.start, b.due = now, schedule(pairs, b.limits)
}

// schedule is when the checks of one pair may go out, in gaps that double. Some of all
// checks stay reserved for pairs that answer.
func schedule(pairs int, l Limits) []time.Duration {
	n := min(max((l.Checks-l.Reserve)/max(pairs, 1), 2), l.ChecksPerPair)
	due := make([]time.Duration, n)
	for i := range due {
		due[i] = l.Time * time.Duration(int(1)<<i-1) / time.Duration(int(1)<<n)
	}
	return due
}

func (b *budget) of(p pair) *tries {
	t := b.perPair[p]
	if t == nil {
		t = new(tries)
		b.perPair[p] = t
	}
	return t
}

func (b *budget) ip(a netip.Addr) *spent {
	s := b.perIP[a]
	if s == nil {
		s = new(spent)
		b.perIP[a] = s
	}
	return s
}

// check asks whether a check may be sent on p now, and counts it.
func (b *budget) check(p pair, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ip := b.of(p), b.ip(p.remote.Addr())
	if b.checks >= b.limits.Checks || ip.checks >= b.limits.ChecksPerAddress {
		return false
	}
	if !t.due(now, b.start, b.due) {
		return false
	}
	b.checks, ip.checks, t.sent, t.last = b.checks+1, ip.checks+1, t.sent+1, now
	return true
}

// due reports whether the next check may go out. Where the peer is known to be, checks
// follow each other as fast as answers can come back.
func (t *tries) due(now, start time.Time, due []time.Duration) bool {
	switch {
	case t.answered:
		return now.Sub(t.last) >= min(2*t.rtt, heardGap)
	case t.heard:
		return now.Sub(t.last) >= heardGap
	}
	return t.sent < len(due) && now.Sub(start) >= due[t.sent]
}

// answer asks whether a check of the peer may be answered, and counts it.
func (b *budget) answer(p pair) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ip := b.ip(p.remote.Addr())
	if b.answers >= b.limits.Checks || ip.answers >= b.limits.ChecksPerAddress {
		return false
	}
	b.answers, ip.answers = b.answers+1, ip.answers+1
	return true
}

// heard notes that a check of the peer came in on p. It is false for a pair that is one
// more than there may be checks: pion would keep every one, and look at all of them again
// and again.
func (b *budget) heard(p pair) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.perPair[p] == nil && len(b.perPair) >= b.limits.Checks {
		return false
	}
	b.of(p).heard = true
	return true
}

func (b *budget) answered(p pair, rtt time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.of(p); !t.answered {
		t.answered, t.rtt = true, rtt
	}
}

// report returns a copy of what happened on the pairs.
func (b *budget) report() map[pair]tries {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[pair]tries, len(b.perPair))
	for p, t := range b.perPair {
		out[p] = *t
	}
	return out
}
