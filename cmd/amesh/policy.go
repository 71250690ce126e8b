package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy [show|set KEY VALUE]",
		Short: "Show or change who may talk to the agent",
		Long: `The policy answers the knocks of strangers. It is policy.json in the home; an empty
one lets nobody in without asking.`,
		Example: "  amesh policy show\n  amesh policy set strangers reject",
		Args:    verbs,
		RunE:    a.showPolicy,
	}
	show := &cobra.Command{
		Use:     "show",
		Short:   "Show the policy in force",
		Long:    "Shows the policy in force, with the defaults filled in.",
		Example: "  amesh policy show",
		Args:    words(0, 0, ""),
		RunE:    a.showPolicy,
	}
	set := &cobra.Command{
		Use:   "set KEY VALUE",
		Short: "Change one key",
		Long: `Changes one key of the policy, on disk and in force when the command returns. Lists
are separated by commas; an empty value restores the default.

Keys: strangers (ask, accept or reject), allow and block (AMIDs), accepted_intents
and rejected_intents (such as travel/*), knocks_per_minute, min_tier (anonymous,
verified or organization: strangers whose knock proves less are rejected). For sessions
made from now on: mode (private or accountable) is what our own knocks ask for,
accept_modes what others may ask for (empty: both); session_messages, session_bytes and
session_ttl (seconds, or such as 1h30m) are what each side may send in one, 0 for no
limit. What is more than that goes in the next session; a message of more than
session_bytes goes in none and is refused.`,
		Example: "  amesh policy set strangers reject\n" +
			"  amesh policy set allow 2wCNe4X9egd7iKnC1T9XBee63MLc\n" +
			"  amesh policy set accepted_intents 'travel/*,weather/*'",
		Args: words(2, 2, "KEY and VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(func(n api.Backend) error {
				p, err := n.SetPolicy(cmd.Context(), a.agent, api.PolicyChange{Key: args[0], Value: args[1]})
				if err != nil {
					return err
				}
				return a.show(p, func(w io.Writer) { writePolicy(w, p) })
			})
		},
	}
	cmd.AddCommand(show, set)
	return cmd
}

func (a *app) showPolicy(cmd *cobra.Command, _ []string) error {
	return a.ask(func(n api.Backend) error {
		p, err := n.Policy(cmd.Context(), a.agent)
		if err != nil {
			return err
		}
		return a.show(p, func(w io.Writer) { writePolicy(w, p) })
	})
}

func writePolicy(w io.Writer, p api.Policy) {
	fmt.Fprintf(w, "# %s, version %s\n", plain(p.File), plain(p.Version))
	if p.Default {
		fmt.Fprintln(w, "# there is nothing in the file: these are the defaults")
	}
	for _, key := range slices.Sorted(maps.Keys(p.Rules)) {
		value, err := json.Marshal(p.Rules[key])
		if err != nil {
			value = fmt.Append(nil, p.Rules[key])
		}
		fmt.Fprintf(w, "%s: %s\n", plain(key), plain(string(value)))
	}
	for _, key := range p.Ignored {
		fmt.Fprintf(w, "# without effect: %s\n", plain(key))
	}
}
