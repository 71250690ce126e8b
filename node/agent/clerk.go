package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// clerk does everything about one peer. The fields below mu are handed in by other
// goroutines; the rest belongs to the clerk's own.
type clerk struct {
	a    *Agent
	peer identity.AMID
	wake chan struct{}
	home chan struct{} // closed when it works no more

	mu       sync.Mutex
	room     sync.Cond // signalled when incoming was taken
	incoming []arrival
	outcomes []outcome
	jobs     []func() error
	gone     bool         // went home; ask the agent for a new clerk
	reason   string       // why unsealed messages wait, for whoever asks
	boxFull  bool         // the relay said that the peer's mailbox is full
	lastPath api.PathKind // path of the last envelope in either direction

	ctx       context.Context
	batch     int // how much is taken on at a time
	loaded    bool
	row       peerRow
	sess      []*session
	flights   []*flight              // in order
	byID      map[ratchet.ID]*flight // the same by envelope id
	open      map[uint64]*outRow     // unfinished outgoing messages by sequence
	seen      uint64                 // outgoing rows up to this sequence are in open or finished
	given     uint64                 // the last sequence that was given, when the clerk loaded
	lookup    lookup
	mute      bool     // receipts are due that no session can carry
	wish      *joinRow // to enter by the peer's invite; nil: none
	hold      hold
	lost      lost
	trusted   bool          // the peer holds a grant
	recorded  []string      // node peer ids in the peer's signed record
	noOneTime bool          // the next knock uses no one-time keys
	paused    time.Duration // the relay asked us to wait until this uptime
	// strangeSince is from when the peer's relay took only knocks, by uptime; 0: it takes all.
	strangeSince time.Duration
	repeats      map[ratchet.ID]time.Duration
	sentAt       time.Duration // uptime of the last message that was sealed; 0: none
	gotAt        time.Duration // and that was opened
	offered      map[content.Attempt]time.Duration
	echoes       map[content.Nonce]echo
	sentSignals  pace   // offers and answers that were sealed
	gotSignals   pace   // and that came
	sentEchoes   pace   // echoes that were sealed
	gotEchoes    pace   // and that came
	judged       uint64 // the ruling that was applied last
	blocked      bool   // by that one
}

// flight is a flightRow with what only matters while the process lives.
type flight struct {
	flightRow
	order   uint64
	data    []byte // the sealed bytes, until they were handed over once
	carried bool   // handed over, no outcome yet
	tries   int
	next    time.Duration // uptime at which it is sent again
}

func newClerk(a *Agent, peer identity.AMID) *clerk {
	c := &clerk{
		a: a, peer: peer, wake: make(chan struct{}, 1), home: make(chan struct{}),
		byID: make(map[ratchet.ID]*flight), open: make(map[uint64]*outRow),
		offered: make(map[content.Attempt]time.Duration), echoes: make(map[content.Nonce]echo),
		repeats: make(map[ratchet.ID]time.Duration), lastPath: api.PathNone, batch: a.Limits.Batch,
	}
	c.room.L = &c.mu
	return c
}

// nudge wakes the clerk; it reports false when the clerk went home.
func (c *clerk) nudge() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		c.poke()
	}
	return !c.gone
}

// poke wakes the clerk; c.mu is held, or it would go home unseen.
func (c *clerk) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// do runs f on the clerk's goroutine; it reports false when the clerk went home.
func (c *clerk) do(f func() error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	c.jobs = append(c.jobs, f)
	c.poke()
	return true
}

// report takes the carrier's word about a flight.
func (c *clerk) report(order uint64, o Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	c.outcomes = append(c.outcomes, outcome{order, o})
	c.poke()
}

// deliver queues what arrived. It blocks while the queue is full, which slows the
// connection it came from down. It reports false when the clerk went home.
func (c *clerk) deliver(in arrival) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.gone && len(c.incoming) >= c.a.Limits.QueuedPerPeer {
		c.room.Wait()
	}
	if c.gone {
		return false
	}
	c.incoming = append(c.incoming, in)
	c.poke()
	return true
}

