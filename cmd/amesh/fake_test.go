package main

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"amesh/identity"
	"amesh/node/api"
)

var expires = time.Date(2026, 11, 23, 9, 14, 0, 0, time.UTC)

// fakeNode is a small node in memory: what verbs ask of it, it does.
type fakeNode struct {
	finding

	mu     sync.Mutex
	self   api.Identity
	state  api.State // of whatever is sent
	reason string
	sent   []api.SendRequest
	keys   []string
	inbox  []api.InboxMessage
	acks   map[string]api.AckRequest
	leases map[string]time.Duration
	knocks []api.Knock
	policy map[string]any
	status api.Status
	calls  []string // of Send, Ack and Message, in their order

	contacts []api.Contact
	backup   []api.BackupRequest
	own      api.Keys
	revoked  []api.RevokeRequest
	sessions []api.Session
	fakeHost
	looked
}

var _ api.Backend = (*fakeNode)(nil)

func newFakeNode() *fakeNode {
	return &fakeNode{
		self:   api.Identity{Name: "default", AMID: peer(1), DID: peer(1).DID(), PeerID: "12D3KooWfake", Addrs: []string{"/ip4/127.0.0.1/tcp/1"}},
		state:  api.StateDelivered,
		acks:   map[string]api.AckRequest{},
		leases: map[string]time.Duration{},
		policy: map[string]any{"strangers": "ask"},
	}
}

func peer(n byte) identity.AMID { return identity.AMID{0: n, 19: n} }

func (f *fakeNode) Status(context.Context, string) (api.Status, error)     { return f.status, nil }
func (f *fakeNode) Identity(context.Context, string) (api.Identity, error) { return f.self, nil }
func (f *fakeNode) Peers(context.Context, string) ([]api.Peer, error)      { return f.status.Peers, nil }

func (f *fakeNode) Send(_ context.Context, _ string, r api.SendRequest, key string) (api.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "send "+string(r.Wait))
	f.sent, f.keys = append(f.sent, r), append(f.keys, key)
	return f.message(r.To)
}

func (f *fakeNode) message(to string) (api.Message, error) {
	amid, err := identity.ParseAMID(to)
	if err != nil {
		return api.Message{}, api.Problemf(400, api.CodeInvalid, "%v", err)
	}
	return api.Message{ID: "m1", To: amid, State: f.state, Reason: f.reason, Path: api.PathRelayed,
		Where: "ws://relay.example/v1/connect", Expires: expires}, nil
}

func (f *fakeNode) Message(_ context.Context, _, id string, wait api.State, timeout time.Duration) (api.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "message "+id+" "+string(wait)+" "+timeout.String())
	return f.message(f.sent[len(f.sent)-1].To)
}

func (f *fakeNode) Messages(context.Context, string, int) ([]api.Message, error) { return nil, nil }

func (f *fakeNode) Cancel(_ context.Context, _, id string) (api.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(f.sent) == 0 || id != "m1":
		return api.Message{}, api.Problemf(404, api.CodeNotFound, "no message %s", id)
	case f.state.Terminal():
		return api.Message{}, api.Problemf(409, api.CodeConflict, "%s is %s", id, f.state)
	}
	f.state = api.StateCancelled
	return f.message(f.sent[len(f.sent)-1].To)
}

// Inbox gives pages of q.Limit; the cursor is the last page's last id.
func (f *fakeNode) Inbox(_ context.Context, _ string, q api.InboxQuery) (api.InboxPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var page api.InboxPage
	for _, m := range f.inbox {
		done := m.State != api.InboxNew && m.State != api.InboxLeased
		if done && !q.All || q.Cursor != "" && m.ID <= q.Cursor || q.From != "" && q.From != m.From.String() {
			continue
		}
		if q.Limit > 0 && len(page.Items) == q.Limit {
			page.Next = page.Items[len(page.Items)-1].ID
			break
		}
		page.Items = append(page.Items, m.InboxItem)
	}
	return page, nil
}

func (f *fakeNode) Lease(context.Context, string, api.LeaseRequest) ([]api.InboxMessage, error) {
	return nil, nil
}

func (f *fakeNode) find(id string) (*api.InboxMessage, error) {
	i := slices.IndexFunc(f.inbox, func(m api.InboxMessage) bool { return m.ID == id })
	if i < 0 {
		return nil, api.Problemf(404, api.CodeNotFound, "no message %s", id).WithHint("amesh inbox --all")
	}
	return &f.inbox[i], nil
}

func (f *fakeNode) Read(_ context.Context, _, id string, lease time.Duration) (api.InboxMessage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, err := f.find(id)
	if err != nil {
		return api.InboxMessage{}, err
	}
	f.leases[id] = lease
	return *m, nil
}

func (f *fakeNode) Ack(_ context.Context, _, id string, r api.AckRequest) (api.InboxItem, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "ack "+id)
	m, err := f.find(id)
	if err != nil {
		return api.InboxItem{}, err
	}
	if m.State != api.InboxNew && m.State != api.InboxLeased && m.State != r.Outcome {
		return api.InboxItem{}, api.Problemf(409, api.CodeConflict, "%s is %s", id, m.State)
	}
	m.State, f.acks[id] = r.Outcome, r
	return m.InboxItem, nil
}

