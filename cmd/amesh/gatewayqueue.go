package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"amesh/gateway/client"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// gatewayPage is how many deliveries are listed unless --limit says otherwise.
const gatewayPage = 100

func (a *app) gatewayQueueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "queue",
		Short:   "Look at what a gateway still has to deliver",
		Long:    "Shows what a gateway still has to deliver, to other gateways and to push agents.",
		Example: "  amesh gateway queue list\n  amesh gateway queue stats\n  amesh gateway queue flush --target example.org",
		Args:    verbs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := a.listDeliveries("list", "List what waits", "Lists the deliveries that wait, first those that are due first.",
		"  amesh gateway queue list\n  amesh gateway queue list --target example.org --json", (*client.Client).Queue)
	stats := a.manage(&cobra.Command{
		Use:     "stats",
		Short:   "Count what waits, and for whom",
		Long:    "Counts the deliveries that wait and the dead letters, and names the targets with most of them.",
		Example: "  amesh gateway queue stats\n  amesh gateway queue stats --json",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		s, err := c.QueueStats(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) { writeQueueStats(w, s) })
	})
	flush := a.changeDeliveries(&cobra.Command{
		Use:     "flush",
		Short:   "Have what waits tried now",
		Long:    "Has the gateway try now what it would try later, all or what the flags name.",
		Example: "  amesh gateway queue flush --target example.org\n  amesh gateway queue flush --all",
	}, "due now", (*client.Client).Flush)
	cmd.AddCommand(list, stats, flush)
	return cmd
}

func (a *app) gatewayDeadLetterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "deadletter",
		Short:   "Look at what a gateway has given up",
		Long:    "Shows messages that a gateway could not deliver to a recipient in all the time it had, and why.",
		Example: "  amesh gateway deadletter list\n  amesh gateway deadletter redrive --target example.org",
		Args:    verbs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := a.listDeliveries("list", "List the dead letters", "Lists the dead letters, the newest first.",
		"  amesh gateway deadletter list\n  amesh gateway deadletter list --target example.org --limit 10", (*client.Client).DeadLetters)
	show := a.manage(&cobra.Command{
		Use:     "show ID RECIPIENT",
		Short:   "Show a dead letter with every try",
		Long:    "Shows one dead letter, why it was given up, and every try that was made.",
		Example: "  amesh gateway deadletter show 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01 bob@example.org",
		Args:    withID("the message's id, and the recipient", words(2, 2, "the message's id, and the recipient")),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		d, err := c.DeadLetter(cmd.Context(), args[0], args[1])
		if err != nil {
			return err
		}
		return a.show(d, func(w io.Writer) {
			writeDeliveries(w, client.Deliveries{Items: []client.Delivery{d.Delivery}, Total: 1})
			writeAttempts(w, d.History)
		})
	})
	redrive := a.changeDeliveries(&cobra.Command{
		Use:     "redrive [ID [RECIPIENT]]",
		Short:   "Put dead letters back into the queue",
		Long:    "Puts dead letters back into the queue, due now and with all the time that a new message has.",
		Example: "  amesh gateway deadletter redrive 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01\n  amesh gateway deadletter redrive --target example.org",
	}, "back in the queue", (*client.Client).Redrive)
	purge := a.changeDeliveries(&cobra.Command{
		Use:     "purge [ID [RECIPIENT]]",
		Short:   "Forget dead letters",
		Long:    "Forgets dead letters: they cannot be put back any more. The messages' states stay.",
		Example: "  amesh gateway deadletter purge --older 720h\n  amesh gateway deadletter purge --all",
	}, "forgotten", (*client.Client).Purge)
	cmd.AddCommand(list, show, redrive, purge)
	return cmd
}

// What the client does with a selection, without the client.
type (
	listsDeliveries   = func(c *client.Client, ctx context.Context, s client.Selection) (client.Deliveries, error)
	changesDeliveries = func(c *client.Client, ctx context.Context, s client.Selection) (int, error)
)

