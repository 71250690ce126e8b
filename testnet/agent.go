package testnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"amesh/node/api"
	"amesh/testnet/process"
)

// agent is one of the persons: a home, the node that runs on it, and a client of
// that node for what has to be waited for.
type agent struct {
	name string
	home string
	proc *process.Process
	api  *api.Client
	id   api.Identity
}

// amid is how others write to the agent.
func (a *agent) amid() string { return a.id.AMID.String() }

// nodeAddrs is what a node prints about itself when it is ready.
type nodeAddrs struct {
	API    string   `json:"api"`
	Socket string   `json:"socket"`
	Libp2p []string `json:"libp2p"`
}

// startNode starts the agent's node, the first time or again, and waits until it is
// ready.
func (d *demo) startNode(ctx context.Context, a *agent) error {
	file := filepath.Join(d.dir, a.name+".json")
	var addrs nodeAddrs
	p, err := d.startProcess(ctx, a.name, a.home, file, &addrs, "up", "--name", a.name,
		"--relay", "ws://"+d.proxy.addr()+"/v1/connect", "--bootstrap", d.relay.bootstrap(),
		"--announce", "public", "--api", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1",
		"--listen", "/ip4/127.0.0.1/tcp/0", "--print-addrs", file)
	if err != nil {
		return err
	}
	if addrs.Socket == "" {
		return fmt.Errorf("%s printed no socket", a.name)
	}
	if a.api != nil {
		a.api.Close()
	}
	a.proc, a.api = p, api.NewClient(api.ClientConfig{Socket: addrs.Socket})
	return nil
}

// relayServer is the relay and where it is.
type relayServer struct {
	proc  *process.Process
	data  string
	addrs relayAddrs
}

// relayAddrs is what a relay prints about itself when it is ready.
type relayAddrs struct {
	Relay  string   `json:"relay"`
	Libp2p []string `json:"libp2p"`
}

// host is host:port of the relay's WebSocket listener.
func (r *relayServer) host() string {
	host, _, _ := strings.Cut(strings.TrimPrefix(r.addrs.Relay, "ws://"), "/")
	return host
}

// bootstrap is a multiaddr of the relay's DHT server.
func (r *relayServer) bootstrap() string { return r.addrs.Libp2p[0] }

// startRelay starts the relay, the second time on the ports of the first.
func (d *demo) startRelay(ctx context.Context) error {
	if d.relay == nil {
		d.relay = &relayServer{data: filepath.Join(d.dir, "relay")}
	}
	listen, libp2p := "127.0.0.1:0", []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}
	before := d.relay.addrs
	if before.Relay != "" {
		listen, libp2p = d.relay.host(), nil
		for _, m := range before.Libp2p {
			where, _, _ := strings.Cut(m, "/p2p/")
			libp2p = append(libp2p, where)
		}
	}
	file := filepath.Join(d.dir, "relay.json")
	args := []string{"relay", "--listen", listen, "--data", d.relay.data, "--print-addrs", file}
	for _, m := range libp2p {
		args = append(args, "--libp2p", m)
	}
	var now relayAddrs
	p, err := d.startProcess(ctx, "relay", filepath.Join(d.dir, "operator"), file, &now, args...)
	if err != nil {
		return err
	}
	d.relay.proc, d.relay.addrs = p, now
	if !strings.HasPrefix(now.Relay, "ws://") || len(now.Libp2p) == 0 {
		return fmt.Errorf("the relay printed %q and %q as its addresses", now.Relay, now.Libp2p)
	}
	slices.Sort(now.Libp2p) // in no order that a restart would keep
	if before.Relay != "" && (now.Relay != before.Relay || !slices.Equal(now.Libp2p, before.Libp2p)) {
		return fmt.Errorf("the relay came back at %s and %s", now.Relay, now.Libp2p)
	}
	return nil
}

// startProcess starts amesh as a daemon, shows the command, and waits until it has
// written its addresses to file.
func (d *demo) startProcess(ctx context.Context, name, home, file string, addrs any, args ...string) (*process.Process, error) {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	d.say.command(name, args)
	p, err := process.Start(process.Config{Name: name, Binary: d.cfg.Binary, Args: args,
		Env: process.Environment(home), Dir: d.dir, Log: filepath.Join(d.dir, name+".log")})
	if err != nil {
		return nil, err
	}
	d.processes = append(d.processes, p)
	ctx, cancel := context.WithTimeoutCause(ctx, d.limits.Ready, fmt.Errorf("not ready after %s", d.limits.Ready))
	defer cancel()
	return p, p.Ready(ctx, file, d.limits.Poll, addrs)
}

// amesh runs a verb as the agent's owner would type it, shows what was typed and
// what came back, and requires an exit code.
func (d *demo) amesh(ctx context.Context, a *agent, exit int, args ...string) (out string, err error) {
	d.say.command(a.name, args)
	ctx, cancel := context.WithTimeoutCause(ctx, d.limits.Deliver+d.limits.Stop, errors.New("no answer"))
	defer cancel()
	cmd := exec.CommandContext(ctx, d.cfg.Binary, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = process.Environment(a.home), d.dir, d.limits.Stop
	cmd.SysProcAttr = process.DieWithParent()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	d.say.output(stdout.String())
	d.say.output(stderr.String())
	if cmd.ProcessState == nil || ctx.Err() != nil {
		return "", fmt.Errorf("%s: amesh %s: %w", a.name, args[0], errors.Join(err, context.Cause(ctx)))
	}
	got := cmd.ProcessState.ExitCode()
	d.say.exit(got)
	if got != exit {
		return "", fmt.Errorf("%s: amesh %s: exit %d, want %d: %s", a.name, args[0], got, exit,
			strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// send sends with the command line and returns the message as its node then knows
// it.
func (d *demo) send(ctx context.Context, from *agent, exit int, args ...string) (api.Message, error) {
	out, err := d.amesh(ctx, from, exit, append([]string{"send"}, args...)...)
	if err != nil {
		return api.Message{}, err
	}
	id, _, _ := strings.Cut(out, " ")
	m, err := from.api.Message(ctx, "", id, "", 0)
	if err != nil {
		return m, fmt.Errorf("look at message %s: %w", id, err)
	}
	return m, nil
}

// await waits until a message of a has been as far as state.
func (d *demo) await(ctx context.Context, a *agent, id string, state api.State) (api.Message, error) {
	m, err := a.api.Message(ctx, "", id, state, d.limits.Deliver)
	if err != nil {
		return m, fmt.Errorf("wait for message %s to be %s: %w", id, state, err)
	}
	if !m.State.Reached(state) {
		return m, fmt.Errorf("message %s is %s (%s) after %s, want %s", id, m.State, m.Reason, d.limits.Deliver, state)
	}
	return m, nil
}

// until looks again and again until done, for what offers no waiting. The last
// answer says in its error what was still missing.
func (d *demo) until(ctx context.Context, look func(ctx context.Context) (missing string, err error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.limits.Deliver, fmt.Errorf("still so after %s", d.limits.Deliver))
	defer cancel()
	tick := time.NewTicker(d.limits.Poll)
	defer tick.Stop()
	last := "nothing seen yet"
	for {
		missing, err := look(ctx)
		if ctx.Err() == nil && (err != nil || missing == "") {
			return err
		}
		if missing != "" {
			last = missing
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", last, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
