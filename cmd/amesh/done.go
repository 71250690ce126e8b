package main

import (
	"fmt"
	"io"

	"amesh/internal/content"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) doneCommand() *cobra.Command {
	var failed, refused bool
	var text string
	cmd := &cobra.Command{
		Use:   "done ID",
		Short: "Say that the work on a message is done",
		Long: `Tells the sender that the message was handled, or with --failed or --refused that
it was not; --text adds a word of at most 200 bytes. The message leaves the inbox,
and is still there with "amesh inbox --all".`,
		Example: `  amesh done 01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44
  amesh done 01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44 --failed --text "no such flight"`,
		Args: oneID("the message's ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := api.AckRequest{Outcome: api.InboxHandled, Text: text}
			switch {
			case failed && refused:
				return withUsage(cmd, usagef("--failed and --refused: want one of them"))
			case failed:
				r.Outcome = api.InboxFailed
			case refused:
				r.Outcome = api.InboxRefused
			}
			if len(text) > content.MaxReceiptText {
				return withUsage(cmd, usagef("--text has %d bytes, want at most %d", len(text), content.MaxReceiptText).
					next("answer with amesh reply, which takes longer texts"))
			}
			return a.ask(func(n api.Backend) error {
				item, err := n.Ack(cmd.Context(), a.agent, args[0], r)
				if err != nil {
					return err
				}
				return a.show(item, func(w io.Writer) { fmt.Fprintf(w, "%s  %s\n", item.ID, item.State) })
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&failed, "failed", false, "it was tried and did not work")
	f.BoolVar(&refused, "refused", false, "it will not be done")
	f.StringVar(&text, "text", "", "a word to the sender")
	return cmd
}
