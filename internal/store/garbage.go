package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// collectGarbage gives the space of overwritten and deleted values back to the
// disk, every now and then, until the store is closed.
func (d *disk) collectGarbage() {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.squeeze()
			d.collect()
			if err := saveKnown(d.names.dir); err != nil {
				d.log.Warn("list of files not kept", "err", err)
			}
		case <-d.quit:
			return
		}
	}
}

// collect lets Badger rewrite value log files until none is worth it. It does
// nothing on a disk that is nearly full, because a file is rewritten before it is
// dropped; and it poisons a store that could not be written, because what Badger
// rewrites goes through the same logs as our commits.
func (d *disk) collect() {
	for {
		select {
		case <-d.quit:
			return
		default:
		}
		if free, err := d.free(); err != nil || free < d.reserve || d.writable() != nil || d.isDamaged() {
			return
		}
		err := d.attempt(nil, func() error { return d.db.RunValueLogGC(collectRatio) })
		if err == nil {
			err = d.swallowed()
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected):
			return
		case strings.Contains(err.Error(), "already marked for deletion"):
			return // rewritten before; a reader still holds the file
		}
		d.log.Error("value log not rewritten", "err", err)
		d.fail(err)
		return
	}
}

// squeeze makes Badger compact, once enough has gone into the value log.
//
// Badger learns what is garbage in the value log when it compacts, and compacts
// when memtables are full; but a big value fills a memtable with a pointer only.
// Left alone it would let gigabytes of delivered mail pile up before it looks. So
// we fill the memtables with rows of no meaning, at a fraction of what was
// written since the last time.
func (d *disk) squeeze() {
	newest := newestLog(d.names.dir)
	if newest < d.squeezed+squeezeLogs {
		return
	}
	const row, rowsEach = inlineValue - 1, 450
	for filled := 0; filled <= squeezeBytes; filled += row * rowsEach {
		if err := d.fillRows(rowsEach, make([]byte, row)); err != nil {
			return // the owner of the error is whoever writes next
		}
	}
	if err := d.fillRows(rowsEach, nil); err != nil {
		return
	}
	d.squeezed = newest
}

// fillRows sets rows of our own, or deletes them.
func (d *disk) fillRows(n int, value []byte) error {
	return d.Update(context.Background(), func(tx Tx) error {
		for i := range n {
			r := &row{key: fmt.Appendf(nil, "!fill/%03d", i), value: value, gone: value == nil}
			if err := tx.(*overlay).insert(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// newestLog is the number of the newest value log file; they only go up.
func newestLog(dir string) int {
	names, err := filepath.Glob(filepath.Join(dir, "*.vlog"))
	if err != nil || len(names) == 0 {
		return 0
	}
	var n int
	if _, err := fmt.Sscanf(filepath.Base(slices.Max(names)), "%d.vlog", &n); err != nil {
		return 0
	}
	return n
}
