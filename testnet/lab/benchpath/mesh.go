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

// mesh is a relay and two agents as processes of their own.
type mesh struct {
	binary, dir string
	relay       relayAddrs
	ann, ben    *resident
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

// newMesh starts a relay. door gives the URL under which agents see it.
func (h *house) newMesh(ctx context.Context, binary string, door func(url string) (string, error)) (*mesh, error) {
	dir, err := h.folder()
	if err != nil {
		return nil, err
	}
	m := &mesh{binary: binary, dir: dir}
	p, err := m.start(ctx, "relay", &m.relay, "relay", "--listen", "127.0.0.1:0", "--stun", "off", "--data", filepath.Join(dir, "relay"),
		"--libp2p", "/ip4/127.0.0.1/udp/0/quic-v1", "--libp2p", "/ip4/127.0.0.1/tcp/0")
	if err != nil {
		return nil, err
	}
	h.atEnd(p.Kill)
	url, err := door(m.relay.Relay)
	if err != nil {
		return nil, err
	}
	for at, name := range map[**resident]string{&m.ann: "ann", &m.ben: "ben"} {
		r := &resident{mesh: m, name: name, args: []string{"up", "--name", name, "--relay", url, "--bootstrap", m.relay.Libp2p[0], "--lan=false",
			"--announce", "public", "--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--listen", "/ip4/127.0.0.1/tcp/0"}}
		h.atEnd(r.kill)
		if err := r.start(ctx); err != nil {
			return nil, err
		}
		id, err := r.api.Identity(ctx, "")
		if err != nil {
			return nil, err
		}
		*at, r.amid = r, id.AMID.String()
	}
	return m, nil
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
