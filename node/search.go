package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"amesh/dht"
	"amesh/identity"
	codec "amesh/internal/wire"
	"amesh/node/api"
	"amesh/registry/client"
	rwire "amesh/registry/wire"
)

const (
	// searchTime is how long a search may take.
	searchTime = 10 * time.Second
	// searchPages is how many pages of one registry a search reads.
	searchPages = 4
	// searchTopics is how many words of a search the DHT is asked for.
	searchTopics = 3
)

// Search implements api.Directory.
func (m *mesh) Search(ctx context.Context, agent string, q api.SearchQuery) (api.SearchResult, error) {
	if _, err := m.anyRoom(agent); err != nil {
		return api.SearchResult{}, err
	}
	if err := checkQuery(&q); err != nil {
		return api.SearchResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	lines := m.registries.all()
	answers := make([]answer, len(lines)+2)
	var wg sync.WaitGroup
	for i, l := range lines {
		wg.Go(func() {
			answers[i] = l.search(ctx, q)
			l.heard(answers[i].err)
		})
	}
	wg.Go(func() { answers[len(lines)] = m.searchDHT(ctx, q) })
	answers[len(lines)+1] = m.searchLAN(q)
	wg.Wait()
	return merge(answers, q), nil
}

// checkQuery holds a search against the rules of cards.md.
func checkQuery(q *api.SearchQuery) error {
	invalid := func(err error) error {
		return api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).WithHint("such as travel/flight-search, or travel")
	}
	q.Words = strings.Join(strings.Fields(q.Words), " ")
	if q.Words == "" && q.Capability == "" && q.Category == "" {
		return api.Problemf(http.StatusBadRequest, api.CodeInvalid, "nothing to look for").WithHint("give words, a capability or a category")
	}
	if q.Capability != "" {
		if err := identity.CheckCapabilityID(q.Capability); err != nil {
			return invalid(err)
		}
	}
	if q.Category != "" {
		if err := identity.CheckCategory(q.Category); err != nil {
			return invalid(err)
		}
	}
	if q.Limit <= 0 {
		q.Limit = api.SearchDefault
	}
	q.Limit = min(q.Limit, api.SearchMost)
	return nil
}

// answer is what one source found.
type answer struct {
	name string
	hits []api.Hit
	more bool
	err  error
}

// search asks one registry: in our way, or where it is of 0.2 for exactly that
// capability.
func (l *registryLine) search(ctx context.Context, q api.SearchQuery) answer {
	a := answer{name: l.client.URL()}
	kind, err := l.client.Learn(ctx)
	if err != nil {
		a.err = err
		return a
	}
	if kind == client.KindLegacy {
		a.hits, a.err = l.searchExact(ctx, q)
		return a
	}
	query := rwire.SearchQuery{Q: q.Words, Prefix: q.Capability, Category: q.Category, Tier: q.Tier, Limit: 50}
	for range searchPages {
		page, err := l.client.Search(ctx, query)
		if err != nil {
			a.err = err
			return a
		}
		for _, row := range page.Items {
			if h, ok := hitOf(row, a.name); ok && fits(h, q) {
				a.hits = append(a.hits, h)
			}
		}
		a.more, query.Cursor = page.Next != "", page.Next
		if !a.more || len(a.hits) >= q.Limit {
			break
		}
	}
	return a
}

func hitOf(row rwire.SearchRow, from string) (api.Hit, bool) {
	amid, err := identity.ParseAMID(row.AMID)
	h := api.Hit{AMID: amid, Name: row.Name, Description: row.Summary, Capabilities: row.Capabilities, Tier: string(row.Tier),
		Reputation: &row.Reputation, From: []string{from}}
	if row.Online {
		h.Status = string(rwire.StatusOnline)
	}
	return h, err == nil && row.Reputation >= 0 && row.Reputation <= 1
}

