package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"amesh/node/api"
)

func (m *memory) Why(_ context.Context, agent, peer string) (api.Why, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Why{}, err
	}
	c, err := pick(b.known, "peer", peer, func(c *api.Contact) string { return c.AMID.String() })
	if err != nil {
		return api.Why{}, err
	}
	return api.Why{Peer: c.AMID, Agent: agent, Path: api.PathRelayed, Reason: api.WhyNATs, Text: "two NATs", Next: "forward a port", Session: "accepted",
		Own: &api.NAT{Type: api.NATSymmetric, Public: []string{"192.0.2.1:5"}}, Since: &start,
		Attempts: []api.Attempt{{Kind: api.AttemptICE, Started: start, TookMS: 12.5, Outcome: api.OutcomeFailed, Error: "no pair",
			Pairs: []api.Pair{{Local: "192.0.2.1:5", LocalType: "host", Remote: "192.0.2.2:6", RemoteType: "srflx", State: "failed", Requests: 7}}}}}, nil
}

func (m *memory) TryDirect(ctx context.Context, agent, peer string) (api.Why, error) {
	return m.Why(ctx, agent, peer)
}

func (m *memory) Ping(_ context.Context, agent, peer string, r api.PingRequest) (api.Ping, error) {
	b, err := m.enter(agent)
	defer m.mu.Unlock()
	if err != nil {
		return api.Ping{}, err
	}
	c, err := pick(b.known, "peer", peer, func(c *api.Contact) string { return c.AMID.String() })
	if err != nil {
		return api.Ping{}, err
	}
	if r.TimeoutMS == 1 {
		return api.Ping{}, api.Problemf(http.StatusGatewayTimeout, api.CodeNoAnswer, "nothing came").WithHint("ask why")
	}
	return api.Ping{Peer: c.AMID, Agent: agent, RTTMS: 1.25, Path: api.PathKind(r.Via), Via: "/ip4/192.0.2.1/udp/1/quic-v1"}, nil
}

func (m *memory) Netcheck(_ context.Context, r api.NetcheckRequest) (api.Netcheck, error) {
	_, err := m.enter("")
	defer m.mu.Unlock()
	n := api.Netcheck{At: start, Verdict: api.VerdictDegraded, Text: "so so", Next: "mend it", NAT: api.NAT{Type: api.NATEndpoint}, Daemon: true,
		STUN: []api.STUNResult{}, Relays: []api.RelayCheck{{URL: "wss://r", State: "failed", Error: "no"}}}
	for _, at := range r.STUN {
		n.STUN = append(n.STUN, api.STUNResult{Server: at, Asked: "192.0.2.1:1", Public: "192.0.2.2:2", RTTMS: 1.5})
	}
	return n, err
}

func (m *memory) Bugreport(_ context.Context, r api.BugreportRequest) (api.Bugreport, error) {
	_, err := m.enter("")
	defer m.mu.Unlock()
	return api.Bugreport{Text: fmt.Sprintf("== version\nnames %t\n", r.Names), Sections: []string{"version"}, Replaced: 3, Daemon: true}, err
}

func (m *memory) Doctor(context.Context) (api.Doctor, error) {
	_, err := m.enter("")
	defer m.mu.Unlock()
	return api.Doctor{At: start, Version: "test", Home: "/h", Daemon: true, Checks: []api.Check{
		{Name: "home", State: api.CheckOK, Text: "fine"}, {Name: "disk", State: api.CheckFail, Text: "full", Next: "make room"}}}, err
}

// diagnosis is the part of the story that says how things are.
func diagnosis(ctx context.Context, b api.Backend, agent string, note func(string) func(any, error)) {
	note("Why")(b.Why(ctx, agent, bobAMID.String()))
	note("Why")(b.Why(ctx, agent, "nobody"))
	note("TryDirect")(b.TryDirect(ctx, agent, bobAMID.String()))
	note("Ping")(b.Ping(ctx, agent, bobAMID.String(), api.PingRequest{Via: "direct", TimeoutMS: 5}))
	note("Ping")(b.Ping(ctx, agent, bobAMID.String(), api.PingRequest{TimeoutMS: 1}))
	note("Netcheck")(b.Netcheck(ctx, api.NetcheckRequest{STUN: []string{"s:1"}, Relays: []string{"wss://r"}}))
	note("Bugreport")(b.Bugreport(ctx, api.BugreportRequest{Names: true}))
	note("Doctor")(b.Doctor(ctx))
}
