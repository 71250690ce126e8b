package page

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"amesh/identity"
	"amesh/registry/wire"
)

// hostile is what an agent may write anywhere: markup, a change of direction, a bell,
// a zero-width space, and a word without an end.
const hostile = "<script>alert(1)</script>\u202e\u0007\u200b\"'><img src=x onerror=alert(1)> "

// shelf is a Source of a few agents.
type shelf struct {
	asked []wire.SearchQuery
	err   error
}

const ann = "2wCNe4X9egd7iKnC1T9XBee63MLc"

func (s *shelf) Overview(context.Context) (wire.OurStats, error) {
	return wire.OurStats{Agents: 1000, Cards: 500}, s.err
}

func (s *shelf) Search(_ *http.Request, q wire.SearchQuery) (wire.SearchPage, error) {
	s.asked = append(s.asked, q)
	if q.Q == "nothing" {
		return wire.SearchPage{}, s.err
	}
	page := wire.SearchPage{Next: "abc-_", About: 100, Items: []wire.SearchRow{
		{AMID: ann, Name: "Flight finder", Summary: "Finds flights between any two cities, compares fares of 300 airlines, and holds seats for an hour.",
			Capabilities: []string{"travel/flights/search", "travel/flights/hold", "translate/text"}, More: 3, Tier: "organization", Reputation: .83, Online: true, Card: true},
		{AMID: ann, Capabilities: []string{"chat"}, Tier: "anonymous", Reputation: .5},
		{AMID: ann, Name: hostile + strings.Repeat("W", 300), Summary: hostile + strings.Repeat("ab", 400),
			Capabilities: []string{hostile, strings.Repeat("x", 200)}, Tier: "verified", Reputation: .12, Online: true},
	}}
	return page, s.err
}

func (s *shelf) Agent(_ *http.Request, amid identity.AMID) (wire.AgentView, error) {
	at := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	return wire.AgentView{
		Agent: wire.SearchRow{AMID: amid.String(), DID: amid.DID(), Name: "Flight finder", Tier: "organization", Reputation: .83, Online: true, Card: true},
		Card: &wire.CardView{Name: "Flight finder", Description: "Finds flights between any two cities.\nAsks back when a date is missing.\n" + hostile, Signed: []byte{1},
			Sequence: 7, Issued: wire.Time{Time: at}, Expires: wire.Time{Time: at.Add(7 * 24 * time.Hour)},
			Capabilities: []identity.Capability{
				{ID: "travel/flights/search", Category: "travel", Subcategory: "flights", Actions: []string{"search", "compare"}, Description: "One way, return and multi-city.",
					Pricing: identity.Pricing{Amount: "0.05", Currency: "EUR", Unit: "search"}, ResponseTime: 20, Availability: "24/7", Schemas: []string{"agentmesh/travel/flight-search/v1"}},
				{ID: "x", Category: hostile, Description: hostile + strings.Repeat("long", 500), Actions: []string{hostile}},
			}},
	}, s.err
}

// serve is a registry's pages on a server of their own.
func serve(t *testing.T, s Source) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	api := humago.New(http.NewServeMux(), huma.DefaultConfig("test", "1"))
	huma.Get(api, "/v1/amesh/search", func(context.Context, *struct{ wire.SearchQuery }) (*struct{ Body wire.SearchPage }, error) {
		return nil, nil
	}, func(o *huma.Operation) { o.Summary = "Search" })
	p, err := New(Config{Source: s, API: api.OpenAPI(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for path, handler := range p.Routes() {
		mux.HandleFunc("GET "+path, handler)
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv
}
