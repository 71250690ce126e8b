package db

import (
	"slices"
	"strings"
	"unicode"

	"amesh/identity"
	"amesh/registry/wire"
)

// Our search is an index of terms, each of which an agent has or has not. Every
// condition of a search is one term, so that what a stranger types is only ever
// compared for equality.
//
//	*                      every agent
//	t TIER                 the agent's tier is this one or a better one
//	p PREFIX               whole leading parts of a capability id, up to all of it
//	c CATEGORY [SUB]       of one capability of the card
//	a [CATEGORY [SUB]] ACT the same, with one of its actions
//	w WORD                 a word of name, description, capabilities or categories

// The bounds of one agent's terms and of one search.
const (
	maxTerms      = 1024 // of an agent
	maxWords      = 256  // of an agent
	maxQueryWords = 8
	maxWord       = 40  // bytes; longer words are cut
	maxPrefix     = 160 // bytes
	maxParts      = 6   // of a capability id that are indexed one by one
)

// unit separates the parts of a term. No text of an agent has it: cards and names
// cannot, and capabilities are cleaned.
const unit = "\x1f"

const everyAgent = "*"

// subject is what an agent is found by.
type subject struct {
	name         string
	tier         wire.Tier
	capabilities []string       // of its registration
	card         *identity.Card // nil without a valid one
}

// terms lists the terms of an agent, each once.
func (s *subject) terms() []string {
	set := &termSet{seen: make(map[string]bool)}
	set.add(everyAgent)
	for _, t := range []wire.Tier{wire.TierVerified, wire.TierOrganization} {
		if level(s.tier) >= level(t) {
			set.add("t", string(t))
		}
	}
	for _, id := range s.capabilities {
		set.addCapability(id)
	}
	if s.card != nil {
		for i := range s.card.Capabilities {
			set.addDetailed(&s.card.Capabilities[i])
		}
	}
	// Words come last: when there is too much, the exact terms stay.
	words := []string{s.name}
	if s.card != nil {
		words = append(words, s.card.Name)
	}
	words = append(words, s.capabilities...)
	if s.card != nil {
		for _, c := range s.card.Capabilities {
			words = append(words, c.ID, c.Category, c.Subcategory, c.Description)
		}
		words = append(words, s.card.Description)
	}
	n := 0
	for _, text := range words {
		for _, w := range wordsOf(text) {
			if n < maxWords && set.add("w", w) {
				n++
			}
		}
	}
	return set.list
}

// Outline is an agent on one line: what our search shows.
type Outline struct {
	Name, Summary string
	Capabilities  []string // at most maxShown
	More          int      // how many others there are
	Card          bool     // whether there is a card
}

// How much of an agent a search shows, in capabilities and bytes.
const (
	maxShown        = 8
	maxShownName    = 64
	maxShownSummary = 160
	maxShownID      = 128
)

func (s *subject) outline() Outline {
	out := Outline{Name: wire.Line(s.name, maxShownName), Capabilities: []string{}}
	ids := s.capabilities
	if s.card != nil {
		out.Card = true
		out.Summary = wire.Line(s.card.Description, maxShownSummary)
		if s.card.Name != "" {
			out.Name = wire.Line(s.card.Name, maxShownName)
		}
		ids = nil
		for _, c := range s.card.Capabilities {
			ids = append(ids, c.ID)
		}
		ids = append(ids, s.capabilities...)
	}
	seen := make(map[string]bool)
	for _, id := range ids {
		if id = wire.Line(id, maxShownID); seen[id] {
			continue
		}
		seen[id] = true
		if len(out.Capabilities) < maxShown {
			out.Capabilities = append(out.Capabilities, id)
		} else {
			out.More++
		}
	}
	return out
}

// level orders the tiers.
func level(t wire.Tier) int {
	return slices.Index([]wire.Tier{wire.TierAnonymous, wire.TierVerified, wire.TierOrganization}, t)
}

type termSet struct {
	seen map[string]bool
	list []string
}

// add adds a term and says whether it is new.
func (s *termSet) add(parts ...string) bool {
	t := strings.Join(parts, unit)
	if s.seen[t] || len(s.list) >= maxTerms {
		return false
	}
	s.seen[t] = true
	s.list = append(s.list, t)
	return true
}

