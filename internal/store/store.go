// Package store keeps the state of a node or a relay: a small ordered map with
// transactions whose commit is on disk before anybody is told of it.
//
// Open gives the real thing, on Badger with synchronous writes. One committer
// goroutine folds all waiting transactions into one synced commit, which is what
// makes honesty cheap: the price of a sync is shared. Memory gives a second
// implementation that can crash at any point, for tests. Both pass the suite in
// storetest.
package store

import (
	"context"
	"errors"
)

var (
	// ErrNotFound is returned by Get for a key without a value.
	ErrNotFound = errors.New("not found")
	// ErrClosed is returned once Close was called.
	ErrClosed = errors.New("store closed")
	// ErrPoisoned is returned for ever after a commit failed in a way that
	// leaves the disk's content unknown. The process must stop (exit 11): trying
	// again proves nothing, because the kernel may have dropped dirty pages.
	ErrPoisoned = errors.New("storage failed")
	// ErrNoSpace is returned when the disk is full; nothing was changed, reads
	// go on, and a later Update may succeed.
	ErrNoSpace = errors.New("no space left")
	// ErrLocked is returned by Open when another process has the folder.
	ErrLocked = errors.New("state is in use by another process")
	// ErrDamaged is returned by Open when files are missing or damaged that were
	// there before, and by Get and Scan for a value that is lost. Open leaves
	// what is there to be looked at; after a lost value all Updates return
	// ErrPoisoned while reads go on, unless Options.Lossy says otherwise.
	ErrDamaged = errors.New("state is damaged")
	// ErrTooNew is returned by Open, before anything is touched, when the state
	// was written by a newer schema than this program knows.
	ErrTooNew = errors.New("state was written by a newer version")
	// ErrSchema is returned by Open when the folder holds another program's
	// state, or state whose schema cannot be told.
	ErrSchema = errors.New("state does not belong to this program")
	// ErrTooBig is returned when a key, a value or all that one Update wrote
	// exceeds what one commit can hold (see the limits in limits.go). The Update
	// leaves nothing, even if f ignored the error.
	ErrTooBig = errors.New("too big for one transaction")
	// ErrKey is returned by Set and Delete for a key that is empty or reserved.
	ErrKey = errors.New("not a usable key")
)

// Store is an ordered map from byte keys to byte values. It is safe for use by
// any number of goroutines.
type Store interface {
	// View runs f on a consistent snapshot. It does not block writers. f must
	// not keep the Reader, nor the slices it was given without copying them.
	View(f func(Reader) error) error

	// Update runs f and commits what it wrote, synced to disk, before it
	// returns nil. Updates run one after the other: f sees everything that
	// earlier Updates wrote, and there are no conflicts. Many waiting Updates
	// share one sync. If f returns an error, nothing of it is kept and the error
	// is returned as it is; other Updates are not harmed. f runs on the
	// committer's goroutine: it must be quick, must not call the Store, and may
	// not panic. When ctx ends before f was started Update returns its error; once
	// started it is waited for, so that the outcome is always known.
	//
	// It returns ErrNoSpace, ErrPoisoned or ErrClosed when the commit could not
	// be made.
	Update(ctx context.Context, f func(Tx) error) error

	// Close waits for running transactions and releases the folder. After an
	// error the folder may be held until the process ends, but what was
	// acknowledged is there at the next start: ErrNoSpace says that there was no
	// room to tidy up, ErrPoisoned that the disk failed.
	Close() error
}

// Reader reads one snapshot, inside View or Update.
type Reader interface {
	// Get returns the value of key, ErrNotFound, or ErrDamaged. The slice is valid until the
	// transaction ends and must not be changed.
	Get(key []byte) ([]byte, error)

	// Scan calls f for every key that starts with prefix and is not below from
	// (nil: from the beginning), in ascending byte order, until f returns false. It returns
	// ErrDamaged at a value that is lost. Key and value are valid only during the call. f must not write.
	Scan(prefix, from []byte, f func(key, value []byte) bool) error
}

// Tx reads and writes, inside Update. It sees its own writes.
type Tx interface {
	Reader
	// Set stores a copy of value under a copy of key. Keys are 1 to 512 bytes,
	// values at most 2 MiB. Keys that begin with "!store!" or "!badger!"
	// belong to the store itself; nobody reads or writes them through this interface.
	Set(key, value []byte) error
	// Delete removes key; a key without a value is no error.
	Delete(key []byte) error
}
