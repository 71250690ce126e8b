package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"amesh/node/api"
	"amesh/testnet/compose"
	"amesh/testnet/plan"
)

// DockerConfig says where a testnet in containers is.
type DockerConfig struct {
	Plan   *plan.Plan
	Dir    string // the folder of the testnet, with its compose file
	Limits Limits
}

// Docker is a testnet in containers. It uses the programs that a person would, so that
// whatever Docker is set up to do holds here as well. Nothing of a node is published on
// the host: its API is reached by a process in its container, see door.
type Docker struct {
	plan   *plan.Plan
	dir    string
	limits Limits

	mu      sync.Mutex
	folder  string // of the doors' sockets; empty: none yet
	doors   []*door
	clients map[string]*api.Client
}

// NewDocker makes a stage.
func NewDocker(c DockerConfig) *Docker {
	return &Docker{plan: c.Plan, dir: c.Dir, limits: c.Limits, clients: make(map[string]*api.Client)}
}

// Plan is what runs here.
func (d *Docker) Plan() *plan.Plan { return d.plan }

// Engine asks whether Docker's engine answers. When not, the error is ErrNoDocker.
func (d *Docker) Engine(ctx context.Context) error {
	_, err := docker(ctx, "version", "--format", "{{.Server.Version}}")
	return err
}

// URL is where a relay is.
func (d *Docker) URL(relay string) string {
	r, ok := d.plan.Relay(relay)
	if !ok {
		return ""
	}
	return r.URL()
}

// Up makes the image and starts the containers.
func (d *Docker) Up(ctx context.Context) error {
	if err := compose.Import(ctx, d.dir, d.plan); err != nil {
		return err
	}
	if err := d.compose(ctx, "up", "-d", "--no-build"); err != nil {
		return err
	}
	return each(d.plan.Nodes, func(n plan.Node) error { return d.answers(ctx, n.Name) })
}

// ErrDown reports a testnet whose containers were not made.
var ErrDown = errors.New("the testnet is not up")

// Check returns ErrNoDocker when nobody answers for containers, and ErrDown when there are
// none of this testnet. Some of them may be dead.
func (d *Docker) Check(ctx context.Context) error {
	list, err := docker(ctx, "ps", "--all", "--format", "{{.Names}}")
	if err != nil {
		return err
	}
	for _, n := range d.plan.Nodes {
		if slices.Contains(strings.Fields(list), compose.Container(d.plan, n.Name)) {
			return nil
		}
	}
	return fmt.Errorf("%w: there is no container of %s", ErrDown, d.plan.Name)
}

// Running returns ErrDown when the container of a relay or a node does not run.
func (d *Docker) Running(ctx context.Context, name string) error {
	state, err := docker(ctx, "inspect", "--format", "{{.State.Running}}", compose.Container(d.plan, name))
	if errors.Is(err, ErrNoDocker) || ctx.Err() != nil {
		return err
	}
	if err != nil || state != "true" {
		return fmt.Errorf("%w: %s does not run", ErrDown, name)
	}
	return nil
}

// Down removes containers, networks and the image.
func (d *Docker) Down(ctx context.Context) error {
	if err := d.compose(ctx, "down", "--volumes", "--remove-orphans", "--timeout", "5"); err != nil {
		return err
	}
	if _, err := docker(ctx, "image", "inspect", compose.Image(d.plan)); err != nil {
		return nil // it was never made
	}
	_, err := docker(ctx, "image", "rm", compose.Image(d.plan))
	return err
}

func (d *Docker) compose(ctx context.Context, args ...string) error {
	command, err := composeCommand(ctx)
	if err != nil {
		return err
	}
	_, err = runProgram(ctx, d.dir, append(command, args...)...)
	return err
}

// Close closes the doors. The containers go on.
func (d *Docker) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.clients {
		c.Close()
	}
	var all []error
	for _, door := range d.doors {
		all = append(all, door.close())
	}
	if d.folder != "" {
		all = append(all, os.RemoveAll(d.folder))
	}
	d.doors, d.folder = nil, ""
	return errors.Join(all...)
}

