package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"amesh/relay"
	"amesh/relay/admin"

	"github.com/spf13/cobra"
)

// clearScreen takes a terminal back to its first line and wipes what is below.
const clearScreen = "\x1b[H\x1b[J"

func (a *app) relayTopCommand() *cobra.Command {
	var rows int
	var by string
	var once bool
	every := span(2 * time.Second)
	cmd := a.operate(&cobra.Command{
		Use:   "top",
		Short: "Show who is busy at the relay",
		Long: `Shows the relay that runs on --data at a glance, and the busiest agents and addresses
(IPv4, or IPv6 /56) of the last one to two minutes: frames and bytes both ways, messages
stored, refusals, connections (of those without a name yet in brackets), and what waits in
an agent's mailbox. It never shows who writes to whom.

The table is renewed until it is interrupted; with --json it is one object a line.`,
		Example: "  amesh relay top\n  amesh relay top --once --by stored -n 5\n  amesh relay top --once --json",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *admin.Client, _ []string) error {
		order := relay.Order(by)
		if !slices.Contains(relay.Orders, order) {
			return usagef("--by %s: want one of %v", by, relay.Orders)
		}
		if rows < 1 || rows > 1000 || every <= 0 {
			return usagef("-n %d, --every %s: want 1 to 1000 rows, and a time above 0", rows, time.Duration(every))
		}
		for {
			top, err := c.Top(cmd.Context(), rows, order)
			if err != nil {
				return endOfTop(cmd.Context(), err)
			}
			if err := a.showTop(top, once); err != nil || once {
				return err
			}
			if !rest(cmd.Context(), time.Duration(every)) {
				return nil
			}
		}
	})
	f := cmd.Flags()
	f.StringVar(&by, "by", string(relay.ByFrames), "what makes busy: frames, bytes, stored or refused")
	f.IntVarP(&rows, "rows", "n", 20, "rows of each table")
	f.BoolVar(&once, "once", false, "show it once")
	f.Var(&every, "every", "how often it is renewed")
	return cmd
}

// endOfTop takes an interruption for the usual end.
func endOfTop(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// rest waits for d. It is false when ctx ends.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *app) showTop(top admin.Top, once bool) error {
	return a.show(top, func(w io.Writer) {
		if a.tty && !once {
			fmt.Fprint(w, clearScreen)
		}
		writeTop(w, top)
	})
}

func writeTop(w io.Writer, top admin.Top) {
	g := top.Relay
	fmt.Fprintf(w, "relay      %s, %s; %s, %d waiting; %s\n", top.At.Format(time.TimeOnly), plain(g.Status),
		count(g.Ack+g.Legacy, "agent"), g.Waiting, count(g.Bans, "ban"))
	fmt.Fprintf(w, "mailboxes  %s, %s; %d expired\n", count(g.Messages.Messages, "message"), size(uint64(g.Messages.Bytes)), g.Expired)
	fmt.Fprintf(w, "so far     in %d frames, %s; out %d, %s; refused %d, cut %d\n", g.In.N, size(g.In.Bytes), g.Out.N, size(g.Out.Bytes), g.Refused, g.Cut)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, part := range []struct {
		name string
		list []relay.Busy
	}{{"AGENT", top.Agents}, {"ADDRESS", top.Addresses}} {
		fmt.Fprintf(t, "\nCONN\tIN\tBYTES\tOUT\tBYTES\tSTORED\tREFUSED\tMAILBOX\t  %s\n", part.name)
		for _, b := range part.list {
			r := b.Recent
			fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%s\t%d\t%d\t%s\t  %s\n", conns(b), r.In.N, size(r.In.Bytes), r.Out.N, size(r.Out.Bytes),
				r.Stored, r.Refused, box(b.Mailbox), plain(b.Who))
		}
		if len(part.list) == 0 {
			fmt.Fprintln(t, "nobody")
		}
		_ = t.Flush()
	}
}

func conns(b relay.Busy) string {
	if b.Waiting > 0 {
		return fmt.Sprintf("%d (%d)", b.Connections, b.Waiting)
	}
	return fmt.Sprint(b.Connections)
}

func box(r *relay.Room) string {
	if r == nil {
		return ""
	}
	return fmt.Sprint(r.Messages)
}

// size is a number of bytes, short.
func size(n uint64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB"} {
		if f /= step; f < step {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.1f TiB", f/step)
}
