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
// ClockJump. So a clock set to the wrong day expires nobody's mail (T57), at the
// price that mail outlives a long outage of the relay.
type clock struct {
	store store.Store
	jump  time.Duration

	mu      sync.Mutex
	started time.Time // zero until the row was read
	base    int64     // microseconds at started
}

// now is the clock in microseconds. The first call reads where it stopped.
func (c *clock) now() (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started.IsZero() {
		if err := c.load(); err != nil {
			return 0, err
		}
	}
	return c.base + time.Since(c.started).Microseconds(), nil
}

func (c *clock) load() error {
	wall := time.Now()
	base := wall.UnixMicro()
	err := c.store.View(func(r store.Reader) error {
		v, err := r.Get([]byte{keyClock})
		if err != nil {
			return ignoreMissing(err)
		}
		row := wire.NewReader(v)
		checkVersion(row)
		stopped, then := row.I64(), row.I64()
		passed := min(max(base-then, 0), c.jump.Microseconds())
		base = stopped + passed
		return row.Done()
	})
	if err != nil {
		return err
	}
	c.started, c.base = wall, base
	return nil
}

// save writes where the clock stands beside the wall clock of the same moment.
func (c *clock) save(tx store.Tx, now int64) error {
	w := wire.NewWriter(17)
	w.U8(rowVersion)
	w.I64(now)
	w.I64(time.Now().UnixMicro())
	return tx.Set([]byte{keyClock}, w.Bytes())
}
