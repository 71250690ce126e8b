package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/node/api"

	"github.com/google/go-cmp/cmp"
)

func hit() api.Hit {
	score, seen := 0.72, time.Now().Add(-2*time.Hour)
	return api.Hit{AMID: peer(2), Name: "Travel\x1b[31m bot with a name that is far too long", Capabilities: []string{"travel/flight-search", "travel/hotels"},
		Tier: "verified", Reputation: &score, LastSeen: &seen, Signed: true, From: []string{"dht", "https://r.example"}}
}

func TestSearchShowsATable(t *testing.T) {
	n := newFakeNode()
	n.found = api.SearchResult{Items: []api.Hit{hit(), {AMID: peer(3), Capabilities: []string{}, From: []string{"dht"}}}, More: true,
		Sources: []api.Source{{Name: "dht", State: "found"}, {Name: "https://bad.example", State: "failed", Error: "no answer", Hint: "wait"}}}
	r := runFake(t, n, nil, "search", "cheap", "flights", "--capability", "travel", "--category", "travel", "--tier", "verified", "--min-reputation", "0.5", "--online", "--limit", "2")
	if r.exit != exitOK {
		t.Fatalf("exit %d, %s", r.exit, r.err)
	}
	want := []api.SearchQuery{{Words: "cheap flights", Capability: "travel", Category: "travel", Tier: "verified", MinReputation: 0.5, Online: true, Limit: 2}}
	if d := cmp.Diff(want, n.queries); d != "" {
		t.Error(d)
	}
	lines := strings.Split(r.out, "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "AMID ") || !strings.HasPrefix(lines[3], "there is more") {
		t.Fatalf("printed %q", r.out)
	}
	for _, part := range []string{peer(2).String(), `Travel\x1b[31m bot with…`, "verified", "0.72", "2h0m0s ago", "travel/flight-search, travel/hotels", "dht, https://r.example"} {
		if !strings.Contains(lines[1], part) {
			t.Errorf("%q is not in %q", part, lines[1])
		}
	}
	if strings.Index(lines[2], "-") != strings.Index(lines[0], "NAME") || strings.Index(lines[2], "dht") != strings.Index(lines[0], "FROM") {
		t.Errorf("the columns do not stand under each other:\n%s", r.out)
	}
	if r.err != "without https://bad.example: no answer\nnext: wait\n" {
		t.Errorf("said %q", r.err)
	}
}

func TestSearchThatFindsNobody(t *testing.T) {
	for name, c := range map[string]struct {
		sources []api.Source
		exit    int
		code    string
	}{
		"asked in vain":   {[]api.Source{{Name: "dht", State: "none"}}, exitNotFound, "not_found"},
		"nobody answered": {[]api.Source{{Name: "dht", State: "failed", Error: "x"}}, exitFailed, "no_source"},
		"nobody to ask":   {nil, exitFailed, "no_source"},
	} {
		n := newFakeNode()
		n.found.Sources = c.sources
		r := runFake(t, n, nil, "search", "x", "--json")
		if code, err := lookUp(r.out, "error.code"); r.exit != c.exit || err != nil || code != c.code {
			t.Errorf("%s: exit %d, %s", name, r.exit, r.out)
		}
	}
	n := newFakeNode()
	n.found.Sources = []api.Source{{Name: "dht", State: "none"}}
	for _, flags := range [][]string{{"--online"}, {"--tier", "verified"}, {"--min-reputation", "0.5"}} {
		r := runFake(t, n, nil, append([]string{"search", "--capability", "weather"}, flags...)...)
		if r.exit != exitFailed || !strings.Contains(r.err, "only a registry can say that") || !strings.Contains(r.err, "--registry URL") {
			t.Errorf("%v without a registry: %+v", flags, r)
		}
		n.found.Sources = []api.Source{{Name: "https://r.example", State: "none"}}
		if r := runFake(t, n, nil, append([]string{"search", "x"}, flags...)...); r.exit != exitNotFound {
			t.Errorf("%v with a registry: %+v", flags, r)
		}
		n.found.Sources = []api.Source{{Name: "dht", State: "none"}}
	}
	for _, args := range [][]string{{"search"}, {"search", " "}, {"search", "x", "--tier", "great"}, {"search", "x", "--min-reputation", "NaN"}, {"search", "x", "--limit", "0"}, {"search", "x", "--limit", "101"}} {
		if r := runFake(t, newFakeNode(), nil, args...); r.exit != exitUsage {
			t.Errorf("%v: exit %d", args, r.exit)
		}
	}
}

