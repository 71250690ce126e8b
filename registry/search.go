package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"amesh/registry/db"
	"amesh/registry/wire"
)

// searchSubject finds agents by what they can do: as 0.2 does, and our way.
func (s *Server) searchSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: "/v1/registry/search", read: s.searchByCapability},
		route{method: http.MethodGet, path: "/v1/amesh/search", read: s.search},
		route{method: http.MethodGet, path: "/v1/amesh/stats", read: s.ourStats},
	)
}

// The page of the 0.2 search.
const (
	defaultPage = 20
	maxPage     = 100
)

// searchByCapability is the search of 0.2: exact membership (AgentMesh §3.2).
func (s *Server) searchByCapability(r *request) (reply, error) {
	if err := s.mayAsk(r); err != nil {
		return reply{}, err
	}
	q, err := s.capabilityQuery(r)
	if err != nil {
		return reply{}, err
	}
	out := wire.SearchReply{Results: []wire.Agent{}, Limit: q.Limit, Offset: q.Offset}
	if q.Level < 1 { // better than there are
		return reply{body: out}, nil
	}
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		found, total, err := tx.FindByCapability(q)
		out.Results, out.Total = make([]wire.Agent, len(found)), total
		for i, a := range found {
			out.Results[i] = s.shown(a, r)
		}
		return err
	})
	return reply{body: out}, err
}

// anyLevel is tier_min of who does not ask for one: all tiers.
const anyLevel = 2

func (s *Server) capabilityQuery(r *request) (db.CapabilityQuery, error) {
	none := db.CapabilityQuery{}
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return none, wire.Invalid("the query is malformed")
	}
	q := db.CapabilityQuery{Capability: v.Get("capability"), Level: anyLevel, Status: wire.Status(v.Get("status")),
		Alive: r.now.Add(-s.limits.PresenceLife), Limit: defaultPage}
	if !v.Has("capability") {
		return none, wire.Invalid("capability is required")
	}
	if !plainText(q.Capability, s.limits.CapabilityBytes) {
		return none, wire.Invalid("capability: want at most %d bytes of text without control characters", s.limits.CapabilityBytes)
	}
	if q.Status != "" && !q.Status.Valid() {
		return none, wire.Invalid("status: want online, away, offline or dnd")
	}
	for _, n := range []struct {
		name     string
		to       *int
		min, max int
	}{{"tier_min", &q.Level, math.MinInt32, math.MaxInt32}, {"limit", &q.Limit, 0, math.MaxInt}, {"offset", &q.Offset, 0, math.MaxInt}} {
		if text := v.Get(n.name); text != "" {
			if *n.to, err = strconv.Atoi(text); err != nil || *n.to < n.min || *n.to > n.max {
				return none, wire.Invalid("%s: want a whole number from %d on", n.name, n.min)
			}
		}
	}
	q.Limit = min(q.Limit, maxPage)
	if text := v.Get("reputation_min"); text != "" {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return none, wire.Invalid("reputation_min: want a number from 0 to 1")
		}
		q.Reputation = &f
	}
	return q, nil
}

// search is our search.
func (s *Server) search(r *request) (reply, error) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return reply{}, wire.Invalid("the query is malformed")
	}
	q := wire.SearchQuery{Q: v.Get("q"), Category: v.Get("category"), Subcategory: v.Get("subcategory"), Action: v.Get("action"),
		Prefix: v.Get("prefix"), Tier: v.Get("tier"), Cursor: v.Get("cursor")}
	if q.Limit, err = pageLimit(v); err != nil {
		return reply{}, err
	}
	out, err := s.find(r, q)
	return reply{body: out}, err
}

// pageLimit is the length of a page of our lists.
func pageLimit(v url.Values) (int, error) {
	text := v.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > wire.MaxPage {
		return 0, wire.Invalid("limit: want 1 to %d", wire.MaxPage)
	}
	return n, nil
}

// find runs our search for whoever asks, an API client or a reader of pages.
func (s *Server) find(r *request, q wire.SearchQuery) (wire.SearchPage, error) {
	if err := s.mayAsk(r); err != nil {
		return wire.SearchPage{}, err
	}
	from, err := parseCursor(q)
	if err != nil {
		return wire.SearchPage{}, err
	}
	var hits db.Hits
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		hits, err = tx.Find(q, from, q.Limit)
		return err
	})
	if err != nil {
		return wire.SearchPage{}, err
	}
	out := wire.SearchPage{Items: make([]wire.SearchRow, len(hits.Found)), About: about(hits.AtMost), More: hits.More}
	for i, h := range hits.Found {
		out.Items[i] = s.row(h, r)
	}
	if hits.Next != nil {
		out.Next = cursor(q, *hits.Next)
	}
	return out, nil
}

// row is an agent in a list.
func (s *Server) row(h db.Hit, r *request) wire.SearchRow {
	return wire.SearchRow{
		AMID: h.Agent.AMID.String(), DID: h.Agent.AMID.DID(), Name: h.Name, Summary: h.Summary,
		Capabilities: h.Capabilities, More: h.More, Tier: h.Agent.Tier, Reputation: h.Agent.Reputation,
		Online: s.presence(h.Agent, r) == wire.StatusOnline, Card: h.Card,
	}
}

// about rounds a count up, so that it does not say whether one agent more or less is
// there (T77).
func about(n int) int {
	for _, step := range []int{0, 10, 50, 100, 500} {
		if n <= step {
			return step
		}
	}
	return wire.ManyAgents
}

// A cursor is where a page ended, bound to the search it belongs to:
//
//	8 bytes of SHA-256 of the search ‖ rank u64 ‖ AMID, in base64
//
// It is no secret: whoever makes one up begins somewhere else in a list that he may see.
const cursorSize = 8 + 8

func cursor(q wire.SearchQuery, at db.Position) string {
	b := binary.BigEndian.AppendUint64(searchID(q), uint64(at.Rank))
	return base64.RawURLEncoding.EncodeToString(append(b, at.AMID...))
}

func parseCursor(q wire.SearchQuery) (db.Position, error) {
	if q.Cursor == "" {
		return db.Position{}, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(q.Cursor)
	if err != nil || len(b) < cursorSize || string(b[:8]) != string(searchID(q)) {
		return db.Position{}, wire.Invalid("the cursor is not of this search: begin without one")
	}
	at := db.Position{Rank: int64(binary.BigEndian.Uint64(b[8:])), AMID: string(b[cursorSize:])}
	if _, err := wire.ParseAMID(at.AMID); err != nil || at.Rank < 0 {
		return db.Position{}, wire.Invalid("the cursor is not of this search: begin without one")
	}
	return at, nil
}

func searchID(q wire.SearchQuery) []byte {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%q", []string{q.Q, q.Category, q.Subcategory, q.Action, q.Prefix, q.Tier})))
	return sum[:8:8]
}
