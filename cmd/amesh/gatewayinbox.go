package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"amesh/gateway/client"

	"github.com/spf13/cobra"
)

func (a *app) gatewayInboxCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inbox",
		Short: "Read an agent's inbox at a gateway, with the agent's key",
		Long:  "Reads an agent's inbox at a gateway and acknowledges messages there, with that agent's own key.",
		Example: "  amesh gateway inbox get sales@example.com --key-file sales.key\n" +
			"  amesh gateway inbox ack sales@example.com 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01 --key-file sales.key",
		Args: verbs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.gatewayInboxGetCommand(), a.gatewayAckCommand())
	return cmd
}

func (a *app) gatewayInboxGetCommand() *cobra.Command {
	var p client.Page
	cmd := a.manageAsAgent(&cobra.Command{
		Use:   "get ADDRESS",
		Short: "Show the messages that wait for an agent",
		Long: `Shows the messages that wait for an agent, the oldest first. They stay until they are
acknowledged with "amesh gateway inbox ack".`,
		Example: "  amesh gateway inbox get sales@example.com --key-file sales.key\n" +
			"  amesh gateway inbox get sales@example.com --key-file sales.key --limit 10 --json",
		Args: oneID("the agent's address, NAME@DOMAIN"),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if p.Limit < 0 || p.Offset < 0 {
			return withUsage(cmd, usagef("--limit and --offset: want no less than 0"))
		}
		in, err := c.Inbox(cmd.Context(), args[0], p)
		if err != nil {
			return err
		}
		type page struct {
			Recipient string            `json:"recipient"`
			Items     []json.RawMessage `json:"items"`
			More      bool              `json:"more"`
		}
		data := page{Recipient: in.Recipient, Items: []json.RawMessage{}, More: in.More}
		for _, m := range in.Messages {
			data.Items = append(data.Items, m.Document)
		}
		return a.show(data, func(w io.Writer) { writeGatewayInbox(w, in) })
	})
	cmd.Flags().IntVar(&p.Limit, "limit", 0, "at most `N` messages")
	cmd.Flags().IntVar(&p.Offset, "offset", 0, "without the first `N`")
	return cmd
}

func writeGatewayInbox(w io.Writer, in client.Inbox) {
	for _, m := range in.Messages {
		fmt.Fprintf(w, "%s  %s  from %s\n", plain(m.ID), moment(m.Time), plain(m.Sender))
		if m.Subject != "" {
			fmt.Fprintf(w, "  subject  %s\n", plain(m.Subject))
		}
		if m.ReplyTo != "" {
			fmt.Fprintf(w, "  reply to  %s\n", plain(m.ReplyTo))
		}
		if m.Schema != "" {
			fmt.Fprintf(w, "  schema  %s\n", plain(m.Schema))
		}
		var b bytes.Buffer
		if len(m.Payload) > 0 && json.Indent(&b, m.Payload, "  ", "  ") == nil {
			fmt.Fprintf(w, "  %s\n", plainLines(b.String()))
		}
	}
	switch {
	case len(in.Messages) == 0:
		fmt.Fprintln(w, "no messages")
	case in.More:
		fmt.Fprintln(w, "there are more")
	}
}

func (a *app) gatewayAckCommand() *cobra.Command {
	return a.manageAsAgent(&cobra.Command{
		Use:     "ack ADDRESS ID",
		Short:   "Take a message out of an agent's inbox",
		Long:    "Acknowledges a message: it leaves the agent's inbox. Other recipients keep their copies.",
		Example: "  amesh gateway inbox ack sales@example.com 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01 --key-file sales.key",
		Args:    withID("the agent's address, and the message's id", words(2, 2, "the agent's address, and the message's id")),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.Ack(cmd.Context(), args[0], args[1]); err != nil {
			return err
		}
		return a.show(map[string]string{"recipient": args[0], "id": args[1]}, func(w io.Writer) {
			fmt.Fprintf(w, "acknowledged  %s\n", plain(args[1]))
		})
	})
}
