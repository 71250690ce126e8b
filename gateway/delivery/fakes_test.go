package delivery_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
	"amesh/gateway/peer"
	"amesh/gateway/store"
	"amesh/gateway/webhook"
)

const ours = "a.test"

// row is a recipient of a message in the queue.
type row struct {
	store.Job
	address  string
	attempts int
	due      time.Time
	leased   time.Time
	state    amtp.State
	code     amtp.Code
}

// queue is gateway/store's queue in memory.
type queue struct {
	mu      sync.Mutex
	rows    []*row
	written []store.Outcome
	woken   chan struct{}
	leases  int
	refuse  error // of Finish, once
}

func newQueue() *queue { return &queue{woken: make(chan struct{}, 1)} }

// add puts a message into the queue, due now.
func (q *queue) add(t testing.TB, sender string, mode store.Mode, more string, to ...string) string {
	t.Helper()
	m, err := amtp.Parse(fmt.Appendf(nil, `{"version":"1.0","sender":%q,"recipients":["%s"],"subject":"S","payload":{"n":1}%s}`,
		sender, strings.Join(to, `","`), more), amtp.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	q.mu.Lock()
	for _, r := range m.Recipients {
		target := r.Domain
		if mode == store.Push {
			target = r.String()
		}
		q.rows = append(q.rows, &row{
			Job:     store.Job{MessageID: m.MessageID, Mode: mode, Target: target, Sender: sender, Accepted: now, Queued: now, Document: m.Document()},
			address: r.String(), due: now, state: amtp.Queued,
		})
	}
	q.mu.Unlock()
	select {
	case q.woken <- struct{}{}:
	default:
	}
	return m.MessageID
}

func (q *queue) open(r *row) bool { return r.state == amtp.Queued || r.state == amtp.Retrying }

func (q *queue) Lease(_ context.Context, l store.LeaseRequest) ([]store.Job, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leases++
	slices.SortStableFunc(q.rows, func(a, b *row) int { return cmp.Compare(a.due.UnixNano(), b.due.UnixNano()) })
	var jobs []store.Job
	at := make(map[string]int)
	for _, r := range q.rows {
		if !q.open(r) || r.due.After(l.Now) || r.leased.After(l.Now) || slices.Contains(l.Except, r.Target) {
			continue
		}
		name := r.MessageID + r.Target
		i, ok := at[name]
		if !ok {
			if len(jobs) == l.Limit {
				continue
			}
			i = len(jobs)
			at[name] = i
			jobs = append(jobs, r.Job)
		}
		r.leased = l.Until
		jobs[i].Recipients = append(jobs[i].Recipients, store.JobRecipient{Address: r.address, Attempts: r.attempts})
	}
	return jobs, nil
}

func (q *queue) Finish(_ context.Context, outcomes []store.Outcome) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.refuse; err != nil {
		q.refuse = nil
		return err
	}
	for _, o := range outcomes {
		i := slices.IndexFunc(q.rows, func(r *row) bool { return r.MessageID == o.MessageID && r.address == o.Address })
		if i < 0 || !q.open(q.rows[i]) {
			return errors.New("no such row")
		}
		r := q.rows[i]
		r.leased, r.due, r.state, r.code = time.Time{}, o.Next, o.State, o.Code
		if !o.Untried {
			r.attempts++
		}
		q.written = append(q.written, o)
	}
	return nil
}

func (q *queue) NextDue(context.Context) (next time.Time, any bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for _, r := range q.rows {
		if q.open(r) && !r.leased.After(now) && (!any || r.due.Before(next)) {
			next, any = r.due, true
		}
	}
	return next, any, nil
}

func (q *queue) Status(_ context.Context, id string) (amtp.MessageStatus, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var s amtp.MessageStatus
	for _, r := range q.rows {
		if r.MessageID == id {
			s.Recipients = append(s.Recipients, amtp.RecipientStatus{Address: r.address})
		}
	}
	return s, nil
}

func (q *queue) Expedite(_ context.Context, sel store.Selection, now time.Time) (store.Changed, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, r := range q.rows {
		if q.open(r) && r.Target == sel.Target && r.due.After(now) {
			r.due = now
			n++
		}
	}
	if n > 0 {
		select {
		case q.woken <- struct{}{}:
		default:
		}
	}
	return store.Changed{Count: n}, nil
}

func (q *queue) Woken() <-chan struct{} { return q.woken }

// states counts recipients by state.
func (q *queue) states() map[amtp.State]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := make(map[amtp.State]int)
	for _, r := range q.rows {
		n[r.state]++
	}
	return n
}

// notices are the messages that outcomes brought with them.
func (q *queue) notices() []*store.NewMessage {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []*store.NewMessage
	for _, o := range q.written {
		if o.Notice != nil {
			all = append(all, o.Notice)
		}
	}
	return all
}

// peers answers for other gateways.
type peers struct {
	send  func(ctx context.Context, domain string, m peer.Outgoing) []peer.Result
	signs bool
}

func (p peers) Send(ctx context.Context, domain string, m peer.Outgoing) []peer.Result {
	return p.send(ctx, domain, m)
}
func (p peers) Signs() bool { return p.signs }

// all is the same result for all recipients.
func all(m peer.Outgoing, r peer.Result) []peer.Result {
	var rs []peer.Result
	for _, to := range m.Recipients {
		r.Recipient = to
		rs = append(rs, r)
	}
	return rs
}

// always answers the same, at once.
func always(r peer.Result) peers {
	return peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result { return all(m, r) }}
}

var (
	taken  = peer.Result{State: amtp.Delivered, HTTPStatus: 200}
	silent = peer.Result{State: amtp.Retrying, Code: amtp.CodeHTTPRequestFailed, Text: "connection refused"}
	denied = peer.Result{State: amtp.Failed, Code: amtp.CodeClientError, Text: "the gateway answered 403", HTTPStatus: 403}
)

// hooks answers for agents.
type hooks func(ctx context.Context, a store.Agent) webhook.Result

func (h hooks) Push(ctx context.Context, a store.Agent, _ []byte) webhook.Result { return h(ctx, a) }

// agents are those of our domain, by address.
type agents map[string]store.Agent

func (a agents) Search(_ context.Context, at amtp.Address) (store.Agent, bool) { return a.Lookup(at) }

func (a agents) Lookup(at amtp.Address) (store.Agent, bool) {
	one, ok := a[at.String()]
	return one, ok
}

var someAgents = agents{
	"user@a.test":   {Address: "user@a.test", Mode: store.Pull},
	"pusher@a.test": {Address: "pusher@a.test", Mode: store.Push, PushTarget: "https://hook.test/"},
}

// start runs a service in the bubble until stop.
func start(t *testing.T, cfg delivery.Config) (s *delivery.Service, stop func()) {
	t.Helper()
	cfg.Domain = ours
	if cfg.Agents == nil {
		cfg.Agents = someAgents
	}
	if cfg.Hooks == nil {
		cfg.Hooks = hooks(func(context.Context, store.Agent) webhook.Result { panic("no push is expected") })
	}
	if cfg.Peers == nil {
		cfg.Peers = peers{send: func(context.Context, string, peer.Outgoing) []peer.Result { panic("no peer is expected") }}
	}
	s, err := delivery.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// bubble is synctest.Test.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}
