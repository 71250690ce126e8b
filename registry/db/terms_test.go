package db

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"amesh/identity"
	"amesh/registry/wire"
)

func subjectOf(name, capability, description string) *subject {
	return &subject{name: name, tier: wire.TierVerified, capabilities: []string{capability}, card: &identity.Card{
		Description:  description,
		Capabilities: []identity.Capability{{ID: capability, Category: name, Subcategory: description, Actions: []string{capability}}},
	}}
}

// T76: whatever agents and searchers write, a term is text that both databases store,
// there is a bounded number of them, and an agent is found by its own words.
func FuzzTerms(f *testing.F) {
	f.Add("Ann", "travel/flights", "Finds cheap seats")
	f.Add("", "/", "\x00\xff")
	f.Add("航班 A", "a.b:c/", "'; DROP TABLE agents; --")
	f.Add(strings.Repeat("x ", 500), strings.Repeat("/a", 500), "\u202e\u0301\x1f*")
	f.Fuzz(func(t *testing.T, name, capability, description string) {
		terms := subjectOf(name, capability, description).terms()
		if len(terms) > maxTerms {
			t.Errorf("%d terms", len(terms))
		}
		for i, term := range terms {
			if !utf8.ValidString(term) || strings.ContainsRune(term, 0) || len(term) > 1000 {
				t.Errorf("term %.60q of %d bytes", term, len(term))
			}
			if slices.Contains(terms[:i], term) {
				t.Errorf("term %.60q stands twice", term)
			}
		}
		asked, err := queryTerms(wire.SearchQuery{Q: name, Prefix: capability, Category: name, Subcategory: description, Action: capability})
		if err != nil {
			if !wire.HasCode(err, wire.CodeInvalid) {
				t.Errorf("not a refusal: %v", err)
			}
			return
		}
		if len(asked) == 0 || len(asked) > maxQueryWords+3 {
			t.Errorf("%d conditions", len(asked))
		}
		for _, term := range asked {
			if strings.HasPrefix(term, "w"+unit) && !slices.Contains(terms, term) {
				t.Errorf("its own word %q does not find it", term)
			}
			if strings.HasPrefix(term, "p"+unit) && !slices.Contains(terms, term) {
				t.Errorf("its own capability %q does not find it", term)
			}
		}
	})
}

// An agent cannot write so much that its capabilities are not indexed.
func TestExactTermsComeBeforeWords(t *testing.T) {
	s := subjectOf("Ann", "last/one", "")
	for range 64 {
		s.card.Capabilities = append([]identity.Capability{{ID: "x/y", Category: "c", Description: manyWords(200)}}, s.card.Capabilities...)
	}
	terms := s.terms()
	for _, want := range []string{"p" + unit + "last/one", "p" + unit + "last", "w" + unit + "ann"} {
		if !slices.Contains(terms, want) {
			t.Errorf("%q is not indexed", want)
		}
	}
}

func manyWords(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(string(rune('a'+i%26)), 1+i/26) + " ")
	}
	return b.String()
}

func TestOutlineIsShort(t *testing.T) {
	s := subjectOf("<b>\u202eAnn\x07</b>"+strings.Repeat("!", 200), "travel/flights", strings.Repeat("long ", 200))
	s.capabilities = append(s.capabilities, strings.Fields("a b c d e f g h i travel/flights a")...)
	o := s.outline()
	if len(o.Name) > 64 || len(o.Summary) > 160 || !strings.HasPrefix(o.Name, "<b>Ann</b>") || !strings.HasSuffix(o.Summary, "…") {
		t.Errorf("%q, %q", o.Name, o.Summary)
	}
	if want := strings.Fields("travel/flights a b c d e f g"); !slices.Equal(o.Capabilities, want) || o.More != 2 || !o.Card {
		t.Errorf("%q and %d more", o.Capabilities, o.More)
	}
}