// run works until ctx ends or there has been nothing to do for long.
func (c *clerk) run(ctx context.Context) {
	c.ctx = ctx
	defer c.goHome()
	idleSince := c.a.Uptime()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		worked, err := c.work()
		if ctx.Err() != nil {
			return
		}
		if err != nil && !c.bear(err) {
			c.a.fail(err)
			return
		}
		if worked && err == nil {
			idleSince = c.a.Uptime()
			c.batch = c.a.Limits.Batch
			continue
		}
		pause, due := c.pause()
		switch {
		case err != nil:
			pause = c.a.Limits.StorePause
		case !due:
			pause = idleSince + c.a.Limits.IdleClerk - c.a.Uptime()
			if pause <= 0 && c.a.dismiss(c) {
				return
			}
		}
		timer.Reset(max(pause, time.Millisecond))
		wake := c.wake
		if err != nil {
			wake = nil // what comes in meanwhile could not be stored either
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
	}
}

// bear says whether the clerk can go on after an error of the store: nothing was
// changed and nothing left the process. It tries again, with less at a time where it
// was too much.
func (c *clerk) bear(err error) bool {
	switch {
	case errors.Is(err, store.ErrNoSpace):
		c.a.spaceTrouble(true) // or where the mark lies
	case errors.Is(err, store.ErrTooBig):
		c.a.Logger.Error("too much for one transaction", "peer", c.peer.Short(), "batch", c.batch)
		c.batch = max(1, c.batch/2)
	case errors.Is(err, errInviteGone):
		// Used or revoked since the knock was looked at, which finds that out now.
	case errors.Is(err, errOneTimeUnknown):
		// Another clerk's knock used the key; the next try finds that out in good time.
	default:
		return false
	}
	c.loaded = false
	return true
}

// goHome leaves nobody waiting for a clerk that will not come back.
func (c *clerk) goHome() {
	c.a.mu.Lock()
	defer c.a.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if c.a.clerks[c.peer] == c {
		delete(c.a.clerks, c.peer)
	}
	c.room.Broadcast()
	close(c.home)
}

// onClerk has a peer's clerk run f and waits until it did. It returns ErrNotRunning when
// no clerk will, because the agent stops or its store failed, and the error of ctx; f may
// run later all the same then.
func (a *Agent) onClerk(ctx context.Context, peer identity.AMID, f func(*clerk) error) error {
	for {
		c := a.clerk(peer)
		if c == nil {
			return ErrNotRunning
		}
		done := make(chan struct{})
		if !c.do(func() error {
			defer close(done)
			return f(c)
		}) {
			continue
		}
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-c.home:
		}
		select {
		case <-done: // it was the last thing it did
			return nil
		default:
			return ErrNotRunning
		}
	}
}

// round is what a clerk takes on in one round. What is done leaves it.
type round struct {
	jobs     []func() error
	outcomes []outcome
	incoming []arrival
}

// work does one round and reports whether it did anything. What it could not do
// because of an error stays queued: nothing that arrived is acknowledged before it is
// on disk, and whoever brought it will not bring it again on the same connection.
func (c *clerk) work() (bool, error) {
	if !c.loaded {
		if err := c.load(); err != nil {
			return false, err
		}
	}
	r := c.takeRound()
	took := len(r.jobs)+len(r.outcomes)+len(r.incoming) > 0
	did, err := c.doRound(&r)
	if err != nil {
		c.putBack(r)
	}
	return took || did, err
}

func (c *clerk) takeRound() round {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, m := min(len(c.incoming), c.batch), min(len(c.outcomes), c.batch)
	r := round{jobs: c.jobs, incoming: c.incoming[:n:n], outcomes: c.outcomes[:m:m]}
	c.jobs, c.incoming, c.outcomes = nil, c.incoming[n:], c.outcomes[m:]
	c.room.Broadcast()
	return r
}

func (c *clerk) putBack(r round) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jobs = append(r.jobs, c.jobs...)
	c.incoming = append(r.incoming, c.incoming...)
	c.outcomes = append(r.outcomes, c.outcomes...)
}

func (c *clerk) doRound(r *round) (bool, error) {
	if err := c.takeOutcomes(r.outcomes); err != nil {
		return true, err
	}
	r.outcomes = nil
	// Behind the outcomes: one of the jobs may be the Kick that ends their waiting.
	for len(r.jobs) > 0 {
		f := r.jobs[0]
		r.jobs = r.jobs[1:]
		if err := f(); err != nil {
			return true, err
		}
	}
	judged, err := c.judge()
	if err != nil {
		return true, err
	}
	for {
		n := oneKnock(r.incoming)
		if err := c.receive(r.incoming[:n]); err != nil {
			return true, err
		}
		if r.incoming = r.incoming[n:]; len(r.incoming) == 0 {
			break
		}
	}
	ended, err := c.endOverdue()
	if err != nil {
		return ended, err
	}
	sent, err := c.send()
	return judged || ended || sent, err
}

