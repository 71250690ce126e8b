package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"amesh/testnet/natbox"

	"github.com/spf13/cobra"
)

type natboxOptions struct {
	kind, inside, outside, control, login string
	forwards                              []string
	ipv6                                  bool
	faults                                faultOptions
}

// faultOptions are the flags for what is wrong with a box's line.
type faultOptions struct {
	loss      float64
	delay     time.Duration
	partition bool
}

func (o *faultOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Float64Var(&o.loss, "loss", 0, "lose `PERCENT` of the packets of each direction")
	f.DurationVar(&o.delay, "delay", 0, "hold every packet for this long, in each direction; needs /dev/net/tun")
	f.BoolVar(&o.partition, "partition", false, "let nothing pass")
}

func (o faultOptions) faults() natbox.Faults {
	return natbox.Faults{Loss: o.loss, Delay: o.delay, Partition: o.partition}
}

func (a *app) natboxCommand() *cobra.Command {
	var o natboxOptions
	cmd := &cobra.Command{
		Use:   "natbox",
		Short: "Make this container or network namespace a box that translates addresses",
		Long: `Makes the container or the network namespace that it runs in the box between an inside
and an outside network, as people have them at home. Both interfaces must be there, with
their addresses and routes. It needs Linux and CAP_NET_ADMIN there, uses nftables over
netlink, and takes its rules away on SIGTERM.

The kinds: open only routes; full-cone maps endpoint independently and lets everybody
answer, which needs --forward; port-restricted, the usual one, lets only those answer
that were talked to; symmetric draws a new port for everybody that is talked to;
udp-blocked lets no UDP pass but DNS; http-proxy forwards nothing, but runs a proxy on port
3128 that connects to port 443.`,
		Example: `  amesh testnet natbox --kind port-restricted --inside eth1 --outside eth0
  amesh testnet natbox --kind full-cone --inside eth1 --outside eth0 --forward 10.0.1.2
  amesh testnet natbox --kind symmetric --inside 10.0.1.0/24 --outside eth0 --loss 5 --control /run/natbox.sock
  amesh testnet natbox set --control /run/natbox.sock --delay 50ms`,
		Args: verbs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.natbox(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.kind, "kind", "", "`KIND` of box: open, full-cone, port-restricted, symmetric, udp-blocked or http-proxy")
	f.StringVar(&o.inside, "inside", "", "`IFACE` of the inside network, or an address or prefix that it has")
	f.StringVar(&o.outside, "outside", "", "`IFACE` of the outside network, likewise")
	f.StringSliceVar(&o.forwards, "forward", nil, "full-cone: `HOST` inside that gets what arrives, or HOST=FROM-TO for these ports (repeatable)")
	f.BoolVar(&o.ipv6, "ipv6", false, "route IPv6 as well, untranslated; without it IPv6 does not pass")
	f.StringVar(&o.login, "proxy-login", "", "http-proxy: ask for `USER:PASSWORD`")
	f.StringVar(&o.control, "control", "", "make the unix socket `FILE`, at which \"natbox set\" changes the faults")
	o.faults.flags(cmd)
	cmd.AddCommand(a.natboxSetCommand())
	return cmd
}

func (a *app) natbox(ctx context.Context, o natboxOptions) error {
	log, err := a.logger()
	if err != nil {
		return err
	}
	cfg := natbox.Config{
		Kind: natbox.Kind(o.kind), Inside: o.inside, Outside: o.outside, IPv6: o.ipv6,
		Faults: o.faults.faults(), Control: o.control, ProxyLogin: o.login, Logger: log,
	}
	for _, text := range o.forwards {
		forward, err := natbox.ParseForward(text)
		if err != nil {
			return usagef("--forward %v", err)
		}
		cfg.Forwards = append(cfg.Forwards, forward)
	}
	box, err := natbox.New(cfg)
	if err != nil {
		return usagef("%v", err).next("amesh testnet natbox --help")
	}
	err = together(ctx, box.Run, func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-box.Ready():
		}
		v6 := "no IPv6"
		if cfg.IPv6 {
			v6 = "IPv6 routed"
		}
		fmt.Fprintf(a.out, "%s between %s (inside) and %s (outside), %s, %s\n", cfg.Kind, cfg.Inside, cfg.Outside, v6, cfg.Faults)
		<-ctx.Done()
		return nil
	})
	return natboxFailure(err)
}

// natboxFailure says how an error of a box ends.
func natboxFailure(err error) error {
	switch {
	case errors.Is(err, natbox.ErrNoInterface):
		return &failure{exit: exitNotFound, code: "no_interface", message: err.Error(),
			hint: "give --inside and --outside names or addresses that `ip address` shows here"}
	case errors.Is(err, fs.ErrPermission):
		return &failure{exit: exitUnauthorized, code: "not_root", message: err.Error(),
			hint: "run it as root, or in a container with the capability NET_ADMIN"}
	}
	return err
}

func (a *app) natboxSetCommand() *cobra.Command {
	var control string
	var o faultOptions
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Change what is wrong with a box's line",
		Long: `Puts new faults in force at a box that runs with --control, in place of those before.
Without a fault the line is good again. It returns when they are in force.`,
		Example: "  amesh testnet natbox set --control /run/natbox.sock --partition\n  amesh testnet natbox set --control /run/natbox.sock",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if control == "" {
				return withUsage(cmd, usagef("missing --control: want the socket that the box was started with"))
			}
			err := natbox.Set(cmd.Context(), control, o.faults())
			if errors.Is(err, natbox.ErrFaults) {
				return usagef("%v", err)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&control, "control", "", "the box's socket `FILE`")
	o.flags(cmd)
	return cmd
}
