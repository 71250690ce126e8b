package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/node/api"
	"amesh/testnet/plan"
	"amesh/testnet/stage"
)

// mesh is a testnet in memory whose nodes can be made to misbehave.
type mesh struct {
	plan *plan.Plan

	mu      sync.Mutex
	nodes   map[string]*node // by name
	byAMID  map[string]*node
	nextID  int
	changed chan struct{} // closed and made anew with every change

	cannotCut bool
	onCut     func()
	trying    int           // direct paths fail until somebody has tried so often
	misbehave func(m *mail) // told of every message before it is delivered
}

// mail is a message with both of its sides.
type mail struct {
	from, to *node
	body     []byte
	replyTo  string
	out      api.Message
	in       api.InboxItem
	arrived  bool
	again    bool // hand it out once more after it was acknowledged
	vanished bool // the receiver does not list it
}

type node struct {
	api.Backend // what is not here must not be asked
	mesh        *mesh
	name        string
	amid        identity.AMID
	off, cut    bool
	rejects     bool
	allows      string
	all         []*mail // that it sent or got
	keys        map[string]*mail
}

var errOff = errors.New("it is off")

func newMesh(t *testing.T, nodes int) *mesh {
	t.Helper()
	p, err := plan.New(plan.Wish{Name: "fake", Nodes: nodes, Relays: 1, NAT: "none",
		Public: netip.MustParsePrefix("11.77.0.0/24"), Inside: netip.MustParsePrefix("10.77.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{plan: p, nodes: make(map[string]*node), byAMID: make(map[string]*node), changed: make(chan struct{})}
	for i := range p.Nodes {
		n := &node{mesh: m, name: p.Nodes[i].Name, amid: identity.AMID{byte(i + 1)}, keys: make(map[string]*mail)}
		p.Nodes[i].AMID = n.amid.String()
		m.nodes[n.name], m.byAMID[n.amid.String()] = n, n
	}
	return m
}

func (m *mesh) Plan() *plan.Plan                                 { return m.plan }
func (m *mesh) URL(string) string                                { return m.plan.Relays[0].URL() }
func (m *mesh) Up(context.Context) error                         { return nil }
func (m *mesh) Down(context.Context) error                       { return nil }
func (m *mesh) Close() error                                     { return nil }
func (m *mesh) Impair(context.Context, string, stage.Line) error { return nil }
func (m *mesh) Node(name string) (api.Backend, error)            { return m.nodes[name], nil }
func (m *mesh) Kill(_ context.Context, name string) error {
	return m.set(name, func(n *node) { n.off = true })
}
func (m *mesh) Start(_ context.Context, name string) error {
	return m.set(name, func(n *node) { n.off = false })
}
func (m *mesh) Heal(ctx context.Context, name string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return m.set(name, func(n *node) { n.cut = false })
}

func (m *mesh) Cut(_ context.Context, name string) error {
	if m.cannotCut {
		return fmt.Errorf("cut %s: %w", name, stage.ErrCannot)
	}
	if m.onCut != nil {
		m.onCut()
	}
	return m.set(name, func(n *node) { n.cut = true })
}

// set changes a node; relays are not worth anything here.
func (m *mesh) set(name string, change func(*node)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[name]; n != nil {
		change(n)
		for _, one := range n.all {
			m.deliver(one)
		}
	}
	m.wake()
	return nil
}

func (m *mesh) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// deliver brings a message to its receiver, if it can be reached.
func (m *mesh) deliver(one *mail) {
	if one.arrived || one.out.State.Terminal() || one.from.off || one.to.off || one.from.cut || one.to.cut {
		return
	}
	if one.to.rejects && one.to.allows != one.from.amid.String() {
		one.out.State, one.arrived = api.StateRefused, true
		return
	}
	one.arrived, one.out.State = true, api.StateDelivered
	if m.misbehave != nil {
		m.misbehave(one)
	}
}

func (n *node) Identity(context.Context, string) (api.Identity, error) {
	return api.Identity{AMID: n.amid}, nil
}

func (n *node) Status(context.Context, string) (api.Status, error) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	if n.off {
		return api.Status{}, errOff
	}
	s := api.Status{Relays: []api.Relay{{URL: n.mesh.plan.Relays[0].URL(), State: "connected"}}, DHT: api.DHT{Published: true}}
	for _, one := range n.all {
		peer := one.to
		if peer == n {
			peer = one.from
		}
		s.Peers = append(s.Peers, api.Peer{AMID: peer.amid, Path: api.PathDirect})
	}
	return s, nil
}

func (n *node) Why(context.Context, string, string) (api.Why, error) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	if n.mesh.trying > 0 {
		return api.Why{Path: api.PathRelayed, Text: "nobody answers"}, nil
	}
	return api.Why{Path: api.PathPunched, Reason: api.WhyConnected}, nil
}

func (n *node) TryDirect(context.Context, string, string) (api.Why, error) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	n.mesh.trying--
	return api.Why{}, nil
}

