package main

import (
	"fmt"
	"io"
	"time"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

// inviteOf names the invite by which a contact came in, empty for none.
func inviteOf(c api.Contact) string {
	for _, g := range c.Grants {
		if g.Invite != "" {
			return "invite/" + plain(g.Invite)
		}
	}
	return ""
}

func (a *app) contactShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show PEER",
		Short:   "Show what is remembered of an agent",
		Long:    "Shows what you call an agent, how it became a contact, what it may do and until when.",
		Example: "  amesh contacts show travel-bot",
		Args:    oneID("the peer's AMID or name"),
		RunE: a.aboutContact(func(cmd *cobra.Command, n api.Backend, peer string, _ []string) (api.Contact, error) {
			return n.Contact(cmd.Context(), a.agent, peer)
		}, showContact),
	}
}

func (a *app) contactAddCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "add AMID --name NAME",
		Short: "Give an agent a name",
		Long: `Remembers an agent under a name, whether anything was agreed with it or not. A name is
1 to 32 of a-z, 0-9, dot, hyphen and underscore; one that looks like another contact's
is refused.`,
		Example: "  amesh contacts add 2wCNe4X9egd7iKnC1T9XBee63MLc --name travel-bot",
		Args:    oneID("the peer's AMID"),
		RunE: a.aboutContact(func(cmd *cobra.Command, n api.Backend, peer string, _ []string) (api.Contact, error) {
			if name == "" {
				return api.Contact{}, withUsage(cmd, usagef("missing --name"))
			}
			return n.AddContact(cmd.Context(), a.agent, api.ContactRequest{AMID: peer, Name: name})
		}, writeContact),
	}
	cmd.Flags().StringVar(&name, "name", "", "what to call it")
	return cmd
}

func (a *app) contactRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "rename PEER NAME",
		Short:   "Call a contact something else",
		Long:    "Changes what you call a contact; an empty name takes its name away. It is told nothing.",
		Example: "  amesh contacts rename travel-bot flights\n  amesh contacts rename 2wCNe4X9egd7iKnC1T9XBee63MLc travel-bot",
		Args:    withID("the peer's AMID or name", words(2, 2, "PEER and NAME")),
		RunE: a.aboutContact(func(cmd *cobra.Command, n api.Backend, peer string, args []string) (api.Contact, error) {
			return n.RenameContact(cmd.Context(), a.agent, peer, api.RenameRequest{Name: args[1]})
		}, writeContact),
	}
}

func (a *app) contactRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove PEER",
		Short: "End what there is with a contact",
		Long: `Closes the sessions with a contact, takes back what it does not have yet, and forgets
what was granted, its name, and that its keys were compared. It is a stranger then: the
policy answers its next knock, and the invite that it came in by lets it in no more.
Mail that came stays in the inbox. To keep it out, use "amesh block".`,
		Example: "  amesh contacts remove travel-bot",
		Args:    oneID("the peer's AMID or name"),
		RunE: a.aboutContact(func(cmd *cobra.Command, n api.Backend, peer string, _ []string) (api.Contact, error) {
			return n.RemoveContact(cmd.Context(), a.agent, peer)
		}, func(w io.Writer, c api.Contact) { fmt.Fprintf(w, "%s  removed\n", calledOr(c.Name, c.AMID.String())) }),
	}
}

// aboutContact is the body of a verb that does something about one contact and shows it.
func (a *app) aboutContact(
	do func(cmd *cobra.Command, n api.Backend, peer string, args []string) (api.Contact, error), write func(io.Writer, api.Contact),
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		peer, err := peerArg(args[0])
		if err != nil {
			return err
		}
		return a.ask(func(n api.Backend) error {
			c, err := do(cmd, n, peer, args)
			if err != nil {
				return err
			}
			return a.show(c, func(w io.Writer) { write(w, c) })
		})
	}
}

func showContact(w io.Writer, c api.Contact) {
	line := func(key, format string, args ...any) { fmt.Fprintf(w, "%-10s %s\n", key, fmt.Sprintf(format, args...)) }
	line("name", "%s", calledOr(c.Name, "none"))
	line("amid", "%s", c.AMID)
	line("source", "%s", plain(c.Source))
	switch {
	case c.Verified != nil:
		line("verified", "%s ago", since(*c.Verified))
	default:
		line("verified", "no; compare keys with: amesh contacts verify %s", c.AMID)
	}
	if c.LastSeen != nil {
		line("last seen", "%s ago", since(*c.LastSeen))
	}
	if c.Blocked {
		line("blocked", "by the policy")
	}
	if c.Revoked != nil {
		line("revoked", "%s", farewell(*c.Revoked))
	}
	for _, g := range c.Grants {
		line("may write", "%s", grantText(g))
	}
	if len(c.Grants) == 0 {
		line("may write", "no; its knocks are answered by the policy")
	}
}

// grantText is a grant in one line.
func grantText(g api.ContactGrant) string {
	text := intentsOf(g.Intents)
	if g.Limits.Messages > 0 {
		text += fmt.Sprintf(", %d messages a session", g.Limits.Messages)
	}
	if g.Expires != nil {
		text += ", until " + g.Expires.Local().Format(time.DateTime)
	} else {
		text += ", until taken back"
	}
	switch {
	case g.From == "return":
		text += " (it let us in)"
	case g.Invite != "":
		text += " (invite/" + plain(g.Invite)
		if g.Label != "" {
			text += ", " + plain(g.Label)
		}
		text += ")"
	}
	return text
}
