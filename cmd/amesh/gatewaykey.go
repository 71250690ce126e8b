package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"amesh/gateway/amtp"
	"amesh/gateway/signature"

	"github.com/spf13/cobra"
)

// gatewayKeys is the folder in --data with the keys that sign for the domain.
const gatewayKeys = "keys"

// ringOptions say whose keys a verb is about.
type ringOptions struct{ data, domain string }

func (a *app) gatewayKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make, publish and retire the keys that sign for a domain",
		Long: `A gateway signs what it sends to others, so that they know whose it is. The keys are
files in --data of the gateway, which reads them again by itself; their records stand in
the domain's DNS. "amesh gateway key api" is about keys for programs.`,
		Example: "  amesh gateway key new --domain example.com\n  amesh gateway key rotate --domain example.com\n  amesh gateway key publish --domain example.com",
		Args:    verbs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.keyNewCommand(), a.keyListCommand(), a.keyPublishCommand(), a.keyRotateCommand(), a.keyUseCommand(), a.keyRetireCommand(),
		a.gatewayAPIKeyCommand())
	return cmd
}

// withRing adds a verb about the keys in a gateway's folder.
func (a *app) withRing(cmd *cobra.Command, run func(r *signature.Ring, domain string, args []string) error) *cobra.Command {
	var o ringOptions
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "`DIR` of the gateway (default gateway in the home)")
	f.StringVar(&o.domain, "domain", "", "the gateway's `DOMAIN` (default $AMTP_DOMAIN)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.data == "" {
			o.data = filepath.Join(a.home, "gateway")
		}
		name := a.firstOf(o.domain, "AMESH_GATEWAY_SERVER_DOMAIN", "AMTP_DOMAIN")
		if name == "" {
			return withUsage(cmd, usagef("want --domain DOMAIN, the one that the keys sign for"))
		}
		domain, err := amtp.ParseDomain(name)
		if err != nil {
			return usagef("--domain: %v", err)
		}
		r, err := signature.OpenRing(filepath.Join(o.data, gatewayKeys))
		if err != nil {
			return explainRing(err)
		}
		return explainRing(run(r, domain, args))
	}
	return cmd
}

// explainRing says what the errors of a ring mean at the terminal.
func explainRing(err error) error {
	f := func(exit int, code, hint string) error {
		return (&failure{exit: exit, code: code, message: err.Error()}).next("%s", hint)
	}
	switch {
	case errors.Is(err, signature.ErrNoKey):
		return f(exitNotFound, "key_not_found", "see amesh gateway key list")
	case errors.Is(err, signature.ErrKeyExists):
		return f(exitConflict, "key_exists", "give another selector, or none")
	case errors.Is(err, signature.ErrKeySigns):
		return f(exitConflict, "key_signs", "amesh gateway key use SELECTOR lets another one sign")
	case errors.Is(err, signature.ErrKey):
		return f(exitUsage, "not_a_key", "selectors look like k1; a damaged file comes back from a backup")
	}
	return err
}

// signingKey is a key as the verbs show it.
type signingKey struct {
	Selector string `json:"selector"`
	Signs    bool   `json:"signs"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Value    string `json:"value"`
}

func signingKeys(r *signature.Ring, domain string) []signingKey {
	var all []signingKey
	for _, p := range r.Published(domain) {
		all = append(all, signingKey{p.Selector, p.Signs, p.Name, "TXT", p.Text})
	}
	return all
}

// keyNamed is the key with a selector.
func keyNamed(all []signingKey, selector string) (signingKey, bool) {
	for _, k := range all {
		if k.Selector == selector {
			return k, true
		}
	}
	return signingKey{}, false
}

// nextSelector is the first of k1, k2, … that is free.
func nextSelector(all []signingKey) string {
	for n := 1; ; n++ {
		if s := fmt.Sprintf("k%d", n); !hasKey(all, s) {
			return s
		}
	}
}

func hasKey(all []signingKey, selector string) bool {
	_, ok := keyNamed(all, selector)
	return ok
}

// addKey makes a key and shows its record.
func (a *app) addKey(r *signature.Ring, domain, selector string) error {
	if selector == "" {
		selector = nextSelector(signingKeys(r, domain))
	}
	if _, err := r.Add(selector); err != nil {
		return err
	}
	k, _ := keyNamed(signingKeys(r, domain), selector)
	return a.show(k, func(w io.Writer) {
		fmt.Fprintf(w, "made  %s\n", k.Selector)
		writeRecord(w, k)
		if k.Signs {
			fmt.Fprintln(w, "It signs from now on: make this DNS record before the gateway sends anything.")
			return
		}
		fmt.Fprintf(w, "Make this DNS record. When every resolver has it, amesh gateway key use %s --domain %s lets it sign.\n", k.Selector, domain)
	})
}

// writeRecord shows a record as it stands in a zone.
func writeRecord(w io.Writer, k signingKey) {
	fmt.Fprintf(w, "%s. IN TXT %q\n", k.Name, k.Value)
}

func (a *app) keyNewCommand() *cobra.Command {
	return a.withRing(&cobra.Command{
		Use:   "new [SELECTOR]",
		Short: "Make a signing key, and show its DNS record",
		Long: `Makes a key and shows the DNS record that publishes it. The first key of a domain signs at
once; a later one waits for "amesh gateway key use".`,
		Example: "  amesh gateway key new --domain example.com\n  amesh gateway key new spring --domain example.com",
		Args:    words(0, 1, "a selector, such as k1"),
	}, func(r *signature.Ring, domain string, args []string) error {
		return a.addKey(r, domain, strings.Join(args, ""))
	})
}

func (a *app) keyRotateCommand() *cobra.Command {
	return a.withRing(&cobra.Command{
		Use:   "rotate",
		Short: "Make the key that will sign next",
		Long: `Makes the next key, k2 after k1, which does not sign yet. Publish its record; then "amesh
gateway key use" lets it sign, and days later "amesh gateway key retire" takes the old one away.`,
		Example: "  amesh gateway key rotate --domain example.com",
		Args:    words(0, 0, ""),
	}, func(r *signature.Ring, domain string, _ []string) error { return a.addKey(r, domain, "") })
}

