package node

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"amesh/internal/proxy"
	"amesh/node/api"
	"amesh/node/doctor"
	"amesh/relay"
)

// examineTime bounds what a check asks of the network.
const examineTime = 10 * time.Second

// Doctor implements api.Diagnosis.
func (m *mesh) Doctor(ctx context.Context) (api.Doctor, error) {
	cfg := &m.node.cfg
	now := cfg.Clock()
	s, err := m.Status(ctx, "")
	if err != nil {
		return api.Doctor{}, err
	}
	facts := doctor.Facts{Status: s, LAN: cfg.LAN, DHT: len(m.node.bootstrap) > 0, Container: doctor.InContainer("/"), Certificates: m.certificates(ctx)}
	for _, r := range m.rooms {
		facts.Keys = append(facts.Keys, r.agent.Keys())
		facts.Others = append(facts.Others, r.relays.foreignTrouble()...)
		facts.Others = append(facts.Others, r.keyTrouble()...)
	}
	d := api.Doctor{At: now, Version: cfg.Version, Home: cfg.Home, Daemon: true, Checks: doctor.Home(cfg.Home, schema, now)}
	d.Checks = slices.Concat(d.Checks, doctor.System("/"),
		[]api.Check{doctor.Clock(ctx, through(m.node.proxy), slices.Concat(cfg.Relays, cfg.Registries), cfg.Clock)}, doctor.Node(facts, now))
	return d, nil
}

// certificates are the ends of what proves our agents' tiers, as their registries show it.
func (m *mesh) certificates(ctx context.Context) map[string]time.Time {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	ends := make(map[string]time.Time)
	for _, r := range m.rooms {
		l := api.Lookup{AMID: r.agent.AMID()}
		m.lookUpRegistries(ctx, &l)
		if l.Tier.Expires != nil {
			ends[r.agent.Name] = *l.Tier.Expires
		}
	}
	return ends
}

// through opens connections to servers as relays and registries are reached.
func through(p *proxy.Proxy) doctor.Dialer {
	return func(url string) func(context.Context, string, string) (net.Conn, error) { return p.Dialer(url, nil) }
}

// Servers are those that a node would use, and the way to them.
type Servers struct {
	Relays, Registries []string
	STUN               []string     // beside those of the relays
	Proxy              *proxy.Proxy // nil: none
}

// Examine looks at a home in which no node runs, and at the servers that it would use.
func Examine(ctx context.Context, home string, s Servers) []api.Check {
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	list := append(doctor.Home(home, schema, time.Now()), doctor.System("/")...)
	list = append(list, doctor.Clock(ctx, through(s.Proxy), slices.Concat(s.Relays, s.Registries), time.Now))
	for _, url := range s.Relays {
		c := api.Check{Name: "relay", State: api.CheckOK}
		if took, err := relay.Measure(ctx, url, s.Proxy.Dialer(url, nil)); err != nil {
			c.State, c.Text, c.Next = api.CheckFail, fmt.Sprintf("%s: %v", url, err), "amesh netcheck shows whether it is this network"
		} else {
			c.Text = fmt.Sprintf("%s answers, %.4g ms", url, milliseconds(took))
		}
		list = append(list, c)
	}
	return list
}
