package main

import (
	"fmt"
	"io"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) sessionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sessions [PEER]",
		Short: "List the encrypted lines to peers",
		Long: `Lists sessions, the ones used last first, with PEER only those with it: what each is
for, how it is signed, and how much of what may be sent in it was sent. Sessions are
made and ended as messages need them; of the open ones with a peer one sends.

States: knocking (the peer is asked), pending (you are asked, see "amesh knocks"),
unanswered, sending, receiving and closed; on a closed one old messages still arrive.`,
		Example: "  amesh sessions\n  amesh sessions 2wCNe4X9egd7iKnC1T9XBee63MLc --json",
		Args:    words(0, 1, "the AMID of one peer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			peer := ""
			if len(args) == 1 {
				var err error
				if peer, err = peerArg(args[0]); err != nil {
					return err
				}
			}
			return a.ask(func(n api.Backend) error {
				list, err := n.Sessions(cmd.Context(), a.agent, peer)
				if err != nil {
					return err
				}
				return a.show(items(list), func(w io.Writer) { writeSessions(w, list) })
			})
		},
	}
}

func (a *app) killCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kill PEER",
		Short: "Close the sessions with a peer",
		Long: `Closes every open session with a peer, and tells the peer. What you gave it stays:
the next message, of either side, asks for another session and is let in. To keep
somebody out, use "amesh block".`,
		Example: "  amesh kill 2wCNe4X9egd7iKnC1T9XBee63MLc",
		Args:    words(1, 1, "the peer's AMID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			peer, err := peerArg(args[0])
			if err != nil {
				return err
			}
			return a.ask(func(n api.Backend) error {
				list, err := n.Kill(cmd.Context(), a.agent, peer)
				if err != nil {
					return err
				}
				return a.show(items(list), func(w io.Writer) { writeSessions(w, list) })
			})
		},
	}
}

func writeSessions(w io.Writer, list []api.Session) {
	for _, s := range list {
		fmt.Fprintf(w, "%s  %-3s  %s  %s  %s, %s  sent %s%s, received %s, used %s ago\n", s.ID, s.Direction, s.Peer,
			s.State+inBrackets(s.Reason), s.Type, s.Mode, count(int(s.Sent.Messages), "message"), bounds(s.Limits), count(int(s.Received.Messages), "message"),
			since(s.LastUsed))
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "no sessions")
	}
}

// bounds are the limits of a session, in brackets, those that there are.
func bounds(l api.SessionLimits) string {
	all := ""
	for _, x := range []struct {
		n    uint64
		unit string
	}{{uint64(l.Messages), "messages"}, {l.Bytes, "bytes"}, {uint64(l.TTLSeconds), "seconds"}} {
		if x.n > 0 {
			all += fmt.Sprintf(", %d %s", x.n, x.unit)
		}
	}
	if all == "" {
		return ""
	}
	return " (at most " + all[2:] + ")"
}
