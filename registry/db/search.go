package db

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// CapabilityQuery asks the search of 0.2 (AgentMesh §3.2). Zero values ask for nothing.
type CapabilityQuery struct {
	Capability string   // exactly this one
	Level      int      // 1 without anonymous agents
	Reputation *float64 // at least this
	Status     wire.Status
	// Alive is the time since which an agent must have been heard of to count as
	// anything but offline.
	Alive         time.Time
	Limit, Offset int
}

// FindByCapability returns a page of the agents with a capability, the best reputation
// first, then those heard of last, and how many there are in all.
//
// The order and every filter stand in one index. A page behind the middle is read from
// the other end, so that no offset costs more than half of the index.
func (t *Tx) FindByCapability(q CapabilityQuery) ([]Agent, int, error) {
	where, args := q.where()
	var total int
	if err := t.QueryRow("SELECT count(*) FROM agent_capabilities WHERE "+where, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count agents: %w", err)
	}
	n := min(q.Limit, total-q.Offset)
	if n <= 0 {
		return nil, total, nil
	}
	order, skip, backwards := "reputation DESC, last_seen DESC, amid ASC", q.Offset, q.Offset > total/2
	if backwards {
		order, skip = "reputation ASC, last_seen ASC, amid DESC", total-q.Offset-n
	}
	// Filters and order name the columns of the capabilities alone, inside; the 100 rows
	// outside are sorted again, since a join promises no order.
	inner := fmt.Sprintf("SELECT amid, reputation, last_seen FROM agent_capabilities WHERE %s ORDER BY %s LIMIT $%d OFFSET $%d",
		where, order, len(args)+1, len(args)+2)
	query := "SELECT " + AgentColumns + " FROM (" + inner + ") AS hit JOIN agents ON agents.amid = hit.amid ORDER BY " +
		strings.NewReplacer("reputation", "hit.reputation", "last_seen", "hit.last_seen", "amid", "hit.amid").Replace(order)
	agents, err := t.agents(query, append(args, n, skip)...)
	if backwards {
		slices.Reverse(agents)
	}
	return agents, total, err
}

func (t *Tx) agents(query string, args ...any) ([]Agent, error) {
	var agents []Agent
	err := t.Query(func(scan func(...any) error) error {
		a, err := ScanAgent(scan)
		agents = append(agents, a)
		return err
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("find agents: %w", err)
	}
	return agents, nil
}

// where is made of fixed words; what a stranger typed stands in args.
func (q *CapabilityQuery) where() (string, []any) {
	where, args := "capability = $1", []any{q.Capability}
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where += " AND " + condition
	}
	if q.Level == 1 { // beyond that it leaves nobody out, and costs a look at each
		add("level <= ?", q.Level)
	}
	if q.Reputation != nil && *q.Reputation > 0 {
		add("reputation >= ?", *q.Reputation)
	}
	switch q.Status {
	case "":
	case wire.StatusOffline:
		add("(status = ? OR last_seen < ?)", string(q.Status), Micros(q.Alive))
	default:
		add("status = ? AND last_seen >= ?", string(q.Status), Micros(q.Alive))
	}
	return where, args
}

// Position is where a page of our search ended: behind this agent. The zero value is
// the beginning.
type Position struct {
	Rank int64
	AMID string
}

// Hit is an agent that our search found.
type Hit struct {
	Agent Agent
	Outline
}

// Hits is a page of our search.
type Hits struct {
	Found []Hit
	// Next is where the next page begins; nil when all was looked at.
	Next *Position
	// AtMost is a bound on how many agents there are to be found, on the first page only,
	// and right when there is no next one. More says that there may be others beyond it.
	AtMost int
	More   bool
}

// The bounds of one search, which make it cost the same whatever is asked. Terms that
// are common each and rare together give short pages.
const (
	maxLooks = 2000 // how often it is asked for a page whether an agent has a term
	maxCount = 1000 // that are counted for Hits.AtMost
)

// Find returns a page of the agents that have all that q asks for, the best reputation
// first. Of an invalid search it returns a *wire.Error.
//
// It walks along the agents with the rarest term, in order, and asks of each whether it
// has the others.
func (t *Tx) Find(q wire.SearchQuery, from Position, limit int) (Hits, error) {
	return t.find(q, from, limit, maxLooks)
}

func (t *Tx) find(q wire.SearchQuery, from Position, limit, looks int) (Hits, error) {
	terms, err := queryTerms(q)
	if err != nil {
		return Hits{}, err
	}
	window := looks / len(terms)
	most, err := t.rarestFirst(terms, max(window, maxCount+1))
	if err != nil {
		return Hits{}, fmt.Errorf("find agents: %w", err)
	}
	at, err := t.walk(terms, from, window, limit+1)
	if err != nil {
		return Hits{}, fmt.Errorf("find agents: %w", err)
	}
	var out Hits
	if len(at) > limit {
		at = at[:limit]
		out.Next = &at[limit-1]
	} else if out.Next, err = t.end(terms[0], from, window); err != nil {
		return Hits{}, fmt.Errorf("find agents: %w", err)
	}
	if from == (Position{}) {
		out.AtMost, out.More = min(most, maxCount), most > maxCount
		if out.Next == nil {
			out.AtMost, out.More = len(at), false
		}
	}
	out.Found, err = t.hitsAt(at)
	return out, err
}

