package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/node/api"
)

// start is when the memory node begins; it has no clock of its own.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var (
	bobAMID  = identity.AMIDOf(identity.PublicKey{2})
	eveAMID  = identity.AMIDOf(identity.PublicKey{3})
	deadline = start.Add(72 * time.Hour)
)

// memory is a node in memory with the agents alice and carol, without a network:
// what is sent stays accepted until the test moves it on. It counts its calls, so
// that a test can tell whether a request came through.
type memory struct {
	calls atomic.Int64
	mu    sync.Mutex
	boxes map[string]*box
	moved chan struct{} // closed and replaced when a state changes
}

// box is what belongs to one agent.
type box struct {
	out    []api.Message
	keys   map[string]string // idempotency key to message id
	in     []api.InboxMessage
	knocks []api.Knock
	known  []api.Contact
	own    api.Keys
	lines  []api.Session
	asks   []api.Invite
	rules  map[string]any
}

func newMemory() *memory {
	m := &memory{boxes: make(map[string]*box), moved: make(chan struct{})}
	for _, name := range []string{"alice", "carol"} {
		b := &box{keys: make(map[string]string), rules: map[string]any{"strangers": "ask"}}
		for i, text := range []string{"salve", "quid agis"} {
			b.in = append(b.in, api.InboxMessage{Body: []byte(text), InboxItem: api.InboxItem{
				ID: fmt.Sprintf("in-%d", i+1), From: bobAMID, State: api.InboxNew, Intent: "greet", ReceivedAt: start,
				SentAt: start, Size: int64(len(text)), SHA256: sum([]byte(text)), Path: api.PathDirect, Sequence: uint64(i + 1)}})
		}
		for i, state := range []string{"pending", "pending", "rejected"} {
			b.knocks = append(b.knocks, api.Knock{ID: fmt.Sprintf("k-%d", i+1), Agent: name, Peer: eveAMID, Direction: "in",
				Intent: "travel/flights", State: state, At: start, Expires: deadline})
		}
		b.own = api.Keys{Agent: name, AMID: bobAMID, SigningKey: "AA==", Epoch: 1, Sequence: 1, Created: start, Expires: deadline, Sets: 1}
		b.known = []api.Contact{{AMID: bobAMID, Agent: name, Granted: true}, {AMID: eveAMID, Agent: name}}
		b.lines = []api.Session{{ID: "s-1", Agent: name, Peer: bobAMID, Direction: "out", State: "sending", Type: "conversation", Mode: "private",
			Since: &start, LastUsed: start, Limits: api.SessionLimits{Messages: 5, TTLSeconds: 60}, Sent: api.SessionUse{Messages: 1, Bytes: 2}}}
		b.out = []api.Message{{ID: "out-1", To: bobAMID, State: api.StateAccepted, Path: api.PathNone, Expires: deadline,
			Created: start, Changed: start, Size: 2, SHA256: sum([]byte("hi")), Sequence: 1}}
		m.boxes[name] = b
	}
	return m
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// enter counts the call and takes the lock; the caller leaves by m.mu.Unlock.
func (m *memory) enter(agent string) (*box, error) {
	m.calls.Add(1)
	m.mu.Lock()
	if agent == "" {
		agent = "alice"
	}
	if b := m.boxes[agent]; b != nil {
		return b, nil
	}
	return nil, api.Problemf(http.StatusNotFound, api.CodeNotFound, "no agent %q", agent)
}

func pick[T any](items []T, what, id string, idOf func(*T) string) (*T, error) {
	for i := range items {
		if idOf(&items[i]) == id {
			return &items[i], nil
		}
	}
	return nil, api.Problemf(http.StatusNotFound, api.CodeNotFound, "no %s %q", what, id)
}

func conflict(detail string) error {
	return api.Problemf(http.StatusConflict, api.CodeConflict, "%s", detail).WithHint("look first")
}

func (m *memory) Status(_ context.Context, agent string) (api.Status, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Status{}, err
	}
	s := api.Status{Version: "test", Home: "/h", Started: start, PeerID: "12D3", Listen: []string{"/ip4/127.0.0.1/udp/1/quic-v1"},
		Relays: []api.Relay{{URL: "ws://r", State: "connected", Since: start}}, Peers: []api.Peer{}, DHT: api.DHT{Peers: 3, Published: true},
		Queued: len(b.out), Unread: len(b.in), Knocks: len(b.knocks)}
	for name := range m.boxes {
		if agent == "" || agent == name {
			s.Agents = append(s.Agents, api.Agent{Name: name, AMID: bobAMID})
		}
	}
	slices.SortFunc(s.Agents, func(a, b api.Agent) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return s, nil
}

func (m *memory) Identity(_ context.Context, agent string) (api.Identity, error) {
	_, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Identity{}, err
	}
	return api.Identity{Name: agent, AMID: bobAMID, DID: bobAMID.DID(), PeerID: "12D3", Addrs: []string{"/ip4/127.0.0.1"}}, nil
}

