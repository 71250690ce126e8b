package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"amesh/identity"
	"amesh/internal/compare"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) contactsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contacts [list|show|add|rename|remove|verify]",
		Short: "List the agents that are remembered, name them, and make sure who they are",
		Long: `Lists the agents that one of ours has to do with, or had: what you call them, whether
one of the two has let the other in and by which invite, whether their owners have
compared the keys, and whether a key has left for ever, with the successor that it named.

A name stands on this node only, and may be used wherever an AMID may.`,
		Example: "  amesh contacts\n  amesh contacts add 2wCNe4X9egd7iKnC1T9XBee63MLc --name travel-bot\n" +
			"  amesh contacts show travel-bot\n  amesh contacts remove travel-bot",
		Args: verbs,
		RunE: a.listContacts,
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the agents that are remembered",
		Long:    "Lists the agents that one of ours has to do with, or had, one a line.",
		Example: "  amesh contacts list --json",
		Args:    words(0, 0, ""),
		RunE:    a.listContacts,
	}
	cmd.AddCommand(list, a.contactShowCommand(), a.contactAddCommand(), a.contactRenameCommand(), a.contactRemoveCommand(), a.verifyCommand())
	return cmd
}

func (a *app) listContacts(cmd *cobra.Command, _ []string) error {
	return a.ask(func(n api.Backend) error {
		contacts, err := n.Contacts(cmd.Context(), a.agent)
		if err != nil {
			return err
		}
		return a.show(items(contacts), func(w io.Writer) {
			for _, c := range contacts {
				writeContact(w, c)
			}
			if len(contacts) == 0 {
				fmt.Fprintln(w, "no contacts yet")
			}
		})
	})
}

func writeContact(w io.Writer, c api.Contact) {
	fmt.Fprintf(w, "%s  ", c.AMID)
	if c.Name != "" {
		fmt.Fprintf(w, "%s  ", plain(c.Name))
	}
	if c.Verified != nil {
		fmt.Fprintf(w, "verified %s ago", since(*c.Verified))
	} else {
		fmt.Fprint(w, "not verified")
	}
	if c.Granted {
		fmt.Fprint(w, ", granted")
	}
	if rule := inviteOf(c); rule != "" {
		fmt.Fprintf(w, " (%s)", rule)
	}
	if c.Blocked {
		fmt.Fprint(w, ", blocked")
	}
	if c.Revoked != nil {
		fmt.Fprintf(w, ", revoked: %s", farewell(*c.Revoked))
	}
	fmt.Fprintln(w)
}

func (a *app) verifyCommand() *cobra.Command {
	var matches, differs, block bool
	cmd := &cobra.Command{
		Use:   "verify PEER",
		Short: "Compare keys with the other owner",
		Long: `Shows twelve words and a QR code that the peer's owner sees alike, with the same
command on his side, if each of you has the other's agent and nobody in between.
Compare them in person or by telephone, not over the agents' own line. Then say what
you found: --matches marks the contact as verified, --differs takes that back and
says what to do; with --block the peer is blocked as well.`,
		Example: "  amesh contacts verify 2wCNe4X9egd7iKnC1T9XBee63MLc\n" +
			"  amesh contacts verify 2wCNe4X9egd7iKnC1T9XBee63MLc --matches\n" +
			"  amesh contacts verify 2wCNe4X9egd7iKnC1T9XBee63MLc --differs --block",
		Args: oneID("the peer's AMID or name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			peer, err := peerArg(args[0])
			switch {
			case err != nil:
				return err
			case matches && differs:
				return withUsage(cmd, usagef("--matches and --differs: want one of them"))
			case block && !differs:
				return withUsage(cmd, usagef("--block goes with --differs").next("to block for another reason: amesh policy set block"))
			}
			return a.ask(func(n api.Backend) error {
				switch {
				case matches:
					return a.verified(cmd.Context(), n, peer)
				case differs:
					return a.differs(cmd.Context(), n, peer, block)
				}
				return a.compare(cmd.Context(), n, peer)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&matches, "matches", false, "both sides show the same: remember the contact as verified")
	f.BoolVar(&differs, "differs", false, "the two sides show different words")
	f.BoolVar(&block, "block", false, "with --differs: block the peer")
	return cmd
}

func (a *app) compare(ctx context.Context, n api.Backend, peer string) error {
	c, err := n.Compare(ctx, a.agent, peer)
	if err != nil {
		return err
	}
	code, err := compare.QR(c.QR)
	if err != nil {
		return err
	}
	return a.show(c, func(w io.Writer) {
		fmt.Fprintf(w, "%s and %s\n\n", plain(c.Agent), c.Peer)
		for i, word := range c.Words {
			fmt.Fprintf(w, "%4d %-10s", i+1, plain(word))
			if i%4 == 3 {
				fmt.Fprintln(w)
			}
		}
		fmt.Fprintln(w)
		a.writeCode(w, code)
		fmt.Fprintf(w, "%s\n\n", plain(c.QR))
		fmt.Fprintln(w, "compare with the peer's owner, in person or by telephone; then")
		fmt.Fprintf(w, "the same:   amesh contacts verify %s --matches\n", c.Peer)
		fmt.Fprintf(w, "different:  amesh contacts verify %s --differs\n", c.Peer)
	})
}

// A terminal shows a code in its own colours, and scanners want it dark on light.
const darkOnLight, asBefore = "\x1b[30;107m", "\x1b[0m"

func (a *app) verified(ctx context.Context, n api.Backend, peer string) error {
	c, err := n.Verify(ctx, a.agent, peer, api.VerifyRequest{Matches: true})
	if err != nil {
		return err
	}
	return a.show(c, func(w io.Writer) { writeContact(w, c) })
}

// differing is the data of verify --differs.
type differing struct {
	api.Contact
	Blocked bool `json:"blocked"`
}

func (a *app) differs(ctx context.Context, n api.Backend, peer string, block bool) error {
	own, err := n.Identity(ctx, a.agent)
	if err != nil {
		return err
	}
	c, err := n.Verify(ctx, a.agent, peer, api.VerifyRequest{})
	if err != nil {
		return err
	}
	if block {
		if err := a.block(ctx, n, c.AMID); err != nil {
			return err
		}
	}
	return a.show(differing{c, block}, func(w io.Writer) {
		writeContact(w, c)
		fmt.Fprintf(w, `
One of you has another agent than he thinks, perhaps one that stands in between.
Read the AMIDs to each other; each side shows its own with "amesh id":
  yours  %s
  his    %s
Until it is clear which one is wrong, send nothing to that agent and believe nothing
that came from it.
`, own.AMID, c.AMID)
		if block {
			fmt.Fprintln(w, "It is blocked.")
		} else {
			fmt.Fprintf(w, "to block it:  amesh contacts verify %s --differs --block\n", c.AMID)
		}
	})
}

// block adds a peer to those whom the policy blocks.
func (a *app) block(ctx context.Context, n api.Backend, peer identity.AMID) error {
	p, err := n.Policy(ctx, a.agent)
	if err != nil {
		return err
	}
	blocked := []string{peer.String()}
	if list, ok := p.Rules["block"].([]any); ok {
		for _, other := range list {
			blocked = append(blocked, fmt.Sprint(other))
		}
	}
	_, err = n.SetPolicy(ctx, a.agent, api.PolicyChange{Key: "block", Value: strings.Join(blocked, ",")})
	return err
}
