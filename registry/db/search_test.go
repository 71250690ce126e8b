package db_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestSearch(t *testing.T)             { dbtest.SQLite(t, searchCases) }
func TestWithPostgresSearch(t *testing.T) { dbtest.Postgres(t, searchCases) }

var searchCases = dbtest.Cases{
	"0.2: every filter and every page is what sorting by hand gives": testFindByCapability,
	"0.2: what is typed is a value (T76)":                            testFindHostile,
	"pages show each agent once":                                     testFindPages,
	"all conditions hold of one agent":                               testFindConditions,
	"a search for the rare among the common ends":                    testFindRareAmongCommon,
	"a sign of life or a better name moves an agent":                 testIndexFollows,
	"a revoked agent is not found":                                   testRevokedNotFound,
}

// crowd is n agents of every kind, the same for the same n.
func crowd(n int) []db.Agent {
	r := rand.New(rand.NewPCG(1, 2))
	agents := make([]db.Agent, n)
	for i := range agents {
		a := &agents[i]
		for j := range a.AMID {
			a.AMID[j] = byte(r.Uint32())
		}
		a.SigningKey, a.ExchangeKey[0] = identity.PublicKey{1}, 9
		a.Tier = []wire.Tier{wire.TierAnonymous, wire.TierVerified, wire.TierOrganization}[r.IntN(3)]
		a.Status = []wire.Status{wire.StatusOnline, wire.StatusOffline, wire.StatusAway}[r.IntN(3)]
		a.Reputation = float64(r.IntN(5)) / 4
		a.LastSeen = noon.Add(-time.Duration(r.IntN(40)) * time.Hour)
		a.Created, a.Updated = noon, noon
		a.Capabilities = []string{"chat"}
		if r.IntN(4) == 0 {
			a.Capabilities = append(a.Capabilities, "travel/flights")
		}
	}
	return agents
}

func settle(t *testing.T, d *db.DB, agents []db.Agent) {
	t.Helper()
	write(t, d, func(tx *db.Tx) error {
		for _, a := range agents {
			if err := tx.PutAgent(a); err != nil {
				return err
			}
		}
		return nil
	})
}

// byHand answers a query of 0.2 by looking at all agents.
func byHand(agents []db.Agent, q db.CapabilityQuery) ([]identity.AMID, int) {
	var found []db.Agent
	for _, a := range agents {
		status := a.Status
		if a.LastSeen.Before(q.Alive) {
			status = wire.StatusOffline
		}
		if slices.Contains(a.Capabilities, q.Capability) && (q.Level != 1 || a.Tier != wire.TierAnonymous) &&
			(q.Reputation == nil || a.Reputation >= *q.Reputation) && (q.Status == "" || q.Status == status) {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b db.Agent) int {
		return cmp.Or(cmp.Compare(b.Reputation, a.Reputation), b.LastSeen.Compare(a.LastSeen), cmp.Compare(a.AMID.String(), b.AMID.String()))
	})
	from := min(q.Offset, len(found))
	return names(found[from:min(from+q.Limit, len(found))]), len(found)
}

func names(agents []db.Agent) []identity.AMID {
	list := []identity.AMID{}
	for _, a := range agents {
		list = append(list, a.AMID)
	}
	return list
}

func hitNames(hits []db.Hit) []identity.AMID {
	list := []identity.AMID{}
	for _, h := range hits {
		list = append(list, h.Agent.AMID)
	}
	return list
}

