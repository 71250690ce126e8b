package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// keyFile is where the keys lie. The bytes of a file that is replaced stay on the
// disk until something else happens to be written there, so they are overwritten;
// and because a file without a name cannot be found again after a crash, none
// loses its last name before that.
//
//	state.key        the keys
//	state.key.new    the next file, until it is whole
//	state.key.erase  the last file, until it is overwritten
//
// On a disk or file system that writes somewhere else instead of in place,
// overwriting reaches the old bytes only as far as the disk cares to.
type keyFile struct {
	path string
	// unsynced is why the folder could not be synced. That is not tried again: a
	// second try may succeed and prove nothing, and then the only file that has a
	// durable name could be overwritten.
	unsynced error
}

// step is a part of a change. The process may end behind any step; what comes next
// then is a load of the file and a new change.
type step func() error

func run(steps []step) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

func (f *keyFile) next() string { return f.path + ".new" }
func (f *keyFile) last() string { return f.path + ".erase" }

// read gives the keys.
func (f *keyFile) read() (*keyring, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a file", ErrKeyFile)
	}
	if !private(fi.Mode()) {
		return nil, fmt.Errorf("%w: mode %04o, want 0600", ErrKeyPermissions, fi.Mode().Perm())
	}
	const largest = 1 << 10
	if fi.Size() > largest {
		return nil, fmt.Errorf("%w: %d bytes", ErrKeyFile, fi.Size())
	}
	data := make([]byte, fi.Size())
	if _, err := file.ReadAt(data, 0); err != nil {
		return nil, err
	}
	return parseKeyring(data)
}

// littered reports whether a replacement was cut short, so that keys lie beside the
// file.
func (f *keyFile) littered() bool {
	for _, name := range []string{f.next(), f.last()} {
		if _, err := os.Lstat(name); err == nil {
			return true
		}
	}
	return false
}

// replace puts data in the file's place, durable, whole or not at all, and
// overwrites the file that was there; before that, what an earlier replacement
// left. With no file it makes the first one.
func (f *keyFile) replace(data []byte) []step {
	return slices.Concat(
		[]step{f.settle},
		f.erase(f.next()),
		f.erase(f.last()),
		[]step{
			f.create,
			f.syncNames, // a secret goes only into what has a durable name
			func() error { return f.write(data) },
			f.keepLast,
			f.syncNames,
			func() error { return os.Rename(f.next(), f.path) },
			f.syncNames,
		},
		f.erase(f.last()),
		[]step{f.syncNames},
	)
}

// settle makes sure that the file is durably the one we see before anything that
// lies beside it is overwritten.
func (f *keyFile) settle() error {
	if !f.littered() {
		return nil
	}
	return f.syncNames()
}

func (f *keyFile) syncNames() error {
	if f.unsynced != nil {
		return f.unsynced
	}
	err := syncFolder(filepath.Dir(f.path))
	if failed := new(fs.PathError); errors.As(err, &failed) && failed.Op == "sync" {
		f.unsynced = fmt.Errorf("%w: %w", ErrPoisoned, err)
		return f.unsynced
	}
	return err
}

func (f *keyFile) create() error {
	file, err := os.OpenFile(f.next(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

func (f *keyFile) write(data []byte) error { return writeInPlace(f.next(), data) }

// keepLast gives the file that is about to be replaced a second name.
func (f *keyFile) keepLast() error {
	if _, err := os.Lstat(f.path); errors.Is(err, fs.ErrNotExist) {
		return nil // there is none
	}
	return os.Link(f.path, f.last())
}

// erase overwrites a file and removes it, if it is there.
func (f *keyFile) erase(name string) []step {
	return []step{
		func() error { return f.overwrite(name) },
		func() error {
			if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		},
	}
}

func (f *keyFile) overwrite(name string) error {
	fi, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a file", ErrKeyFile, name)
	}
	switch file, err := os.Stat(f.path); {
	case err == nil && os.SameFile(file, fi):
		return nil // the file itself: it was not replaced yet
	case err != nil && name == f.last():
		return err // the only keys there are
	}
	// The owner may have made it read-only.
	if err := os.Chmod(name, 0o600); err != nil {
		return err
	}
	return writeInPlace(name, make([]byte, fi.Size()))
}

// writeInPlace writes over the beginning of a file, durably.
func writeInPlace(name string, data []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(data, 0)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
