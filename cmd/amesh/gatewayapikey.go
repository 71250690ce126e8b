package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"amesh/gateway/client"

	"github.com/spf13/cobra"
)

func (a *app) gatewayAPIKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "api",
		Short: "Make and revoke API keys for programs and other gateways",
		Long: `An API key proves a domain to the gateway, as a signature does: for programs that speak
for all of it, and for gateways that cannot sign. It is kept as a hash.`,
		Example: "  amesh gateway key api new partner --for partner.example\n  amesh gateway key api list\n  amesh gateway key api revoke 5f0c1e",
		Args:    verbs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := a.manage(&cobra.Command{
		Use:     "list",
		Short:   "List the API keys",
		Long:    "Lists the API keys, for whom they are and when they were last used; not the keys themselves.",
		Example: "  amesh gateway key api list\n  amesh gateway key api list --json",
		Args:    words(0, 0, ""),
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		all, err := c.APIKeys(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(items(all), func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			for _, k := range all {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\tuntil %s\tused %s\n", plain(k.ID), plain(k.Name), plain(k.Domain),
					plain(strings.Join(k.Scopes, " ")), orNever(k.Expires), orNever(k.LastUsed))
			}
			_ = t.Flush()
			if len(all) == 0 {
				fmt.Fprintln(w, "no keys")
			}
		})
	})
	revoke := a.manage(&cobra.Command{
		Use:     "revoke ID",
		Short:   "Make an API key worth nothing",
		Long:    "Makes an API key worth nothing at once. Its id is the first word in the list.",
		Example: "  amesh gateway key api revoke 5f0c1e22aa901b7d",
		Args:    oneID("the key's id"),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if err := c.RevokeAPIKey(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.show(map[string]string{"id": args[0]}, func(w io.Writer) { fmt.Fprintf(w, "revoked  %s\n", plain(args[0])) })
	})
	cmd.AddCommand(a.newAPIKeyCommand(), list, revoke)
	return cmd
}

func orNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return moment(t)
}

func (a *app) newAPIKeyCommand() *cobra.Command {
	var domain string
	var scopes []string
	var lasts span
	cmd := a.manage(&cobra.Command{
		Use:   "new NAME",
		Short: "Make an API key, and show it",
		Long:  "Makes an API key for a domain and shows it this once. It may speak for every agent there.",
		Example: "  amesh gateway key api new partner --for partner.example --lasts 90d\n" +
			"  amesh gateway key api new reader --for example.com --scope amtp:read",
		Args: oneID("a name for the key, for yourself"),
	}, func(cmd *cobra.Command, c *client.Client, args []string) error {
		if domain == "" {
			return withUsage(cmd, usagef("want --for DOMAIN: a key proves one domain"))
		}
		got, err := c.AddAPIKey(cmd.Context(), client.NewAPIKey{Name: args[0], Domain: domain, Scopes: scopes, Expires: lasts.end()})
		if err != nil {
			return err
		}
		return a.show(got, func(w io.Writer) {
			fmt.Fprintf(w, "made  %s  for %s, until %s\n", plain(got.ID), plain(got.Domain), orNever(got.Expires))
			fmt.Fprintf(w, "key  %s\n", plain(got.Key))
			fmt.Fprintln(w, "Nobody can show the key again: keep it now.")
		})
	})
	f := cmd.Flags()
	f.StringVar(&domain, "for", "", "the `DOMAIN` that the key proves")
	f.StringSliceVar(&scopes, "scope", nil, "what it may do, amtp:send or amtp:read (repeatable; default all)")
	f.Var(&lasts, "lasts", "how long it is worth something, such as 90d (default for ever)")
	return cmd
}