// searchExact asks a registry of 0.2, which knows nothing but ids of capabilities.
func (l *registryLine) searchExact(ctx context.Context, q api.SearchQuery) ([]api.Hit, error) {
	what := cmp.Or(q.Capability, q.Words)
	if what == "" {
		return nil, client.ErrUnsupported
	}
	found, lied, err := l.client.SearchExact(ctx, what, q.Limit)
	if lied > 0 {
		l.warnings.add(warnKey, identity.AMID{}, l.clock())
	}
	var hits []api.Hit
	for _, a := range found {
		h := api.Hit{AMID: a.AMID, Name: a.Name, Capabilities: a.Capabilities, Tier: string(a.Tier), Reputation: &a.Reputation,
			Status: string(a.Status), From: []string{l.client.URL()}}
		if !a.LastSeen.IsZero() {
			h.LastSeen = &a.LastSeen
		}
		if fits(h, q) {
			hits = append(hits, h)
		}
	}
	return hits, err
}

// fits holds a hit against what only registries know.
func fits(h api.Hit, q api.SearchQuery) bool {
	rank := map[string]int{string(rwire.TierVerified): 1, string(rwire.TierOrganization): 2}
	switch {
	case q.Online && h.Status != string(rwire.StatusOnline):
	case rank[h.Tier] < rank[q.Tier]:
	case q.MinReputation > 0 && (h.Reputation == nil || *h.Reputation < q.MinReputation):
	default:
		return true
	}
	return false
}

// searchDHT asks for signed cards. Words are looked for among the cards of the topics
// that they name.
func (m *mesh) searchDHT(ctx context.Context, q api.SearchQuery) answer {
	a := answer{name: sourceDHT}
	if len(m.node.bootstrap) == 0 && (len(m.registries.all()) > 0 || m.lan != nil) {
		a.name = "" // nobody expects it to be asked
		return a
	}
	var queries []dht.Query
	if q.Capability != "" || q.Category != "" {
		queries = []dht.Query{{ID: q.Capability, Category: q.Category}}
	} else {
		for _, word := range strings.Fields(strings.ToLower(q.Words)) {
			if identity.CheckCapabilityID(word) == nil && len(queries) < 2*searchTopics {
				queries = append(queries, dht.Query{ID: word})
				if identity.CheckCategory(word) == nil {
					queries = append(queries, dht.Query{Category: word})
				}
			}
		}
	}
	for _, query := range queries {
		found, err := m.dht.Search(ctx, query)
		if err != nil && len(m.node.bootstrap) == 0 {
			a.name = "" // it was never told of a server
			return a
		}
		if err != nil {
			a.err = err
			return a
		}
		for _, f := range found {
			if h := cardHit(f.Card, sourceDHT); says(f.Card, q.Words) && fits(h, q) {
				a.hits = append(a.hits, h)
			}
		}
	}
	return a
}

// searchLAN looks through the cards of the neighbours.
func (m *mesh) searchLAN(q api.SearchQuery) answer {
	if m.lan == nil {
		return answer{}
	}
	a := answer{name: sourceLAN}
	query := dht.Query{ID: q.Capability, Category: q.Category}
	for _, n := range m.lan.Neighbours() {
		if n.Card == nil || query != (dht.Query{}) && !query.Matches(n.Card) {
			continue
		}
		if h := cardHit(n.Card, sourceLAN); says(n.Card, q.Words) && fits(h, q) {
			h.LastSeen = &n.Seen
			a.hits = append(a.hits, h)
		}
	}
	return a
}

func cardHit(c *identity.Card, from string) api.Hit {
	h := api.Hit{AMID: c.Agent, Name: c.Name, Description: c.Description, Capabilities: []string{}, Signed: true, From: []string{from}}
	for _, one := range c.Capabilities {
		h.Capabilities = append(h.Capabilities, one.ID)
	}
	return h
}

// says reports whether every word stands somewhere in a card.
func says(c *identity.Card, words string) bool {
	text := []string{c.Name, c.Description}
	for _, one := range c.Capabilities {
		text = append(text, one.ID, one.Category, one.Subcategory, one.Description, strings.Join(one.Actions, " "))
	}
	all := strings.ToLower(strings.Join(text, " "))
	for _, word := range strings.Fields(strings.ToLower(words)) {
		if !strings.Contains(all, word) {
			return false
		}
	}
	return true
}

