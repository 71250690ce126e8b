package main

import (
	"fmt"
	"io"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) peersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "List the agents that ours have to do with",
		Long: `Lists every agent that one of ours has written to or heard from: the path on which
messages reach it now, and how far the two are with each other.`,
		Example: "  amesh peers\n  amesh peers --json",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
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