// rarestFirst orders terms by how many agents have them, as far as enough, and returns
// how many have the first.
func (t *Tx) rarestFirst(terms []string, enough int) (int, error) {
	count := make(map[string]int, len(terms))
	for _, term := range terms {
		var n int
		err := t.QueryRow("SELECT count(*) FROM (SELECT 1 FROM search_terms WHERE term = $1 LIMIT $2) AS counted", term, enough).Scan(&n)
		if err != nil {
			return 0, err
		}
		count[term] = n
	}
	slices.SortStableFunc(terms, func(a, b string) int { return count[a] - count[b] })
	return count[terms[0]], nil
}

// candidates are the agents with a term behind a position, a window full of them.
const candidates = `SELECT rank, amid FROM search_terms WHERE term = $1 AND (rank, amid) > ($2, $3) ORDER BY rank, amid LIMIT $4`

// walk returns the first of the candidates that have all terms, at most limit.
func (t *Tx) walk(terms []string, from Position, window, limit int) ([]Position, error) {
	args := []any{terms[0], from.Rank, from.AMID, window, limit}
	where := "TRUE"
	for _, term := range terms[1:] {
		args = append(args, term)
		// A scalar, because no planner turns that into a join over all agents with a term.
		where += fmt.Sprintf(" AND (SELECT other.rank FROM search_terms AS other WHERE other.amid = hit.amid AND other.term = $%d) IS NOT NULL", len(args))
	}
	var hits []Position
	err := t.Query(func(scan func(...any) error) error {
		var at Position
		if err := scan(&at.Rank, &at.AMID); err != nil {
			return err
		}
		hits = append(hits, at)
		return nil
	}, "SELECT hit.rank, hit.amid FROM ("+candidates+") AS hit WHERE "+where+" ORDER BY hit.rank, hit.amid LIMIT $5", args...)
	return hits, err
}

// end is the last of a full window of candidates; nil when there are no more than that.
func (t *Tx) end(term string, from Position, window int) (*Position, error) {
	var last Position
	err := one(t.QueryRow(candidates+" OFFSET $5", term, from.Rank, from.AMID, 1, window-1).Scan(&last.Rank, &last.AMID))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return &last, err
}

// hitsAt reads agents in the order of their positions.
func (t *Tx) hitsAt(at []Position) ([]Hit, error) {
	if len(at) == 0 {
		return nil, nil
	}
	args := make([]any, len(at))
	marks := make([]string, len(at))
	place := make(map[string]int, len(at))
	for i, p := range at {
		args[i], marks[i], place[p.AMID] = p.AMID, fmt.Sprintf("$%d", i+1), i
	}
	var found []Hit
	err := t.Query(func(scan func(...any) error) error {
		h, err := scanHit(scan)
		found = append(found, h)
		return err
	}, selectHit+"agents.amid IN ("+strings.Join(marks, ", ")+")", args...)
	if err != nil {
		return nil, fmt.Errorf("find agents: %w", err)
	}
	slices.SortFunc(found, func(a, b Hit) int { return place[a.Agent.AMID.String()] - place[b.Agent.AMID.String()] })
	return found, nil
}

// FindAgent is one agent as our search shows it; it returns ErrNotFound.
func (t *Tx) FindAgent(who identity.AMID) (Hit, error) {
	return scanHit(t.QueryRow(selectHit+"agents.amid = $1", who.String()).Scan)
}

const selectHit = "SELECT " + AgentColumns + `, search_agents.name, search_agents.summary, search_agents.capabilities,
	search_agents.more, search_agents.has_card
	FROM agents JOIN search_agents ON search_agents.amid = agents.amid WHERE `

func scanHit(scan func(...any) error) (Hit, error) {
	var h Hit
	var list string
	var err error
	if h.Agent, err = ScanAgent(scan, &h.Name, &h.Summary, &list, &h.More, &h.Card); err != nil {
		return Hit{}, err
	}
	if err := json.Unmarshal([]byte(list), &h.Capabilities); err != nil {
		return Hit{}, fmt.Errorf("row of agent %s: %w", h.Agent.AMID, err)
	}
	return h, nil
}

// Amounts is how much there is, of each as far as counted.
type Amounts struct{ Agents, Cards, Schemas int }

// Amounts counts up to a limit: nothing that grows with the registry.
func (t *Tx) Amounts(limit int) (Amounts, error) {
	var a Amounts
	err := t.QueryRow(`SELECT (SELECT count(*) FROM (SELECT 1 FROM search_agents LIMIT $1) AS counted),
		(SELECT count(*) FROM (SELECT 1 FROM cards LIMIT $1) AS counted),
		(SELECT count(*) FROM (SELECT 1 FROM schemas LIMIT $1) AS counted)`, limit).Scan(&a.Agents, &a.Cards, &a.Schemas)
	if err != nil {
		return Amounts{}, fmt.Errorf("count agents, cards and schemas: %w", err)
	}
	return a, nil
}
