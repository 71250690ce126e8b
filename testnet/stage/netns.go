package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"amesh/node/api"
	"amesh/testnet/natbox"
	"amesh/testnet/netns"
	"amesh/testnet/plan"
	"amesh/testnet/process"
)

// NetnsConfig says how to run a testnet in network namespaces.
type NetnsConfig struct {
	Plan   *plan.Plan
	Dir    string // the folder of the testnet, with a short path
	Binary string // the amesh executable
	Limits Limits
}

// Netns runs a testnet in network namespaces of this machine, with the same boxes as in
// containers. It needs root and the program ip. Addresses are its own, not the plan's.
type Netns struct {
	plan     *plan.Plan
	world    *netns.World
	children *children

	mu     sync.Mutex
	relays map[string]*netns.Server
	hosts  map[string]*netns.Host
	boxes  map[string]*netns.Box // in front of a node, by its name
}

// NewNetns makes a stage.
func NewNetns(c NetnsConfig) (*Netns, error) {
	w, err := netns.New(netns.Config{Binary: c.Binary, Dir: c.Dir, Prefix: c.Plan.Public})
	if err != nil {
		return nil, err
	}
	n := &Netns{plan: c.Plan, world: w, children: newChildren(c.Dir, c.Binary, c.Limits),
		relays: make(map[string]*netns.Server), hosts: make(map[string]*netns.Host), boxes: make(map[string]*netns.Box)}
	n.children.spawn = func(name string, p process.Config) (*process.Process, error) { return n.host(name).Start(p) }
	return n, nil
}

func (n *Netns) host(name string) *netns.Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.relays[name]; r != nil {
		return r.Host
	}
	return n.hosts[name]
}

func (n *Netns) relay(name string) *netns.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.relays[name]
}

// Plan is what runs here.
func (n *Netns) Plan() *plan.Plan { return n.plan }

// URL is where a relay is.
func (n *Netns) URL(relay string) string {
	if r := n.relay(relay); r != nil {
		return r.URL
	}
	return ""
}

// Up builds the networks and starts everybody. It is called once.
func (n *Netns) Up(ctx context.Context) error {
	if err := n.world.Open(ctx); err != nil {
		return err
	}
	for _, r := range n.plan.Relays {
		server, err := n.world.Relay(ctx, r.Name)
		if err != nil {
			return err
		}
		n.mu.Lock()
		n.relays[r.Name] = server
		n.mu.Unlock()
	}
	for _, node := range n.plan.Nodes {
		if err := n.place(ctx, node); err != nil {
			return err
		}
	}
	return each(n.plan.Nodes, func(node plan.Node) error { return n.Start(ctx, node.Name) })
}

// place makes a node's host, and the boxes in front of it, the outermost first.
func (n *Netns) place(ctx context.Context, node plan.Node) error {
	var box *netns.Box
	for _, b := range n.plan.Boxes {
		if b.Node != node.Name {
			continue
		}
		var err error
		if box, err = n.world.Box(ctx, netns.BoxConfig{Name: b.Name, Kind: natbox.Kind(b.Kind), Behind: box}); err != nil {
			return err
		}
	}
	host, err := n.world.Host(ctx, node.Name, box)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[node.Name], n.boxes[node.Name] = host, box
	return nil
}

// Down ends all of them and takes the namespaces away.
func (n *Netns) Down(context.Context) error { return n.Close() }

// Close is Down: processes end with their parent.
func (n *Netns) Close() error { return errors.Join(n.children.stopAll(), n.world.Close()) }

// Node is a node's API. Its socket is a file, which namespaces of networks do not hide.
func (n *Netns) Node(name string) (api.Backend, error) {
	if _, ok := n.plan.Node(name); !ok {
		return nil, unknown(n.plan, name)
	}
	return n.children.client(name)
}

// Kill ends one with SIGKILL.
func (n *Netns) Kill(_ context.Context, name string) error {
	if err := known(n.plan, name); err != nil {
		return err
	}
	if r := n.relay(name); r != nil {
		return r.Down()
	}
	return n.children.kill(name)
}

// Start starts one.
func (n *Netns) Start(ctx context.Context, name string) error {
	if err := known(n.plan, name); err != nil {
		return err
	}
	if r := n.relay(name); r != nil {
		select {
		case <-r.Process().Done():
			return r.Up(ctx)
		default:
			return nil
		}
	}
	node, _ := n.plan.Node(name)
	announce := "none"
	if node.Kind == plan.Open {
		announce = "public"
	}
	// Behind a full cone only some ports are the host's; elsewhere all are as good.
	port := n.host(name).Ports().From
	args := []string{"up", "--name", name, "--announce", announce, "--lan=false", "--api", "127.0.0.1:0",
		"--listen", fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port), "--listen", fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", port)}
	for _, r := range n.plan.Relays {
		server := n.relay(r.Name)
		args = append(args, "--relay", server.URL)
		for _, m := range server.Bootstrap {
			args = append(args, "--bootstrap", m)
		}
	}
	return n.children.start(ctx, name, args, new(struct{}))
}

// Cut sets the host's interface down.
func (n *Netns) Cut(ctx context.Context, name string) error {
	if err := known(n.plan, name); err != nil {
		return err
	}
	return n.host(name).Unplug(ctx)
}

// Impair tells the box in front of a node.
func (n *Netns) Impair(ctx context.Context, name string, line Line) error {
	if err := known(n.plan, name); err != nil {
		return err
	}
	n.mu.Lock()
	box := n.boxes[name]
	n.mu.Unlock()
	if box == nil {
		return fmt.Errorf("loss and delay of %s: %w: no box is in front of it", name, ErrCannot)
	}
	return box.SetFaults(ctx, natbox.Faults{Loss: line.Loss, Delay: line.Delay})
}

// Heal sets the interface up again and makes the line a good one.
func (n *Netns) Heal(ctx context.Context, name string) error {
	if err := known(n.plan, name); err != nil {
		return err
	}
	if err := n.host(name).Plug(ctx); err != nil {
		return err
	}
	if node, ok := n.plan.Node(name); ok && node.Kind != plan.Open {
		return n.Impair(ctx, name, Line{})
	}
	return nil
}
