package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"amesh/gateway/client"

	"github.com/spf13/cobra"
)

const wantsDomain = "a domain, such as example.org"

func (a *app) gatewayDomainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "domain",
		Short: "Say what a gateway thinks of other domains",
		Long: `A gateway takes few messages an hour of domains that prove nothing and that it does not
know. These verbs name domains that it knows, and those that it takes nothing of.`,
		Example: "  amesh gateway domain list\n  amesh gateway domain block spam.example --why 'floods sales'\n  amesh gateway domain trust partner.example",
		Args:    verbs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := a.manage(&cobra.Command{
		Use:     "list",
		Short:   "List the domains that are known or blocked",
		Long:    "Lists the domains that the operator has named, and what was said of each.",
		Example: "  amesh gateway domain list\n  amesh gateway domain list --json",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		all, err := c.Domains(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(items(all), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			for _, d := range all {
				fmt.Fprintf(t, "%s\t%s\tsince %s%s\n", plain(d.Name), plain(d.State), moment(d.Updated), inBrackets(d.Note))
			}
			_ = t.Flush()
			if len(all) == 0 {
				fmt.Fprintln(w, "no domains")
			}
		})
	})
	unblock := a.manage(&cobra.Command{
		Use:     "unblock DOMAIN",
		Short:   "Take a domain off the list",
		Long:    "Takes a domain off the list: it is neither blocked nor known any more.",
		Example: "  amesh gateway domain unblock spam.example",
		Args:    oneID(wantsDomain),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.RemoveDomain(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.show(map[string]string{"domain": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is off the list\n", plain(args[0])) })
	})
	cmd.AddCommand(list,
		a.putDomain("block", "blocked", "Take nothing of a domain", "Refuses every message of a domain within a second, whatever it proves."),
		unblock,
		a.putDomain("trust", "known", "Let a domain send as one that is known", "Gives a domain the rate of those that are known, even while it proves nothing."))
	return cmd
}

// putDomain is a verb that puts a domain on the list in a state.
func (a *app) putDomain(verb, state, short, long string) *cobra.Command {
	var why string
	cmd := a.manage(&cobra.Command{
		Use: verb + " DOMAIN", Short: short, Long: long,
		Example: "  amesh gateway domain " + verb + " other.example\n  amesh gateway domain " + verb + " other.example --why 'as agreed by phone'",
		Args:    oneID(wantsDomain),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		d, err := c.PutDomain(cmd.Context(), client.Domain{Name: args[0], State: state, Note: why})
		if err != nil {
			return err
		}
		return a.show(d, func(w io.Writer) { fmt.Fprintf(w, "%s is %s\n", plain(d.Name), plain(d.State)) })
	})
	cmd.Flags().StringVar(&why, "why", "", "a note for yourself; nobody else is told")
	return cmd
}
