package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Options say what Open opens.
type Options struct {
	// Logger takes what the owner should know; nil discards it.
	Logger *slog.Logger
	// Schema is what the program expects in the folder.
	Schema Schema
	// Reserve is the free space in bytes that is kept: with less, Update returns
	// ErrNoSpace, except for Updates that delete and write next to nothing. 0 is
	// 64 MiB.
	Reserve int64
	// Lossy says that every row stands for itself, so that writing goes on after a
	// value was lost. Then space is not given back until the next start: Badger
	// would drop what stands behind the damage in the same file.
	Lossy bool

	// free is freeSpace, or what a test has in its place.
	free func(dir string) (int64, error)
}

// Open opens the store in dir, and makes it if it is not there. It returns
// ErrLocked, ErrTooNew or ErrSchema when the folder is not for this process,
// ErrDamaged when it is not whole, and ErrNoSpace when the disk is too full to
// start. The Store must be closed.
//
// In dir lie the file SCHEMA, the folder db, and after a migration its copy
// db.vN.
func Open(dir string, opt Options) (Store, error) {
	if err := opt.check(); err != nil {
		return nil, err
	}
	// Looked at without the lock first, because a folder that is too new is not
	// touched at all.
	if _, err := opt.Schema.readFile(dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := makeFolder(dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := LockFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	d, err := openLocked(dir, opt)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open store: %w", err)
	}
	d.lock = lock
	d.goroutines.Go(d.commitQueue)
	d.goroutines.Go(d.collectGarbage)
	return d, nil
}

func (opt *Options) check() error {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Reserve < 0 {
		return errors.New("open store: negative reserve")
	}
	if opt.Reserve == 0 {
		opt.Reserve = defaultReserve
	}
	if opt.free == nil {
		opt.free = freeSpace
	}
	return opt.Schema.check()
}

// disk is the Store on Badger.
//
// Badger runs in managed mode, where we choose the version of each commit and the
// version each reader sees. In its other mode a reader can see a commit whose
// sync then fails, and would act on what the disk never had. Here a version is
// seen only after its sync.
type disk struct {
	log     *slog.Logger
	reserve int64
	lossy   bool
	db      *badger.DB
	lock    *os.File
	// names belongs to the committer, squeezed to the garbage collector: the newest
	// value log file when it was last squeezed.
	names    logNames
	squeezed int

	gate       gate
	queue      chan *request
	quit       chan struct{}
	goroutines sync.WaitGroup
	closing    sync.Once
	closed     error

	mu       sync.Mutex
	version  uint64         // of the last durable commit
	readers  map[uint64]int // running readers by the version they see
	poison   error
	broken   chan struct{} // closed with the poison
	damage   error         // why there are no more writes, only reads
	syncFail error         // what Badger only logged

	// The seams for tests: a disk that fails cannot be had otherwise.
	commitAt func(txn *badger.Txn, version uint64) error
	free     func() (int64, error)
}

// badgerOptions are small: a store belongs to one agent's machine more often than
// to a server.
func badgerOptions(dir string, log badger.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(log).
		WithSyncWrites(true).
		WithDetectConflicts(false). // one writer has none
		WithMetricsEnabled(false).
		WithMemTableSize(memtableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithNumLevelZeroTablesStall(4).
		WithBaseTableSize(1 << 20).
		WithNumCompactors(2).
		WithBlockCacheSize(1 << 20).
		WithIndexCacheSize(1 << 20).
		WithCompression(options.None).
		WithValueLogFileSize(valueLogSize).
		WithVerifyValueChecksum(true).
		// Badger's default is above what a transaction may hold with a memtable
		// this small, and Open would fail.
		WithValueThreshold(inlineValue)
}

// openLocked does all of Open that needs the lock.
func openLocked(dir string, opt Options) (*disk, error) {
	on, err := opt.Schema.readFile(dir)
	if err != nil {
		return nil, err
	}
	// Before the first write: on a full disk Badger's end in SIGBUS.
	free, err := opt.free(dir)
	if err != nil {
		return nil, err
	}
	if need := min(opt.Reserve, openSpace); free < need {
		return nil, fmt.Errorf("%w: %d bytes free, want %d", ErrNoSpace, free, need)
	}
	data := filepath.Join(dir, dataFolder)
	if err := inspect(data, on != 0); err != nil {
		return nil, err
	}
	if err := dropEmptyLogs(data); err != nil {
		return nil, err
	}
	if on == 0 {
		if on, err = lostSchema(data, opt); err != nil {
			return nil, err
		}
		if on != 0 {
			if err := opt.Schema.writeFile(dir, on); err != nil {
				return nil, err
			}
		}
	}
	if err := opt.Schema.prepare(dir, data, on); err != nil {
		return nil, err
	}
	d, err := openBadger(data, opt)
	if err != nil {
		return nil, err
	}
	err = opt.Schema.settle(d, on)
	if err == nil && on == 0 {
		err = opt.Schema.writeFile(dir, opt.Schema.Version)
	}
	if err == nil {
		err = saveKnown(data)
	}
	if err != nil {
		return nil, errors.Join(err, d.db.Close())
	}
	return d, nil
}

// lostSchema asks the data for its version when there is no schema file, 0 when
// there is no data either. Only Badger can tell, so this is the one case where it
// is opened before we know.
func lostSchema(data string, opt Options) (uint32, error) {
	if entries, err := os.ReadDir(data); len(entries) == 0 {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return 0, err
	}
	d, err := openBadger(data, opt)
	if err != nil {
		return 0, err
	}
	on, err := opt.Schema.readRow(d)
	return on, errors.Join(err, d.db.Close())
}

// openBadger makes a disk that is not yet running.
func openBadger(data string, opt Options) (*disk, error) {
	d := &disk{
		log:     opt.Logger,
		reserve: opt.Reserve,
		lossy:   opt.Lossy,
		names:   logNames{dir: data},
		queue:   make(chan *request, queueLength),
		quit:    make(chan struct{}),
		readers: map[uint64]int{},
		broken:  make(chan struct{}),
	}
	d.commitAt = func(txn *badger.Txn, version uint64) error { return txn.CommitAt(version, nil) }
	d.free = func() (int64, error) { return opt.free(data) }
	lines := &badgerLog{
		log:         opt.Logger,
		syncFailed:  d.syncFailed,
		flushFailed: func(err error) { d.fail(err) },
	}
	var err error
	d.db, err = guarded(func() (*badger.DB, error) { return badger.OpenManaged(badgerOptions(data, lines)) })
	if err != nil {
		return nil, err
	}
	d.version = d.db.MaxVersion()
	d.squeezed = newestLog(data)
	d.db.SetDiscardTs(d.version)
	return d, nil
}

// View implements Store.
func (d *disk) View(f func(Reader) error) error {
	if err := d.gate.enter(); err != nil {
		return err
	}
	defer d.gate.leave()
	s, err := d.snapshot()
	if err != nil {
		return err
	}
	defer s.release()
	return f(s)
}

// Update implements Store.
func (d *disk) Update(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.gate.enter(); err != nil {
		return err
	}
	defer d.gate.leave()
	r := &request{f: f, done: make(chan error, 1)}
	select {
	case d.queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if r.take() {
			return ctx.Err()
		}
		return <-r.done
	}
}

// snapshot is a Reader of one version. It keeps Badger from dropping what it
// sees until it is released.
type snapshot struct {
	d       *disk
	txn     *badger.Txn
	version uint64
}

func (d *disk) snapshot() (*snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// Reads end with the poison too: Badger's memory may hold what its disk
	// does not.
	if d.poison != nil {
		return nil, d.poison
	}
	d.readers[d.version]++
	return &snapshot{d: d, txn: d.db.NewTransactionAt(d.version, false), version: d.version}, nil
}

func (s *snapshot) release() {
	s.txn.Discard()
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if s.d.readers[s.version]--; s.d.readers[s.version] == 0 {
		delete(s.d.readers, s.version)
	}
}

// advance makes a durable commit visible, and lets Badger drop the versions that
// no reader sees any more.
func (d *disk) advance(version uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.version = version
	oldest := version
	for v := range d.readers {
		oldest = min(oldest, v)
	}
	d.db.SetDiscardTs(oldest)
}

func (s *snapshot) Get(key []byte) ([]byte, error) {
	if len(key) == 0 || isReserved(key) {
		return nil, ErrNotFound
	}
	return s.get(key)
}

// get reads reserved keys too.
func (s *snapshot) get(key []byte) ([]byte, error) {
	item, err := s.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	value, err := item.ValueCopy(nil)
	if err == nil && lost(item, value) {
		err = s.d.damaged(item)
	}
	if err != nil {
		return nil, err
	}
	return value, nil
}

func (s *snapshot) Scan(prefix, from []byte, f func(key, value []byte) bool) error {
	it := s.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(start(prefix, from)); it.Valid(); it.Next() {
		item := it.Item()
		if isReserved(item.Key()) {
			continue
		}
		more := true
		err := item.Value(func(value []byte) error {
			if lost(item, value) {
				return s.d.damaged(item)
			}
			more = f(item.Key(), value)
			return nil
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
