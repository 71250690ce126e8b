package main

import (
	"context"
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
		Use:   "status [ID]",
		Short: "Show the node at a glance, or how far a message is",
		Long: `Shows agents, relays, peers, what waits to be sent and read, and what does not
work right now. With --check the exit code is 10 while something does not work.
With the ID that "amesh send" printed it shows where that message is.`,
		Example: "  amesh status\n  amesh status --check\n  amesh status 01973c1e-5b0e-7c3e-9d0e-8a1f5c2b7d44",
		Args:    words(0, 1, "the ID of one message"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(func(n api.Backend) error {
				if len(args) == 1 {
					return a.messageStatus(cmd.Context(), n, args[0])
				}
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

// messageStatus is the data of status with an ID.
type messageStatus struct {
	Message api.Message `json:"message"`
}

func (a *app) messageStatus(ctx context.Context, n api.Backend, id string) error {
	m, err := n.Message(ctx, a.agent, id, "", 0)
	if err != nil {
		return err
	}
	return a.show(messageStatus{m}, func(w io.Writer) {
		writeSent(w, m)
		fmt.Fprintf(w, "to       %s\n", m.To)
		fmt.Fprintf(w, "since    %s\n", m.Changed.UTC().Format(time.RFC3339))
		if m.Mode == accountable {
			fmt.Fprintf(w, "mode     %s, signed by us\n", m.Mode)
		}
		if m.Reason != "" {
			fmt.Fprintf(w, "reason   %s\n", plain(m.Reason))
		}
		if m.Text != "" {
			fmt.Fprintf(w, "says     %s\n", plain(m.Text))
		}
		if !m.State.Terminal() {
			if m.Where != "" {
				fmt.Fprintf(w, "at       %s\n", plain(m.Where))
			}
			fmt.Fprintf(w, "until    %s\n", m.Expires.UTC().Format(time.RFC3339))
		}
	})
}

func writeStatus(w io.Writer, s api.Status) {
	fmt.Fprintf(w, "node     %s, up %s, version %s\n", plain(s.Home), since(s.Started), plain(s.Version))
	for _, agent := range s.Agents {
		fmt.Fprintf(w, "agent    %s  %s%s\n", plain(agent.Name), agent.AMID, agentDetails(agent))
	}
	for _, r := range s.Relays {
		fmt.Fprintf(w, "relay    %s  %s%s\n", plain(r.URL), relayState(r), inBrackets(r.Error))
	}
	if len(s.Relays) == 0 {
		fmt.Fprintln(w, "relay    none")
	}
	for _, r := range s.Registries {
		fmt.Fprintf(w, "registry %s  %s%s\n", plain(r.URL), registryState(r), inBrackets(r.Error))
	}
	published := "own record not published"
	if s.DHT.Published {
		published = "own record published"
	}
	fmt.Fprintf(w, "dht      %s, %s\n", count(s.DHT.Peers, "server"), published)
	if s.NAT != nil {
		fmt.Fprintf(w, "nat      %s\n", natLine(*s.NAT))
	}
	for _, n := range s.LAN {
		writeNeighbour(w, "near     ", n)
	}
	for _, p := range s.Peers {
		writePeer(w, "peer     ", p)
	}
	fmt.Fprintf(w, "mail     %d unread, %d not delivered yet, %s waiting for you\n", s.Unread, s.Queued, count(s.Knocks, "knock"))
	for _, d := range s.Degraded {
		fmt.Fprintf(w, "problem  %s\n", plain(d))
	}
}

// agentDetails are the keys of an agent in few words, nothing for a node of before.
func agentDetails(a api.Agent) string {
	if a.OneTime == nil {
		return ""
	}
	return fmt.Sprintf("  epoch %d, one-time keys %d and %d", a.Epoch, a.OneTime.X25519, a.OneTime.KEM)
}

// relayState is what a relay is to us and how it is, in few words.
func relayState(r api.Relay) string {
	words := []string{r.Role}
	if r.State != r.Role {
		words = append(words, r.State)
	}
	if r.Trust != "" {
		words = append(words, r.Trust)
	}
	if r.Via == "longpoll" {
		words = append(words, "long poll")
	}
	if r.Proxy != "" {
		words = append(words, "through "+plain(r.Proxy))
	}
	if r.LatencyMS > 0 {
		words = append(words, fmt.Sprintf("%.4g ms", r.LatencyMS))
	}
	if r.Mailbox > 0 {
		words = append(words, count(r.Mailbox, "message")+" there for us")
	}
	return strings.Join(words, ", ")
}

// registryState is how a registry is, in few words.
func registryState(r api.Registry) string {
	words := []string{r.State, r.Kind}
	if r.Registered > 0 {
		words = append(words, count(r.Registered, "agent")+" registered")
	}
	if len(r.Warnings) > 0 {
		words = append(words, count(len(r.Warnings), "warning"))
	}
	if r.NextTry != nil {
		words = append(words, "next try in "+max(time.Until(*r.NextTry).Truncate(time.Second), 0).String())
	}
	return strings.Join(words, ", ")
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
