package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

// How much of what was tried fits on a screen; --json has all of it.
const (
	whyAttempts = 4
	whyPairs    = 6
)

// withoutPeer finds the peer id at the end of an address, which says nothing of the way.
var withoutPeer = regexp.MustCompile(`/p2p/[1-9A-HJ-NP-Za-km-z]+\b`)

// lookAgain is how often an attempt is looked at while it is followed.
const lookAgain = 250 * time.Millisecond

func (a *app) whyCommand() *cobra.Command {
	var try bool
	timeout := span(30 * time.Second)
	cmd := &cobra.Command{
		Use:   "why PEER",
		Short: "Show how messages reach a peer, and why not directly",
		Long: `Shows the path that messages to a peer take now, what was tried to make a better one,
which pairs of addresses answered, the reason why it is relayed, and what would make it
direct. With --try it begins an attempt now, where there is no direct path yet, and follows
it until there is one or nothing is left to try, for --timeout at most.

The path is "direct" (a connection of the two nodes), "punched" (a connection through
their NATs), "open" (one that was there, whatever made it), "relayed" or "none".`,
		Example: "  amesh why 2wCNe4X9egd7iKnC1T9XBee63MLc\n" +
			"  amesh why travel-bot --try\n" +
			"  amesh why travel-bot --json",
		Args: oneID("a peer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			peer, err := peerArg(args[0])
			if err != nil {
				return err
			}
			return a.ask(func(n api.Backend) error {
				var w api.Why
				if try {
					w, err = a.followTry(cmd.Context(), n, peer, time.Duration(timeout))
				} else {
					w, err = n.Why(cmd.Context(), a.agent, peer)
				}
				if err != nil {
					return err
				}
				return a.show(w, func(out io.Writer) { writeWhy(out, w) })
			})
		},
	}
	cmd.Flags().BoolVar(&try, "try", false, "begin an attempt at a direct path now, and follow it")
	cmd.Flags().Var(&timeout, "timeout", "how long to follow it")
	return cmd
}

// followTry begins an attempt and says on standard error how it goes.
func (a *app) followTry(ctx context.Context, n api.Backend, peer string, most time.Duration) (api.Why, error) {
	w, err := n.TryDirect(ctx, a.agent, peer)
	end := time.Now().Add(most)
	begun, last := time.Now().Add(-lookAgain), ""
	for err == nil {
		if said := tryLine(w, begun); said != last {
			fmt.Fprintln(a.err, said)
			last = said
		}
		if w.Reason != api.WhyTrying || time.Now().After(end) {
			return w, nil
		}
		if !rest(ctx, lookAgain) {
			return w, ctx.Err()
		}
		w, err = n.Why(ctx, a.agent, peer)
	}
	return w, err
}

// tryLine is how an attempt goes, in a line.
func tryLine(w api.Why, begun time.Time) string {
	if len(w.Attempts) == 0 || w.Attempts[0].Started.Before(begun) {
		return "nothing to try: " + plain(w.Text)
	}
	t := w.Attempts[0]
	said := fmt.Sprintf("%s: %s", plain(string(t.Kind)), howItEnded(t))
	if len(t.Pairs) > 0 && t.Outcome == api.OutcomeRunning {
		said += fmt.Sprintf(", %s of addresses", count(len(t.Pairs), "pair"))
	}
	return said
}

func writeWhy(w io.Writer, y api.Why) {
	line := func(what, format string, args ...any) { fmt.Fprintf(w, "%-9s%s\n", what, fmt.Sprintf(format, args...)) }
	line("peer", "%s%s  session %s", y.Peer, inBrackets(y.Name), plain(y.Session))
	line("path", "%s", pathWords(y))
	line("why", "%s", plain(y.Text))
	if y.Next != "" {
		line("next", "%s", plain(y.Next))
	}
	if y.Own != nil {
		line("our nat", "%s", natLine(*y.Own))
	}
	if y.Theirs != nil {
		line("its nat", "%s", natLine(*y.Theirs))
	}
	for i, t := range y.Attempts {
		if i == whyAttempts {
			line("", "and %d before; --json shows all", len(y.Attempts)-i)
			break
		}
		line("tried", "%7s ago  %-7s %s", since(t.Started), plain(string(t.Kind)), attemptWords(t))
		if t.Target != "" && len(t.Pairs) == 0 {
			fmt.Fprintln(w, "           to "+clip(plain(withoutPeer.ReplaceAllString(t.Target, "")), 120))
		}
		if i == 0 || t.Outcome == api.OutcomeOK {
			writePairs(w, t.Pairs)
		}
	}
	if y.NextTry != nil {
		line("again", "in %s", max(time.Until(*y.NextTry).Truncate(time.Second), 0))
	}
}

// pathWords is the path with what it leads over.
func pathWords(y api.Why) string {
	words := []string{plain(string(y.Path))}
	switch {
	case y.Remote != "":
		words[0] += " to " + plain(y.Remote)
	case y.Relay != "":
		words[0] += " by " + plain(y.Relay)
	}
	if y.Limited {
		words = append(words, "through a circuit relay")
	}
	if y.RTTMS > 0 {
		words = append(words, spent(y.RTTMS))
	}
	if y.Since != nil {
		words = append(words, fmt.Sprintf("for %s", since(*y.Since)))
	}
	return strings.Join(words, ", ")
}

func natLine(n api.NAT) string {
	words := []string{plain(string(n.Type))}
	if len(n.Public) > 0 {
		words = append(words, plain(strings.Join(n.Public, " ")))
	}
	if n.IPv6 {
		words = append(words, "IPv6")
	}
	if n.Mapped {
		words = append(words, "port forwarded")
	}
	return strings.Join(words, ", ")
}

// spent is a time measured in milliseconds as people read it.
func spent(ms float64) string {
	if d := time.Duration(ms * float64(time.Millisecond)); d >= time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return fmt.Sprintf("%.4g ms", ms)
}

// howItEnded is how an attempt ended, or that it has not.
func howItEnded(t api.Attempt) string {
	said := map[api.Outcome]string{api.OutcomeRunning: "under way", api.OutcomeGivenUp: "given up"}[t.Outcome]
	if said == "" {
		said = plain(string(t.Outcome))
	}
	if t.Outcome != api.OutcomeRunning {
		said += " after " + spent(t.TookMS)
	}
	return said
}

func attemptWords(t api.Attempt) string {
	said := howItEnded(t)
	if t.Error != "" {
		said += ": " + clip(plain(t.Error), 160)
	}
	return said
}

func writePairs(w io.Writer, pairs []api.Pair) {
	for i, p := range pairs {
		if i == whyPairs {
			fmt.Fprintf(w, "           and %s more; --json shows all\n", count(len(pairs)-i, "pair"))
			return
		}
		fmt.Fprintf(w, "           %s %s → %s %s  %s, %d asked, %d answered", plain(p.Local), plain(p.LocalType), plain(p.Remote), plain(p.RemoteType),
			plain(p.State), p.Requests, p.Responses)
		if p.RTTMS > 0 {
			fmt.Fprint(w, ", "+spent(p.RTTMS))
		}
		fmt.Fprintln(w)
	}
}