func (m *memory) Peers(_ context.Context, agent string) ([]api.Peer, error) {
	_, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	seen := start.Add(time.Minute)
	return []api.Peer{{AMID: bobAMID, Agent: agent, Path: api.PathDirect, Session: "accepted", Granted: true, LastSeen: &seen}}, nil
}

func (m *memory) Contacts(_ context.Context, agent string) ([]api.Contact, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return slices.Clone(b.known), nil
}

func (m *memory) Compare(_ context.Context, agent, peer string) (api.Comparison, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Comparison{}, err
	}
	c, err := pick(b.known, "contact", peer, func(c *api.Contact) string { return c.AMID.String() })
	if err != nil {
		return api.Comparison{}, err
	}
	return api.Comparison{Agent: agent, Peer: c.AMID, Words: []string{"zoo", "abandon"}, Value: "00", QR: "q:00", Verified: c.Verified}, nil
}

func (m *memory) Verify(_ context.Context, agent, peer string, r api.VerifyRequest) (api.Contact, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Contact{}, err
	}
	c, err := pick(b.known, "contact", peer, func(c *api.Contact) string { return c.AMID.String() })
	if err != nil {
		return api.Contact{}, err
	}
	c.Verified = nil
	if r.Matches {
		at := start.Add(time.Hour)
		c.Verified = &at
	}
	return *c, nil
}

func (m *memory) Keys(_ context.Context, agent string) (api.Keys, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Keys{}, err
	}
	return b.own, nil
}

func (m *memory) RotateKeys(_ context.Context, agent string) (api.Keys, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Keys{}, err
	}
	b.own.Sequence++
	return b.own, nil
}

func (m *memory) Revoke(_ context.Context, agent string, r api.RevokeRequest) (api.Revocation, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Revocation{}, err
	}
	if b.own.Revoked != nil {
		return api.Revocation{}, api.Problemf(http.StatusConflict, api.CodeRevoked, "it has left").WithHint("another agent")
	}
	v := api.Revocation{AMID: bobAMID, Issued: start, Reason: r.Reason}
	if r.Issued != nil {
		v.Issued = *r.Issued
	}
	if r.Successor != "" && len(r.Consent) > 0 {
		heir := eveAMID
		v.Successor = &heir
	}
	b.own.Revoked = &v
	return v, nil
}

func (m *memory) Send(ctx context.Context, agent string, r api.SendRequest, key string) (api.Message, error) {
	b, err := m.enter(agent)
	if err != nil {
		m.mu.Unlock()
		return api.Message{}, err
	}
	id, again := b.keys[key]
	if !again || key == "" {
		id = fmt.Sprintf("out-%d", len(b.out)+1)
		b.keys[key] = id
		to, err := identity.ParseAMID(r.To)
		if err != nil {
			m.mu.Unlock()
			return api.Message{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).WithHint("an AMID or a DID")
		}
		b.out = append(b.out, api.Message{ID: id, To: to, State: api.StateAccepted, Path: api.PathNone, Expires: deadline,
			Created: start, Changed: start, Intent: r.Intent, FileName: r.FileName, Thread: r.Thread, ReplyTo: r.ReplyTo,
			Size: int64(len(r.Body)), SHA256: sum(r.Body), Sequence: uint64(len(b.out) + 1)})
	}
	m.mu.Unlock()
	return m.wait(ctx, agent, id, r.Wait, time.Duration(r.TimeoutMS)*time.Millisecond)
}

func (m *memory) Message(ctx context.Context, agent, id string, wait api.State, timeout time.Duration) (api.Message, error) {
	m.calls.Add(1)
	return m.wait(ctx, agent, id, wait, timeout)
}

