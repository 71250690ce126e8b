package node

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/dht"
	"amesh/internal/content"
	"amesh/internal/ice"
	"amesh/node/path"
)

// punching is the node's ICE, which all its agents share: there is one set of sockets.
type punching struct {
	*ice.Puncher
	servers func() []string
}

// checkPunching fills in the defaults of what the owner says about direct paths.
func checkPunching(cfg *Config) error {
	switch cfg.Punch {
	case "":
		cfg.Punch = PunchAuto
	case PunchAuto, PunchOff:
	default:
		return fmt.Errorf("punch %q is neither auto nor off", cfg.Punch)
	}
	if len(cfg.STUN) > maxSTUN {
		return fmt.Errorf("%d STUN servers, want at most %d", len(cfg.STUN), maxSTUN)
	}
	for _, at := range cfg.STUN {
		if name, port, err := net.SplitHostPort(at); err != nil || name == "" || port == "" {
			return fmt.Errorf("STUN server %.60q: want HOST:PORT", at)
		}
	}
	if cfg.climb == (path.Limits{}) {
		cfg.climb = path.DefaultLimits()
	}
	return cfg.climb.Check()
}

// newCircuits returns the second way through NATs: the owner's DHT servers are circuit
// relays, too. It is nil where the owner wants no punching, or names no server.
func (m *mesh) newCircuits() (*dht.Circuits, error) {
	if m.node.cfg.Punch == PunchOff || len(m.node.bootstrap) == 0 {
		return nil, nil
	}
	return dht.NewCircuits(dht.CircuitConfig{
		Relays: m.node.bootstrap, Accepted: m.accepted, Logger: m.node.cfg.Logger,
		Addrs: func(ctx context.Context) []string {
			if m.punching == nil {
				return nil
			}
			return m.punching.Addresses(ctx)
		},
	})
}

// accepted reports whether a node belongs to somebody with whom one of our agents has, or
// had, a session, and whom the policy does not block.
func (m *mesh) accepted(id peer.ID) bool {
	policy := m.policy.get()
	for _, r := range m.rooms {
		for _, tenant := range r.paths.tenants(id.String()) {
			if !policy.Blocked(tenant) {
				return true
			}
		}
	}
	return false
}

// met reports whether a node was just told over a circuit where to dial us.
func (m *mesh) met(peerID string) bool {
	id, err := peer.Decode(peerID)
	return err == nil && m.circuits.Met(id)
}

// meeting is how paths meet a peer over a circuit, nil for not at all.
func (m *mesh) meeting() func(context.Context, string) (string, error) {
	if m.circuits == nil {
		return nil
	}
	return m.meet
}

// meet makes a direct connection by way of a circuit.
func (m *mesh) meet(ctx context.Context, peerID string) (string, error) {
	id, err := peer.Decode(peerID)
	if err != nil {
		return "", err
	}
	conn, err := m.circuits.Punch(ctx, id)
	if err != nil {
		return "", err
	}
	return conn.RemoteMultiaddr().String(), nil
}

// newPunching returns nil where the owner wants none.
func (m *mesh) newPunching(sockets *dht.Sockets) (*punching, error) {
	cfg := m.node.cfg
	if cfg.Punch == PunchOff {
		return nil, nil
	}
	p, err := ice.New(ice.Config{Sockets: sockets.Share, Servers: m.stunServers, Sure: m.sureSTUN, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return &punching{p, m.stunServers}, nil
}

// stunServers are those that the owner names, and those beside our relays, each once:
// agents of one node share relays, and only the first few servers are asked.
func (m *mesh) stunServers() []string {
	list := slices.Clone(m.node.cfg.STUN)
	for _, r := range m.rooms {
		for _, at := range r.relays.stun() {
			if !slices.Contains(list, at) {
				list = append(list, at)
			}
		}
	}
	return list
}

// sureSTUN reports whether the owner named a STUN server, or its machine: that of a relay.
func (m *mesh) sureSTUN(server string) bool {
	return slices.Contains(m.node.cfg.STUN, server) || slices.ContainsFunc(m.node.cfg.Relays, func(relay string) bool {
		u, err := url.Parse(relay)
		host, _, err2 := net.SplitHostPort(server)
		return err == nil && err2 == nil && strings.EqualFold(u.Hostname(), host)
	})
}

// forPaths is how paths begin an attempt, nil for no punching.
func (p *punching) forPaths() func(context.Context) (punch, error) {
	if p == nil {
		return nil
	}
	return func(ctx context.Context) (punch, error) {
		a, err := p.Begin(ctx)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(a.Local().Candidates, outside) && len(p.servers()) > 0 {
			a.Close()
			return nil, errSTUN
		}
		return icePunch{a}, nil
	}
}

// icePunch is a punch by package ice.
type icePunch struct{ a *ice.Attempt }

func (p icePunch) local() content.ICEDescription {
	d := p.a.Local()
	return content.ICEDescription{Ufrag: d.Ufrag, Password: d.Password, Candidates: d.Candidates}
}

func (p icePunch) open(ctx context.Context, remote content.ICEDescription, controlling bool) (string, error) {
	res, err := p.a.Punch(ctx, ice.Description{Ufrag: remote.Ufrag, Password: remote.Password, Candidates: remote.Candidates}, controlling)
	return res.Remote, err
}

func (p icePunch) pairs() []path.Pair {
	var list []path.Pair
	for _, one := range p.a.Pairs() {
		v := path.Pair{
			Local: one.Local, LocalType: "host", Remote: one.Remote, RemoteType: one.Kind,
			State: "waiting", Requests: one.Sent, RTT: one.RTT,
		}
		switch {
		case one.Chosen:
			v.State = "chosen"
		case one.Answered:
			v.State = "succeeded"
		case one.Sent > 0:
			v.State = "failed"
		}
		if one.Answered {
			v.Responses = 1
		}
		list = append(list, v)
	}
	return list
}

func (p icePunch) close() { p.a.Close() }