func (n *node) SetPolicy(_ context.Context, _ string, c api.PolicyChange) (api.Policy, error) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	if c.Key == "allow" {
		n.allows = c.Value
	} else {
		n.rejects = c.Value == "reject"
	}
	return api.Policy{}, nil
}

func (n *node) Send(_ context.Context, _ string, r api.SendRequest, key string) (api.Message, error) {
	m := n.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	if n.off {
		return api.Message{}, errOff
	}
	if known := n.keys[key]; known != nil && key != "" {
		return known.out, nil
	}
	m.nextID++
	id := fmt.Sprintf("m%d", m.nextID)
	to := m.byAMID[r.To]
	one := &mail{from: n, to: to, body: r.Body, replyTo: r.ReplyTo,
		out: api.Message{ID: id, To: to.amid, State: api.StateAccepted, Created: time.Now()},
		in:  api.InboxItem{ID: id, From: n.amid, State: api.InboxNew, ReplyTo: r.ReplyTo, SentAt: time.Now()}}
	n.all, to.all, n.keys[key] = append(n.all, one), append(to.all, one), one
	accepted := one.out
	if to.off {
		one.out.State = api.StateRelayed
	}
	m.deliver(one)
	m.wake()
	return accepted, nil
}

func (n *node) Messages(context.Context, string, int) ([]api.Message, error) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	var list []api.Message
	for _, one := range n.all {
		if one.from == n {
			list = append(list, one.out)
		}
	}
	return list, nil
}

func (n *node) Message(ctx context.Context, _, id string, want api.State, timeout time.Duration) (api.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		n.mesh.mu.Lock()
		i := slices.IndexFunc(n.all, func(one *mail) bool { return one.out.ID == id })
		found, changed := n.all[i].out, n.mesh.changed
		n.mesh.mu.Unlock()
		if want == "" || found.State.Reached(want) || found.State.Terminal() {
			return found, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return found, nil
		}
	}
}

func (n *node) Lease(ctx context.Context, _ string, r api.LeaseRequest) ([]api.InboxMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.WaitSeconds)*time.Second)
	defer cancel()
	for {
		n.mesh.mu.Lock()
		if n.off {
			n.mesh.mu.Unlock()
			return nil, errOff
		}
		var list []api.InboxMessage
		for _, one := range n.all {
			if one.to == n && one.arrived && one.in.State == api.InboxNew && one.out.State != api.StateRefused {
				one.in.State = api.InboxLeased
				list = append(list, api.InboxMessage{InboxItem: one.in, Body: one.body})
			}
		}
		changed := n.mesh.changed
		n.mesh.mu.Unlock()
		if len(list) > 0 {
			return list, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (n *node) Ack(_ context.Context, _, id string, _ api.AckRequest) (api.InboxItem, error) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	for _, one := range n.all {
		if one.to == n && one.in.ID == id {
			one.in.State, one.out.State = api.InboxHandled, api.StateHandled
			if one.again {
				one.again, one.in.State = false, api.InboxNew
			}
		}
	}
	n.mesh.wake()
	return api.InboxItem{}, nil
}

func (n *node) Inbox(context.Context, string, api.InboxQuery) (api.InboxPage, error) {
	n.mesh.mu.Lock()
	defer n.mesh.mu.Unlock()
	var page api.InboxPage
	for _, one := range n.all {
		if one.to == n && one.arrived && !one.vanished && one.out.State != api.StateRefused {
			page.Items = append(page.Items, one.in)
		}
	}
	return page, nil
}
