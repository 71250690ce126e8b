package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"amesh/node/api"

	"github.com/spf13/cobra"
)

func (a *app) searchCommand() *cobra.Command {
	var q api.SearchQuery
	cmd := &cobra.Command{
		Use:   "search [WORDS...]",
		Short: "Find agents by what they can do",
		Long: `Asks every registry of the node, and the DHT, for agents: by words of their name,
description and capabilities, by the id of a capability or its beginning up to a slash,
or by category. An agent that several know is shown once, with all who know it. What
agents say of themselves is nobody else's word; "amesh lookup" shows what is proved.
Whoever could not be asked is named on standard error. Nothing found is exit 4.`,
		Example: "  amesh search cheap flights\n" +
			"  amesh search --capability travel/flight-search --online\n" +
			"  amesh search --category travel --tier verified --limit 50 --json",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Words = strings.TrimSpace(strings.Join(args, " "))
			if err := checkSearch(q); err != nil {
				return withUsage(cmd, err)
			}
			return a.ask(func(n api.Backend) error { return a.search(cmd.Context(), n, q) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Capability, "capability", "", "`ID` of a capability, such as travel/flight-search, or its beginning: travel")
	f.StringVar(&q.Category, "category", "", "`WORD` of a category, such as travel")
	f.StringVar(&q.Tier, "tier", "", "at least this tier: verified or organization")
	f.Float64Var(&q.MinReputation, "min-reputation", 0, "at least this score at a registry, 0 to 1")
	f.BoolVar(&q.Online, "online", false, "only those that a registry believes to be there now")
	f.IntVar(&q.Limit, "limit", api.SearchDefault, "at most this many, 1 to 100")
	return cmd
}

func checkSearch(q api.SearchQuery) *failure {
	for _, one := range []struct {
		what, text string
		most       int
	}{{"the search", q.Words, 200}, {"--capability", q.Capability, 128}, {"--category", q.Category, 64}} {
		if f := atMost(one.what, one.text, one.most); f != nil {
			return f
		}
	}
	switch {
	case q.Words == "" && q.Capability == "" && q.Category == "":
		return usagef("nothing to look for: want words, --capability or --category")
	case q.Tier != "" && q.Tier != "verified" && q.Tier != "organization":
		return usagef("--tier %s: want verified or organization", q.Tier)
	case !(q.MinReputation >= 0 && q.MinReputation <= 1): // nor NaN
		return usagef("--min-reputation %g: want 0 to 1", q.MinReputation)
	case q.Limit < 1 || q.Limit > api.SearchMost:
		return usagef("--limit %d: want 1 to %d", q.Limit, api.SearchMost)
	}
	return nil
}

func (a *app) search(ctx context.Context, n api.Backend, q api.SearchQuery) error {
	found, err := n.Search(ctx, a.agent, q)
	if err != nil {
		return err
	}
	answered := a.nameSilent(found.Sources)
	switch {
	case len(found.Items) > 0:
		return a.show(found, func(w io.Writer) { writeHits(w, found) })
	case registriesOnly(q) && !anyRegistry(found.Sources):
		return &failure{exit: exitFailed, code: "no_source", message: "--online, --tier and --min-reputation: only a registry can say that, and the node has none",
			data: found, hint: "give it one: amesh up --registry URL"}
	case answered:
		return &failure{exit: exitNotFound, code: string(api.CodeNotFound), message: "nobody was found", data: found,
			hint: "try fewer words, or the beginning of a capability: amesh search --capability travel"}
	case len(found.Sources) == 0:
		return &failure{exit: exitFailed, code: "no_source", message: "there is nobody to ask", data: found,
			hint: "name a registry or a DHT server: amesh up --registry URL --bootstrap MULTIADDR"}
	}
	return &failure{exit: exitFailed, code: "no_source", message: "nobody answered", data: found, hint: "amesh status shows what does not work"}
}

// registriesOnly reports that a search asks for what no card says.
func registriesOnly(q api.SearchQuery) bool { return q.Online || q.Tier != "" || q.MinReputation > 0 }

// anyRegistry reports whether a registry was asked; those go by their URL.
func anyRegistry(sources []api.Source) bool {
	return slices.ContainsFunc(sources, func(s api.Source) bool { return strings.Contains(s.Name, "://") })
}

// nameSilent says whom the answer is without, and reports whether anybody answered.
func (a *app) nameSilent(sources []api.Source) (answered bool) {
	for _, s := range sources {
		if s.State != "failed" && s.State != "refused" {
			answered = true
			continue
		}
		fmt.Fprintf(a.err, "without %s: %s\n", plain(s.Name), plain(s.Error))
		if s.Hint != "" {
			fmt.Fprintf(a.err, "next: %s\n", plain(s.Hint))
		}
	}
	return answered
}

// How much of a stranger's texts the table shows, in letters.
const (
	hitName         = 24
	hitCapabilities = 48
)

func writeHits(w io.Writer, found api.SearchResult) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "AMID\tNAME\tTIER\tSCORE\tSEEN\tCAPABILITIES\tFROM")
	for _, h := range found.Items {
		score, seen := "-", "-"
		if h.Reputation != nil {
			score = fmt.Sprintf("%.2f", *h.Reputation)
		}
		if h.LastSeen != nil {
			seen = since(*h.LastSeen).String() + " ago"
		}
		if h.Status == "online" {
			seen = h.Status
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.AMID, orDash(clip(plain(h.Name), hitName)), orDash(plain(h.Tier)), score, seen,
			orDash(clip(plain(strings.Join(h.Capabilities, ", ")), hitCapabilities)), plain(strings.Join(h.From, ", ")))
	}
	_ = t.Flush() // the writer's own errors show where the output ends
	if found.More {
		fmt.Fprintf(w, "there is more: --limit %d, or narrow it\n", api.SearchMost)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// clip cuts text that is harmless already to so many letters.
func clip(s string, most int) string {
	letters := []rune(s)
	if len(letters) <= most {
		return s
	}
	return string(letters[:most-1]) + "…"
}
