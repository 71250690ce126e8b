package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"amesh/gateway/client"

	"github.com/spf13/cobra"
)

func (a *app) gatewayMessageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "message",
		Short:   "Send a message, and ask what became of it",
		Long:    "Sends a message as an agent, asks what became of one, and how often it was tried to deliver it.",
		Example: "  amesh gateway message status 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01",
		Args:    verbs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	status := a.manageAsEither(&cobra.Command{
		Use:     "status ID",
		Short:   "Show what became of a message for each recipient",
		Long:    "Shows what became of a message for each of its recipients: delivered, waiting, or why not.",
		Example: "  amesh gateway message status 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01 --json",
		Args:    oneID("the message's id"),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		s, err := c.Status(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) { writeGatewayStatus(w, s) })
	})
	attempts := a.manageAsEither(&cobra.Command{
		Use:     "attempts ID",
		Short:   "Show every try to deliver a message",
		Long:    "Shows every try to deliver a message to a push agent or another gateway, the oldest first.",
		Example: "  amesh gateway message attempts 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01",
		Args:    oneID("the message's id"),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		all, err := c.Attempts(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(items(all), func(w io.Writer) { writeAttempts(w, all) })
	})
	cmd.AddCommand(a.gatewaySendCommand(), status, attempts)
	return cmd
}

func (a *app) gatewaySendCommand() *cobra.Command {
	var m client.NewMessage
	var payload, file string
	var wait span
	cmd := a.manageAsAgent(&cobra.Command{
		Use:   "send RECIPIENT...",
		Short: "Send a message as an agent",
		Long: `Sends a message through the gateway, with the sender's own key. When it is accepted the
gateway has it on disk. Exit 8 says that something is still to be delivered, exit 5 that a
recipient was refused for good.`,
		Example: "  amesh gateway message send orders@example.org --from sales@example.com --key-file sales.key --payload '{\"sku\":\"W-1\"}'\n" +
			"  amesh gateway message send orders@example.org --from sales@example.com --key-file sales.key --file order.json --wait 10s",
		Args: withID("the recipients' addresses", words(1, mostRecipients, "the recipients' addresses")),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		var err error
		switch {
		case time.Duration(wait) > longestWait:
			return withUsage(cmd, usagef("--wait %s: want at most %s", time.Duration(wait), longestWait))
		case m.Sender == "":
			return withUsage(cmd, usagef("want --from ADDRESS, the sender"))
		case payload != "" && file != "":
			return withUsage(cmd, usagef("--payload and --file: want one of the two"))
		case file != "":
			m.Payload, err = a.readJSON("--file", file)
		case !json.Valid([]byte(payload)):
			return withUsage(cmd, usagef("--payload: want JSON, such as '{\"n\":1}'"))
		default:
			m.Payload = json.RawMessage(payload)
		}
		if err != nil {
			return err
		}
		m.Recipients = args
		s, err := c.Send(cmd.Context(), m, time.Duration(wait))
		if err != nil {
			return err
		}
		return a.showHandedIn(s)
	})
	f := cmd.Flags()
	f.StringVar(&m.Sender, "from", "", "the sender's `ADDRESS`")
	f.StringVar(&m.Subject, "subject", "", "`TEXT` for people")
	f.StringVar(&m.Schema, "schema", "", "`ID` of the payload's schema")
	f.StringVar(&m.ReplyTo, "in-reply-to", "", "`ID` of the message that this one answers")
	f.StringVar(&m.Key, "idempotency-key", "", "`UUID` (version 4) under which it may be sent again")
	f.StringVar(&payload, "payload", "", "the payload, as `JSON`")
	f.StringVarP(&file, "file", "f", "", "`FILE` with the payload, - for standard input")
	f.Var(&wait, "wait", "how long to wait for other gateways and for a reply, at most 25s")
	return cmd
}

// mostRecipients is how many a message may have.
const mostRecipients = 1000

// longestWait is how long a gateway waits for others before it answers.
const longestWait = 25 * time.Second

// showHandedIn shows what became of a message so far, and ends as it stands.
func (a *app) showHandedIn(s client.Sent) error {
	var f *failure
	switch s.Status {
	case "failed":
		f = &failure{exit: exitRefused, code: "recipient_failed", message: "not every recipient gets it", hint: "amesh gateway message status " + s.MessageID}
	case "queued", "retrying", "pending":
		f = &failure{exit: exitUndelivered, code: "not_delivered_yet", message: "accepted, and not delivered to everybody yet", hint: "amesh gateway message status " + s.MessageID}
	}
	if f != nil && a.json {
		f.data = s
		return f
	}
	err := a.show(s, func(w io.Writer) {
		writeGatewayStatus(w, s.MessageStatus)
		if len(s.Reply) > 0 {
			fmt.Fprintf(w, "reply  %s\n", plain(string(s.Reply)))
		}
	})
	if err == nil && f != nil {
		err = f
	}
	return err
}

func writeGatewayStatus(w io.Writer, s client.MessageStatus) {
	fmt.Fprintf(w, "%s  %s\n", plain(s.MessageID), plain(s.Status))
	for _, r := range s.Recipients {
		fmt.Fprintf(w, "  %s  %s", plain(r.Address), plain(r.Status))
		if r.Acknowledged {
			fmt.Fprint(w, ", acknowledged")
		}
		if !r.NextRetry.IsZero() {
			fmt.Fprintf(w, ", again at %s", moment(r.NextRetry))
		}
		if r.ErrorCode != "" {
			fmt.Fprintf(w, "  %s: %s", plain(r.ErrorCode), plain(r.ErrorMessage))
		}
		fmt.Fprintln(w)
	}
	if v := s.Sender; v != nil {
		fmt.Fprintf(w, "sender  %s", plain(v.Result))
		if v.Method != "" {
			fmt.Fprintf(w, " by %s", plain(v.Method))
		}
		if v.Domain != "" {
			fmt.Fprintf(w, "  %s", plain(v.Domain))
		}
		if v.Reason != "" {
			fmt.Fprintf(w, "  (%s)", plain(v.Reason))
		}
		fmt.Fprintln(w)
	}
}

func writeAttempts(w io.Writer, all []client.Attempt) {
	for _, t := range all {
		fmt.Fprintf(w, "%s  %s  %s", t.Time.UTC().Format(time.RFC3339), plain(t.Recipient), plain(t.Status))
		if t.HTTPStatus != 0 {
			fmt.Fprintf(w, "  HTTP %d", t.HTTPStatus)
		}
		fmt.Fprintf(w, "  %.0f ms", t.Milliseconds)
		if t.Code != "" {
			fmt.Fprintf(w, "  %s: %s", plain(t.Code), plain(t.Message))
		}
		fmt.Fprintln(w)
	}
	if len(all) == 0 {
		fmt.Fprintln(w, "no attempts")
	}
}