// merge puts an agent that several found into one hit: what it signed itself counts
// before what others say, and the best of those is first.
func merge(answers []answer, q api.SearchQuery) api.SearchResult {
	result := api.SearchResult{Items: []api.Hit{}, Sources: []api.Source{}}
	byName := make(map[identity.AMID]*api.Hit)
	var order []*api.Hit
	for _, a := range answers {
		if a.name == "" {
			continue
		}
		result.Sources = append(result.Sources, a.source())
		result.More = result.More || a.more
		for _, h := range a.hits {
			old := byName[h.AMID]
			if old == nil {
				byName[h.AMID] = &h
				order = append(order, &h)
				continue
			}
			join(old, h)
		}
	}
	slices.SortStableFunc(order, func(a, b *api.Hit) int {
		return cmp.Or(cmp.Compare(len(b.From), len(a.From)), cmp.Compare(score(b), score(a)), cmp.Compare(a.AMID.String(), b.AMID.String()))
	})
	for _, h := range order {
		if len(result.Items) == q.Limit {
			result.More = true
			break
		}
		result.Items = append(result.Items, *h)
	}
	return result
}

func score(h *api.Hit) float64 {
	if h.Reputation == nil {
		return 0.5
	}
	return *h.Reputation
}

// join adds what another source knows of an agent.
func join(h *api.Hit, other api.Hit) {
	if other.Signed && !h.Signed {
		h.Name, h.Description, h.Capabilities, h.Signed = other.Name, other.Description, other.Capabilities, true
	}
	if !slices.Contains(h.From, other.From[0]) {
		h.From = append(h.From, other.From[0])
	}
	if h.Reputation == nil {
		h.Reputation = other.Reputation
	}
	h.Tier, h.Status = cmp.Or(h.Tier, other.Tier), cmp.Or(h.Status, other.Status)
	if h.LastSeen == nil {
		h.LastSeen = other.LastSeen
	}
}

func (a answer) source() api.Source {
	s := api.Source{Name: a.name, State: "found", Hits: len(a.hits)}
	switch {
	case a.err != nil && !errors.Is(a.err, client.ErrUnsupported):
		s.State, s.Error, s.Hint = "failed", a.err.Error(), client.Next(a.err)
	case len(a.hits) == 0:
		s.State = "none"
	}
	return s
}

// Card implements api.Directory.
func (m *mesh) Card(_ context.Context, agent string) (api.Card, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Card{}, err
	}
	return m.cardOf(r), nil
}

func (m *mesh) cardOf(r *room) api.Card {
	c := api.Card{Agent: r.agent.Name, AMID: r.agent.AMID(), CardContent: r.card.content(), Published: []string{}}
	raw := r.card.now()
	if raw != nil && bytes.Equal(raw, r.leftCard()) {
		c.Published = append(c.Published, sourceDHT)
	}
	for _, l := range m.registries.all() {
		if l.hasCard(r.agent.AMID(), raw) {
			c.Published = append(c.Published, l.client.URL())
		}
	}
	return c
}

// SetCard implements api.Directory.
func (m *mesh) SetCard(ctx context.Context, agent string, said api.CardContent) (api.Card, error) {
	r, err := m.room(agent)
	if err != nil {
		return api.Card{}, err
	}
	switch err := r.card.set(ctx, said); {
	case errors.Is(err, codec.ErrMalformed):
		return api.Card{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
			WithHint("amesh agent card set --help says what a card may hold")
	case errors.Is(err, identity.ErrRevoked):
		return api.Card{}, api.Problemf(http.StatusConflict, api.CodeRevoked, "the agent's own key was revoked").
			WithHint("use the agent that took its place; `amesh key show` names it")
	case err != nil:
		return api.Card{}, r.agent.StorageProblem(err)
	}
	m.republish()
	m.registries.refresh()
	return m.cardOf(r), nil
}
