package store

import (
	"errors"
	"fmt"
	"time"
)

// Close implements Store. A second Close waits for the first and says the same.
//
// A poisoned store leaves Badger as it is: closing it would write to the disk
// that failed, and could wait for it for ever. What Badger holds goes with the
// process. On a disk too full to close it is left in the same way, because its
// write would end in SIGBUS; the next start replays its logs.
func (d *disk) Close() error {
	d.closing.Do(func() {
		d.gate.close()
		close(d.quit)
		d.goroutines.Wait()
		d.closed = d.closeBadger()
	})
	return d.closed
}

func (d *disk) closeBadger() error {
	if err := d.poisoned(); err != nil {
		return err
	}
	free, err := d.free()
	if err != nil {
		return d.fail(fmt.Errorf("close: %w", err)) // the folder is gone
	}
	if need := min(d.reserve, closeSpace); free < need {
		return fmt.Errorf("close: %w: %d bytes free, want %d; the next start tidies up", ErrNoSpace, free, need)
	}
	err = d.attempt(time.After(closeWait), d.db.Close)
	if err := d.poisoned(); err != nil {
		return err
	}
	return errors.Join(err, saveKnown(d.names.dir), d.lock.Close())
}

// attempt runs something of Badger's. When the store is poisoned meanwhile, or
// the time is over, it is left behind: it may be waiting for what never comes.
func (d *disk) attempt(over <-chan time.Time, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-d.broken:
		return d.poisoned()
	case <-over:
		return d.fail(errors.New("badger does not come to an end"))
	}
}

func (d *disk) poisoned() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.poison
}

// writable says why there are no more writes. After a lost value reads go on, so
// that its owner can still get at the others.
func (d *disk) writable() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.poison != nil || d.lossy {
		return d.poison
	}
	return d.damage
}

// fail poisons the store and gives the error to answer with.
func (d *disk) fail(cause error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.poison == nil {
		d.poison = fmt.Errorf("%w: %w", ErrPoisoned, cause)
		close(d.broken)
	}
	return d.poison
}