func (m *memory) wait(ctx context.Context, agent, id string, want api.State, timeout time.Duration) (api.Message, error) {
	over := time.NewTimer(timeout)
	defer over.Stop()
	for {
		b, err := m.enter(agent)
		m.calls.Add(-1) // counted by whoever waits
		var found *api.Message
		if err == nil {
			found, err = pick(b.out, "message", id, func(o *api.Message) string { return o.ID })
		}
		if err != nil {
			m.mu.Unlock()
			return api.Message{}, err
		}
		msg, moved := *found, m.moved
		m.mu.Unlock()
		if want == "" || msg.State.Terminal() || msg.State.Reached(want) {
			return msg, nil
		}
		select {
		case <-moved:
		case <-over.C:
			return msg, nil
		case <-ctx.Done():
			return api.Message{}, ctx.Err()
		}
	}
}

// move puts a message into another state.
func (m *memory) move(agent, id string, s api.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.boxes[agent].out {
		if o := &m.boxes[agent].out[i]; o.ID == id {
			o.State = s
		}
	}
	close(m.moved)
	m.moved = make(chan struct{})
}

func (m *memory) Messages(_ context.Context, agent string, limit int) ([]api.Message, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	all := slices.Clone(b.out)
	slices.Reverse(all)
	if limit > 0 && limit < len(all) {
		all = all[:limit]
	}
	return all, nil
}

func (m *memory) Cancel(_ context.Context, agent, id string) (api.Message, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Message{}, err
	}
	o, err := pick(b.out, "message", id, func(o *api.Message) string { return o.ID })
	if err != nil {
		return api.Message{}, err
	}
	if o.State.Terminal() {
		return api.Message{}, conflict("the message has reached its end already")
	}
	o.State = api.StateCancelled
	return *o, nil
}

func (m *memory) Inbox(_ context.Context, agent string, q api.InboxQuery) (api.InboxPage, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.InboxPage{}, err
	}
	var page api.InboxPage
	for _, i := range b.in {
		open := i.State == api.InboxNew || i.State == api.InboxLeased
		if (q.All || open) && (q.From == "" || q.From == i.From.String()) && i.ID > q.Cursor {
			if q.Limit > 0 && len(page.Items) == q.Limit {
				page.Next = page.Items[len(page.Items)-1].ID
				break
			}
			page.Items = append(page.Items, i.InboxItem)
		}
	}
	return page, nil
}

func (m *memory) Lease(ctx context.Context, agent string, r api.LeaseRequest) ([]api.InboxMessage, error) {
	b, err := m.enter(agent)
	if err != nil {
		m.mu.Unlock()
		return nil, err
	}
	var out []api.InboxMessage
	for i := range b.in {
		if len(out) < max(r.Max, 1) && b.in[i].State == api.InboxNew {
			out = append(out, lease(&b.in[i], r.LeaseSeconds))
		}
	}
	m.mu.Unlock()
	if len(out) > 0 || r.WaitSeconds == 0 {
		return out, nil
	}
	select {
	case <-time.After(time.Duration(r.WaitSeconds) * time.Second):
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func lease(i *api.InboxMessage, seconds int) api.InboxMessage {
	until := start.Add(time.Duration(seconds) * time.Second)
	i.State, i.LeasedUntil = api.InboxLeased, &until
	i.Attempt++
	return *i
}

// item is one incoming message under the lock.
func (m *memory) item(agent, id string, do func(*api.InboxMessage) error) (api.InboxMessage, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.InboxMessage{}, err
	}
	i, err := pick(b.in, "message", id, func(i *api.InboxMessage) string { return i.ID })
	if err == nil {
		err = do(i)
	}
	if err != nil {
		return api.InboxMessage{}, err
	}
	return *i, nil
}

func (m *memory) Read(_ context.Context, agent, id string, d time.Duration) (api.InboxMessage, error) {
	return m.item(agent, id, func(i *api.InboxMessage) error {
		if d > 0 {
			lease(i, int(d/time.Second))
		}
		return nil
	})
}

func (m *memory) Ack(_ context.Context, agent, id string, r api.AckRequest) (api.InboxItem, error) {
	i, err := m.item(agent, id, func(i *api.InboxMessage) error {
		if r.Outcome == "" {
			r.Outcome = api.InboxHandled
		}
		if i.State != api.InboxNew && i.State != api.InboxLeased && i.State != r.Outcome {
			return conflict("the message has another outcome")
		}
		i.State, i.LeasedUntil = r.Outcome, nil
		return nil
	})
	return i.InboxItem, err
}

func (m *memory) Nack(_ context.Context, agent, id string) (api.InboxItem, error) {
	i, err := m.item(agent, id, func(i *api.InboxMessage) error {
		if i.State != api.InboxLeased {
			return conflict("the message is not leased")
		}
		i.State, i.LeasedUntil = api.InboxNew, nil
		return nil
	})
	return i.InboxItem, err
}

func (m *memory) Knocks(_ context.Context, agent string) ([]api.Knock, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return slices.Clone(b.knocks), nil
}

func (m *memory) Decide(_ context.Context, agent, id string, approve bool, r api.DecideRequest) (api.Knock, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Knock{}, err
	}
	k, err := pick(b.knocks, "knock", id, func(k *api.Knock) string { return k.ID })
	switch {
	case err != nil:
		return api.Knock{}, err
	case k.State != "pending":
		return api.Knock{}, conflict("the knock was answered")
	case approve:
		k.State, k.Rule = "accepted", fmt.Sprintf("owner, for %d s", r.TTLSeconds)
	default:
		k.State, k.Rule = "rejected", "owner"
	}
	return *k, nil
}