func TestLookupSaysWhereEachThingIsFrom(t *testing.T) {
	n := newFakeNode()
	score, at := 0.5, time.Now().Add(-time.Hour)
	n.who = api.Lookup{
		AMID: peer(2), DID: peer(2).DID(), Name: "Bot", NameFrom: "card", SigningKey: "KEY=", KeyFrom: "dht", Fingerprint: "f00",
		Record: &api.LookupRecord{From: "dht", Sequence: 7, Created: at, Expires: expires, Relays: []string{"wss://r.example/v1/connect"}, ExchangeFingerprint: "e11"},
		Card: &api.LookupCard{From: "https://r.example", CardContent: api.CardContent{Description: "flies", Capabilities: []identity.Capability{
			{ID: "travel/flight-search", Category: "travel", Pricing: identity.Pricing{Amount: "0.05", Currency: "EUR", Unit: "search"}, Availability: "24/7"}}}},
		Tier:       api.LookupTier{Tier: "anonymous", Claimed: "verified", From: "https://r.example"},
		Registries: []api.LookupRegistry{{URL: "https://r.example", Tier: "verified", Name: "Bot", Reputation: &score, Ratings: 1, Status: "online", LastSeen: &at}},
		Known:      &api.Contact{Granted: true},
		Document:   []byte("{\n  \"id\": \"x\"\n}"),
		Sources:    []api.Source{{Name: "dht", State: "found"}, {Name: "https://r.example", State: "refused", Error: "its record is forged"}},
	}
	r := runFake(t, n, nil, "lookup", peer(2).String())
	if r.exit != exitOK {
		t.Fatalf("exit %d, %s", r.exit, r.err)
	}
	for _, want := range []string{
		"amid        " + peer(2).String(), "name        Bot (card)", "key         KEY= (dht)", "            fingerprint f00",
		"tier        anonymous", "            verified is claimed and not proved (https://r.example)", "relay       wss://r.example/v1/connect (dht)",
		"can         travel/flight-search for 0.05 EUR a search, 24/7 (https://r.example)",
		`registry    tier verified, name "Bot", score 0.50 of 1 rating, online, seen 1h0m0s ago (https://r.example)`,
		"contact     not verified, granted (this node)", "asked       dht: found",
	} {
		if !strings.Contains(r.out, want+"\n") {
			t.Errorf("no line %q in\n%s", want, r.out)
		}
	}
	if r.err != "without https://r.example: its record is forged\n" {
		t.Errorf("said %q", r.err)
	}
	if r := runFake(t, n, nil, "lookup", peer(2).String(), "--did"); r.out != "{\n  \"id\": \"x\"\n}\n" {
		t.Errorf("the document is %q", r.out)
	}
	n.who = api.Lookup{}
	if r := runFake(t, n, nil, "lookup", "nobody"); r.exit != exitNotFound || !strings.Contains(r.err, "next: check the AMID") {
		t.Errorf("exit %d, %s", r.exit, r.err)
	}
}

func TestCardFromFlagsAndFile(t *testing.T) {
	n := newFakeNode()
	r := runFake(t, n, nil, "agent", "card", "set", "--name", "Bot", "--capability", "travel/flight-search", "--capability", "mail")
	want := api.CardContent{Name: "Bot", Capabilities: []identity.Capability{{ID: "travel/flight-search", Category: "travel"}, {ID: "mail", Category: "mail"}}}
	if d := cmp.Diff(want, n.card.CardContent); r.exit != exitOK || d != "" {
		t.Errorf("exit %d, %s%s", r.exit, r.err, d)
	}
	file := filepath.Join(t.TempDir(), "card.json")
	if err := os.WriteFile(file, []byte(`{"description":"d","capabilities":[{"id":"a/b","category":"a","response_time_s":3}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r = runFake(t, n, nil, "agent", "card", "set", file)
	want = api.CardContent{Description: "d", Capabilities: []identity.Capability{{ID: "a/b", Category: "a", ResponseTime: 3}}}
	if d := cmp.Diff(want, n.card.CardContent); r.exit != exitOK || d != "" {
		t.Errorf("exit %d, %s%s", r.exit, r.err, d)
	}
	if r := runFake(t, n, nil, "agent", "card"); !strings.Contains(r.out, "can         a/b\n") || !strings.Contains(r.out, "nobody has it yet") {
		t.Errorf("shows %q", r.out)
	}
	for _, in := range []string{`{"nam":"x"}`, `{} {}`, `[]`, ``} {
		feed := func(a *app) { a.in = strings.NewReader(in) }
		if r := runFake(t, n, feed, "agent", "card", "set", "-"); r.exit != exitUsage {
			t.Errorf("%q: exit %d", in, r.exit)
		}
	}
	for _, args := range [][]string{{"set"}, {"set", "--name", "x", file}, {"set", "--capability", "Not Good"}} {
		if r := runFake(t, n, nil, append([]string{"agent", "card"}, args...)...); r.exit != exitUsage {
			t.Errorf("%v: exit %d", args, r.exit)
		}
	}
	if r := runFake(t, n, nil, "agent", "card", "clear"); r.exit != exitOK || !n.card.Empty() {
		t.Errorf("exit %d, %+v", r.exit, n.card)
	}
}
