package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"amesh/internal/compare"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

// longestLabel is how long a label of an invite may be, in letters.
const longestLabel = 100

// inviting is what the flags of invite say.
type inviting struct {
	intents         []string
	uses            int
	expires, lasts  span
	messages        uint32
	label           string
	showCode, plain bool
}

func (a *app) inviteCommand() *cobra.Command {
	o := inviting{uses: 1, expires: span(24 * time.Hour)}
	cmd := &cobra.Command{
		Use:   "invite [list|revoke ID]",
		Short: "Let somebody in by handing over one string",
		Long: `Makes an invite: one string, and a QR code on a terminal, that says who you are, where
your agent is reached, and lets in whoever has it. The other side uses it with "amesh
join"; both agents are contacts then, and nobody is asked again. It is shown once: hand
it over like a key.

An invite lets in one agent, within 24 hours, for every intent, until you say otherwise.
The block list and the intents of the policy stand above it. "amesh knocks" and "amesh
contacts" show who came in by which; "amesh invite list" what is left of each.`,
		Example: "  amesh invite\n" +
			"  amesh invite --intent travel/flights --intent weather --uses 5 --expires 7d --label 'the travel team'\n" +
			"  amesh invite list\n  amesh invite revoke 7f3a2b1c",
		Args: verbs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.invite(cmd, o) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.intents, "intent", nil, "what they may write about (repeatable; default everything)")
	f.IntVar(&o.uses, "uses", o.uses, "how many agents it lets in")
	f.Var(&o.expires, "expires", "how long it can be used, such as 12h or 7d")
	f.Var(&o.lasts, "for", "how long who came in may write (default until taken back)")
	f.Uint32Var(&o.messages, "messages", 0, "how many messages each side may send in one session (default no limit)")
	f.StringVar(&o.label, "label", "", "a word for you to know it by; it is not in the invite")
	f.BoolVar(&o.showCode, "qr", false, "show a QR code also where there is no terminal")
	f.BoolVar(&o.plain, "no-qr", false, "show no QR code")
	cmd.AddCommand(a.inviteListCommand(), a.inviteRevokeCommand())
	return cmd
}

// request checks the flags.
func (o *inviting) request(cmd *cobra.Command) (api.InviteRequest, error) {
	r := api.InviteRequest{
		Intents: o.intents, Uses: o.uses, Label: o.label, Limits: api.SessionLimits{Messages: o.messages},
		ExpiresSeconds: int64(time.Duration(o.expires).Seconds()), GrantSeconds: int64(time.Duration(o.lasts).Seconds()),
	}
	if f := atMost("--label", o.label, longestLabel); f != nil {
		return r, withUsage(cmd, f)
	}
	switch {
	case o.uses < 1 || o.uses > api.MostInviteUses:
		return r, withUsage(cmd, usagef("--uses %d: want 1 to %d", o.uses, api.MostInviteUses))
	case r.ExpiresSeconds < 1:
		return r, withUsage(cmd, usagef("--expires %s: want at least 1s", time.Duration(o.expires)))
	case cmd.Flags().Changed("for") && r.GrantSeconds < 1:
		return r, withUsage(cmd, usagef("--for %s: want at least 1s", time.Duration(o.lasts)))
	case o.showCode && o.plain:
		return r, withUsage(cmd, usagef("--qr and --no-qr: want one of them"))
	}
	return r, nil
}

func (a *app) invite(cmd *cobra.Command, o inviting) error {
	r, err := o.request(cmd)
	if err != nil {
		return err
	}
	return a.ask(func(n api.Backend) error {
		v, err := n.Invite(cmd.Context(), a.agent, r)
		if err != nil {
			return err
		}
		var code []string
		if o.showCode || a.tty && !o.plain {
			// In capitals a code holds it in fewer dots.
			if code, err = compare.QR(strings.ToUpper(v.Text)); err != nil {
				return err
			}
		}
		err = a.show(v, func(w io.Writer) {
			fmt.Fprintln(w, plain(v.Text))
			a.writeCode(w, code)
		})
		if err == nil && !a.json { // apart from the string, which a script may want alone
			writeInviteHint(a.err, v)
		}
		return err
	})
}

func (a *app) writeCode(w io.Writer, code []string) {
	for _, line := range code {
		if a.tty {
			line = darkOnLight + line + asBefore
		}
		fmt.Fprintln(w, line)
	}
}

func writeInviteHint(w io.Writer, v api.Invite) {
	fmt.Fprintf(w, "invite %s: lets in %s, until %s; hand it over like a key\n", v.ID, count(v.Uses, "agent"), v.Expires.Local().Format(time.DateTime))
	fmt.Fprintln(w, "the other side:  amesh join amesh1…")
	if len(v.Relays) == 0 {
		fmt.Fprintln(w, "it names no relay: it works where your agent is found by DHT or on the LAN; name one with: amesh up --relay")
	}
}

func (a *app) inviteListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the invites that were made",
		Long:    "Lists invites, newest first, with the uses that are left and who came in.",
		Example: "  amesh invite list --json",
		Args:    words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(func(n api.Backend) error {
				list, err := n.Invites(cmd.Context(), a.agent)
				if err != nil {
					return err
				}
				return a.show(items(list), func(w io.Writer) {
					for _, v := range list {
						writeInvite(w, v)
					}
					if len(list) == 0 {
						fmt.Fprintln(w, "no invites")
					}
				})
			})
		},
	}
}

func (a *app) inviteRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "End an invite",
		Long:    "Ends an invite at once. Who came in by it stays a contact; see \"amesh contacts remove\".",
		Example: "  amesh invite revoke 7f3a2b1c",
		Args:    oneID("the invite's ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(func(n api.Backend) error {
				v, err := n.RevokeInvite(cmd.Context(), a.agent, args[0])
				if err != nil {
					return err
				}
				return a.show(v, func(w io.Writer) { writeInvite(w, v) })
			})
		},
	}
}

func writeInvite(w io.Writer, v api.Invite) {
	fmt.Fprintf(w, "%s  %-8s  %d of %d left  until %s  %s", v.ID, strings.ReplaceAll(v.State, "_", " "), v.Left, v.Uses,
		v.Expires.Local().Format(time.DateTime), intentsOf(v.Intents))
	if v.Label != "" {
		fmt.Fprintf(w, "  %s", plain(v.Label))
	}
	fmt.Fprintln(w)
	for _, g := range v.Guests {
		fmt.Fprintf(w, "          %s  %s", g.AMID, g.At.Local().Format(time.DateTime))
		if g.Name != "" {
			fmt.Fprintf(w, "  %s", plain(g.Name))
		}
		if g.Gone {
			fmt.Fprint(w, "  removed since")
		}
		fmt.Fprintln(w)
	}
}

// intentsOf says what was granted.
func intentsOf(intents []string) string {
	if len(intents) == 0 {
		return "every intent"
	}
	return plain(strings.Join(intents, ", "))
}
