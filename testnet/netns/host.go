package netns

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"amesh/testnet/process"
)

// Host is a machine. Its methods may be called from any goroutine, but for those that
// change its cable, which take turns.
type Host struct {
	world *World
	name  string
	space string
	box   *Box // nil: on the public network
	at    cable
	ports PortRange
}

// PortRange are UDP and TCP ports, from and to included.
type PortRange struct{ From, To uint16 }

// hostInterface is the only one of a host, beside its loopback.
const hostInterface = "eth0"

// Host puts a machine behind a box, or on the public network when box is nil.
func (w *World) Host(ctx context.Context, name string, box *Box) (*Host, error) {
	h := &Host{world: w, name: name, space: w.name + name, box: box}
	to, bridge, port := w.name+coreSpace, bridgeName, ""
	var err error
	if box != nil {
		to, bridge, port = box.space, insideName, "h"+strconv.Itoa(box.places)
		from := uint16(firstConePort + box.places*conePorts)
		h.ports = PortRange{from, from + conePorts - 1}
		h.at, err = box.place()
	} else {
		h.at, err = w.plan.public()
		h.ports = PortRange{1024, 65535}
		at := h.at.address.Addr().As4()
		port = fmt.Sprintf("s%d-%d", at[2], at[3])
	}
	if err != nil {
		return nil, fmt.Errorf("netns: host %s: %w", name, err)
	}
	if err := w.space(ctx, name); err != nil {
		return nil, err
	}
	if err := w.join(ctx, h.space, hostInterface, to, bridge, port, h.at); err != nil {
		return nil, fmt.Errorf("netns: host %s: %w", name, err)
	}
	return h, nil
}

// Name is what people call the host.
func (h *Host) Name() string { return h.name }

// Space is the name of the host's namespace, for ip netns exec.
func (h *Host) Space() string { return h.space }

// Box is the one that the host is behind; nil: it is on the public network.
func (h *Host) Box() *Box { return h.box }

// IP is the host's own address of IPv4.
func (h *Host) IP() netip.Addr { return h.at.address.Addr() }

// IP6 is its address of IPv6; the zero Addr when it has none.
func (h *Host) IP6() netip.Addr { return h.at.address6.Addr() }

// Ports are those at which the host can be reached from outside when its box is a full
// cone. Elsewhere they are as good as any.
func (h *Host) Ports() PortRange { return h.ports }

// Env is the environment for programs on the host: this process's own, the
// certificates of the world's servers, and the proxy where there is nothing else.
func (h *Host) Env() []string {
	env := h.world.env()
	if h.box != nil && h.box.Proxy() != "" {
		env = append(env, "HTTPS_PROXY="+h.box.Proxy(), "https_proxy="+h.box.Proxy())
	}
	return env
}

// Start starts a program on the host. It gets Env on top of its environment. Close of the
// world ends it, when its owner has not.
func (h *Host) Start(c process.Config) (*process.Process, error) {
	c.Env = append(c.Env, h.Env()...)
	return h.world.start(h.space, c)
}

// Unplug sets the host's interface down.
func (h *Host) Unplug(ctx context.Context) error {
	return inSpace(ctx, h.space, line("link set", hostInterface, "down"))
}

// Plug sets it up again.
func (h *Host) Plug(ctx context.Context) error { return h.at.up(ctx, h.space, hostInterface) }

// Move gives the host another address in its network, as a router does that was started
// anew.
func (h *Host) Move(ctx context.Context) error {
	give := h.world.plan.public
	if h.box != nil {
		give = h.box.place
	}
	at, err := give()
	if err != nil {
		return fmt.Errorf("netns: host %s: %w", h.name, err)
	}
	if err := inSpace(ctx, h.space, line("addr flush dev", hostInterface, "scope global")); err != nil {
		return err
	}
	h.at = at
	return h.Plug(ctx)
}

// isProxy says whether a pair of the environment names a proxy, which is not in this world.
func isProxy(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	switch strings.ToUpper(name) {
	case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY":
		return true
	}
	return false
}
