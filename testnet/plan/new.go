package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

// Wish is what somebody wants a testnet to be.
type Wish struct {
	Name   string
	Nodes  int
	Relays int
	NAT    string       // mixed or none
	Public netip.Prefix // IPv4, /16 to /24
	Inside netip.Prefix // IPv4, /8 to /16, of which each box gets a /24
}

// DefaultPublic looks as if it were routed on the internet, because libp2p and ICE treat
// other addresses as private ones; it is assigned, but nobody can be reached there.
// DefaultInside are the private addresses behind boxes.
var (
	DefaultPublic = netip.MustParsePrefix("11.77.0.0/24")
	DefaultInside = netip.MustParsePrefix("10.77.0.0/16")
)

// wellNamed is a name that Docker takes for networks and containers.
var wellNamed = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,30}$`)

func (w Wish) check() error {
	switch {
	case !wellNamed.MatchString(w.Name):
		return fmt.Errorf("name %q: want at most 31 of a-z, 0-9, - and _, beginning with a letter or digit", w.Name)
	case w.Nodes < 2 || w.Nodes > MaxNodes:
		return fmt.Errorf("%d nodes: want 2 to %d", w.Nodes, MaxNodes)
	case w.Relays < 1 || w.Relays > MaxRelays:
		return fmt.Errorf("%d relays: want 1 to %d", w.Relays, MaxRelays)
	case w.NAT != "mixed" && w.NAT != "none":
		return fmt.Errorf("nat %q: want mixed or none", w.NAT)
	case !w.Public.IsValid() || !w.Public.Addr().Is4() || w.Public.Bits() < 16 || w.Public.Bits() > 24:
		return fmt.Errorf("public network %s: want an IPv4 network of /16 to /24", w.Public)
	case !w.Inside.IsValid() || !w.Inside.Addr().Is4() || w.Inside.Bits() < 8 || w.Inside.Bits() > 16:
		return fmt.Errorf("inside networks %s: want an IPv4 network of /8 to /16", w.Inside)
	case w.Public.Overlaps(w.Inside):
		return errors.New("the public network and those inside overlap")
	}
	return nil
}

// New makes a plan without keys.
func New(w Wish) (*Plan, error) {
	if err := w.check(); err != nil {
		return nil, fmt.Errorf("testnet: %w", err)
	}
	p := &Plan{Version: 1, Name: w.Name, NAT: w.NAT, Public: w.Public.Masked()}
	for i := range w.Relays {
		p.Relays = append(p.Relays, Relay{Name: fmt.Sprintf("r%d", i+1), Address: host(p.Public, 11+i)})
	}
	inside := w.Inside.Masked()
	for i := range w.Nodes {
		n := Node{Name: fmt.Sprintf("n%d", i+1), Kind: Open, Network: PublicNetwork, Address: host(p.Public, 101+i)}
		if w.NAT == "mixed" {
			n.Kind = mixed[i%len(mixed)]
		}
		if n.Kind != Open {
			n.Network = p.behind(n.Name, n.Kind, host(p.Public, 101+i), inside)
			network, _ := p.NetworkOf(n.Network)
			n.Address = host(network.Prefix, 100)
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p, nil
}

// behind adds what stands between a node and the public network, and returns the name of
// the network that the node is in.
func (p *Plan) behind(node string, kind Kind, outside netip.Addr, inside netip.Prefix) string {
	add := func(box, network string, kind Kind, outsideNetwork string, outside netip.Addr) Network {
		prefix := netip.PrefixFrom(add256(inside.Addr(), len(p.Networks)), 24)
		n := Network{Name: network, Prefix: prefix, Gateway: host(prefix, 2), BoxAddress: host(prefix, 3)}
		p.Networks = append(p.Networks, n)
		p.Boxes = append(p.Boxes, Box{Name: box, Kind: kind, Outside: outsideNetwork, OutsideAddress: outside, Inside: network, Node: node})
		return n
	}
	if kind != Double {
		return add(node+"-box", node+"-net", kind, PublicNetwork, outside).Name
	}
	// The nearer a network is to the public one, the earlier its name in the alphabet: from
	// the first one Docker takes a container's way out.
	outer := add(node+"-outer", node+"-mid", PortRestricted, PublicNetwork, outside)
	return add(node+"-inner", node+"-net", PortRestricted, outer.Name, host(outer.Prefix, 100)).Name
}

// host is the address number i of a network.
func host(p netip.Prefix, i int) netip.Addr {
	a := p.Addr().As4()
	a[3] += byte(i)
	return netip.AddrFrom4(a)
}

// add256 is the address 256 n further on.
func add256(a netip.Addr, n int) netip.Addr {
	b := a.As4()
	b[2] += byte(n)
	return netip.AddrFrom4(b)
}
