package auth

import "testing"

// T86: whoever proved one name may not use another.
func TestCallerSpeaksOnlyForWhatItProvedT86(t *testing.T) {
	agent := Caller{Kind: Agent, Agent: "Ann@north.test", Domain: "north.test"}
	token := Caller{Kind: Client, Agent: "Ann@north.test", Domain: "north.test"}
	domain := Caller{Kind: Client, Domain: "north.test"}
	for _, c := range []struct {
		name          string
		by            Caller
		local, domain string
		want          bool
	}{
		{"an agent for itself", agent, "Ann", "north.test", true},
		{"an agent for itself in other letters", agent, "ann", "NORTH.test", true},
		{"an agent for another", agent, "bob", "north.test", false},
		{"an agent for its name elsewhere", agent, "Ann", "south.test", false},
		{"a token for its sender", token, "Ann", "north.test", true},
		{"a token for its sender in other letters", token, "ann", "north.test", false},
		{"a token for another sender", token, "bob", "north.test", false},
		{"a domain's key for anybody there", domain, "bob", "north.test", true},
		{"a domain's key for a subdomain", domain, "bob", "a.north.test", false},
		{"a domain's key for a longer name", domain, "bob", "xnorth.test", false},
		{"a gateway for its domain", Proven("North.test", ByCertificate), "bob", "north.test", true},
		{"a gateway for another domain", Proven("north.test", BySignature), "bob", "south.test", false},
		{"an administrator for anybody", Caller{Kind: Admin, Domain: "north.test"}, "bob", "north.test", false},
		{"nobody", Caller{Domain: "north.test"}, "bob", "north.test", false},
		{"a client without a domain", Caller{Kind: Client}, "bob", "", false},
	} {
		if got := c.by.SpeaksFor(c.local, c.domain); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestOnlyClientsNeedScopes(t *testing.T) {
	for _, c := range []struct {
		by   Caller
		want bool
	}{
		{Caller{}, false},
		{Caller{Kind: Client}, false},
		{Caller{Kind: Client, Scopes: []string{ScopeRead}}, false},
		{Caller{Kind: Client, Scopes: []string{ScopeSend}}, true},
		{Caller{Kind: Agent}, true},
		{Proven("north.test", ByAddress), true},
		{Caller{Kind: Admin}, true},
	} {
		if got := c.by.May(ScopeSend); got != c.want {
			t.Errorf("%v: %v", c.by, got)
		}
	}
}
