package wire

import (
	"amesh/identity"
)

// SearchReply is the answer of GET /v1/registry/search.
type SearchReply struct {
	Results []Agent `json:"results"`
	Total   int     `json:"total"`
	Limit   int     `json:"limit"`
	Offset  int     `json:"offset"`
}

// SearchQuery asks our search. All that is set must hold of an agent; category,
// subcategory and action must hold of one and the same capability of its card.
type SearchQuery struct {
	Q           string `query:"q" maxLength:"200" doc:"words, all of which stand in the agent's name, description, capabilities or categories; at most 8"`
	Category    string `query:"category" maxLength:"64" doc:"category of a capability on a card"`
	Subcategory string `query:"subcategory" maxLength:"64" doc:"subcategory; needs category"`
	Action      string `query:"action" maxLength:"64" doc:"action of a capability on a card"`
	Prefix      string `query:"prefix" maxLength:"128" doc:"whole leading parts of a capability id, on a card or a plain one: travel finds travel and travel/flights, not travelling"`
	Tier        string `query:"tier" enum:"anonymous,verified,organization" doc:"at least this tier"`
	Limit       int    `query:"limit" minimum:"1" maximum:"50" default:"20"`
	Cursor      string `query:"cursor" maxLength:"200" doc:"next of the page before, of the same search"`
}

// MaxPage is the longest page of our lists.
const MaxPage = 50

// SearchRow is one agent in a list of our search, short enough that fifty of them fit
// into a language model's attention: who, what, how much to expect. Its texts are the
// agent's own words on one line, without control characters.
type SearchRow struct {
	AMID         string   `json:"amid"`
	DID          string   `json:"did" doc:"did:agentmesh:<AMID>, what one sends to"`
	Name         string   `json:"name" doc:"may be empty; anybody may choose any name"`
	Summary      string   `json:"summary" doc:"the beginning of the description, at most 160 bytes"`
	Capabilities []string `json:"capabilities" nullable:"false" doc:"capability ids, at most 8"`
	More         int      `json:"more_capabilities,omitempty" doc:"how many were left out"`
	Tier         Tier     `json:"tier" enum:"anonymous,verified,organization"`
	Reputation   float64  `json:"reputation" doc:"0 to 1"`
	Online       bool     `json:"online" doc:"said so itself within the last day"`
	Card         bool     `json:"card" doc:"whether there is a signed card"`
}

// SearchPage is one page of our search.
type SearchPage struct {
	Items []SearchRow `json:"items" nullable:"false"`
	Next  string      `json:"next,omitempty" doc:"cursor of the next page; absent on the last one. A page may be short or empty and have a next one"`
	About int         `json:"about" doc:"that there are at most so many to be found: 0, 10, 50, 100, 500 or 1000; on the first page only"`
	More  bool        `json:"about_more,omitempty" doc:"that there may be more than that"`
}

// AgentView is what a registry says about one agent, and what the agent says of itself
// on its card. Whoever decides by the card verifies its signed bytes.
type AgentView struct {
	Agent SearchRow `json:"agent"`
	Card  *CardView `json:"card,omitempty" doc:"absent without a card that holds now"`
}

// CardView is what stands on an agent's card.
type CardView struct {
	Signed       []byte                `json:"signed" doc:"the card as the agent signed it, base64"`
	Sequence     uint64                `json:"sequence"`
	Issued       Time                  `json:"issued"`
	Expires      Time                  `json:"expires"`
	Name         string                `json:"name"`
	Description  string                `json:"description"`
	Capabilities []identity.Capability `json:"capabilities" nullable:"false"`
}

// ManyAgents is as far as anything is counted for strangers.
const ManyAgents = 1000

// OurStats is the answer of GET /v1/amesh/stats: how much there is at most, rounded as
// the numbers of searches are. ManyAgents means that or more.
type OurStats struct {
	Agents  int `json:"agents" doc:"0, 10, 50, 100, 500, or 1000 for all above"`
	Cards   int `json:"cards" doc:"the same"`
	Schemas int `json:"schemas" doc:"the same"`
}
