package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"time"

	"amesh/internal/store"
	"amesh/ratchet"
	"amesh/testnet/lab/bench"
)

// disk is a store in a folder of its own, as a node has it.
type disk struct {
	dir   string
	store store.Store
	key   *store.StateKey
}

func openDisk(parent string) (*disk, error) {
	dir, err := os.MkdirTemp(parent, "benchsession-")
	if err != nil {
		return nil, err
	}
	d := &disk{dir: dir}
	if d.store, err = store.Open(filepath.Join(dir, "state"), store.Options{Schema: store.Schema{Name: "benchsession", Version: 1}}); err == nil {
		d.key, err = store.LoadStateKey(filepath.Join(dir, "state.key"))
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *disk) close() error {
	var err error
	if d.store != nil {
		err = d.store.Close()
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

// keep commits one side of a line: its session, sealed, and the rows that belong to
// it. A window of them is kept: the place of one whose receipt has come is free.
func (d *disk) keep(sd *side, s *ratchet.Session, values [][]byte) error {
	state, err := s.MarshalBinary()
	if err != nil {
		return err
	}
	row := append([]byte("session/"), sd.name[:]...)
	sealed := d.key.Seal(row, state)
	return d.store.Update(context.Background(), func(tx store.Tx) error {
		if err := tx.Set(row, sealed); err != nil {
			return err
		}
		for _, v := range values {
			key := append([]byte("row/"), sd.name[:]...)
			key = binary.BigEndian.AppendUint32(key, sd.kept%window)
			sd.kept++
			if err := tx.Set(key, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// syncTime is the median time that the disk takes for 4 KiB.
func (d *disk) syncTime() (time.Duration, error) {
	f, err := os.Create(filepath.Join(d.dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	times := make([]time.Duration, 51)
	page := make([]byte, 4<<10)
	for i := range times {
		start := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	return bench.Median(times), nil
}
