package main

import (
	"io"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) cancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID",
		Short: "Take a message back that is on its way",
		Long: `Ends the delivery of a message, under the ID that "amesh send" printed. The peer may
have it all the same, if it was with a relay already. What the peer's node has said
it has, or what has ended in another way, cannot be taken back: exit code 9.`,
		Example: "  amesh cancel 01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44",
		Args:    oneID("the message's ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(func(n api.Backend) error {
				m, err := n.Cancel(cmd.Context(), a.agent, args[0])
				if err != nil {
					return err
				}
				return a.show(m, func(w io.Writer) { writeSent(w, m) })
			})
		},
	}
}