func (m *memory) sessions(agent, peer string) ([]*api.Session, error) {
	b, err := m.enter(agent)
	if err != nil {
		return nil, err
	}
	only, err := identity.ParseAMID(peer)
	if peer != "" && err != nil {
		return nil, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err)
	}
	var found []*api.Session
	for i := range b.lines {
		if peer == "" || b.lines[i].Peer == only {
			found = append(found, &b.lines[i])
		}
	}
	return found, nil
}

func (m *memory) Sessions(_ context.Context, agent, peer string) ([]api.Session, error) {
	found, err := m.sessions(agent, peer)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	list := []api.Session{}
	for _, s := range found {
		list = append(list, *s)
	}
	return list, nil
}

func (m *memory) Kill(_ context.Context, agent, peer string) ([]api.Session, error) {
	found, err := m.sessions(agent, peer)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var closed []api.Session
	for _, s := range found {
		if s.State != "closed" {
			s.State, s.Reason = "closed", "done"
			closed = append(closed, *s)
		}
	}
	if len(closed) == 0 {
		return nil, api.Problemf(http.StatusNotFound, api.CodeNotFound, "no open session with %s", peer)
	}
	return closed, nil
}

func (m *memory) Block(_ context.Context, agent, peer string, blocked bool) (api.Policy, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Policy{}, err
	}
	if _, err := identity.ParseAMID(peer); err != nil {
		return api.Policy{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err)
	}
	b.rules = map[string]any{"blocked": blocked}
	return api.Policy{Agent: agent, File: "/h/policy.json", Rules: b.rules, Version: "3"}, nil
}

func (m *memory) Policy(_ context.Context, agent string) (api.Policy, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Policy{}, err
	}
	return api.Policy{Agent: agent, File: "/h/policy.json", Rules: b.rules, Ignored: []string{"mood"}, Version: "1"}, nil
}

func (m *memory) SetPolicy(_ context.Context, agent string, c api.PolicyChange) (api.Policy, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Policy{}, err
	}
	if c.Key != "strangers" {
		p := api.Problemf(http.StatusUnprocessableEntity, api.CodeInvalid, "no key %q", c.Key).WithHint("strangers")
		p.Rule = "known keys"
		return api.Policy{}, p
	}
	b.rules = map[string]any{"strangers": c.Value}
	return api.Policy{Agent: agent, File: "/h/policy.json", Rules: b.rules, Version: "2"}, nil
}

func (m *memory) Backup(_ context.Context, r api.BackupRequest) (api.Backup, error) {
	b, err := m.enter("")
	defer m.mu.Unlock()
	if err != nil {
		return api.Backup{}, err
	}
	if r.File == "/taken" {
		return api.Backup{}, conflict("the file exists")
	}
	return api.Backup{File: r.File, Size: int64(len(r.Passphrase)), Rows: len(r.Recipients) + len(b.out), Agents: []api.Agent{{Name: "alice", AMID: bobAMID}}}, nil
}
