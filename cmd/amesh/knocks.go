package main

import (
	"fmt"
	"io"
	"time"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) knocksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "knocks [approve|refuse ID]",
		Short: "List who asked to talk, and decide",
		Long: `Lists requests to talk, newest first, with the rule that answered those that came
in. One that is pending waits for its owner: "amesh knocks approve" lets the peer
in, "amesh knocks refuse" does not; the peer is never told why.`,
		Example: "  amesh knocks\n  amesh knocks approve 5f0c1d2e3a4b5c6d --for 7d\n  amesh knocks refuse 5f0c1d2e3a4b5c6d",
		Args:    verbs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(func(n api.Backend) error {
				knocks, err := n.Knocks(cmd.Context(), a.agent)
				if err != nil {
					return err
				}
				return a.show(items(knocks), func(w io.Writer) { writeKnocks(w, knocks) })
			})
		},
	}
	cmd.AddCommand(a.approveCommand(), a.refuseCommand())
	return cmd
}

func (a *app) approveCommand() *cobra.Command {
	var lasts span
	cmd := &cobra.Command{
		Use:     "approve ID",
		Short:   "Let the peer in",
		Long:    "Accepts a pending knock. The grant lasts until it is taken back, or as long as --for says.",
		Example: "  amesh knocks approve 5f0c1d2e3a4b5c6d --for 7d",
		Args:    oneID("the knock's ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds := int64(time.Duration(lasts).Seconds())
			if cmd.Flags().Changed("for") && seconds < 1 {
				return withUsage(cmd, usagef("--for %s: want at least 1s", time.Duration(lasts)))
			}
			return a.decide(cmd, args[0], true, api.DecideRequest{TTLSeconds: seconds})
		},
	}
	cmd.Flags().Var(&lasts, "for", "how long the grant lasts, such as 12h or 7d (default until taken back)")
	return cmd
}

func (a *app) refuseCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "refuse ID",
		Short:   "Keep the peer out",
		Long:    "Rejects a pending knock. The peer learns that it was rejected, not why.",
		Example: "  amesh knocks refuse 5f0c1d2e3a4b5c6d",
		Args:    oneID("the knock's ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.decide(cmd, args[0], false, api.DecideRequest{})
		},
	}
}

func (a *app) decide(cmd *cobra.Command, id string, approve bool, r api.DecideRequest) error {
	return a.ask(func(n api.Backend) error {
		k, err := n.Decide(cmd.Context(), a.agent, id, approve, r)
		if err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) { writeKnock(w, k) })
	})
}

func writeKnocks(w io.Writer, knocks []api.Knock) {
	for _, k := range knocks {
		writeKnock(w, k)
	}
	if len(knocks) == 0 {
		fmt.Fprintln(w, "no knocks")
	}
}

func writeKnock(w io.Writer, k api.Knock) {
	intent := k.Intent
	if intent == "" {
		intent = "-"
	}
	fmt.Fprintf(w, "%s  %-3s  %s  %-8s  %s  %s", k.ID, k.Direction, k.Peer, k.State,
		k.At.Local().Format(time.DateTime), plain(intent))
	if k.Mode == accountable {
		fmt.Fprintf(w, "  %s", k.Mode)
	}
	if k.Tier != "" && k.Tier != "anonymous" { // which says nothing
		fmt.Fprintf(w, "  tier: %s", plain(k.Tier))
	}
	if k.Rule != "" {
		fmt.Fprintf(w, "  rule: %s", plain(k.Rule))
	}
	if k.Remark != "" {
		fmt.Fprintf(w, "  (%s)", plain(k.Remark))
	}
	fmt.Fprintln(w)
}
