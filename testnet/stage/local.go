package stage

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"amesh/node/api"
	"amesh/testnet/plan"
)

// LocalConfig says how to run a testnet on loopback.
type LocalConfig struct {
	Plan   *plan.Plan
	Dir    string // the folder of the testnet
	Binary string // the amesh executable
	Limits Limits
}

// Local runs a testnet without NAT as plain processes on loopback, on ports that the
// kernel chooses. It needs no right and no other program, and cannot spoil a line.
type Local struct {
	plan     *plan.Plan
	children *children

	mu     sync.Mutex
	relays map[string]relayAddrs // where each is since its first start
}

// relayAddrs is what a relay prints when it is ready.
type relayAddrs struct {
	Relay  string   `json:"relay"`
	Libp2p []string `json:"libp2p"`
	STUN   string   `json:"stun"`
}

// NewLocal makes a stage. A plan with boxes is refused with ErrCannot.
func NewLocal(c LocalConfig) (*Local, error) {
	if len(c.Plan.Boxes) > 0 {
		return nil, fmt.Errorf("NAT boxes: %w: plain processes have no networks of their own", ErrCannot)
	}
	return &Local{plan: c.Plan, children: newChildren(c.Dir, c.Binary, c.Limits), relays: make(map[string]relayAddrs)}, nil
}

// Plan is what runs here.
func (l *Local) Plan() *plan.Plan { return l.plan }

// URL is where a relay is.
func (l *Local) URL(relay string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.relays[relay].Relay
}

// Up starts relays, then nodes.
func (l *Local) Up(ctx context.Context) error {
	for _, r := range l.plan.Relays {
		if err := l.Start(ctx, r.Name); err != nil {
			return err
		}
	}
	return each(l.plan.Nodes, func(n plan.Node) error { return l.Start(ctx, n.Name) })
}

// Down ends all of them.
func (l *Local) Down(context.Context) error { return l.children.stopAll() }

// Close is Down: processes end with their parent.
func (l *Local) Close() error { return l.children.stopAll() }

// Node is a node's API.
func (l *Local) Node(name string) (api.Backend, error) {
	if _, ok := l.plan.Node(name); !ok {
		return nil, unknown(l.plan, name)
	}
	return l.children.client(name)
}

// Kill ends one with SIGKILL.
func (l *Local) Kill(_ context.Context, name string) error {
	if err := known(l.plan, name); err != nil {
		return err
	}
	return l.children.kill(name)
}

// Start starts one; a relay comes back where it was.
func (l *Local) Start(ctx context.Context, name string) error {
	if err := known(l.plan, name); err != nil {
		return err
	}
	if _, ok := l.plan.Relay(name); ok {
		return l.startRelay(ctx, name)
	}
	args := []string{"up", "--name", name, "--announce", "public", "--lan=false", "--api", "127.0.0.1:0",
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"}
	l.mu.Lock()
	for _, r := range l.plan.Relays {
		at := l.relays[r.Name]
		args = append(args, "--relay", at.Relay)
		for _, m := range at.Libp2p {
			args = append(args, "--bootstrap", m)
		}
	}
	l.mu.Unlock()
	return l.children.start(ctx, name, args, new(struct{}))
}

func (l *Local) startRelay(ctx context.Context, name string) error {
	l.mu.Lock()
	before := l.relays[name]
	var others []string
	for other, at := range l.relays {
		if other != name {
			others = append(others, at.Libp2p[0])
		}
	}
	l.mu.Unlock()
	args := []string{"relay", "--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0",
		"--libp2p", "/ip4/127.0.0.1/udp/0/quic-v1", "--libp2p", "/ip4/127.0.0.1/tcp/0"}
	if before.Relay != "" {
		host, _, _ := strings.Cut(strings.TrimPrefix(before.Relay, "ws://"), "/")
		args = []string{"relay", "--listen", host, "--stun", before.STUN}
		for _, m := range before.Libp2p {
			where, _, _ := strings.Cut(m, "/p2p/")
			args = append(args, "--libp2p", where)
		}
	}
	for _, m := range others {
		args = append(args, "--bootstrap", m)
	}
	var now relayAddrs
	if err := l.children.start(ctx, name, args, &now); err != nil {
		return err
	}
	if now.Relay == "" { // it ran all the time
		return nil
	}
	if len(now.Libp2p) == 0 {
		return fmt.Errorf("start %s: it printed no libp2p address", name)
	}
	l.mu.Lock()
	l.relays[name] = now
	l.mu.Unlock()
	return nil
}

// Cut is not possible here.
func (l *Local) Cut(_ context.Context, name string) error {
	return fmt.Errorf("cut %s: %w: plain processes on loopback cannot be cut off", name, ErrCannot)
}

// Impair is not possible here.
func (l *Local) Impair(_ context.Context, name string, _ Line) error {
	return fmt.Errorf("loss and delay of %s: %w: plain processes on loopback have no line to spoil", name, ErrCannot)
}

// Heal has nothing to do.
func (l *Local) Heal(_ context.Context, name string) error { return known(l.plan, name) }
