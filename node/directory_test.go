package node

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/node/api"
)

var flights = api.CardContent{Name: "Travel bot", Description: "finds cheap flights", Capabilities: []identity.Capability{
	{ID: "travel/flight-search", Category: "travel", Pricing: identity.Pricing{Amount: "0.05", Currency: "EUR"}},
}}

func (r *running) says(c api.CardContent) api.Card {
	r.t.Helper()
	card, err := r.api.SetCard(r.t.Context(), "", c)
	if err != nil {
		r.t.Fatal(err)
	}
	return card
}

func (r *running) search(q api.SearchQuery) api.SearchResult {
	r.t.Helper()
	found, err := r.api.Search(r.t.Context(), "", q)
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// What an agent says of itself is found in the DHT and at a registry as one, by the
// signature under it, and it stays said when its node starts again.
func TestCardIsFoundByDHTAndRegistry(t *testing.T) {
	s, h := newStation(t), newHall(t)
	cfg := Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Registries: []string{h.url}}
	a, b := startNode(t, cfg), startNode(t, cfg)
	h.has(a.amid)
	h.has(b.amid)
	b.says(flights)
	key := "cards/" + b.amid.String()
	h.until("bob's card", func() bool { return h.objects[key] != nil })
	h.until("bob's capabilities", func() bool { return h.calls["POST /v1/registry/capabilities"] > 0 })
	eventually(t, "the card in the DHT", func() bool {
		card, err := b.api.Card(t.Context(), "")
		return err == nil && slices.Contains(card.Published, sourceDHT)
	})
	found := a.search(api.SearchQuery{Capability: "travel", Category: "travel"})
	i := slices.IndexFunc(found.Items, func(x api.Hit) bool { return x.AMID == b.amid })
	if i != 0 || !found.Items[0].Signed || found.Items[0].Name != "Travel bot" || !slices.Equal(slices.Sorted(slices.Values(found.Items[0].From)), []string{"dht", h.url}) {
		t.Errorf("found %+v", found)
	}
	l, err := a.api.Lookup(t.Context(), "", b.amid.DID(), true)
	if err != nil || l.Card == nil || l.Card.Description != "finds cheap flights" || l.Name != "Travel bot" || l.NameFrom != "card" || l.Record == nil || l.SigningKey == "" {
		t.Fatalf("%+v, %v", l, err)
	}
	var doc identity.DIDDocument
	if err := json.Unmarshal(l.Document, &doc); err != nil || doc.ID != b.amid.DID() {
		t.Errorf("document %s, %v", l.Document, err)
	}
	first := h.card(b.amid)
	b.end()
	b.start()
	h.until("the card is signed anew", func() bool { return h.objects[key] != nil && string(h.objects[key]) != string(first.Raw()) })
	if again := h.card(b.amid); again.Sequence <= first.Sequence || again.Name != "Travel bot" {
		t.Errorf("after a restart %+v", again)
	}
	b.says(api.CardContent{})
	h.until("the card is taken back", func() bool {
		c, err := identity.ParseCard(h.objects[key])
		return err == nil && c.Name == "" && len(c.Capabilities) == 0
	})
}

// card is the card that the registry has; it must be there.
func (h *hall) card(amid identity.AMID) *identity.Card {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := identity.ParseCard(h.objects["cards/"+amid.String()])
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func TestLookupByNameAndOfNobody(t *testing.T) {
	_, h, cfg := town(t)
	a, b := startNode(t, cfg), startNode(t, cfg)
	b.says(flights)
	h.has(b.amid)
	h.until("bob's name", func() bool {
		return h.agents[b.amid.String()].DisplayName != nil || h.objects["cards/"+b.amid.String()] != nil
	})
	name := "Travel bot"
	h.mu.Lock()
	one := h.agents[b.amid.String()]
	one.DisplayName = &name
	h.agents[b.amid.String()] = one
	h.mu.Unlock()
	if l, err := a.api.Lookup(t.Context(), "", name, false); err != nil || l.AMID != b.amid {
		t.Errorf("by name: %+v, %v", l, err)
	}
	if _, err := a.api.AddContact(t.Context(), "", api.ContactRequest{AMID: b.amid.String(), Name: "flights"}); err != nil {
		t.Fatal(err)
	}
	if l, err := a.api.Lookup(t.Context(), "", "flights", false); err != nil || l.AMID != b.amid || l.NameFrom != "contact" {
		t.Errorf("a contact: %+v, %v", l, err)
	}
	if l, err := a.api.Lookup(t.Context(), "", "default", false); err != nil || l.AMID != a.amid || l.NameFrom != "own" {
		t.Errorf("our own: %+v, %v", l, err)
	}
	h.mu.Lock()
	two := one
	two.AMID = freshKey(t).AMID().String()
	h.agents[two.AMID] = two
	h.mu.Unlock()
	if _, err := a.api.Lookup(t.Context(), "", name, false); problemCode(err) != api.CodeConflict {
		t.Errorf("the name of two: %v", err)
	}
	for _, who := range []string{"nobody", freshKey(t).AMID().String()} {
		if _, err := a.api.Lookup(t.Context(), "", who, false); problemCode(err) != api.CodeNotFound {
			t.Errorf("%s: %v", who, err)
		}
	}
	_, err := b.api.SetCard(t.Context(), "", api.CardContent{Name: strings.Repeat("x", 65)})
	if problemCode(err) != api.CodeInvalid {
		t.Errorf("a name that is too long: %v", err)
	}
	_, err = b.api.SetCard(t.Context(), "", api.CardContent{Capabilities: []identity.Capability{{ID: "No Good", Category: "x"}}})
	if problemCode(err) != api.CodeInvalid {
		t.Errorf("a capability that is none: %v", err)
	}
	if c, err := b.api.Card(t.Context(), ""); err != nil || c.Name != name {
		t.Errorf("the card is now %+v, %v", c, err)
	}
}

// What cannot be asked is named, and the rest is found all the same.
func TestSearchWithoutOne(t *testing.T) {
	_, h, cfg := town(t)
	cfg.Registries = append(cfg.Registries, "http://127.0.0.1:1")
	a := startNode(t, cfg)
	h.has(a.amid)
	found := a.search(api.SearchQuery{Words: "anything"})
	if len(found.Items) != 1 || found.Items[0].AMID != a.amid || found.Items[0].Signed {
		t.Errorf("found %+v", found.Items)
	}
	states := map[string]string{}
	for _, s := range found.Sources {
		states[s.Name] = s.State
	}
	if states[h.url] != "found" || states["http://127.0.0.1:1"] != "failed" || len(states) != 2 {
		t.Errorf("asked %v", states)
	}
	if _, err := a.api.Search(t.Context(), "", api.SearchQuery{Capability: "No Good"}); problemCode(err) != api.CodeInvalid {
		t.Errorf("a capability that is none: %v", err)
	}
}