func testFindByCapability(t *testing.T, url string) {
	d := open(t, url)
	agents := crowd(150)
	settle(t, d, agents)
	half := 0.5
	for _, q := range []db.CapabilityQuery{
		{Capability: "chat"}, {Capability: "travel/flights"}, {Capability: "travel"}, {Capability: "Chat"}, {Capability: ""},
		{Capability: "chat", Level: 1}, {Capability: "chat", Level: 2}, {Capability: "chat", Reputation: &half},
		{Capability: "chat", Status: wire.StatusOnline, Alive: noon.Add(-24 * time.Hour)},
		{Capability: "chat", Status: wire.StatusOffline, Alive: noon.Add(-24 * time.Hour)},
		{Capability: "chat", Level: 1, Reputation: &half, Status: wire.StatusAway, Alive: noon.Add(-24 * time.Hour)},
	} {
		for _, page := range [][2]int{{20, 0}, {100, 0}, {7, 3}, {20, 70}, {20, 76}, {20, 140}, {1, 149}, {20, 150}, {20, 1 << 40}, {0, 0}} {
			q.Limit, q.Offset = page[0], page[1]
			want, all := byHand(agents, q)
			err := d.View(t.Context(), func(tx *db.Tx) error {
				got, total, err := tx.FindByCapability(q)
				if !slices.Equal(names(got), want) || total != all {
					t.Errorf("%+v: %d of %d, want %d of %d", q, len(got), total, len(want), all)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

var hostileWords = []string{
	"%", "_", "chat%", "c_at", `'; DROP TABLE agents; --`, `" OR 1=1`, `\`, `\%`, "chat' OR 'a'='a", "*", "[a-z]", ".*", "$1", "?", "{}",
	"chat\u202e", strings.Repeat("chat", 30), "NULL", "\u0301", "😀",
}

func testFindHostile(t *testing.T, url string) {
	d := open(t, url)
	settle(t, d, crowd(20))
	for _, word := range hostileWords {
		err := d.View(t.Context(), func(tx *db.Tx) error {
			_, total, err := tx.FindByCapability(db.CapabilityQuery{Capability: word, Limit: 10})
			if total != 0 {
				t.Errorf("%q finds %d agents", word, total)
			}
			if err != nil {
				return err
			}
			for _, q := range []wire.SearchQuery{{Q: word}, {Prefix: word}, {Category: word}, {Action: word}, {Category: "x", Subcategory: word}, {Tier: word}} {
				hits, err := tx.Find(q, db.Position{}, 10)
				if wire.HasCode(err, wire.CodeInvalid) {
					continue
				}
				if err != nil || len(hits.Found) > 0 && !strings.Contains(word, "chat") {
					t.Errorf("%+v finds %d agents: %v", q, len(hits.Found), err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatalf("%q: %v", word, err)
		}
	}
}

// findAll goes through all pages of a search.
func findAll(t *testing.T, d *db.DB, q wire.SearchQuery, limit int) ([]identity.AMID, db.Hits) {
	t.Helper()
	all := []identity.AMID{}
	var first db.Hits
	err := d.View(t.Context(), func(tx *db.Tx) error {
		for from := (&db.Position{}); from != nil; {
			hits, err := tx.Find(q, *from, limit)
			if err != nil {
				return err
			}
			if *from == (db.Position{}) {
				first = hits
			} else if hits.AtMost != 0 {
				t.Errorf("%+v: counts on a later page", q)
			}
			if len(hits.Found) > limit {
				t.Errorf("%+v: %d on a page of %d", q, len(hits.Found), limit)
			}
			all = append(all, hitNames(hits.Found)...)
			from = hits.Next
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all, first
}

func testFindPages(t *testing.T, url string) {
	d := open(t, url)
	agents := crowd(60)
	settle(t, d, agents)
	slices.SortFunc(agents, func(a, b db.Agent) int {
		return cmp.Or(cmp.Compare(b.Reputation, a.Reputation), cmp.Compare(a.AMID.String(), b.AMID.String()))
	})
	for _, limit := range []int{1, 7, 20, 59, 60, 61} {
		got, first := findAll(t, d, wire.SearchQuery{Prefix: "chat"}, limit)
		if !slices.Equal(got, names(agents)) {
			t.Errorf("pages of %d: %d agents, want %d in order", limit, len(got), len(agents))
		}
		if first.AtMost != 60 || first.More {
			t.Errorf("pages of %d: counted %d, more %v", limit, first.AtMost, first.More)
		}
	}
}

func putCard(t *testing.T, d *db.DB, n byte, card identity.Card) *identity.Card {
	t.Helper()
	key, err := identity.PrivateKeyFromSeed([]byte(strings.Repeat(string(n), 32)))
	if err != nil {
		t.Fatal(err)
	}
	card.Issued, card.Expires = sharp, sharp.Add(identity.CardLife)
	raw, err := identity.SignCard(key, card)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.ParseCard(raw)
	if err != nil {
		t.Fatal(err)
	}
	write(t, d, func(tx *db.Tx) error { return tx.PutCard(c) })
	return c
}

func testFindConditions(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := agent(t, 1), agent(t, 2)
	bob.Tier, bob.Capabilities = wire.TierVerified, []string{"Translate.Text", "chat"}
	settle(t, d, []db.Agent{ann, bob})
	putCard(t, d, 1, identity.Card{Sequence: 1, Name: "Reisebüro 航班", Description: "Finds cheap seats", Capabilities: []identity.Capability{
		{ID: "travel/flights/search", Category: "travel", Subcategory: "flights", Actions: []string{"search"}},
		{ID: "food/order", Category: "food", Actions: []string{"order"}},
	}})
	both := []identity.AMID{ann.AMID, bob.AMID}
	slices.SortFunc(both, func(a, b identity.AMID) int { return cmp.Compare(a.String(), b.String()) })
	onlyAnn, onlyBob, nobody := []identity.AMID{ann.AMID}, []identity.AMID{bob.AMID}, []identity.AMID{}
	for _, c := range []struct {
		name string
		q    wire.SearchQuery
		want []identity.AMID
	}{
		{"nothing asked", wire.SearchQuery{}, both},
		{"plain capability", wire.SearchQuery{Prefix: "chat"}, both},
		{"prefix of a card's capability", wire.SearchQuery{Prefix: "travel/flights"}, onlyAnn},
		{"prefix with a slash behind", wire.SearchQuery{Prefix: "travel/"}, onlyAnn},
		{"part of a word is no prefix", wire.SearchQuery{Prefix: "trav"}, nobody},
		{"prefix in another case, other separator", wire.SearchQuery{Prefix: "translate"}, onlyBob},
		{"word of a name", wire.SearchQuery{Q: "reisebüro"}, onlyAnn},
		{"word without spaces", wire.SearchQuery{Q: "航班"}, onlyAnn},
		{"words of different places", wire.SearchQuery{Q: "cheap flights"}, onlyAnn},
		{"one word that nobody has", wire.SearchQuery{Q: "cheap trains"}, nobody},
		{"category", wire.SearchQuery{Category: "Travel"}, onlyAnn},
		{"subcategory", wire.SearchQuery{Category: "travel", Subcategory: "flights"}, onlyAnn},
		{"action of that category", wire.SearchQuery{Category: "travel", Subcategory: "flights", Action: "search"}, onlyAnn},
		{"action of another category", wire.SearchQuery{Category: "travel", Action: "order"}, nobody},
		{"action alone", wire.SearchQuery{Action: "order"}, onlyAnn},
		{"tier", wire.SearchQuery{Tier: "verified"}, onlyBob},
		{"better tier", wire.SearchQuery{Tier: "organization"}, nobody},
		{"any tier", wire.SearchQuery{Tier: "anonymous", Prefix: "chat"}, both},
	} {
		if got, _ := findAll(t, d, c.q, 10); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %v, want %v", c.name, got, c.want)
		}
	}
}

func testFindRareAmongCommon(t *testing.T, url string) {
	d := open(t, url)
	var agents []db.Agent
	for i, a := range crowd(90) {
		a.Capabilities = []string{[]string{"left", "right"}[i%2], fmt.Sprintf("own%d", i)}
		if i == 77 {
			a.Capabilities = []string{"left", "right"}
		}
		agents = append(agents, a)
	}
	settle(t, d, agents)
	got, first := findAll(t, d, wire.SearchQuery{Q: "left right"}, 5)
	if !slices.Equal(got, []identity.AMID{agents[77].AMID}) || first.AtMost != 1 {
		t.Errorf("found %v, counted %d", got, first.AtMost)
	}
}

func testIndexFollows(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := agent(t, 1), agent(t, 2)
	ann.Reputation, bob.Reputation = 0.5, 0.6
	settle(t, d, []db.Agent{ann, bob})
	order := func(want ...identity.AMID) {
		t.Helper()
		if got, _ := findAll(t, d, wire.SearchQuery{Q: "travel"}, 10); !slices.Equal(got, want) {
			t.Errorf("our search: %v, want %v", got, want)
		}
		err := d.View(t.Context(), func(tx *db.Tx) error {
			got, _, err := tx.FindByCapability(db.CapabilityQuery{Capability: "travel", Limit: 10})
			if !slices.Equal(names(got), want) {
				t.Errorf("0.2 search: %v, want %v", names(got), want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	order(bob.AMID, ann.AMID)
	ann.Reputation = 0.9
	settle(t, d, []db.Agent{ann})
	order(ann.AMID, bob.AMID)
	bob.Capabilities = []string{"chat"}
	settle(t, d, []db.Agent{bob})
	order(ann.AMID)
}

func testRevokedNotFound(t *testing.T, url string) {
	d := open(t, url)
	ann := agent(t, 1)
	settle(t, d, []db.Agent{ann})
	write(t, d, func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO revocations (id, amid, reason, revoked_by, revoked_at, strict) VALUES ('1', $1, 'other', $1, 0, TRUE)`, ann.AMID.String())
		if err != nil {
			return err
		}
		return tx.Reindex(ann.AMID)
	})
	settle(t, d, []db.Agent{ann})
	if got, _ := findAll(t, d, wire.SearchQuery{}, 10); len(got) != 0 {
		t.Errorf("found %v", got)
	}
	err := d.Write(t.Context(), func(tx *db.Tx) error { return tx.Reindex(agent(t, 9).AMID) })
	if !errors.Is(err, db.ErrNotFound) {
		t.Errorf("unknown agent: %v", err)
	}
}
