// Package plan says what a testnet consists of: which relays, nodes and NAT boxes,
// where each of them is in the networks, and which keys they have. A plan is made once,
// with the folder that it lies in, and everything else follows from it: the compose file,
// the namespaces, and what a node is told when it starts.
//
// Keys are made with the plan, because nodes have to know the peer ids of relays, and
// people the names of nodes, before anything runs.
package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// File is the name of a plan in its folder.
const File = "testnet.json"

// Kind is how a node is connected to the public network.
type Kind string

// The kinds of connections. Everything but Open has a box in front of the node.
const (
	Open           Kind = "open"            // in the public network itself
	FullCone       Kind = "full-cone"       // one outer port for each inner one, open for everybody
	PortRestricted Kind = "port-restricted" // the same, open only for those who were written to
	Symmetric      Kind = "symmetric"       // another outer port for every destination
	UDPBlocked     Kind = "udp-blocked"     // TCP only
	Double         Kind = "double"          // two boxes of kind PortRestricted, one behind the other
)

// mixed is the order in which --nat mixed hands out kinds: two nodes are enough for a
// direct path, three for a pair that can only be relayed.
var mixed = []Kind{Open, PortRestricted, Symmetric, UDPBlocked, FullCone, Double}

// The ports of everything in a testnet with addresses of its own.
const (
	RelayPort  = 8765
	STUNPort   = 3478
	Libp2pPort = 47777
)

// Plan is a testnet. Nothing in it changes once it is written.
type Plan struct {
	Version int    `json:"version"`
	Name    string `json:"name"` // of the testnet, and what the names of its containers begin with
	NAT     string `json:"nat"`  // mixed or none
	// Public is the network of relays, open nodes and the outsides of boxes.
	Public netip.Prefix `json:"public"`
	Relays []Relay      `json:"relays"`
	Nodes  []Node       `json:"nodes"`
	Boxes  []Box        `json:"boxes,omitempty"`
	// Networks are those behind boxes, one for each box.
	Networks []Network `json:"networks,omitempty"`
}

// Relay is a relay, which is also a DHT server and a STUN server.
type Relay struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	PeerID  string     `json:"peer_id"`
}

// Node is a node with one agent, which has the node's name.
type Node struct {
	Name    string     `json:"name"`
	Kind    Kind       `json:"kind"`
	Network string     `json:"network"` // "public", or the name of a Network
	Address netip.Addr `json:"address"`
	AMID    string     `json:"amid"`
}

// Box is a NAT box: it has one side in the network Outside and is the way out of the
// network Inside.
type Box struct {
	Name           string     `json:"name"`
	Kind           Kind       `json:"kind"`
	Outside        string     `json:"outside"`
	OutsideAddress netip.Addr `json:"outside_address"`
	Inside         string     `json:"inside"`
	// Node is the node that the box is there for.
	Node string `json:"node"`
}

// Network is a network behind a box.
type Network struct {
	Name   string       `json:"name"`
	Prefix netip.Prefix `json:"prefix"`
	// Gateway is the address of the box's that is everybody's way out. In containers the
	// box has it besides BoxAddress, because Docker gives nobody the address of a gateway.
	Gateway    netip.Addr `json:"gateway"`
	BoxAddress netip.Addr `json:"box_address"`
}

// PublicNetwork is the name of the network that is behind no box.
const PublicNetwork = "public"

// URL is where nodes connect to the relay.
func (r Relay) URL() string { return fmt.Sprintf("ws://%s/v1/connect", r.Host()) }

// Host is the name under which the relay is reached.
func (r Relay) Host() string { return netip.AddrPortFrom(r.Address, RelayPort).String() }

// Bootstrap is the relay's DHT server.
func (r Relay) Bootstrap() []string {
	return []string{
		fmt.Sprintf("/ip4/%s/udp/%d/quic-v1/p2p/%s", r.Address, Libp2pPort, r.PeerID),
		fmt.Sprintf("/ip4/%s/tcp/%d/p2p/%s", r.Address, Libp2pPort, r.PeerID),
	}
}

// Node is the node of that name.
func (p *Plan) Node(name string) (Node, bool) {
	i := slices.IndexFunc(p.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return p.Nodes[i], true
}

// Relay is the relay of that name.
func (p *Plan) Relay(name string) (Relay, bool) {
	i := slices.IndexFunc(p.Relays, func(r Relay) bool { return r.Name == name })
	if i < 0 {
		return Relay{}, false
	}
	return p.Relays[i], true
}

// BoxOf is the box that is the way out for a node; an open one has none.
func (p *Plan) BoxOf(n Node) (Box, bool) { return p.boxInto(n.Network) }

func (p *Plan) boxInto(network string) (Box, bool) {
	i := slices.IndexFunc(p.Boxes, func(b Box) bool { return b.Inside == network })
	if i < 0 {
		return Box{}, false
	}
	return p.Boxes[i], true
}

// NetworkOf is the network of that name, if it is one behind a box.
func (p *Plan) NetworkOf(name string) (Network, bool) {
	i := slices.IndexFunc(p.Networks, func(n Network) bool { return n.Name == name })
	if i < 0 {
		return Network{}, false
	}
	return p.Networks[i], true
}

// NameOf is what a node with that AMID is called here, else the AMID.
func (p *Plan) NameOf(amid string) string {
	for _, n := range p.Nodes {
		if n.AMID == amid {
			return n.Name
		}
	}
	return amid
}

// Names are the names of relays and nodes, for people who mistyped one.
func (p *Plan) Names() string {
	var all []string
	for _, r := range p.Relays {
		all = append(all, r.Name)
	}
	for _, n := range p.Nodes {
		all = append(all, n.Name)
	}
	return strings.Join(all, ", ")
}

// RelayArgs is what a relay with an address of its own is started with.
func (p *Plan) RelayArgs(r Relay) []string {
	args := []string{"relay", "--listen", fmt.Sprintf("0.0.0.0:%d", RelayPort), "--name", r.Host(),
		"--stun", netip.AddrPortFrom(r.Address, STUNPort).String(),
		"--libp2p", fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", Libp2pPort),
		"--libp2p", fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", Libp2pPort)}
	for _, other := range p.Relays {
		if other.Name != r.Name {
			args = append(args, "--bootstrap", other.Bootstrap()[1])
		}
	}
	return args
}

// NodeArgs is what a node with an address of its own is started with. Only one in the
// public network says where it is to whoever asks.
func (p *Plan) NodeArgs(n Node) []string {
	announce := "none"
	if n.Kind == Open {
		announce = "public"
	}
	args := []string{"up", "--name", n.Name, "--announce", announce, "--lan=false",
		"--listen", fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", Libp2pPort),
		"--listen", fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", Libp2pPort)}
	for _, r := range p.Relays {
		args = append(args, "--relay", r.URL())
		for _, at := range r.Bootstrap() {
			args = append(args, "--bootstrap", at)
		}
	}
	return args
}

// Direct reports whether two nodes can have a direct path: one of them is open, or both
// have UDP and each sends from the port that the other one was told of. A symmetric box
// draws another one, which only a full cone does not mind.
func Direct(a, b Kind) bool {
	switch {
	case a == Open || b == Open:
		return true
	case a == UDPBlocked || b == UDPBlocked:
		return false
	case a == Symmetric:
		return b == FullCone
	case b == Symmetric:
		return a == FullCone
	}
	return true
}
