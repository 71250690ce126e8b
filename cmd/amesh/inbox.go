package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

const (
	// followEvery is the pause between two looks with --follow.
	followEvery = 300 * time.Millisecond
	// followPage is how much one look reads.
	followPage = 500
)

func (a *app) inboxCommand() *cobra.Command {
	var q api.InboxQuery
	var follow bool
	cmd := &cobra.Command{
		Use:   "inbox",
		Short: "List the messages that came in",
		Long: `Lists messages that wait for the agent, oldest first; with --all also those that
are done. With --follow it stays and lists what comes in, one line a message, with
--json one object a message. Listing changes nothing: see "amesh read".`,
		Example: "  amesh inbox\n  amesh inbox --all --limit 20\n  amesh inbox --follow --json",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 0 || q.Limit > followPage {
				return withUsage(cmd, usagef("--limit %d: want 1 to %d", q.Limit, followPage))
			}
			return a.ask(func(n api.Backend) error {
				if follow {
					return a.follow(cmd.Context(), n, q)
				}
				page, err := n.Inbox(cmd.Context(), a.agent, q)
				if err != nil {
					return err
				}
				if page.Items == nil {
					page.Items = []api.InboxItem{}
				}
				return a.show(page, func(w io.Writer) { writeInbox(w, page) })
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&q.All, "all", false, "also messages that are done")
	f.StringVar(&q.From, "from", "", "only messages of this peer")
	f.IntVar(&q.Limit, "limit", 0, "at most this many (default 100)")
	f.StringVar(&q.Cursor, "cursor", "", "go on where a page ended (its \"next\")")
	f.BoolVar(&follow, "follow", false, "stay and list what comes in")
	return cmd
}

func writeInbox(w io.Writer, page api.InboxPage) {
	for _, item := range page.Items {
		writeItem(w, item)
	}
	if len(page.Items) == 0 {
		fmt.Fprintln(w, "no messages")
	}
	if page.Next != "" {
		fmt.Fprintf(w, "more: --cursor %s\n", page.Next)
	}
}

func writeItem(w io.Writer, m api.InboxItem) {
	about := m.Intent
	if about == "" {
		about = "-"
	}
	fmt.Fprintf(w, "%s  %s  %-7s  %s  %d bytes  %s", m.ID, m.From, m.State,
		m.ReceivedAt.Local().Format(time.DateTime), m.Size, plain(about))
	if m.FileName != "" {
		fmt.Fprintf(w, "  %s", plain(m.FileName))
	}
	fmt.Fprintln(w)
}

// follow lists what is there and then what comes, until ctx ends. Only the last
// page is read again at each look.
func (a *app) follow(ctx context.Context, n api.Backend, q api.InboxQuery) error {
	q.Limit = followPage
	seen := make(map[string]bool)
	for {
		page, err := n.Inbox(ctx, a.agent, q)
		if ctx.Err() != nil {
			return nil // the way in which following ends
		}
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			if seen[item.ID] {
				continue
			}
			seen[item.ID] = true
			if err := a.show(item, func(w io.Writer) { writeItem(w, item) }); err != nil {
				return err
			}
		}
		if page.Next != "" {
			q.Cursor = page.Next
			clear(seen)
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}
