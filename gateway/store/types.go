package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"amesh/gateway/amtp"
)

var (
	// ErrNotFound reports a row that is not there.
	ErrNotFound = errors.New("not found")
	// ErrExists reports a row that is there already.
	ErrExists = errors.New("exists already")
	// ErrKeyConflict reports an idempotency key that its sender has used for other content.
	ErrKeyConflict = errors.New("idempotency key used for other content")
	// ErrIDConflict reports a message id that another sender, or other content, has.
	ErrIDConflict = errors.New("message id in use")
	// ErrFull reports further recipients for a message that has amtp.MaxRecipients of them.
	ErrFull = errors.New("too many recipients of one message")
)

// Postmaster, with our domain behind it, is the sender of notices that the gateway itself
// writes.
const Postmaster = "postmaster@"

// Mode is how a recipient gets its messages.
type Mode string

// The modes.
const (
	None   Mode = "" // not at all: failed at the door
	Pull   Mode = "pull"
	Push   Mode = "push"
	Remote Mode = "remote" // by the gateway of its domain
)

// NewMessage is a message to accept.
type NewMessage struct {
	Message *amtp.Message
	// Origin is the domain that answers for the message; keys of one never meet those of
	// another.
	Origin string
	// KeyTTL is how long the idempotency key counts; zero: not at all.
	KeyTTL       time.Duration
	Accepted     time.Time
	Recipients   []NewRecipient
	Verification *amtp.Verification // may be nil
	// FirstAnswer lets a used key with other content get the first answer, instead of
	// ErrKeyConflict.
	FirstAnswer bool
}

// NewRecipient is one recipient of a message to accept. With Pull its State is
// amtp.Delivered, with Push and Remote amtp.Queued, with None amtp.Failed with Code and
// Text. A remote recipient's domain and a push agent's address name its place in the
// queue.
type NewRecipient struct {
	Address amtp.Address
	Mode    Mode
	State   amtp.State
	Code    amtp.Code
	Text    string
}

// Receipt is the answer to a message that was accepted, now or before.
type Receipt struct {
	// MessageID is that of the message which was first accepted under the key.
	MessageID string
	// Repeated says that no recipient was new.
	Repeated bool
	// Status has the recipients of this request, in its order.
	Status amtp.MessageStatus
}

// Stored is a message as it is kept.
type Stored struct {
	MessageID    string
	Origin       string
	Sender       string
	Accepted     time.Time
	Document     []byte   // as of (*amtp.Message).Document
	Recipients   []string // all of them
	Verification *amtp.Verification
	Status       amtp.MessageStatus
}

// Query selects messages. Zero fields select all.
type Query struct {
	Status            amtp.State // of the message as a whole
	Sender, Recipient string
	// Party is an address that has to be the sender or a recipient.
	Party  string
	Since  time.Time // accepted then or later
	Limit  int       // required
	Offset int
	// Bytes is about how much the messages of a page may take in memory; one is always
	// there. No bound: 0.
	Bytes int64
}

// Listing is a page of messages, newest first.
type Listing struct {
	Total    int // how many there are on all pages
	Messages []Stored
}

// Page selects messages of an inbox.
type Page struct {
	Limit  int // required
	Offset int
	Since  time.Time // accepted then or later
	After  string    // message id: those accepted after this one, acknowledged or not; ErrNotFound for one that was never in the inbox
	Bytes  int64     // as of Query
}

// InboxPage is a page of an inbox, oldest first.
type InboxPage struct {
	Messages []Stored
	More     bool // there are more behind it
}

// Attempt is one try to deliver.
type Attempt struct {
	Address    string
	At         time.Time
	State      amtp.State // what it came to
	Code       amtp.Code
	Text       string
	HTTPStatus int // zero: there was no answer
	Took       time.Duration
}

// LeaseRequest asks for work.
type LeaseRequest struct {
	Now   time.Time
	Until time.Time // when others may have it, if it is not finished
	Limit int       // jobs
	// Except are targets to leave alone for now: domains whose breaker is open.
	Except []string
}

// Job is one delivery: a message to the recipients in one domain, or to one push agent.
// Until it is finished or its lease is over, nobody else gets it.
type Job struct {
	MessageID string
	Mode      Mode   // Push or Remote
	Target    string // the domain, or the agent's address
	Sender    string
	Origin    string
	Accepted  time.Time
	// Queued is when the try began to count: Accepted, or when it was redriven.
	Queued     time.Time
	Document   []byte // as of (*amtp.Message).Document
	Recipients []JobRecipient
}

// JobRecipient is a recipient in a job.
type JobRecipient struct {
	Address  string
	Attempts int // since Queued
}

