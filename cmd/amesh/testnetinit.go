package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"amesh/testnet/compose"
	"amesh/testnet/plan"

	"github.com/spf13/cobra"
)

// wishOptions are the flags for what a testnet is to be.
type wishOptions struct {
	nodes, relays  int
	nat            string
	public, inside string
}

func (o *wishOptions) flags(cmd *cobra.Command, nodes int, nat string) {
	f := cmd.Flags()
	f.IntVar(&o.nodes, "nodes", nodes, fmt.Sprintf("`N` nodes, 2 to %d", plan.MaxNodes))
	f.IntVar(&o.relays, "relays", 2, fmt.Sprintf("`N` relays, 1 to %d", plan.MaxRelays))
	f.StringVar(&o.nat, "nat", nat, "what is in front of nodes: mixed or none")
	f.StringVar(&o.public, "public", plan.DefaultPublic.String(), "`CIDR` of the public network, IPv4, /16 to /24; take one that looks routed")
	f.StringVar(&o.inside, "inside", plan.DefaultInside.String(), "`CIDR` of the networks behind boxes, IPv4, /8 to /16")
}

// plan makes a plan of what was asked for.
func (o wishOptions) plan(name string) (*plan.Plan, error) {
	w := plan.Wish{Name: name, Nodes: o.nodes, Relays: o.relays, NAT: o.nat}
	for _, network := range []struct {
		flag, text string
		into       *netip.Prefix
	}{{"--public", o.public, &w.Public}, {"--inside", o.inside, &w.Inside}} {
		var err error
		if *network.into, err = netip.ParsePrefix(network.text); err != nil {
			return nil, usagef("%s %s: want a network like 11.77.0.0/24", network.flag, network.text)
		}
	}
	p, err := plan.New(w)
	if err != nil {
		return nil, usagef("%s", strings.TrimPrefix(err.Error(), "testnet: ")).next("amesh testnet init --help")
	}
	return p, nil
}

func (a *app) testnetInitCommand() *cobra.Command {
	var o wishOptions
	var dir, name, binary string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write the compose file of a testnet, and the keys of everybody in it",
		Long: `Writes compose.yaml into a folder, with a Dockerfile that begins with nothing, a copy
of this program, and a home with keys for every relay and node. The folder is made, or is
empty. It works for "docker compose" and "docker-compose" alike; no image is pulled. It
starts nothing.

With --nat mixed the nodes are, in turn: open, behind a port-restricted box, behind a
symmetric one, without UDP, behind a full cone, behind two boxes. Boxes are containers
of the same image, and the only ones with capabilities. With --nat none all nodes are in
the public network.`,
		Example: "  amesh testnet init --nodes 6 --relays 2 --nat mixed\n" +
			"  amesh testnet init --nat none --nodes 3 --dir /tmp/small --public 12.34.56.0/24",
		Args: words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := o.plan(name)
			if err != nil {
				return err
			}
			return testnetFailure(a.testnetInit(p, dir, binary))
		},
	}
	o.flags(cmd, 6, "mixed")
	dirFlag(cmd, &dir)
	cmd.Flags().StringVar(&name, "name", "amesh-testnet", "what the names of containers and networks begin with")
	cmd.Flags().StringVar(&binary, "binary", "", "static amesh `FILE` for the image (default this program)")
	return cmd
}

// initialised is what init says with --json.
type initialised struct {
	Dir     string `json:"dir"`
	Compose string `json:"compose"`
	*plan.Plan
}

func (a *app) testnetInit(p *plan.Plan, dir, binary string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("testnet: %w", err)
	}
	if err := plan.Vacant(abs); err != nil {
		return err
	}
	if binary == "" {
		if binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	}
	if err := compose.CheckBinary(binary); err != nil {
		return err
	}
	if err = p.Write(abs, rand.Reader); err == nil {
		user := compose.User{UID: os.Getuid(), GID: os.Getgid()}
		err = compose.Write(abs, p, binary, user, compose.DefaultLimits())
	}
	if err != nil {
		// The folder was empty, and init can be tried again.
		return errors.Join(err, removeTestnet(abs, p))
	}
	done := initialised{Dir: abs, Compose: filepath.Join(abs, compose.File), Plan: p}
	return a.show(done, func(w io.Writer) {
		fmt.Fprintf(w, "wrote     %s\n", done.Compose)
		for _, r := range p.Relays {
			fmt.Fprintf(w, "relay     %-4s %s\n", r.Name, r.URL())
		}
		for _, n := range p.Nodes {
			fmt.Fprintf(w, "node      %-4s %-15s  %-15s  %s\n", n.Name, n.Kind, n.Address, n.AMID)
		}
		fmt.Fprintf(w, "start it  (cd %s && docker compose up -d), or: amesh testnet up --dir %s\n", dir, dir)
	})
}