func (f *fakeNode) Nack(context.Context, string, string) (api.InboxItem, error) {
	return api.InboxItem{}, nil
}

func (f *fakeNode) Contacts(context.Context, string) ([]api.Contact, error) { return f.contacts, nil }

func (f *fakeNode) contact(text string) (*api.Contact, error) {
	for i := range f.contacts {
		if f.contacts[i].AMID.String() == text || f.contacts[i].Name == text && text != "" {
			return &f.contacts[i], nil
		}
	}
	return nil, api.Problemf(404, api.CodeNotFound, "the key of %s is not known here", text).WithHint("try again later")
}

func (f *fakeNode) Compare(_ context.Context, _, text string) (api.Comparison, error) {
	c, err := f.contact(text)
	if err != nil {
		return api.Comparison{}, err
	}
	return api.Comparison{Agent: "default", Peer: c.AMID, Words: strings.Split("abcdefghijkl", ""), Value: "00ff",
		QR: "amesh:compare:00ff", Verified: c.Verified}, nil
}

func (f *fakeNode) Verify(_ context.Context, _, text string, r api.VerifyRequest) (api.Contact, error) {
	c, err := f.contact(text)
	if err != nil {
		return api.Contact{}, err
	}
	c.Verified = nil
	if r.Matches {
		c.Verified = &expires
	}
	return *c, nil
}

func (f *fakeNode) Keys(_ context.Context, agent string) (api.Keys, error) {
	if agent != "" && agent != f.own.Agent {
		return api.Keys{}, api.Problemf(404, api.CodeNotFound, "no agent named %q", agent)
	}
	return f.own, nil
}

func (f *fakeNode) RotateKeys(ctx context.Context, agent string) (api.Keys, error) {
	f.own.Sequence++
	return f.Keys(ctx, agent)
}

func (f *fakeNode) Revoke(_ context.Context, _ string, r api.RevokeRequest) (api.Revocation, error) {
	f.revoked = append(f.revoked, r)
	v := api.Revocation{AMID: f.own.AMID, Issued: expires, Reason: r.Reason}
	if r.Successor != "" {
		heir := peer(9)
		v.Successor = &heir
	}
	return v, nil
}

func (f *fakeNode) Knocks(context.Context, string) ([]api.Knock, error) { return f.knocks, nil }

func (f *fakeNode) Decide(_ context.Context, _, id string, approve bool, r api.DecideRequest) (api.Knock, error) {
	for i := range f.knocks {
		if f.knocks[i].ID != id {
			continue
		}
		f.knocks[i].State = "rejected"
		if approve {
			f.knocks[i].State = "accepted"
			f.knocks[i].Expires = expires.Add(time.Duration(r.TTLSeconds) * time.Second)
		}
		return f.knocks[i], nil
	}
	return api.Knock{}, api.Problemf(404, api.CodeNotFound, "no knock %s", id)
}

func (f *fakeNode) Sessions(_ context.Context, _, peer string) ([]api.Session, error) {
	var list []api.Session
	for _, s := range f.sessions {
		if peer == "" || s.Peer.String() == peer {
			list = append(list, s)
		}
	}
	return list, nil
}

func (f *fakeNode) Kill(_ context.Context, _, peer string) ([]api.Session, error) {
	for i := range f.sessions {
		if s := &f.sessions[i]; s.Peer.String() == peer && s.State != "closed" {
			s.State, s.Reason = "closed", "done"
			return f.sessions[i : i+1], nil
		}
	}
	return nil, api.Problemf(404, api.CodeNotFound, "no open session with %s", peer)
}

func (f *fakeNode) Block(ctx context.Context, agent, peer string, blocked bool) (api.Policy, error) {
	f.policy["block"] = []string{}
	if blocked {
		f.policy["block"] = []string{peer}
	}
	return f.Policy(ctx, agent)
}

func (f *fakeNode) Policy(context.Context, string) (api.Policy, error) {
	return api.Policy{File: "policy.json", Rules: f.policy, Version: "v1"}, nil
}

func (f *fakeNode) SetPolicy(ctx context.Context, agent string, c api.PolicyChange) (api.Policy, error) {
	switch c.Key {
	case "strangers":
		f.policy[c.Key] = strings.ToLower(c.Value)
	case "block":
		f.policy[c.Key] = []any{}
		for _, amid := range strings.Split(c.Value, ",") {
			f.policy[c.Key] = append(f.policy[c.Key].([]any), amid)
		}
	default:
		return api.Policy{}, api.Problemf(400, api.CodeInvalid, "unknown key %q", c.Key)
	}
	return f.Policy(ctx, agent)
}

func (f *fakeNode) Backup(_ context.Context, r api.BackupRequest) (api.Backup, error) {
	f.backup = append(f.backup, r)
	return api.Backup{File: r.File, Size: 1234, Rows: 5, Agents: []api.Agent{{Name: f.self.Name, AMID: f.self.AMID}}}, nil
}
