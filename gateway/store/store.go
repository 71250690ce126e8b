package store

import (
	"context"
	"errors"
	"time"

	"amesh/gateway/amtp"
)

// Store is an open store. It is safe for concurrent use.
type Store struct {
	woken chan struct{}
}

// Open opens the store at a URL, postgres://… or sqlite://PATH or the path of an SQLite
// file, and brings its tables up to date. Errors are those of sqldb.Open.
func Open(ctx context.Context, url string) (*Store, error) { return nil, errors.ErrUnsupported }

// OpenMemory opens an empty store in a file below dir, or the system's folder for
// temporary files, that is not synced and goes with Close.
func OpenMemory(ctx context.Context, dir string) (*Store, error) { return nil, errors.ErrUnsupported }

// Options are what Run does by itself.
type Options struct {
	// Retention is how long a message is kept after it has ended for all its recipients:
	// acknowledged, delivered elsewhere, or failed; and no shorter than its key counts.
	Retention time.Duration
}

// Run commits what Accept and Finish wait for, gives back the leases of gateways that
// died, and forgets what is older than it has to be, until ctx is done; then it finishes
// what waits, and returns. Accept and Finish wait for it.
func (s *Store) Run(ctx context.Context, o Options) error { return errors.ErrUnsupported }

// Ping asks whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return errors.ErrUnsupported }

// Close closes the store. Run has to have returned.
func (s *Store) Close() error { return nil }

// Kind is "memory", "sqlite" or "postgres".
func (s *Store) Kind() string { return "" }

// Unavailable reports whether an error of the store may pass by waiting.
func Unavailable(err error) bool { return false }

// OnChange sets the function that hears of messages whose state has changed, after the
// commit: those accepted, those they reply to, those finished, acknowledged or redriven.
// It is set before Run, called by one goroutine after another, and must not block.
func (s *Store) OnChange(fn func(messageIDs []string)) {}

// Woken has a value when something became due at once that was not.
func (s *Store) Woken() <-chan struct{} { return s.woken }

// Accept accepts a message: it is on disk when Accept returns nil. A message that its
// origin and sender have sent before, under its key or under its id, is not accepted
// twice: recipients that have it keep it, those that failed are tried again, further
// ones are added to it. Errors are ErrKeyConflict, ErrIDConflict, and those for which
// Unavailable is true.
func (s *Store) Accept(ctx context.Context, m NewMessage) (Receipt, error) {
	return Receipt{}, errors.ErrUnsupported
}

// Message is the message with an id, or ErrNotFound.
func (s *Store) Message(ctx context.Context, id string) (Stored, error) {
	return Stored{}, errors.ErrUnsupported
}

// Status is what became of a message, or ErrNotFound.
func (s *Store) Status(ctx context.Context, id string) (amtp.MessageStatus, error) {
	return amtp.MessageStatus{}, errors.ErrUnsupported
}

// Reply is the first message to an address that says it replies to a message, or
// ErrNotFound.
func (s *Store) Reply(ctx context.Context, to, inReplyTo string) (Stored, error) {
	return Stored{}, errors.ErrUnsupported
}

// List lists messages.
func (s *Store) List(ctx context.Context, q Query) (Listing, error) {
	return Listing{}, errors.ErrUnsupported
}

// Inbox is a page of the messages that a pull agent has not acknowledged.
func (s *Store) Inbox(ctx context.Context, address string, p Page) (InboxPage, error) {
	return InboxPage{}, errors.ErrUnsupported
}

// Ack takes a message out of an inbox, or returns ErrNotFound if it is not in it.
func (s *Store) Ack(ctx context.Context, address, id string, now time.Time) error {
	return errors.ErrUnsupported
}

// Attempts are the tries to deliver a message, oldest first, or ErrNotFound.
func (s *Store) Attempts(ctx context.Context, id string) ([]Attempt, error) {
	return nil, errors.ErrUnsupported
}

// Lease takes jobs that are due, those first that are due for longest.
func (s *Store) Lease(ctx context.Context, r LeaseRequest) ([]Job, error) {
	return nil, errors.ErrUnsupported
}

// Finish writes down what came of jobs. It may have outcomes for some recipients of a
// job only: the others stay leased. What is delivered stays so, whoever says otherwise
// later.
func (s *Store) Finish(ctx context.Context, outcomes []Outcome) error { return errors.ErrUnsupported }

// NextDue is when the next job is due that nobody works on; false: there is none.
func (s *Store) NextDue(ctx context.Context) (time.Time, bool, error) {
	return time.Time{}, false, errors.ErrUnsupported
}

// QueueStats counts what is in the queue.
func (s *Store) QueueStats(ctx context.Context) (QueueStats, error) {
	return QueueStats{}, errors.ErrUnsupported
}

// Queue lists recipients in the queue.
func (s *Store) Queue(ctx context.Context, sel Selection) (Deliveries, error) {
	return Deliveries{}, errors.ErrUnsupported
}

// DeadLetters lists recipients that were given up.
func (s *Store) DeadLetters(ctx context.Context, sel Selection) (Deliveries, error) {
	return Deliveries{}, errors.ErrUnsupported
}

// Redrive puts dead letters back into the queue, due now, and returns how many.
func (s *Store) Redrive(ctx context.Context, sel Selection, now time.Time) (int, error) {
	return 0, errors.ErrUnsupported
}

// Expedite makes what waits in the queue due now, and returns how many.
func (s *Store) Expedite(ctx context.Context, sel Selection, now time.Time) (int, error) {
	return 0, errors.ErrUnsupported
}

// Purge forgets dead letters: their recipients stay failed, and cannot be redriven. It
// returns how many.
func (s *Store) Purge(ctx context.Context, sel Selection) (int, error) {
	return 0, errors.ErrUnsupported
}
