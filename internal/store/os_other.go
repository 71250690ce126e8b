//go:build !(linux || darwin || freebsd)

package store

import (
	"io/fs"
	"math"
	"os"
)

// LockFolder leaves the locking to Badger, which locks its own folder on every
// system.
func LockFolder(dir string) (*os.File, error) { return os.Open(os.DevNull) }

// freeSpace is not known here.
func freeSpace(dir string) (int64, error) { return math.MaxInt64, nil }

// syncFolder does nothing: folders cannot be synced here.
func syncFolder(dir string) error { return nil }

// private cannot be told from the mode here.
func private(mode fs.FileMode) bool { return true }
