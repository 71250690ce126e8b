package main

import (
	"fmt"
	"io"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) blockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "block PEER",
		Short: "Have nothing to do with a peer any more",
		Long: `Puts a peer on the block list of the policy, for every agent of this node. Within a
second its sessions are closed, what came from it and was not opened is dropped, and
what it does not have yet of ours is refused with the reason "blocked". From then on
its knocks and messages are dropped without an answer.

What you or the peer had granted is forgotten, and "amesh unblock" does not bring it
back. Messages that came before stay in the inbox.`,
		Example: "  amesh block 2wCNe4X9egd7iKnC1T9XBee63MLc",
		Args:    words(1, 1, "the peer's AMID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.setBlocked(cmd, args[0], true) },
	}
}

func (a *app) unblockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unblock PEER",
		Short: "Take a peer off the block list",
		Long: `Takes a peer off the block list of the policy. It is a stranger then: what was granted
to it before it was blocked is gone, and the policy answers its next knock.`,
		Example: "  amesh unblock 2wCNe4X9egd7iKnC1T9XBee63MLc",
		Args:    words(1, 1, "the peer's AMID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.setBlocked(cmd, args[0], false) },
	}
}

func (a *app) setBlocked(cmd *cobra.Command, arg string, blocked bool) error {
	peer, err := peerArg(arg)
	if err != nil {
		return err
	}
	return a.ask(func(n api.Backend) error {
		p, err := n.Block(cmd.Context(), a.agent, peer, blocked)
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) {
			if blocked {
				fmt.Fprintf(w, "%s  blocked\n", peer)
				return
			}
			fmt.Fprintf(w, "%s  not blocked\n", peer)
		})
	})
}
