package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"amesh/internal/sqldb"
)

// migrations are plain SQL, a folder for each kind of database, which differ in types,
// indexes and sequences alone. One that was in a release is never changed.
//
//go:embed migrations
var migrations embed.FS

const (
	// migrationLock is the key of PostgreSQL's advisory lock: "ameshgw1".
	migrationLock = 0x616d657368677731
	// pageSize is that of an SQLite file: a message of 1 KiB leaves little of it empty.
	pageSize = 16384
	// readCache is what each reader of an SQLite file keeps of it in memory, in KiB.
	readCache = 1024
)

// ErrStopped reports that Run has ended.
var ErrStopped = errors.New("the store has stopped")

// Store is an open store. It is safe for concurrent use.
type Store struct {
	db       *sqldb.DB
	postgres bool
	memory   string // the folder to remove
	worker   worker // which leases are ours
	commit   committer

	works   chan *work
	stopped chan struct{} // closed when Run has ended
	woken   chan struct{}
	refused atomic.Pointer[refusal] // nil: the last write was taken

	changed, hurried struct {
		sync.Mutex
		fn func([]string)
	}
}

// Open opens the store at a URL, postgres://… or sqlite://PATH or the path of an SQLite
// file, and brings its tables up to date. Errors are those of sqldb.Open. With SQLite
// whatever an earlier process worked on is due again: there is one gateway to a file, and
// a second one gets sqldb.ErrInUse.
func Open(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, sqldb.Config{})
}

// Bounds are those of the connections to PostgreSQL; the zero value's are the store's own.
// They do nothing for SQLite.
type Bounds struct {
	Connections int           // at most: 16, and no fewer than 4
	IdleTime    time.Duration // how long one is kept that nobody uses: half an hour
}

// OpenBounded is Open with bounds.
func OpenBounded(ctx context.Context, url string, b Bounds) (*Store, error) {
	return open(ctx, url, sqldb.Config{Connections: b.Connections, IdleTime: b.IdleTime})
}

// OpenMemory opens an empty store in a file below dir, or the system's folder for
// temporary files, that is not synced and goes with Close.
func OpenMemory(ctx context.Context, dir string) (*Store, error) {
	dir, err := os.MkdirTemp(dir, "amesh-gateway")
	if err != nil {
		return nil, fmt.Errorf("folder for messages: %w", err)
	}
	s, err := open(ctx, filepath.Join(dir, "gateway.db"), sqldb.Config{Volatile: true})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.memory = dir
	return s, nil
}

func open(ctx context.Context, url string, c sqldb.Config) (*Store, error) {
	kind := "sqlite"
	if sqldb.IsPostgres(url) {
		kind = "postgres"
	}
	dir, err := fs.Sub(migrations, "migrations/"+kind)
	if err != nil {
		return nil, err
	}
	c.Migrations, c.Versions, c.Lock, c.Application = dir, "gw_db_version", migrationLock, "amesh gateway"
	c.Alone = true
	c.ReadCache, c.PageSize, c.Isolation = readCache, pageSize, sql.LevelReadCommitted
	db, err := sqldb.Open(ctx, url, c)
	if err != nil {
		return nil, err
	}
	s := &Store{
		db: db, postgres: db.Kind() == "postgres", works: make(chan *work, maxBatch), stopped: make(chan struct{}),
		woken: make(chan struct{}, 1),
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// prepare takes a worker's number and makes the committer.
func (s *Store) prepare(ctx context.Context) error {
	if s.postgres {
		s.commit = &postgresCommitter{db: s.db}
		return s.worker.register(ctx, s.db)
	}
	lite, err := newLiteCommitter(ctx, s.db)
	if err != nil {
		return err
	}
	s.commit = lite
	s.worker.id = 1
	return s.freeAll(ctx)
}

// Probe asks whether the database answers, and whether it took what was last written: a
// full disk answers everybody.
func (s *Store) Probe(ctx context.Context) error {
	if f := s.refused.Load(); f != nil && time.Since(f.at) < refusalCounts {
		return f.err
	}
	return s.db.Ping(ctx)
}

// refusalCounts is for how long a write that the database refused is held against it,
// unless a later one was taken.
const refusalCounts = 10 * time.Second

// refusal is what the database said to a write, and when.
type refusal struct {
	at  time.Time
	err error
}

// note remembers whether the database took a transaction. One without a message may have
// written nothing, which works on a full disk too.
func (s *Store) note(batch []*work) {
	for _, w := range batch {
		switch {
		case w.err != nil && Unavailable(w.err):
			s.refused.Store(&refusal{time.Now(), w.err})
			return
		case w.err == nil && w.entry != nil:
			s.refused.Store(nil)
		}
	}
}

// Close closes the store. Run has to have returned.
func (s *Store) Close() error {
	err := errors.Join(s.commit.close(), s.worker.close(), s.db.Close())
	if s.memory != "" {
		err = errors.Join(err, os.RemoveAll(s.memory))
	}
	return err
}

// Kind is "memory", "sqlite" or "postgres".
func (s *Store) Kind() string {
	if s.memory != "" {
		return "memory"
	}
	return s.db.Kind()
}

// Unavailable reports whether an error of the store may pass by waiting.
func Unavailable(err error) bool { return errors.Is(err, ErrStopped) || sqldb.Unavailable(err) }

// OnChange sets the function that hears of messages whose state has changed, after the
// commit: those accepted, those they reply to, those finished, acknowledged or redriven.
// It is set before Run, is called by one goroutine at a time, and must not block.
func (s *Store) OnChange(fn func(messageIDs []string)) {
	s.changed.Lock()
	defer s.changed.Unlock()
	s.changed.fn = fn
}

func (s *Store) tellChange(ids []string) {
	s.changed.Lock()
	defer s.changed.Unlock()
	if s.changed.fn != nil && len(ids) > 0 {
		s.changed.fn(ids)
	}
}

// OnHurry sets the function that hears of targets whose jobs Expedite or Redrive is about
// to make due, before they are: whoever delivers them need not leave those alone. It is
// set before Run, is called by one goroutine at a time, in a transaction that may run
// again or fail, and must neither block nor call the store.
func (s *Store) OnHurry(fn func(targets []string)) {
	s.hurried.Lock()
	defer s.hurried.Unlock()
	s.hurried.fn = fn
}

// Woken has a value when something became due at once that was not.
func (s *Store) Woken() <-chan struct{} { return s.woken }

func (s *Store) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}
