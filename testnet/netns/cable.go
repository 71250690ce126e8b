package netns

import (
	"context"
	"fmt"
	"net/netip"
)

// Cable joins two hosts, beside whatever else they are connected to: two machines on one
// desk. There is one at most between two hosts, and one at most at a host.
type Cable struct{ ends [2]*Host }

// cableInterface is its name at both ends, cableNet its network.
const cableInterface = "desk"

var cableNet = netip.MustParsePrefix("172.20.0.0/30")

// Cable lays one.
func (w *World) Cable(ctx context.Context, a, b *Host) (*Cable, error) {
	if err := inSpace(ctx, a.space, line("link add", cableInterface, "type veth peer name", cableInterface, "netns", b.space)); err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	c := &Cable{ends: [2]*Host{a, b}}
	for i, h := range c.ends {
		at := netip.PrefixFrom(after(cableNet, 1+i), cableNet.Bits())
		if err := inSpace(ctx, h.space, line("addr add", at, "dev", cableInterface), line("link set", cableInterface, "up")); err != nil {
			return nil, fmt.Errorf("netns: %w", err)
		}
	}
	return c, nil
}

// IP is the address of one of the two at the cable.
func (c *Cable) IP(h *Host) netip.Addr {
	if h == c.ends[0] {
		return after(cableNet, 1)
	}
	return after(cableNet, 2)
}

// Pull sets the interface of the first end down.
func (c *Cable) Pull(ctx context.Context) error {
	return inSpace(ctx, c.ends[0].space, line("link set", cableInterface, "down"))
}

// Plug sets it up again.
func (c *Cable) Plug(ctx context.Context) error {
	return inSpace(ctx, c.ends[0].space, line("link set", cableInterface, "up"))
}