// Node is a node's API, through a door of its own.
func (d *Docker) Node(name string) (api.Backend, error) {
	if _, ok := d.plan.Node(name); !ok {
		return nil, unknown(d.plan, name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.clients[name]; c != nil {
		return c, nil
	}
	if d.folder == "" {
		folder, err := os.MkdirTemp("", "amesh-doors-")
		if err != nil {
			return nil, fmt.Errorf("door of %s: %w", name, err)
		}
		d.folder = folder
	}
	door, err := openDoor(d.folder, compose.Container(d.plan, name))
	if err != nil {
		return nil, fmt.Errorf("door of %s: %w", name, err)
	}
	c := api.NewClient(api.ClientConfig{Socket: door.path})
	d.doors, d.clients[name] = append(d.doors, door), c
	return c, nil
}

// Kill ends a container with SIGKILL.
func (d *Docker) Kill(ctx context.Context, name string) error {
	if err := known(d.plan, name); err != nil {
		return err
	}
	state, err := docker(ctx, "inspect", "--format", "{{.State.Running}}", compose.Container(d.plan, name))
	if err != nil || state != "true" {
		return err
	}
	_, err = docker(ctx, "kill", compose.Container(d.plan, name))
	return err
}

// Start starts a container.
func (d *Docker) Start(ctx context.Context, name string) error {
	if err := known(d.plan, name); err != nil {
		return err
	}
	if _, err := docker(ctx, "start", compose.Container(d.plan, name)); err != nil {
		return err
	}
	return d.answers(ctx, name)
}

// answers waits until a relay or a node answers.
func (d *Docker) answers(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.limits.Ready, fmt.Errorf("not ready after %s", d.limits.Ready))
	defer cancel()
	for {
		err := d.ask(ctx, name)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return &LogError{Err: fmt.Errorf("wait for %s to answer: %w (%w)", name, err, context.Cause(ctx)), Name: name, Lines: d.log(name)}
		case <-time.After(d.limits.Poll):
		}
	}
}

func (d *Docker) ask(ctx context.Context, name string) error {
	if _, ok := d.plan.Relay(name); ok {
		_, err := docker(ctx, "exec", compose.Container(d.plan, name), "/amesh", "relay", "top", "--once", "--rows", "1")
		return err
	}
	node, err := d.Node(name)
	if err != nil {
		return err
	}
	_, err = node.Status(ctx, "")
	return err
}

// log is the end of a container's log.
func (d *Docker) log(name string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), d.limits.Stop)
	defer cancel()
	text, err := runProgram(ctx, d.dir, "docker", "logs", "--tail", strconv.Itoa(d.limits.LogLines), compose.Container(d.plan, name))
	if err != nil {
		return nil
	}
	return strings.Split(text, "\n")
}

// Cut pulls a container's cable: its interface is gone, as that of a laptop on the move.
func (d *Docker) Cut(ctx context.Context, name string) error {
	if err := known(d.plan, name); err != nil {
		return err
	}
	network, _ := d.place(name)
	connected, err := d.connected(ctx, name, network)
	if err != nil || !connected {
		return err
	}
	_, err = docker(ctx, "network", "disconnect", compose.Network(d.plan, network), compose.Container(d.plan, name))
	return err
}

// place is the network of a relay or node, and its address there.
func (d *Docker) place(name string) (network, address string) {
	if n, ok := d.plan.Node(name); ok {
		return n.Network, n.Address.String()
	}
	r, _ := d.plan.Relay(name)
	return plan.PublicNetwork, r.Address.String()
}

func (d *Docker) connected(ctx context.Context, name, network string) (bool, error) {
	list, err := docker(ctx, "inspect", "--format", "{{range $name, $net := .NetworkSettings.Networks}}{{$name}} {{end}}", compose.Container(d.plan, name))
	return slices.Contains(strings.Fields(list), compose.Network(d.plan, network)), err
}

// Impair tells the box of a node. A node without one has no line of its own.
func (d *Docker) Impair(ctx context.Context, name string, line Line) error {
	n, ok := d.plan.Node(name)
	if !ok {
		return unknown(d.plan, name)
	}
	box, ok := d.plan.BoxOf(n)
	if !ok {
		return fmt.Errorf("loss and delay of %s: %w: no box is in front of it", name, ErrCannot)
	}
	_, err := docker(ctx, "exec", compose.Container(d.plan, box.Name), "/amesh", "testnet", "natbox", "set", "--control", compose.ControlSocket,
		"--loss", strconv.FormatFloat(line.Loss, 'f', -1, 64), "--delay", line.Delay.String())
	return err
}

// Heal puts the cable back and makes the line a good one.
func (d *Docker) Heal(ctx context.Context, name string) error {
	if err := known(d.plan, name); err != nil {
		return err
	}
	network, address := d.place(name)
	connected, err := d.connected(ctx, name, network)
	if err != nil {
		return err
	}
	if !connected {
		if _, err := docker(ctx, "network", "connect", "--ip", address, compose.Network(d.plan, network), compose.Container(d.plan, name)); err != nil {
			return err
		}
	}
	if n, ok := d.plan.Node(name); ok && n.Kind != plan.Open {
		return d.Impair(ctx, name, Line{})
	}
	return nil
}
