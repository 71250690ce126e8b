package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"amesh/identity"
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

	mu       sync.Mutex
	room     sync.Cond // signalled when incoming was taken
	incoming []arrival
	outcomes []outcome
	jobs     []func() error
	gone     bool         // went home; ask the agent for a new clerk
	reason   string       // why unsealed messages wait, for whoever asks
	boxFull  bool         // the relay said that the peer's mailbox is full
	lastPath api.PathKind // path of the last envelope in either direction

	ctx     context.Context
	loaded  bool
	row     peerRow
	sess    []*session
	flights []*flight              // in order
	byID    map[ratchet.ID]*flight // the same by envelope id
	open    map[uint64]*openRow    // unfinished outgoing messages by sequence
	seen    uint64                 // outgoing rows up to this sequence are in open or finished
	lookup  lookup
	hold    hold
	paused  time.Time // the relay asked us to wait until then
	repeats map[ratchet.ID]time.Time
}

// openRow is what the clerk remembers of an unfinished outgoing message.
type openRow struct {
	row outRow
}

// flight is a flightRow with what only matters while the process lives.
type flight struct {
	flightRow
	order   uint64
	carried bool // handed over, no outcome yet
	tries   int
	next    time.Time // zero: as soon as possible
}

type outcome struct {
	order uint64
	Outcome
}

func newClerk(a *Agent, peer identity.AMID) *clerk {
	c := &clerk{
		a: a, peer: peer, wake: make(chan struct{}, 1),
		byID: make(map[ratchet.ID]*flight), open: make(map[uint64]*openRow),
		repeats: make(map[ratchet.ID]time.Time), lastPath: api.PathNone,
	}
	c.room.L = &c.mu
	return c
}

// poke wakes the clerk.
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
	idleSince := c.a.Clock()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		worked, err := c.work()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, store.ErrNoSpace):
			// Nothing was changed and nothing left the process; the disk may get
			// room again, so the clerk keeps its queue and tries later.
			c.a.Logger.Error("no space to store messages", "peer", c.peer.Short())
			c.loaded = false
		case err != nil:
			c.a.fail(err)
			return
		}
		now := c.a.Clock()
		if worked {
			idleSince = now
			continue
		}
		next := c.nextTime(now)
		if err != nil {
			next = now.Add(time.Second)
		}
		if next.IsZero() {
			next = idleSince.Add(c.a.Limits.IdleClerk)
			if !now.Before(next) && c.a.dismiss(c) {
				return
			}
		}
		timer.Reset(max(next.Sub(now), time.Millisecond))
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
	}
}

func (c *clerk) goHome() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.room.Broadcast()
}

// work does one round and reports whether it did anything.
func (c *clerk) work() (bool, error) {
	if !c.loaded {
		if err := c.load(); err != nil {
			return false, err
		}
	}
	c.mu.Lock()
	jobs := c.jobs
	c.jobs = nil
	n := min(len(c.incoming), c.a.Limits.Batch)
	incoming := c.incoming[:n:n]
	c.incoming = c.incoming[n:]
	outcomes := c.outcomes
	c.outcomes = nil
	c.room.Broadcast()
	c.mu.Unlock()

	for _, f := range jobs {
		if err := f(); err != nil {
			return true, err
		}
	}
	if err := c.takeOutcomes(outcomes); err != nil {
		return true, err
	}
	if err := c.receive(incoming); err != nil {
		c.putBack(incoming)
		return true, err
	}
	if err := c.endOverdue(); err != nil {
		return true, err
	}
	sent, err := c.send()
	return sent || len(jobs)+n+len(outcomes) > 0, err
}

// putBack queues again what could not be committed. It was not acknowledged, and
// whoever brought it will not bring it again on the same connection.
func (c *clerk) putBack(list []arrival) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.incoming = append(list[:len(list):len(list)], c.incoming...)
}

// nextTime is when something is due; zero when nothing is.
func (c *clerk) nextTime(now time.Time) time.Time {
	var next time.Time
	soonest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, f := range c.flights {
		if !f.carried {
			at := f.next
			if at.Before(c.paused) {
				at = c.paused
			}
			if at.IsZero() {
				at = now
			}
			soonest(at)
		}
	}
	for _, o := range c.open {
		soonest(c.endOf(&o.row))
	}
	if s := c.asked(); s != nil {
		soonest(c.giveUpAt(s))
		if !c.lookup.running {
			soonest(c.lookup.next)
		}
	} else if c.sender() == nil && !c.lookup.running && len(c.unsealed()) > 0 {
		soonest(c.lookup.next)
	}
	if !c.row.HoleSince.IsZero() {
		soonest(c.row.HoleSince.Add(c.a.Limits.GapTimeout))
	}
	return next
}

// giveUpAt is when the knock of a session gives way to a new one.
func (c *clerk) giveUpAt(s *session) time.Time {
	if s.Ask == knock.AskDeciding {
		return s.Expires.Add(c.a.Limits.Skew)
	}
	return s.Created.Add(c.a.KnockLimits.RelayWindow)
}

// load reads the peer's state. The clerk loads at its start and after a commit that
// was refused, so that memory never runs ahead of the disk.
func (c *clerk) load() error {
	c.row, c.sess, c.flights = peerRow{}, nil, nil
	clear(c.byID)
	clear(c.open)
	c.seen = 0
	err := c.a.Store.View(func(r store.Reader) error {
		var err error
		if c.row, _, err = getJSON[peerRow](r, c.a.key(rowPeer, c.peer[:])); err != nil {
			return err
		}
		if c.sess, err = c.a.loadSessions(r, c.peer); err != nil {
			return err
		}
		prefix := c.a.key(rowFlight, c.peer[:])
		return scanJSON(r, prefix, nil, func(k []byte, row flightRow) bool {
			row.Data = nil // read again when it is carried again
			f := &flight{flightRow: row, order: readOrder(k)}
			if !f.Promise.IsZero() {
				f.next = c.a.Clock().Add(c.a.Limits.ResendFirst)
			}
			c.flights = append(c.flights, f)
			c.byID[f.ID] = f
			return true
		})
	})
	if err != nil {
		return err
	}
	if err := c.readNewRows(); err != nil {
		return err
	}
	c.loaded = true
	if p := c.row.Places; len(p.PeerIDs)+len(p.Addresses)+len(p.Relays) > 0 {
		c.a.Carrier.Learn(c.peer, p, true)
	}
	return nil
}

func readOrder(key []byte) uint64 {
	var v uint64
	for _, b := range key[len(key)-8:] {
		v = v<<8 | uint64(b)
	}
	return v
}

// readNewRows takes outgoing rows that were submitted since it was last called. The
// store commits in order, so sequences appear without holes.
func (c *clerk) readNewRows() error {
	return c.a.Store.View(func(r store.Reader) error {
		prefix := c.a.key(rowOut, c.peer[:])
		from := c.a.key(rowOut, c.peer[:], be64(c.seen+1))
		return scanJSON(r, prefix, from, func(k []byte, row outRow) bool {
			c.seen = row.Seq
			if !row.State.Terminal() {
				c.open[row.Seq] = &openRow{row: row}
			}
			return true
		})
	})
}

// firstSeq is the lowest sequence that is not finished.
func (c *clerk) firstSeq() uint64 {
	low := c.seen + 1
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
	now := c.a.Clock()
	for _, f := range c.flights {
		if f.Promise.IsZero() || now.After(f.next) {
			f.next = time.Time{}
		}
	}
	c.paused = time.Time{}
	if !c.lookup.running {
		c.lookup.next = now
		c.lookup.wait = 0
	}
	return nil
}