// oneKnock is how many of the arrivals go into one transaction: a second knock waits
// for the next one. It may be the first with another tail, and must find its rows.
func oneKnock(ins []arrival) int {
	knocks := 0
	for i := range ins {
		if ins[i].know != nil {
			if knocks++; knocks > 1 {
				return i
			}
		}
	}
	return len(ins)
}

// pause is how long it is until something is due; due is false when nothing is. What
// is sent again waits by uptime, what expires by the time that is sure.
func (c *clerk) pause() (pause time.Duration, due bool) {
	now, up := c.a.expiry.now(), c.a.Uptime()
	soonest := func(d time.Duration) {
		if !due || d < pause {
			pause, due = d, true
		}
	}
	for _, f := range c.flights {
		if !f.carried && !c.futile(f) && !c.early(f) {
			soonest(max(f.next, c.paused) - up)
		}
	}
	for _, o := range c.open {
		if c.refusedNow(o) || c.shunned(o) {
			soonest(0)
		}
		soonest(c.endOf(o).Sub(now))
	}
	knocking := c.asked()
	if knocking != nil {
		soonest(c.giveUpAt(knocking).Sub(now))
	}
	if (c.sender() == nil || c.joins()) && !c.lookup.running && (knocking != nil || c.needsSession()) {
		soonest(max(c.lookup.next-up, c.row.NotBefore.Sub(now)))
	}
	if knocking == nil && !c.lookup.running {
		if wait, lost := c.nextResume(now, up); lost {
			soonest(max(wait, c.lookup.next-up, c.row.NotBefore.Sub(now)))
		}
	}
	if until := c.pacedUntil(); c.sender() == nil && now.Before(until) && len(c.unsealed()) > 0 {
		soonest(until.Sub(now))
	}
	if c.row.Showing {
		soonest(0)
	}
	if !c.row.HoleSince.IsZero() {
		soonest(c.holeLeft(now))
	}
	return pause, due
}

// giveUpAt is when the knock of a session gives way to a new one.
func (c *clerk) giveUpAt(s *session) time.Time {
	if s.Ask == knock.AskDeciding {
		return s.Expires.Add(c.a.Limits.Skew)
	}
	return s.Created.Add(c.a.KnockLimits.RelayWindow)
}

// postdated reports whether a knock was dated by a clock that has been set back since:
// the peer took it for one of the future and dropped it.
func (c *clerk) postdated(s *session) bool {
	issued := s.Expires.Add(-c.a.Limits.KnockLife)
	return s.Ask != knock.AskDeciding && issued.After(c.a.Clock().Add(c.a.Limits.Skew))
}

// firstSeq is the lowest sequence that is not finished.
func (c *clerk) firstSeq() uint64 {
	low := max(c.seen, c.given) + 1
	for seq := range c.open {
		low = min(low, seq)
	}
	return low
}

// setReason says why unsealed messages wait.
func (c *clerk) setReason(reason string) {
	c.mu.Lock()
	same := c.reason == reason
	c.reason = reason
	c.mu.Unlock()
	if !same {
		c.a.changed.broadcast()
	}
}

func (c *clerk) why() (reason string, path api.PathKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.boxFull {
		return api.ReasonMailboxFull, c.lastPath
	}
	return c.reason, c.lastPath
}

func (c *clerk) usedPath(p api.PathKind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastPath = p
}

// setBoxFull notes whether the peer's mailbox at the relay has room.
func (c *clerk) setBoxFull(full bool) {
	c.mu.Lock()
	same := c.boxFull == full
	c.boxFull = full
	c.mu.Unlock()
	if !same {
		c.a.changed.broadcast()
	}
}

// retryNow forgets all waiting times: something came within reach.
func (c *clerk) retryNow() error {
	up := c.a.Uptime()
	for _, f := range c.flights {
		if f.Promise.IsZero() || up > f.next {
			f.next = 0
		}
	}
	c.paused = 0
	if !c.lookup.running {
		c.lookup.reset()
	}
	return nil
}