// Outcome is what came of a job for one recipient.
type Outcome struct {
	MessageID string
	Address   string
	At        time.Time
	// State is amtp.Delivered, amtp.Delivering (the peer has taken it over), amtp.Failed
	// (a dead letter from now on), or amtp.Retrying at Next.
	State      amtp.State
	Code       amtp.Code
	Text       string
	HTTPStatus int
	Took       time.Duration
	Next       time.Time
	// Inbox, with amtp.Delivered, puts what was to be pushed into the agent's inbox: it
	// fetches now.
	Inbox bool
	// Untried outcomes put a job back, and count as no attempt.
	Untried bool
	// Notice is a message to accept in the same transaction: the sender hears of a failure.
	Notice *NewMessage
}

// QueueStats is what is in the queue.
type QueueStats struct {
	Queued   int // recipients not tried yet
	Retrying int // recipients tried in vain
	Leased   int // jobs somebody works on
	Dead     int // dead letters
	Oldest   time.Time
	Targets  []TargetStats // those with most first, 100 at most
}

// TargetStats is what waits for one domain or push agent.
type TargetStats struct {
	Target string
	Jobs   int
	Next   time.Time
}

// Selection selects recipients in the queue or dead letters. Its fields all have to
// hold; the zero value selects nothing unless All is set.
type Selection struct {
	All       bool
	MessageID string
	Address   string    // recipient
	Target    string    // domain, or push agent
	Before    time.Time // dead, or queued, before then
	Limit     int       // zero: no limit but MaxChange
	Offset    int       // of listings only
	After     Place     // of changes only: those behind it
}

// MaxChange bounds how many recipients one call changes: each takes a few statements of
// one transaction, which has to end while its caller waits.
const MaxChange = 2000

// Changed is what a call has changed: how many recipients, and, where it left some of its
// selection, the last of them. Called again with that as After, it comes to each of the
// rest once, whatever became of the first meanwhile.
type Changed struct {
	Count int
	Next  Place // zero: none is left
}

// Place is where a recipient is in the order in which changes go.
type Place struct {
	Message int64
	N       int
}

// String is the form that ParsePlace reads; empty for the zero Place.
func (p Place) String() string {
	if p == (Place{}) {
		return ""
	}
	return fmt.Sprintf("%d.%d", p.Message, p.N)
}

// ParsePlace reads what String wrote.
func ParsePlace(s string) (p Place, err error) {
	if s == "" {
		return p, nil
	}
	message, n, _ := strings.Cut(s, ".")
	if p.Message, err = strconv.ParseInt(message, 10, 64); err == nil {
		p.N, err = strconv.Atoi(n)
	}
	if err != nil || p.Message <= 0 || p.N < 0 || p.N >= amtp.MaxRecipients {
		return Place{}, fmt.Errorf("%.40q is no place", s)
	}
	return p, nil
}

// Delivery is a recipient in the queue, or a dead letter.
type Delivery struct {
	MessageID string
	Sender    string
	Address   string
	Mode      Mode
	Target    string
	State     amtp.State
	Attempts  int
	Accepted  time.Time
	Next      time.Time // in the queue: when it is tried again
	Dead      time.Time // a dead letter: since when
	Code      amtp.Code
	Text      string
}

// Deliveries is a page of them: in the queue those first that are due first, of dead
// letters the newest first.
type Deliveries struct {
	Total int
	Items []Delivery
}

// Agent is an agent of the gateway's domain.
type Agent struct {
	Address        string
	Mode           Mode // Pull or Push
	PushTarget     string
	Headers        map[string]string
	PushSecret     string // signs what is pushed
	KeyHash        []byte
	KeyExpires     time.Time // zero: never
	Schemas        []string
	RequiresSchema bool
	Role           string
	Description    string
	Capabilities   []string
	Created        time.Time
	LastAccess     time.Time
}

// Touched is an agent that was heard of.
type Touched struct {
	Address string
	At      time.Time
}

// Schema is a schema of the database registry.
type Schema struct {
	ID         string
	Definition []byte
	Checksum   string
	Signature  string // its publisher's, may be empty
	Published  time.Time
	Updated    time.Time
}

// APIKey is a key for the API; the key itself is nowhere.
type APIKey struct {
	ID       string
	Hash     []byte
	Name     string
	Domain   string // whose requests it proves, may be empty
	Scopes   []string
	Expires  time.Time // zero: never
	Created  time.Time
	LastUsed time.Time
}

// DomainState is what the operator thinks of a domain.
type DomainState string

// The states of domains.
const (
	DomainKnown   DomainState = "known"
	DomainBlocked DomainState = "blocked"
)

// Domain is a domain on the operator's list.
type Domain struct {
	Name    string
	State   DomainState
	Note    string
	Updated time.Time
}
