package identity

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"amesh/internal/wire"
)

const cardVectors = "testdata/cards.json"

// testCard is what a travel agent would say of itself.
func testCard() Card {
	return Card{
		Sequence: 5, Issued: noon, Expires: noon.Add(CardLife),
		Name: "Ann's travel desk", Description: "Finds flights.",
		Capabilities: []Capability{{
			ID: "travel/flight-search", Category: "travel", Subcategory: "flights",
			Actions: []string{"search", "hold"}, Description: "Flights within Europe",
			Pricing: Pricing{"0.05", "EUR", "search"}, ResponseTime: 5, Availability: "24/7",
			Schemas: []string{"https://schemas.example/flight-search.json"},
		}, {ID: "chat", Category: "chat"}},
	}
}

func TestCard(t *testing.T) {
	raw := must(t)(SignCard(testKey(t, 1), testCard()))
	got, err := ParseCard(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := testCard()
	want.SigningKey, want.Agent = testKey(t, 1).Public(), testKey(t, 1).AMID()
	if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(Card{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !bytes.Equal(got.Raw(), raw) {
		t.Error("the bytes differ")
	}
}

// T02: whoever changes, cuts or stretches a card has none.
func TestT02CardForged(t *testing.T) {
	raw := must(t)(SignCard(testKey(t, 1), testCard()))
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x10
		if _, err := ParseCard(bad); err == nil {
			t.Fatalf("byte %d changed: parsed", i)
		}
		if _, err := ParseCard(raw[:i:i]); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("cut to %d bytes: got %v, want ErrMalformed", i, err)
		}
	}
	if _, err := ParseCard(append(bytes.Clone(raw), 0)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a byte more: got %v", err)
	}
	if _, err := ParseCard(make([]byte, MaxCardSize+1)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("too long: got %v", err)
	}
}

// cardRules are changes of a card that are taken or refused.
var cardRules = map[string]struct {
	change func(c *Card)
	ok     bool
}{
	"bare":                   {func(c *Card) { c.Name, c.Description, c.Capabilities = "", "", nil }, true},
	"64 capabilities":        {func(c *Card) { c.Capabilities = numbered(64) }, true},
	"65 capabilities":        {func(c *Card) { c.Capabilities = numbered(65) }, false},
	"one capability twice":   {func(c *Card) { c.Capabilities[1].ID = c.Capabilities[0].ID }, false},
	"name of 64 bytes":       {func(c *Card) { c.Name = strings.Repeat("x", 64) }, true},
	"name of 65 bytes":       {func(c *Card) { c.Name = strings.Repeat("x", 65) }, false},
	"escape in the name":     {func(c *Card) { c.Name = "\x1b[2J" }, false},
	"broken text":            {func(c *Card) { c.Description = "\xff" }, false},
	"description too long":   {func(c *Card) { c.Description = strings.Repeat("x", 1025) }, false},
	"life of 7 days and 1 s": {func(c *Card) { c.Expires = c.Issued.Add(CardLife + time.Second) }, false},
	"no life":                {func(c *Card) { c.Expires = c.Issued }, false},
	"beyond 16 KiB": {func(c *Card) {
		c.Capabilities = numbered(64)
		for i := range c.Capabilities {
			c.Capabilities[i].Description = strings.Repeat("x", 512)
		}
	}, false},
	"no id":                       {first(func(c *Capability) { c.ID = "" }), false},
	"id in upper case":            {first(func(c *Capability) { c.ID = "Travel" }), false},
	"id beyond ASCII":             {first(func(c *Capability) { c.ID = "reisé" }), false},
	"id ends in a slash":          {first(func(c *Capability) { c.ID = "travel/" }), false},
	"id begins with a slash":      {first(func(c *Capability) { c.ID = "/travel" }), false},
	"id with a hidden word":       {first(func(c *Capability) { c.ID = "travel/.." }), false},
	"id of eight words":           {first(func(c *Capability) { c.ID = "a/b/c/d/e/f/g/h" }), true},
	"id of nine words":            {first(func(c *Capability) { c.ID = "a/b/c/d/e/f/g/h/i" }), false},
	"id of 128 bytes":             {first(func(c *Capability) { c.ID = strings.Repeat("x", 128) }), true},
	"id of 129 bytes":             {first(func(c *Capability) { c.ID = strings.Repeat("x", 129) }), false},
	"no category":                 {first(func(c *Capability) { c.Category = "" }), false},
	"category of two words":       {first(func(c *Capability) { c.Category = "travel/flights" }), false},
	"no subcategory":              {first(func(c *Capability) { c.Subcategory = "" }), true},
	"subcategory with a space":    {first(func(c *Capability) { c.Subcategory = "long haul" }), false},
	"seventeen actions":           {first(func(c *Capability) { c.Actions = fill(17, "x") }), false},
	"empty action":                {first(func(c *Capability) { c.Actions = []string{""} }), false},
	"nine schemas":                {first(func(c *Capability) { c.Schemas = fill(9, "x") }), false},
	"no price":                    {first(func(c *Capability) { c.Pricing = Pricing{} }), true},
	"free of charge":              {first(func(c *Capability) { c.Pricing = Pricing{"0", "EUR", ""} }), true},
	"amount without a currency":   {first(func(c *Capability) { c.Pricing.Currency = "" }), false},
	"currency without an amount":  {first(func(c *Capability) { c.Pricing.Amount = "" }), false},
	"unit alone":                  {first(func(c *Capability) { c.Pricing = Pricing{Unit: "call"} }), false},
	"currency in lower case":      {first(func(c *Capability) { c.Pricing.Currency = "eur" }), false},
	"negative amount":             {first(func(c *Capability) { c.Pricing.Amount = "-1" }), false},
	"amount with zeros in front":  {first(func(c *Capability) { c.Pricing.Amount = "01" }), false},
	"amount in powers":            {first(func(c *Capability) { c.Pricing.Amount = "1e3" }), false},
	"amount that ends in a point": {first(func(c *Capability) { c.Pricing.Amount = "1." }), false},
	"amount that begins with one": {first(func(c *Capability) { c.Pricing.Amount = ".5" }), false},
	"amount of 33 digits":         {first(func(c *Capability) { c.Pricing.Amount = strings.Repeat("9", 33) }), false},
	"availability too long":       {first(func(c *Capability) { c.Availability = strings.Repeat("x", 65) }), false},
}

func first(change func(c *Capability)) func(*Card) {
	return func(c *Card) { change(&c.Capabilities[0]) }
}

func numbered(n int) []Capability {
	list := make([]Capability, n)
	for i := range list {
		list[i] = Capability{ID: "n/" + strings.Repeat("x", i+1), Category: "n"}
	}
	return list
}

func TestCardRules(t *testing.T) {
	for name, rule := range cardRules {
		c := testCard()
		rule.change(&c)
		raw, err := SignCard(testKey(t, 1), c)
		if rule.ok {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if _, err := ParseCard(raw); err != nil {
				t.Errorf("%s: signed, and then %v", name, err)
			}
			continue
		}
		if !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

// The reader has the rules too: a cheating owner signs what SignCard would not.
func TestCardRulesHoldForTheReader(t *testing.T) {
	key, raw := testKey(t, 1), must(t)(SignCard(testKey(t, 1), testCard()))
	put := func(old, text string) []byte {
		return resign(t, key, TagAgentCard, raw, func(b []byte) {
			if len(old) != len(text) || copy(b[bytes.Index(b, []byte(old)):], text) == 0 {
				t.Fatalf("%q for %q", text, old)
			}
		})
	}
	for name, bad := range map[string][]byte{
		"version 2":           resign(t, key, TagAgentCard, raw, func(b []byte) { b[0] = 2 }),
		"id in upper case":    put("travel/flight-search", "Travel/flight-search"),
		"bad category":        put("\x04chat\x04chat", "\x04chat\x04ch/t"),
		"control in category": put("\x04chat\x04chat", "\x04chat\x04\x00\x00\x00\x00"),
		"escape in action":    put("hold", "\x1b[2J"),
		"amount of words":     put("0.05", "free"),
		"lives 8 days":        resign(t, key, TagAgentCard, raw, func(b []byte) { copy(b[69:77], timeBytes(noon.AddDate(0, 0, 8))) }),
	} {
		if _, err := ParseCard(bad); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

func timeBytes(t time.Time) []byte {
	w := wire.NewWriter(8)
	writeTime(w, t)
	return w.Bytes()
}

func TestCardValid(t *testing.T) {
	c, err := ParseCard(must(t)(SignCard(testKey(t, 1), testCard())))
	if err != nil {
		t.Fatal(err)
	}
	for at, ok := range map[time.Time]bool{
		noon: true, noon.Add(-ClockSkew): true, noon.Add(-ClockSkew - time.Second): false,
		noon.Add(CardLife): true, noon.Add(CardLife + time.Second): false,
	} {
		if err := c.Valid(at); (err == nil) != ok || (err != nil && !errors.Is(err, ErrCardExpired)) {
			t.Errorf("%s: got %v", at, err)
		}
	}
}

// T59: of two cards of one agent everybody takes the same one.
func TestT59NewerCard(t *testing.T) {
	older, newer := testCard(), testCard()
	newer.Sequence++
	a, b := must(t)(SignCard(testKey(t, 1), older)), must(t)(SignCard(testKey(t, 1), newer))
	if Newer(b, a) != 1 || Newer(a, b) != -1 || Newer(a, a) != 0 {
		t.Error("the sequence does not decide")
	}
}

func TestCapabilityUnder(t *testing.T) {
	c := Capability{ID: "travel/flight-search/eu"}
	for id, want := range map[string]bool{
		"travel": true, "travel/flight-search": true, "travel/flight-search/eu": true,
		"trav": false, "travel/flight": false, "travel/flight-search/eu/de": false, "flight-search": false,
	} {
		if c.Under(id) != want {
			t.Errorf("under %s: got %v", id, !want)
		}
	}
}

type cardFields struct {
	AMID         hexBytes     `json:"amid"`
	SigningKey   hexBytes     `json:"signing_key"`
	Sequence     decimal      `json:"sequence"`
	Issued       int64        `json:"issued"`
	Expires      int64        `json:"expires"`
	Name         string       `json:"name"`
	Description  string       `json:"description"`
	Capabilities []Capability `json:"capabilities"`
}

func fieldsOfCard(c *Card) cardFields {
	return cardFields{c.Agent[:], c.SigningKey[:], decimal(c.Sequence), c.Issued.Unix(), c.Expires.Unix(), c.Name, c.Description, slices.Clone(c.Capabilities)}
}

func TestVectorsCards(t *testing.T) {
	key := testKey(t, 1)
	raw := must(t)(SignCard(key, testCard()))
	var made []object
	for _, name := range []string{"64 capabilities", "bare", "free of charge", "id of eight words", "no price"} {
		c := testCard()
		cardRules[name].change(&c)
		encoded := must(t)(SignCard(key, c))
		c.Agent, c.SigningKey = key.AMID(), key.Public()
		made = append(made, object{Name: name, Seed: key.Seed(), Encoded: encoded, Fields: fieldsOfCard(&c)})
	}
	for name, c := range pairs(map[string]refused{
		"version 2":               {resign(t, key, TagAgentCard, raw, func(b []byte) { b[0] = 2 }), wire.ErrMalformed},
		"under another name":      {resign(t, key, TagAgentCard, raw, func(b []byte) { b[1] ^= 1 }), ErrMismatch},
		"signed by another":       {resign(t, testKey(t, 2), TagAgentCard, raw, func([]byte) {}), ErrSignature},
		"signed with another tag": {resign(t, key, TagAgentRecord, raw, func([]byte) {}), ErrSignature},
		"changed afterwards":      {flipped(raw, 80), ErrSignature},
		"id in upper case":        {resign(t, key, TagAgentCard, raw, func(b []byte) { b[bytes.IndexByte(b, '/')-1] = 'L' }), wire.ErrMalformed},
		"a byte short":            {raw[:len(raw)-1], wire.ErrMalformed},
		"a byte long":             {append(bytes.Clone(raw), 0), wire.ErrMalformed},
	}) {
		made = append(made, object{Name: name, Encoded: c.raw, Error: c.want.Error()})
	}
	checkObjects(t, compareFile(t, cardVectors, "Agent cards (cards.md).", made), func(v object) (any, error) {
		c, err := ParseCard(v.Encoded)
		if err != nil {
			return nil, err
		}
		return fieldsOfCard(c), nil
	})
}

func FuzzParseCard(f *testing.F) {
	key := testKey(f, 1)
	fuzzSigned(f, cardVectors, TagAgentCard, func(raw []byte) ([]byte, error) {
		c, err := ParseCard(raw)
		if err != nil {
			return nil, err
		}
		return SignCard(key, *c)
	})
}
