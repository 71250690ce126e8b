package main

import (
	"context"
	"fmt"
	"net/netip"

	"amesh/testnet/wiring"

	"github.com/spf13/cobra"
)

// testnetBoxCommand is natbox for containers, where addresses are not quite there yet. It
// is written into compose files, not typed.
func (a *app) testnetBoxCommand() *cobra.Command {
	var o natboxOptions
	var gateway string
	cmd := &cobra.Command{
		Use:   "box",
		Short: "Be a NAT box in a container",
		Long: `Does what "amesh testnet natbox" does, after taking the address of the gateway in the
inside network and making /dev/net/tun. It is what boxes in compose files run.`,
		Hidden:  true,
		Example: "  amesh testnet box --kind symmetric --inside 10.77.0.0/24 --outside 11.77.0.0/24 --gateway 10.77.0.2",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			network, err := netip.ParsePrefix(o.inside)
			if err != nil {
				return usagef("--inside %s: want a network", o.inside)
			}
			address, err := netip.ParseAddr(gateway)
			if err != nil || !network.Contains(address) || !address.Is4() {
				return usagef("--gateway %s: want an IPv4 address in %s", gateway, network)
			}
			return a.box(cmd.Context(), o, network, address)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.kind, "kind", "", "`KIND` of box, see natbox")
	f.StringVar(&o.inside, "inside", "", "`CIDR` of the inside network")
	f.StringVar(&o.outside, "outside", "", "`CIDR` of the outside network")
	f.StringVar(&gateway, "gateway", "", "`ADDR` that is everybody's way out")
	f.StringSliceVar(&o.forwards, "forward", nil, "full-cone: `HOST` inside that gets what arrives")
	f.StringVar(&o.control, "control", "", "make the unix socket `FILE`, at which \"natbox set\" changes the faults")
	return cmd
}

func (a *app) box(ctx context.Context, o natboxOptions, network netip.Prefix, gateway netip.Addr) error {
	if err := wiring.TakeAddress(network, gateway); err != nil {
		return err
	}
	if err := wiring.MakeTun(); err != nil {
		fmt.Fprintf(a.err, "no delays: %v\n", err)
	}
	return a.natbox(ctx, o)
}
