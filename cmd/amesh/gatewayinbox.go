package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

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

// inboxPause is how long after one look into an inbox --follow takes the next.
const inboxPause = time.Second

func (a *app) gatewayInboxGetCommand() *cobra.Command {
	var p client.Page
	var follow bool
	cmd := a.manageAsAgent(&cobra.Command{
		Use:   "get ADDRESS",
		Short: "Show the messages that wait for an agent",
		Long: `Shows the messages that wait for an agent, the oldest first. They stay until they are
acknowledged with "amesh gateway inbox ack". With --follow what comes is shown until you
interrupt it, with --json one message a line.`,
		Example: "  amesh gateway inbox get sales@example.com --key-file sales.key\n" +
			"  amesh gateway inbox get sales@example.com --key-file sales.key --limit 10 --json\n" +
			"  amesh gateway inbox get sales@example.com --key-file sales.key --follow",
		Args: oneID("the agent's address, NAME@DOMAIN"),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := fullAddress(cmd, args[0]); err != nil {
			return err
		}
		if p.Limit < 0 || p.Offset < 0 {
			return withUsage(cmd, usagef("--limit and --offset: want no less than 0"))
		}
		if follow {
			return a.followInbox(cmd.Context(), c, args[0], p)
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
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with what comes later")
	return cmd
}

// fullAddress refuses a name without a domain, which no key of an agent opens.
func fullAddress(cmd *cobra.Command, address string) error {
	if strings.Contains(address, "@") {
		return nil
	}
	return withUsage(cmd, usagef("%q is no address: want NAME@DOMAIN", address))
}

// followInbox shows the messages of an inbox as they come, until ctx ends.
func (a *app) followInbox(ctx context.Context, c *client.Client, address string, p client.Page) error {
	tick := time.NewTicker(inboxPause)
	defer tick.Stop()
	for {
		in, err := c.Inbox(ctx, address, p)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, m := range in.Messages {
			if a.json {
				fmt.Fprintf(a.out, "%s\n", m.Document)
			} else {
				writeGatewayMessage(a.out, m)
			}
			p.After, p.Offset = m.ID, 0
		}
		if in.More {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func writeGatewayInbox(w io.Writer, in client.Inbox) {
	for _, m := range in.Messages {
		writeGatewayMessage(w, m)
	}
	switch {
	case len(in.Messages) == 0:
		fmt.Fprintln(w, "no messages")
	case in.More:
		fmt.Fprintln(w, "there are more")
	}
}

func writeGatewayMessage(w io.Writer, m client.Message) {
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

func (a *app) gatewayAckCommand() *cobra.Command {
	return a.manageAsAgent(&cobra.Command{
		Use:     "ack ADDRESS ID",
		Short:   "Take a message out of an agent's inbox",
		Long:    "Acknowledges a message: it leaves the agent's inbox. Other recipients keep their copies.",
		Example: "  amesh gateway inbox ack sales@example.com 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01 --key-file sales.key",
		Args:    withID("the agent's address, and the message's id", words(2, 2, "the agent's address, and the message's id")),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := fullAddress(cmd, args[0]); err != nil {
			return err
		}
		if err := c.Ack(cmd.Context(), args[0], args[1]); err != nil {
			return err
		}
		return a.show(map[string]string{"recipient": args[0], "id": args[1]}, func(w io.Writer) {
			fmt.Fprintf(w, "acknowledged  %s\n", plain(args[1]))
		})
	})
}
