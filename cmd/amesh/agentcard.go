package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"amesh/identity"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

// longestCard is the largest file of a card that is read, in bytes.
const longestCard = 256 << 10

// cardOptions are what can be said of a card without a file.
type cardOptions struct {
	name, description string
	capabilities      []string
}

func (o cardOptions) given() bool {
	return o.name != "" || o.description != "" || len(o.capabilities) > 0
}

func (a *app) cardCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "card [show|set [FILE]|clear]",
		Short: "Say what an agent can do, so that others find it",
		Long: `A card is what an agent says of itself: a name, a description and its capabilities.
The node signs it and gives it to its registries and to the DHT, where "amesh search"
finds it. Whoever finds it still has to knock.`,
		Example: "  amesh agent card\n  amesh agent card set --name \"Travel bot\" --capability travel/flight-search",
		Args:    verbs,
		RunE:    a.showCard,
	}
	show := &cobra.Command{
		Use: "show", Short: "Show the card and who has it", Long: "Shows what the agent says that it can do, and which registries have that now.",
		Example: "  amesh agent card show --json", Args: words(0, 0, ""), RunE: a.showCard,
	}
	drop := &cobra.Command{
		Use: "clear", Short: "Take the card back", Long: "Takes the card back: nobody finds the agent by it any more once copies have expired, within a week.",
		Example: "  amesh agent card clear", Args: words(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.putCard(cmd.Context(), api.CardContent{}) },
	}
	cmd.AddCommand(show, a.setCardCommand(), drop)
	return cmd
}

func (a *app) setCardCommand() *cobra.Command {
	var o cardOptions
	cmd := &cobra.Command{
		Use:   "set [FILE]",
		Short: "Replace the card",
		Long: `Replaces the card: by what a JSON file says, "-" for standard input, or by the flags.
The file is one object with name, description and capabilities; of a capability id
and category are needed, and actions, description, pricing {amount, currency, unit},
response_time_s, availability and schemas may be said. With flags a capability's
category is the first word of its id.`,
		Example: "  amesh agent card set --name \"Travel bot\" --capability travel/flight-search --capability travel/hotels\n" +
			"  amesh agent card set card.json",
		Args: words(0, 1, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 1 && o.given():
				return withUsage(cmd, usagef("a file and flags: want one of them"))
			case len(args) == 0 && !o.given():
				return withUsage(cmd, usagef("an empty card: want a file, --name, --description or --capability").next("to take it back: amesh agent card clear"))
			case len(args) == 0:
				c, err := o.content()
				if err != nil {
					return withUsage(cmd, err)
				}
				return a.putCard(cmd.Context(), c)
			}
			c, err := a.readCard(args[0])
			if err != nil {
				return err
			}
			return a.putCard(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "the agent's `NAME` for others, at most 64 bytes")
	f.StringVar(&o.description, "description", "", "what it does, `TEXT` of at most 1,024 bytes")
	f.StringArrayVar(&o.capabilities, "capability", nil, "`ID` such as travel/flight-search (repeatable)")
	return cmd
}

func (o cardOptions) content() (api.CardContent, *failure) {
	c := api.CardContent{Name: o.name, Description: o.description}
	switch {
	case len(o.name) > identity.MaxCardName:
		return c, usagef("--name has %d bytes, want at most %d", len(o.name), identity.MaxCardName)
	case len(o.description) > identity.MaxCardDescription:
		return c, usagef("--description has %d bytes, want at most %d", len(o.description), identity.MaxCardDescription)
	}
	for _, id := range o.capabilities {
		category, _, _ := strings.Cut(id, "/")
		one := identity.Capability{ID: id, Category: category}
		if err := one.Check(); err != nil {
			return c, usagef("--capability: %v", err)
		}
		c.Capabilities = append(c.Capabilities, one)
	}
	return c, nil
}

// readCard reads a card as its owner writes it. What is not understood is an error: it
// would not be said to anybody.
func (a *app) readCard(path string) (api.CardContent, error) {
	var c api.CardContent
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return c, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, longestCard+1))
	if err != nil {
		return c, fmt.Errorf("card: %w", err)
	}
	if len(raw) > longestCard {
		return c, usagef("the card has more than %d bytes", longestCard)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, usagef("the card is not understood: %v", err).next("amesh agent card set --help has its members")
	}
	if _, err := d.Token(); err != io.EOF {
		return c, usagef("the card is followed by something else: want one object")
	}
	return c, nil
}

func (a *app) putCard(ctx context.Context, c api.CardContent) error {
	return a.ask(func(n api.Backend) error {
		card, err := n.SetCard(ctx, a.agent, c)
		if err != nil {
			return err
		}
		return a.show(card, func(w io.Writer) { writeOwnCard(w, card) })
	})
}

func (a *app) showCard(cmd *cobra.Command, _ []string) error {
	return a.ask(func(n api.Backend) error {
		card, err := n.Card(cmd.Context(), a.agent)
		if err != nil {
			return err
		}
		return a.show(card, func(w io.Writer) { writeOwnCard(w, card) })
	})
}

func writeOwnCard(w io.Writer, c api.Card) {
	line := factLine(w)
	line("agent", "", "%s  %s", plain(c.Agent), c.AMID)
	if c.Empty() {
		line("card", "", "none: others find the agent by its AMID only")
		return
	}
	if c.Name != "" {
		line("name", "", "%s", plain(c.Name))
	}
	if c.Description != "" {
		line("says", "", "%s", plain(c.Description))
	}
	for _, one := range c.Capabilities {
		line("can", "", "%s", plain(capabilityLine(one)))
	}
	if len(c.Published) == 0 {
		line("at", "", "nobody has it yet")
	}
	for _, where := range c.Published {
		line("at", "", "%s", plain(where))
	}
}
