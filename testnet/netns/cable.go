package netns

import (
	"context"
	"fmt"
	"net/netip"
)

// Cable joins two hosts, beside whatever else they are connected to: two machines on one
// desk with a switch between them. There is one at most at a host.
type Cable struct {
	ends  [2]*Host
	space string // the switch
}

// cableInterface is its name at both ends, switchName the bridge between them, and
// cableNet the network.
const (
	cableInterface = "desk"
	switchName     = "switch"
)

var cableNet = netip.MustParsePrefix("172.20.0.0/30")

// Cable lays one.
func (w *World) Cable(ctx context.Context, a, b *Host) (*Cable, error) {
	name := a.name + "-" + b.name
	c := &Cable{ends: [2]*Host{a, b}, space: w.name + name}
	if err := w.space(ctx, name); err != nil {
		return nil, err
	}
	if err := inSpace(ctx, c.space, line("link add", switchName, "type bridge mcast_snooping 0"), line("link set", switchName, "up")); err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	for i, h := range c.ends {
		if err := inSpace(ctx, c.space,
			line("link add", port(i), "type veth peer name", cableInterface, "netns", h.space),
			line("link set", port(i), "master", switchName, "up"),
		); err != nil {
			return nil, fmt.Errorf("netns: %w", err)
		}
		at := netip.PrefixFrom(after(cableNet, 1+i), cableNet.Bits())
		if err := inSpace(ctx, h.space, line("addr add", at, "dev", cableInterface), line("link set", cableInterface, "up")); err != nil {
			return nil, fmt.Errorf("netns: %w", err)
		}
	}
	return c, nil
}

func port(end int) string { return fmt.Sprintf("port%d", end) }

// IP is the address of one of the two at the cable.
func (c *Cable) IP(h *Host) netip.Addr {
	if h == c.ends[0] {
		return after(cableNet, 1)
	}
	return after(cableNet, 2)
}

// Pull sets the interface of the first end down, which that host notices.
func (c *Cable) Pull(ctx context.Context) error {
	return inSpace(ctx, c.ends[0].space, line("link set", cableInterface, "down"))
}

// Break has the switch pass nothing any more, which nobody notices.
func (c *Cable) Break(ctx context.Context) error {
	return inSpace(ctx, c.space, line("link set", port(0), "nomaster"))
}

// Mend undoes Pull and Break.
func (c *Cable) Mend(ctx context.Context) error {
	if err := inSpace(ctx, c.space, line("link set", port(0), "master", switchName)); err != nil {
		return err
	}
	return inSpace(ctx, c.ends[0].space, line("link set", cableInterface, "up"))
}
