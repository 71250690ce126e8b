package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// inspect looks for damage before Badger is opened, and changes nothing. Badger
// would start empty without its manifest and delete the tables that are not in
// it, and it ends the process at a damaged table, on a goroutine of its own where
// we cannot recover. settled says that there must be data.
func inspect(dir string, settled bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damagef("%v", p)
		}
	}()
	manifest, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return inspectEmpty(dir, settled)
	}
	if err != nil {
		return err
	}
	known, err := readKnown(dir)
	if err != nil {
		return err
	}
	if known.hasMore(manifest) {
		return damagef("%s is cut off", badger.ManifestFilename)
	}
	if newest := newestLog(dir); newest < known.newestLog {
		// Badger would give its number to a new file, and old pointers would
		// point into that.
		return damagef("value log %d is missing, the newest is %d", known.newestLog, newest)
	}
	if err := inspectTables(dir); err != nil {
		return err
	}
	if _, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true}); err != nil {
		return openError(err)
	}
	return nil
}

// inspectEmpty refuses a folder without a manifest unless it is a new one: Badger
// makes the manifest before any other file that counts.
func inspectEmpty(dir string, settled bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data := slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return isLog(e) || strings.HasSuffix(e.Name(), ".sst")
	})
	if settled || data {
		return damagef("%s is missing", badger.ManifestFilename)
	}
	return nil
}

// inspectTables reads every table of the manifest.
func inspectTables(dir string) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, 0, badger.Options{})
	if err != nil {
		return damagef("%s: %w", badger.ManifestFilename, err)
	}
	for id := range manifest.Tables {
		name := table.NewFilename(id, dir)
		data, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			err = checkTable(data)
		}
		if err != nil {
			return damagef("table %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

var (
	errCut      = errors.New("cut off")
	errChecksum = errors.New("wrong checksum")
)

// checkTable verifies all of a table: its blocks, then the index that lists them.
//
//	blocks ‖ index ‖ length (4) ‖ checksum ‖ length (4)
func checkTable(data []byte) error {
	rest, sum, err := cutLast(data)
	if err != nil {
		return err
	}
	_, index, err := cutLast(rest)
	if err != nil {
		return err
	}
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return errChecksum
	}
	if y.VerifyChecksum(index, &want) != nil {
		return errChecksum
	}
	blocks := fb.GetRootAsTableIndex(index, 0)
	var b fb.BlockOffset
	for i := range blocks.OffsetsLength() {
		if !blocks.Offsets(&b, i) {
			return errCut
		}
		from, to := int64(b.Offset()), int64(b.Offset())+int64(b.Len())
		if to > int64(len(data)) {
			return errCut
		}
		if err := checkBlock(data[from:to]); err != nil {
			return err
		}
	}
	return nil
}

// checkBlock verifies one block.
//
//	entries ‖ checksum ‖ length (4)
func checkBlock(data []byte) error {
	entries, sum, err := cutLast(data)
	if err != nil {
		return err
	}
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return errChecksum
	}
	if y.VerifyChecksum(entries, &want) != nil {
		return errChecksum
	}
	return nil
}

// cutLast takes the last part off, which is followed by its length.
func cutLast(data []byte) (rest, last []byte, err error) {
	at := len(data) - 4
	if at < 0 {
		return nil, nil, errCut
	}
	n := int64(binary.BigEndian.Uint32(data[at:]))
	if n > int64(at) {
		return nil, nil, errCut
	}
	return data[:at-int(n)], data[at-int(n) : at], nil
}

// guarded opens Badger. What inspect overlooked can still make it panic.
func guarded(open func() (*badger.DB, error)) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = damagef("%v", p)
		}
	}()
	db, err = open()
	if err != nil {
		return nil, openError(err)
	}
	return db, nil
}

// openError finds out what Badger means: it does not wrap the causes of its
// errors. What is not the system's doing is the files'.
func openError(err error) error {
	says := func(what string) bool { return strings.Contains(err.Error(), what) }
	switch {
	case says("Another process is using this Badger database"):
		return ErrLocked
	case says(syscall.ENOSPC.Error()):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	for _, system := range []syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO,
	} {
		if says(system.Error()) {
			return err
		}
	}
	return damagef("%w", err)
}

func damagef(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrDamaged, fmt.Errorf(format, args...))
}

// lost reports whether Badger gave nothing for a value that is something. It logs
// the error of a value log that cannot be read, and returns none.
func lost(item *badger.Item, value []byte) bool { return len(value) == 0 && item.ValueSize() > 0 }

func (d *disk) isDamaged() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.damage != nil
}

// damaged ends writing, unless the store is lossy: who acts on rows of which one
// is missing makes it worse.
func (d *disk) damaged(item *badger.Item) error {
	err := damagef("the value of %q is lost", item.Key())
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.damage == nil {
		d.damage = fmt.Errorf("%w: %w", ErrPoisoned, err)
	}
	return err
}