// addCapability adds an id and whole leading parts of it.
func (s *termSet) addCapability(id string) {
	id = fold(id)
	parts := 0
	for i := 1; i < len(id) && parts < maxParts; i++ {
		if isSeparator(id[i]) && !isSeparator(id[i-1]) {
			s.add("p", prefixOf(id[:i]))
			parts++
		}
	}
	s.add("p", prefixOf(id))
}

func (s *termSet) addDetailed(c *identity.Capability) {
	s.addCapability(c.ID)
	category, sub := fold(c.Category), fold(c.Subcategory)
	s.add("c", category)
	if sub != "" {
		s.add("c", category, sub)
	}
	for _, a := range c.Actions {
		a = fold(a)
		s.add("a", "", "", a)
		s.add("a", category, "", a)
		if sub != "" {
			s.add("a", category, sub, a)
		}
	}
}

// queryTerms is the same for a search: the terms that an agent must have. Of an invalid
// search it returns a *wire.Error.
func queryTerms(q wire.SearchQuery) ([]string, error) {
	set := &termSet{seen: make(map[string]bool)}
	if err := checkQuery(q); err != nil {
		return nil, err
	}
	switch t := wire.Tier(q.Tier); {
	case level(t) > 0:
		set.add("t", string(t))
	case t != "" && t != wire.TierAnonymous:
		return nil, wire.Invalid("there is no tier %.40q: ask for verified or organization", q.Tier)
	}
	if q.Prefix != "" {
		set.add("p", prefixOf(fold(q.Prefix)))
	}
	category, sub, action := fold(q.Category), fold(q.Subcategory), fold(q.Action)
	switch {
	case sub != "" && category == "":
		return nil, wire.Invalid("a subcategory needs its category")
	case action != "":
		set.add("a", category, sub, action)
	case sub != "":
		set.add("c", category, sub)
	case category != "":
		set.add("c", category)
	}
	words := wordsOf(q.Q)
	if q.Q != "" && len(words) == 0 {
		return nil, wire.Invalid("q has no letters or digits")
	}
	for _, w := range words {
		set.add("w", w)
	}
	if len(words) > maxQueryWords {
		return nil, wire.Invalid("q has %d words, at most %d", len(words), maxQueryWords)
	}
	if len(set.list) == 0 {
		set.add(everyAgent)
	}
	return set.list, nil
}

// checkQuery refuses what no agent can have.
func checkQuery(q wire.SearchQuery) error {
	for _, f := range []struct {
		name, value string
		max         int
	}{
		{"q", q.Q, 200}, {"category", q.Category, 64}, {"subcategory", q.Subcategory, 64},
		{"action", q.Action, 64}, {"prefix", q.Prefix, 128}, {"tier", q.Tier, 20},
	} {
		if len(f.value) > f.max {
			return wire.Invalid("%s has %d bytes, at most %d", f.name, len(f.value), f.max)
		}
		if !wire.Plain(f.value) {
			return wire.Invalid("%s has characters that cannot be searched for", f.name)
		}
	}
	return nil
}

// fold makes two spellings of a term that differ in case and spaces alike.
func fold(s string) string {
	return strings.ToLower(wire.Line(s, maxPrefix))
}

// isSeparator says where a capability id may end for a search by its beginning.
func isSeparator(b byte) bool {
	return b == '/' || b == '.' || b == ':'
}

func prefixOf(id string) string {
	if trimmed := strings.TrimRight(id, "/.:"); trimmed != "" {
		return trimmed
	}
	return id
}

// wordsOf splits text into lower-case words, each once. Scripts without spaces are
// taken character by character.
func wordsOf(text string) []string {
	var words []string
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 && !slices.Contains(words, b.String()) {
			words = append(words, b.String())
		}
		b.Reset()
	}
	for _, r := range text {
		switch {
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana):
			flush()
			b.WriteRune(r)
			flush()
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.Is(unicode.Mn, r):
			if b.Len() < maxWord {
				b.WriteRune(unicode.ToLower(r))
			}
		default:
			flush()
		}
	}
	flush()
	return words
}
