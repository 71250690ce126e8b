package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"amesh/dht"
	"amesh/identity"
	"amesh/testnet/lab/bench"
	"amesh/testnet/process"

	"github.com/libp2p/go-libp2p/core/peer"
)

// bareMode is the argument by which this program is a bare host.
const bareMode = "bare-host"

// hostListen are the options of the bare host, which are those of the nodes here.
var hostListen = []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}

// start is a node's process from its start until a message is at a peer that it knows,
// against a process that starts a libp2p host and connects it to another.
func (h *house) start(binary string) (bench.Case, error) {
	c := bench.Case{Name: "start until the first message is delivered, against a libp2p host until it is connected", Bar: 0.2, Aim: 0.5, Slice: 200 * time.Millisecond}
	ctx := context.Background()
	m, err := h.newMesh(ctx, binary, 1)
	if err != nil {
		return c, err
	}
	ann, ben, err := m.addPair(ctx)
	if err != nil {
		return c, err
	}
	if err := ben.admit(ctx, ann); err != nil {
		return c, err
	}
	if _, err := ann.send(ctx, ben, ""); err != nil {
		return c, err
	}
	if err := ann.stop(); err != nil {
		return c, err
	}
	at, err := h.standingHost()
	if err != nil {
		return c, err
	}
	c.Product = func(n int) (time.Duration, error) {
		return each(n, func() (time.Duration, error) { return wake(ctx, ann, ben) })
	}
	c.Floor = func(n int) (time.Duration, error) {
		return each(n, func() (time.Duration, error) { return hostConnects(at) })
	}
	return c, nil
}

// each is n times one operation, of which only the time it tells counts.
func each(n int, one func() (time.Duration, error)) (all time.Duration, err error) {
	for range n {
		took, err := one()
		if err != nil {
			return 0, err
		}
		all += took
	}
	return all, nil
}

// wake starts ann's node and sends a message.
func wake(ctx context.Context, ann, ben *resident) (time.Duration, error) {
	start := time.Now()
	if err := ann.start(ctx); err != nil {
		return 0, err
	}
	_, err := ann.send(ctx, ben, "")
	took := time.Since(start)
	return took, errors.Join(err, ann.stop())
}

// standingHost is what bare hosts connect to.
func (h *house) standingHost() (string, error) {
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	host, err := dht.NewHost(dht.HostConfig{Key: key, Listen: hostListen})
	if err != nil {
		return "", err
	}
	h.atEnd(host.Close)
	return dht.Multiaddrs(host)[0], nil
}

// bareHost is what the process of a bare host does: it says where it is, connects if it is told
// to whom, says so, and stays until its input ends.
func bareHost(to string, stdin io.Reader, stdout io.Writer) error {
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	host, err := dht.NewHost(dht.HostConfig{Key: key, Listen: hostListen})
	if err != nil {
		return err
	}
	if to != "" {
		info, err := peer.AddrInfoFromString(to)
		if err != nil {
			return err
		}
		if err := host.Connect(context.Background(), *info); err != nil {
			return err
		}
	}
	fmt.Fprintln(stdout, "ready")
	_, _ = io.Copy(io.Discard, stdin)
	return host.Close()
}

// bare is the process of a bare host.
type bare struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// startBare returns when the host is ready, that is, connected if to is not empty.
func startBare(to string) (*bare, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bare{cmd: exec.Command(self, bareMode, to)}
	b.cmd.Stderr, b.cmd.SysProcAttr = os.Stderr, process.DieWithParent()
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		return nil, errors.Join(fmt.Errorf("bare host said %q", line), err, b.stop())
	}
	return b, nil
}

func (b *bare) stop() error {
	b.in.Close()
	return b.cmd.Wait()
}

func hostConnects(to string) (time.Duration, error) {
	start := time.Now()
	b, err := startBare(to)
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, b.stop()
}
