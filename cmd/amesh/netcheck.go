package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"amesh/node"
	"amesh/node/api"
	"amesh/relay"

	"github.com/spf13/cobra"
)

func (a *app) netcheckCommand() *cobra.Command {
	var r api.NetcheckRequest
	cmd := &cobra.Command{
		Use:   "netcheck",
		Short: "See what this network lets a node do",
		Long: `Asks STUN servers where this machine is seen from outside, which tells the kind of NAT
and whether UDP gets out, and every relay whether it answers and how fast; says whether
there is IPv6, a proxy or a forwarded port. One verdict and one next step stand first.

A running node looks with its own sockets. Without one this program looks itself, and
asks the relays of config.yaml, AMESH_RELAY and --relay with the STUN servers beside them.

The kind of NAT is "none", "endpoint" (direct paths can be punched), "symmetric" (mostly
by relay), "blocked" or "unknown". The exit code is 0 when all is well, 10 when direct
paths are rare, a relay does not answer, or there is nobody to ask about the NAT, and 1
when nobody answers.`,
		Example: "  amesh netcheck\n" +
			"  amesh netcheck --relay wss://relay.example/v1/connect --stun stun.example:3478\n" +
			"  amesh netcheck --json",
		Args: words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, url := range r.Relays {
				if _, err := relay.ParseURL(url); err != nil {
					return withUsage(cmd, usagef("--relay: %v", err).next("write it like wss://relay.example/v1/connect"))
				}
			}
			for _, at := range r.STUN {
				if err := checkHostPort("--stun", at, "stun.example:3478"); err != nil {
					return err
				}
			}
			n, err := a.netcheck(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.showNetcheck(n)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&r.Relays, "relay", nil, "ask also the relay at `URL` (repeatable)")
	f.StringSliceVar(&r.STUN, "stun", nil, "ask also the STUN server at `HOST:PORT` (repeatable)")
	return cmd
}

// netcheck asks the node, and looks itself where none runs.
func (a *app) netcheck(ctx context.Context, r api.NetcheckRequest) (api.Netcheck, error) {
	var p *api.Problem
	b, err := a.node()
	var found api.Netcheck
	if err == nil {
		fmt.Fprintln(a.err, "the node looks at the network …")
		found, err = b.Netcheck(ctx, r)
	}
	if !errors.As(err, &p) || p.Code != api.CodeUnreachable {
		return found, err
	}
	fmt.Fprintln(a.err, "no node runs; looking at the network without one …")
	servers := a.servers()
	for _, url := range r.Relays {
		if !slices.Contains(servers.Relays, url) {
			servers.Relays = append(servers.Relays, url)
		}
	}
	servers.STUN = append(servers.STUN, r.STUN...)
	found = node.Survey(ctx, servers, func(line string) { fmt.Fprintln(a.err, plain(line)) })
	return found, ctx.Err()
}

func (a *app) showNetcheck(n api.Netcheck) error {
	if n.Verdict == api.VerdictGood {
		return a.show(n, func(w io.Writer) { writeNetcheck(w, n) })
	}
	if !a.json {
		writeNetcheck(a.out, n)
	}
	f := &failure{exit: exitDegraded, code: "degraded", message: n.Text, hint: n.Next, data: n}
	if n.Verdict == api.VerdictNone {
		f.exit, f.code = exitFailed, "offline"
	}
	if !a.json { // standard output has the sentence and the next step
		f.message, f.hint = string(n.Verdict), ""
	}
	return f
}

func writeNetcheck(w io.Writer, n api.Netcheck) {
	line := func(what, format string, args ...any) { fmt.Fprintf(w, "%-9s%s\n", what, fmt.Sprintf(format, args...)) }
	line("verdict", "%s: %s", plain(string(n.Verdict)), plain(n.Text))
	if n.Next != "" {
		line("next", "%s", plain(n.Next))
	}
	line("nat", "%s", natLine(api.NAT{Type: n.NAT.Type, Public: n.NAT.Public}))
	line("ipv4", "%s", yesNo(n.IPv4))
	line("ipv6", "%s", yesNo(n.IPv6))
	udp := "gets out"
	switch {
	case n.UDPBlocked:
		udp = "blocked"
	case n.NAT.Type == api.NATUnknown, n.NAT.Type == api.NATBlocked:
		udp = "not known"
	}
	line("udp", "%s", udp)
	line("port", "%s", orWord(n.PortMap, "none forwarded by the router"))
	line("proxy", "%s", orWord(n.Proxy, "none"))
	for _, s := range n.STUN {
		line("stun", "%s%s  %s", plain(s.Server), inBrackets(s.Asked), stunWords(s))
	}
	for _, r := range n.Relays {
		line("relay", "%s  %s", plain(r.URL), relayWords(r))
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orWord(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return plain(s)
}

func stunWords(s api.STUNResult) string {
	if s.Public == "" {
		why := strings.TrimPrefix(s.Error, "ask "+s.Asked+": ")
		if why == "no answer" {
			return why
		}
		return "no answer: " + plain(why)
	}
	return "sees " + plain(s.Public) + ", " + spent(s.RTTMS)
}

func relayWords(r api.RelayCheck) string {
	words := []string{plain(r.State)}
	if r.LatencyMS > 0 {
		words = append(words, spent(r.LatencyMS))
	}
	if r.Via == "longpoll" {
		words = append(words, "by plain HTTP requests: no WebSocket gets through")
	}
	if r.Proxy != "" {
		words = append(words, "through "+plain(r.Proxy))
	}
	if r.Error != "" {
		words = append(words, clip(plain(r.Error), 160))
	}
	return strings.Join(words, ", ")
}
