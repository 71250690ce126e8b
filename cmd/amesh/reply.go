package main

import (
	"context"
	"time"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) replyCommand() *cobra.Command {
	var o outgoing
	cmd := &cobra.Command{
		Use:   "reply ID [TEXT|-]",
		Short: "Answer a message, and be done with it",
		Long: `Sends an answer to a message's sender, in the same thread, and marks the message as
handled. Waiting and exit codes are those of "amesh send".`,
		Example: `  amesh reply 01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44 "two seats, 14:20"
  amesh reply 01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44 --file offers.json --wait handled`,
		Args: withID("the message's ID", words(1, 2, "the message's ID and a text, - or --file")),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.request(cmd, &o, args[1:])
			if err != nil {
				return err
			}
			return a.ask(func(n api.Backend) error {
				m, err := reply(cmd.Context(), n, a.agent, args[0], r, o.key)
				if err != nil {
					return err
				}
				return a.showSent(m, r.Wait)
			})
		},
	}
	o.flags(cmd)
	return cmd
}

// reply sends r as the answer to the message id. The original is marked as
// handled as soon as the answer is on disk, before its delivery is waited for: a
// crash in between leaves an answered message in the inbox, never an unanswered
// one outside of it.
func reply(ctx context.Context, n api.Backend, agent, id string, r api.SendRequest, key string) (api.Message, error) {
	original, err := n.Read(ctx, agent, id, 0)
	if err != nil {
		return api.Message{}, err
	}
	r.To, r.ReplyTo, r.Thread = original.From.String(), original.ID, original.Thread
	if r.Thread == "" {
		r.Thread = original.ID // the first answer makes a thread of it
	}
	if r.Intent == "" {
		r.Intent = original.Intent
	}
	want, timeout := r.Wait, time.Duration(r.TimeoutMS)*time.Millisecond
	r.Wait, r.TimeoutMS = api.StateAccepted, 0
	m, err := n.Send(ctx, agent, r, key)
	if err != nil {
		return api.Message{}, err
	}
	if original.State == api.InboxNew || original.State == api.InboxLeased {
		if _, err := n.Ack(ctx, agent, id, api.AckRequest{Outcome: api.InboxHandled}); err != nil {
			return api.Message{}, err
		}
	}
	if want == api.StateAccepted {
		return m, nil
	}
	return n.Message(ctx, agent, m.ID, want, timeout)
}