// selectionFlags name deliveries.
func selectionFlags(f *pflag.FlagSet, s *client.Selection) {
	f.StringVar(&s.Target, "target", "", "those for `DOMAIN`, or for a push agent's address")
	f.StringVar(&s.MessageID, "message", "", "those of the message with `ID`")
	f.StringVar(&s.Recipient, "recipient", "", "those to `ADDRESS`")
	f.IntVar(&s.Limit, "limit", 0, "at most `N`")
}

func (a *app) listDeliveries(use, short, long, example string, ask listsDeliveries) *cobra.Command {
	var s client.Selection
	cmd := a.manage(&cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: words(0, 0, "")},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			if s.Limit < 0 || s.Offset < 0 {
				return withUsage(cmd, usagef("--limit and --offset: want no less than 0"))
			}
			if s.Limit == 0 {
				s.Limit = gatewayPage
			}
			page, err := ask(c, cmd.Context(), s)
			if err != nil {
				return err
			}
			if page.Items == nil {
				page.Items = []client.Delivery{}
			}
			data := struct {
				Items []client.Delivery `json:"items"`
				Total int               `json:"total"`
			}{page.Items, page.Total}
			return a.show(data, func(w io.Writer) { writeDeliveries(w, page) })
		})
	selectionFlags(cmd.Flags(), &s)
	cmd.Flags().IntVar(&s.Offset, "offset", 0, "without the first `N`")
	return cmd
}

// changeDeliveries is a verb that does something to the deliveries that its arguments
// and flags name. Without any, --all has to be given.
func (a *app) changeDeliveries(cmd *cobra.Command, done string, change changesDeliveries) *cobra.Command {
	var s client.Selection
	var older span
	cmd.Args = words(0, 0, "")
	if cmd.Name() != "flush" {
		cmd.Args = words(0, 2, "the message's id, and a recipient")
	}
	cmd = a.manage(cmd, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if len(args) > 0 {
			s.MessageID = args[0]
		}
		if len(args) > 1 {
			s.Recipient = args[1]
		}
		if older > 0 {
			s.Before = time.Now().Add(-time.Duration(older))
		}
		named := s.MessageID != "" || s.Recipient != "" || s.Target != "" || !s.Before.IsZero()
		if named == s.All {
			return withUsage(cmd, usagef("want what to choose by, such as --target DOMAIN, or --all"))
		}
		n, err := change(c, cmd.Context(), s)
		if err != nil {
			return err
		}
		return a.show(map[string]int{"count": n}, func(w io.Writer) { fmt.Fprintf(w, "%d %s\n", n, done) })
	})
	f := cmd.Flags()
	selectionFlags(f, &s)
	f.BoolVar(&s.All, "all", false, "all there are")
	f.Var(&older, "older", "those that are older than `TIME`, such as 24h or 30d")
	return cmd
}

func writeDeliveries(w io.Writer, page client.Deliveries) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range page.Items {
		when := "since " + moment(d.Dead)
		if d.Dead.IsZero() {
			when = "due " + moment(d.Next)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s", plain(d.MessageID), plain(d.Recipient), plain(d.Status), when, count(d.Attempts, "attempt"))
		if d.Code != "" {
			fmt.Fprintf(t, "\t%s: %s", plain(d.Code), plain(d.Message))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
	switch {
	case page.Total == 0 && len(page.Items) == 0:
		fmt.Fprintln(w, "none")
	case page.Total > len(page.Items):
		fmt.Fprintf(w, "%d of %d\n", len(page.Items), page.Total)
	}
}

func writeQueueStats(w io.Writer, s client.QueueStats) {
	fmt.Fprintf(w, "queued    %d\nretrying  %d\nat work   %d\ndead      %d\n", s.Queued, s.Retrying, s.Leased, s.Dead)
	if !s.Oldest.IsZero() {
		fmt.Fprintf(w, "oldest    %s\n", moment(s.Oldest))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, one := range s.Targets {
		fmt.Fprintf(t, "%s\t%s\tdue %s\n", plain(one.Target), count(one.Jobs, "job"), moment(one.Next))
	}
	_ = t.Flush()
}
