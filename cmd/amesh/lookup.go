package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"amesh/identity"
	"amesh/node/api"

	"github.com/spf13/cobra"
)

// longestWho is how long a name, an AMID or a DID may be, in letters.
const longestWho = 128

func (a *app) lookupCommand() *cobra.Command {
	var document bool
	cmd := &cobra.Command{
		Use:   "lookup NAME|AMID|DID",
		Short: "Find out who an agent is, and where that was learnt",
		Long: `Asks the DHT and every registry of the node for an agent and shows what is known:
its keys, its relays, the age of its record, what it says that it can do, and what
proves its tier; behind each thing in brackets where it comes from. What a registry
merely says, such as a score, stands under the registry's name. A NAME is looked for
among our contacts, our own agents and at the registries; for the last nobody vouches.`,
		Example: "  amesh lookup 2wCNe4X9egd7iKnC1T9XBee63MLc\n" +
			"  amesh lookup did:agentmesh:2wCNe4X9egd7iKnC1T9XBee63MLc --did\n" +
			"  amesh lookup \"Travel bot\" --json",
		Args: oneID("a name, an AMID or a DID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f := atMost("the name", args[0], longestWho); f != nil {
				return withUsage(cmd, f)
			}
			return a.ask(func(n api.Backend) error {
				l, err := n.Lookup(cmd.Context(), a.agent, args[0], document)
				if err != nil {
					return err
				}
				a.nameSilent(l.Sources)
				return a.show(l, func(w io.Writer) {
					if document {
						writeDocument(w, l.Document)
						return
					}
					writeLookup(w, l)
				})
			})
		},
	}
	cmd.Flags().BoolVar(&document, "did", false, "show the DID document instead")
	return cmd
}

// writeDocument writes JSON as people read it.
func writeDocument(w io.Writer, raw json.RawMessage) {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil { // the API's own JSON: it cannot be
		b.Write(raw)
	}
	fmt.Fprintln(w, plainLines(b.String()))
}

func writeLookup(w io.Writer, l api.Lookup) {
	line := factLine(w)
	line("amid", "", "%s", l.AMID)
	line("did", "", "%s", plain(l.DID))
	if l.Name != "" {
		line("name", l.NameFrom, "%s", plain(l.Name))
	}
	if l.Revoked != nil {
		line("revoked", l.RevokedFrom, "%s", farewell(*l.Revoked))
	}
	if l.SigningKey != "" {
		line("key", l.KeyFrom, "%s", plain(l.SigningKey))
		line("", "", "fingerprint %s", plain(l.Fingerprint))
	}
	writeTier(line, l.Tier)
	if r := l.Record; r != nil {
		line("record", r.From, "of %s ago, until %s, sequence %d", since(r.Created), r.Expires.UTC().Format(time.RFC3339), r.Sequence)
		line("exchange", r.From, "fingerprint %s, epoch %d", plain(r.ExchangeFingerprint), r.Epoch)
		for _, url := range r.Relays {
			line("relay", r.From, "%s", plain(url))
		}
		for _, addr := range r.Addresses {
			line("address", r.From, "%s", plain(addr))
		}
	} else {
		line("record", "", "none was found: nobody can knock there now")
	}
	writeCard(line, l.Card)
	for _, r := range l.Registries {
		writeRegistryFacts(line, r)
	}
	if k := l.Known; k != nil {
		line("contact", "this node", "%s", knownAs(*k))
	}
	for _, s := range l.Sources {
		line("asked", "", "%s: %s", plain(s.Name), s.State)
	}
}

// factLine writes one fact a line: what it is, what is known, and where that is from.
func factLine(w io.Writer) func(what, from, format string, args ...any) {
	return func(what, from, format string, args ...any) {
		fmt.Fprintf(w, "%-10s  %s%s\n", what, fmt.Sprintf(format, args...), inBrackets(from))
	}
}

func writeTier(line func(what, from, format string, args ...any), t api.LookupTier) {
	if t.Proof != "" {
		line("tier", t.From, "%s: %s", plain(t.Tier), plain(t.Proof))
		return
	}
	line("tier", "", "%s", plain(t.Tier))
	if t.Claimed != "" && t.Claimed != t.Tier {
		line("", t.From, "%s is claimed and not proved", plain(t.Claimed))
	}
}

func writeCard(line func(what, from, format string, args ...any), c *api.LookupCard) {
	if c == nil {
		return
	}
	if c.Description != "" {
		line("says", c.From, "%s", plain(c.Description))
	}
	for _, one := range c.Capabilities {
		line("can", c.From, "%s", plain(capabilityLine(one)))
	}
}

// capabilityLine is a capability in one line of an agent's own words.
func capabilityLine(c identity.Capability) string {
	words := []string{c.ID}
	if c.Description != "" {
		words = append(words, "- "+c.Description)
	}
	if c.Pricing != (identity.Pricing{}) {
		price := c.Pricing.Amount + " " + c.Pricing.Currency
		if c.Pricing.Unit != "" {
			price += " a " + c.Pricing.Unit
		}
		words = append(words, "for "+price)
	}
	if c.Availability != "" {
		words = append(words, ", "+c.Availability)
	}
	return strings.ReplaceAll(strings.Join(words, " "), " ,", ",")
}

func writeRegistryFacts(line func(what, from, format string, args ...any), r api.LookupRegistry) {
	words := []string{"tier " + r.Tier}
	if r.Name != "" {
		words = append(words, fmt.Sprintf("name %q", r.Name))
	}
	if r.Organization != "" {
		words = append(words, fmt.Sprintf("of %q", r.Organization))
	}
	if r.Reputation != nil {
		words = append(words, fmt.Sprintf("score %.2f of %s", *r.Reputation, count(r.Ratings, "rating")))
	}
	if len(r.Flags) > 0 {
		words = append(words, "flags "+strings.Join(r.Flags, ", "))
	}
	if r.Status != "" {
		words = append(words, r.Status)
	}
	if r.LastSeen != nil {
		words = append(words, "seen "+since(*r.LastSeen).String()+" ago")
	}
	if r.Revoked {
		words = append(words, "revoked")
	}
	line("registry", r.URL, "%s", plain(strings.Join(words, ", ")))
	if len(r.Capabilities) > 0 {
		line("", r.URL, "can %s", plain(strings.Join(r.Capabilities, ", ")))
	}
}

// knownAs is what our agent has to do with another, in few words.
func knownAs(c api.Contact) string {
	words := []string{"not verified"}
	if c.Verified != nil {
		words[0] = fmt.Sprintf("verified %s ago", since(*c.Verified))
	}
	if c.Granted {
		words = append(words, "granted")
	}
	return strings.Join(words, ", ")
}