func (a *app) keyListCommand() *cobra.Command {
	return a.withRing(&cobra.Command{
		Use:     "list",
		Short:   "List the signing keys of a gateway",
		Long:    "Lists the keys in the gateway's folder, and says which one signs.",
		Example: "  amesh gateway key list --domain example.com\n  amesh gateway key list --domain example.com --json",
		Args:    words(0, 0, ""),
	}, func(r *signature.Ring, domain string, _ []string) error {
		all := signingKeys(r, domain)
		return a.show(items(all), func(w io.Writer) {
			for _, k := range all {
				state := "published"
				if k.Signs {
					state = "signs"
				}
				fmt.Fprintf(w, "%s  %s\n", k.Selector, state)
			}
			if len(all) == 0 {
				fmt.Fprintln(w, "no keys: messages go out unsigned")
			}
		})
	})
}

func (a *app) keyPublishCommand() *cobra.Command {
	return a.withRing(&cobra.Command{
		Use:     "publish",
		Short:   "Show the DNS records of the signing keys",
		Long:    `Shows the DNS records of all keys, for the domain's zone. "amesh gateway quickstart" checks them.`,
		Example: "  amesh gateway key publish --domain example.com\n  amesh gateway key publish --domain example.com --json",
		Args:    words(0, 0, ""),
	}, func(r *signature.Ring, domain string, _ []string) error {
		all := signingKeys(r, domain)
		if len(all) == 0 {
			return (&failure{exit: exitNotFound, code: "key_not_found", message: "there is no key to publish"}).
				next("amesh gateway key new --domain %s makes one", domain)
		}
		return a.show(items(all), func(w io.Writer) {
			for _, k := range all {
				writeRecord(w, k)
			}
		})
	})
}

func (a *app) keyUseCommand() *cobra.Command {
	return a.withRing(&cobra.Command{
		Use:     "use SELECTOR",
		Short:   "Let another key sign",
		Long:    "Lets a key sign from now on. Its record must be in DNS everywhere: wait a day after making it.",
		Example: "  amesh gateway key use k2 --domain example.com",
		Args:    oneID("the key's selector"),
	}, func(r *signature.Ring, domain string, args []string) error {
		if err := r.Use(args[0]); err != nil {
			return err
		}
		k, _ := keyNamed(signingKeys(r, domain), args[0])
		return a.show(k, func(w io.Writer) { fmt.Fprintf(w, "%s signs\n", k.Selector) })
	})
}

func (a *app) keyRetireCommand() *cobra.Command {
	return a.withRing(&cobra.Command{
		Use:   "retire SELECTOR",
		Short: "Remove a key that no longer signs",
		Long: `Removes a key for good. Wait a week after it signed last, so that what is still under way
can be verified, and take its record out of DNS then too.`,
		Example: "  amesh gateway key retire k1 --domain example.com",
		Args:    oneID("the key's selector"),
	}, func(r *signature.Ring, domain string, args []string) error {
		k, _ := keyNamed(signingKeys(r, domain), args[0])
		if err := r.Retire(args[0]); err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) {
			fmt.Fprintf(w, "%s is gone: take the record %s out of DNS\n", k.Selector, k.Name)
		})
	})
}
