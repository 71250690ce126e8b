package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"amesh/node/api"
	"amesh/testnet/process"
)

const (
	// poll is how often a file or a socket is looked for that a process makes.
	poll = time.Millisecond
	// grace is how long a process may take to end.
	grace = 20 * time.Second
)

// program builds amesh as "make build" does, unless there is one already.
func (h *house) program(given string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	dir, err := h.folder()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "amesh")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, "amesh/cmd/amesh")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build amesh: %w", err)
	}
	return file, nil
}

// folder is one that is removed at the end.
func (h *house) folder() (string, error) {
	dir, err := os.MkdirTemp("", "benchpath-")
	if err == nil {
		h.atEnd(func() error { return os.RemoveAll(dir) })
	}
	return dir, err
}

// mesh is relays and agents as processes of their own.
type mesh struct {
	h           *house
	binary, dir string
	relays      []relayAddrs
}

// relayAddrs is what a relay prints when it is ready.
type relayAddrs struct {
	Relay  string   `json:"relay"`
	Libp2p []string `json:"libp2p"`
}

// resident is one agent's node.
type resident struct {
	mesh *mesh
	name string
	args []string
	proc *process.Process
	api  *api.Client
	amid string
}

// newMesh starts so many relays.
func (h *house) newMesh(ctx context.Context, binary string, relays int) (*mesh, error) {
	dir, err := h.folder()
	if err != nil {
		return nil, err
	}
	m := &mesh{h: h, binary: binary, dir: dir}
	for i := range relays {
		var at relayAddrs
		name := fmt.Sprintf("relay%d", i)
		p, err := m.start(ctx, name, &at, append([]string{"relay", "--listen", "127.0.0.1:0", "--stun", "off", "--data", filepath.Join(dir, name),
			"--libp2p", "/ip4/127.0.0.1/udp/0/quic-v1", "--libp2p", "/ip4/127.0.0.1/tcp/0"}, m.bootstrap()...)...)
		if err != nil {
			return nil, err
		}
		h.atEnd(p.Kill)
		m.relays = append(m.relays, at)
	}
	return m, nil
}

// bootstrap are the flags that name the relays' DHT servers.
func (m *mesh) bootstrap() (flags []string) {
	for _, r := range m.relays {
		flags = append(flags, "--bootstrap", r.Libp2p[0])
	}
	return flags
}

// add starts an agent's node with a relay.
func (m *mesh) add(ctx context.Context, name, relay string) (*resident, error) {
	r := &resident{mesh: m, name: name, args: append([]string{"up", "--name", name, "--relay", relay, "--lan=false", "--api", "127.0.0.1:0",
		"--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"}, m.bootstrap()...)}
	m.h.atEnd(r.kill)
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	id, err := r.api.Identity(ctx, "")
	r.amid = id.AMID.String()
	return r, err
}

// addPair starts two agents at the first relay.
func (m *mesh) addPair(ctx context.Context) (ann, ben *resident, err error) {
	if ann, err = m.add(ctx, "ann", m.relays[0].Relay); err != nil {
		return nil, nil, err
	}
	ben, err = m.add(ctx, "ben", m.relays[0].Relay)
	return ann, ben, err
}

// start starts a daemon and waits for the addresses that it prints.
func (m *mesh) start(ctx context.Context, name string, addrs any, args ...string) (*process.Process, error) {
	file := filepath.Join(m.dir, name+".json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	p, err := process.Start(process.Config{
		Name: name, Binary: m.binary, Args: append(args, "--print-addrs", file),
		Env: process.Environment(filepath.Join(m.dir, name)), Dir: m.dir, Log: filepath.Join(m.dir, name+".log"),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := p.Ready(ctx, file, poll, addrs); err != nil {
		return nil, errors.Join(err, p.Kill(), errors.New(tail(p)))
	}
	return p, nil
}

// start returns when the node answers.
func (r *resident) start(ctx context.Context) error {
	var at struct {
		Socket string `json:"socket"`
	}
	p, err := r.mesh.start(ctx, r.name, &at, r.args...)
	if err != nil {
		return err
	}
	r.proc, r.api = p, api.NewClient(api.ClientConfig{Socket: at.Socket})
	return nil
}

func (r *resident) stop() error {
	r.api.Close()
	return r.proc.Stop(grace)
}

// kill is for the end.
func (r *resident) kill() error {
	if r.proc == nil {
		return nil
	}
	r.api.Close()
	return r.proc.Kill()
}

// admit lets another in without asking.
func (r *resident) admit(ctx context.Context, other *resident) error {
	_, err := r.api.SetPolicy(ctx, "", api.PolicyChange{Key: "allow", Value: other.amid})
	return err
}

// send returns when the peer's node has said that it has the message.
func (r *resident) send(ctx context.Context, to *resident, via string) (api.Message, error) {
	m, err := r.api.Send(ctx, "", api.SendRequest{
		To: to.amid, Intent: "bench", Body: make([]byte, bodySize), Via: via, Wait: api.StateDelivered, TimeoutMS: grace.Milliseconds(),
	}, "")
	if err == nil && !m.State.Reached(api.StateDelivered) {
		err = fmt.Errorf("message %s is %s after %v: %s", m.ID, m.State, grace, m.Reason)
	}
	if err != nil {
		return m, fmt.Errorf("%s to %s: %w\n%s\n%s", r.name, to.name, err, tail(r.proc), tail(to.proc))
	}
	return m, nil
}

// tail is what a process said last.
func tail(p *process.Process) string {
	text := ""
	for _, line := range p.Tail(5) {
		text += p.Name() + ": " + line + "\n"
	}
	return text
}
