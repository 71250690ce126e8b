package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) statusCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the node at a glance",
		Long: `Shows agents, relays, peers, what waits to be sent and read, and what does not
work right now. With --check the exit code is 10 while something does not work.`,
		Example: "  amesh status\n  amesh status --check",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(func(n api.Backend) error {
				s, err := n.Status(cmd.Context(), a.agent)
				if err != nil {
					return err
				}
				if check && len(s.Degraded) > 0 {
					return &failure{exit: exitDegraded, code: "degraded", message: strings.Join(s.Degraded, "; "), data: s}
				}
				return a.show(s, func(w io.Writer) { writeStatus(w, s) })
			})
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "exit 10 while something does not work")
	return cmd
}

func writeStatus(w io.Writer, s api.Status) {
	fmt.Fprintf(w, "node     %s, up %s, version %s\n", plain(s.Home), since(s.Started), plain(s.Version))
	for _, agent := range s.Agents {
		fmt.Fprintf(w, "agent    %s  %s\n", plain(agent.Name), agent.AMID)
	}
	for _, r := range s.Relays {
		fmt.Fprintf(w, "relay    %s  %s%s\n", plain(r.URL), r.State, inBrackets(r.Error))
	}
	if len(s.Relays) == 0 {
		fmt.Fprintln(w, "relay    none")
	}
	published := "own record not published"
	if s.DHT.Published {
		published = "own record published"
	}
	fmt.Fprintf(w, "dht      %s, %s\n", count(s.DHT.Peers, "server"), published)
	for _, p := range s.Peers {
		writePeer(w, "peer     ", p)
	}
	fmt.Fprintf(w, "mail     %d unread, %d not delivered yet, %s waiting for you\n", s.Unread, s.Queued, count(s.Knocks, "knock"))
	for _, d := range s.Degraded {
		fmt.Fprintf(w, "problem  %s\n", plain(d))
	}
}

func since(t time.Time) time.Duration { return max(time.Since(t).Truncate(time.Second), 0) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// inBrackets is a remark after something, or nothing.
func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + plain(s) + ")"
}
