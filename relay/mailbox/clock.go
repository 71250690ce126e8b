package mailbox

import (
	"sync"
	"time"

	"amesh/internal/store"
	"amesh/internal/wire"
)

// clock measures how long messages have waited. It is not the wall clock: it
// runs with the monotonic clock while the relay runs, and across a restart it
// advances by what the wall clock says, but never back and never by more than
// a jump. So a clock set to the wrong day expires nobody's mail (T57), at the
// price that mail outlives a long outage of the relay.
//
// It is safe for concurrent use.
type clock struct {
	jump time.Duration
	wall func() time.Time // time.Now, or a test's

	mu      sync.Mutex
	started time.Time // with the monotonic clock
	base    int64     // microseconds at started
	// seen is the wall clock when it was last compared, at a moment of our own.
	seen  int64
	at    int64
	jumps uint64
}

func newClock(l Limits) *clock { return &clock{jump: l.ClockJump, wall: time.Now} }

// start sets the clock where it was when the wall clock showed then. A clock that
// was never stopped begins with the wall clock's time.
func (c *clock) start(stopped, then int64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = time.Now()
	c.seen = c.wall().UnixMicro()
	c.base = c.seen
	if known {
		passed := c.seen - then
		c.alarm(passed)
		c.base = stopped + min(max(passed, 0), c.jump.Microseconds())
	}
	c.at = c.base
}

// now is the clock in microseconds.
func (c *clock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base + time.Since(c.started).Microseconds()
}

// read is the clock beside the wall clock, and notices when the two have parted
// since the last time.
func (c *clock) read() (now, wall int64) {
	now = c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	wall = c.wall().UnixMicro()
	c.alarm((wall - c.seen) - (now - c.at))
	c.seen, c.at = wall, now
	return now, wall
}

// alarm counts a step of the wall clock that is no drift.
func (c *clock) alarm(step int64) {
	if max(step, -step) > c.jump.Microseconds() {
		c.jumps++
	}
}

func (c *clock) jumped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jumps
}

func encodeClock(now, wall int64) []byte {
	w := wire.NewWriter(21)
	w.U8(rowVersion)
	w.I64(now)
	w.I64(wall)
	return seal([]byte{keyClock}, w.Bytes())
}

// readClock reads where the clock stopped.
func readClock(r store.Reader) (stopped, then int64, known bool, err error) {
	key := []byte{keyClock}
	v, err := r.Get(key)
	if err != nil {
		return 0, 0, false, ignoreMissing(err)
	}
	row, err := unseal(key, v)
	if err != nil {
		return 0, 0, false, err
	}
	stopped, then = row.I64(), row.I64()
	if err := done(row); err != nil {
		return 0, 0, false, err
	}
	return stopped, then, true, nil
}

// save writes where the clock stands beside the wall clock of the same moment.
func (c *clock) save(tx store.Tx) error {
	now, wall := c.read()
	return tx.Set([]byte{keyClock}, encodeClock(now, wall))
}
