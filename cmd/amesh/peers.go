package main

import (
	"context"
	"fmt"
	"io"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) peersCommand() *cobra.Command {
	var lan bool
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "List the agents that ours have to do with",
		Long: `Lists every agent that one of ours has written to or heard from: the path on which
messages reach it now, and how far the two are with each other. With --lan it lists
the agents in the local network instead, whether they were ever written to or not.`,
		Example: "  amesh peers\n  amesh peers --lan\n  amesh peers --json",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lan {
				return a.neighbours(cmd.Context())
			}
			return a.ask(func(n api.Backend) error {
				peers, err := n.Peers(cmd.Context(), a.agent)
				if err != nil {
					return err
				}
				return a.show(items(peers), func(w io.Writer) {
					for _, p := range peers {
						writePeer(w, "", p)
					}
					if len(peers) == 0 {
						fmt.Fprintln(w, "no peers yet")
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&lan, "lan", false, "the agents in the local network")
	return cmd
}

func (a *app) neighbours(ctx context.Context) error {
	return a.ask(func(n api.Backend) error {
		s, err := n.Status(ctx, a.agent)
		if err != nil {
			return err
		}
		return a.show(items(s.LAN), func(w io.Writer) {
			for _, n := range s.LAN {
				writeNeighbour(w, "", n)
			}
			if len(s.LAN) == 0 {
				fmt.Fprintln(w, "no agents in the local network")
			}
		})
	})
}

func writeNeighbour(w io.Writer, start string, n api.Neighbour) {
	at := "no address"
	if len(n.Addresses) > 0 {
		at = plain(n.Addresses[0])
	}
	fmt.Fprintf(w, "%s%s  %s, met %s ago\n", start, n.AMID, at, since(n.LastSeen))
}

// accountable is the mode that is always said; without a word it is private.
const accountable = "accountable"

func writePeer(w io.Writer, start string, p api.Peer) {
	grant := ""
	if p.Granted {
		grant = ", granted"
	}
	if p.Blocked {
		grant = ", blocked"
	}
	if p.Mode == accountable {
		grant = ", " + p.Mode + grant
	}
	fmt.Fprintf(w, "%s%s  %s  session %s%s", start, p.AMID, p.Path, p.Session, grant)
	if p.Verified != nil {
		fmt.Fprint(w, ", verified")
	}
	if p.Revoked != nil {
		fmt.Fprintf(w, ", revoked: %s", farewell(*p.Revoked))
	}
	if p.Waiting > 0 {
		fmt.Fprintf(w, ", %d waiting", p.Waiting)
	}
	if p.LastSeen != nil {
		fmt.Fprintf(w, ", heard from %s ago", since(*p.LastSeen))
	}
	fmt.Fprintln(w)
}

// list is how lists look in data: an object, so that more can be said later.
type list[T any] struct {
	Items []T `json:"items"`
}

// items never makes a null.
func items[T any](all []T) list[T] {
	if all == nil {
		all = []T{}
	}
	return list[T]{all}
}
