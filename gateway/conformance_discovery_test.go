package gateway_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

// capability is what is told of a domain.
type capability struct {
	Version  string
	Gateway  string
	Auth     []string
	MaxSize  *int64 `json:"max_size"`
	Features []string
	Schemas  []string
	TTL      int64
	// Discovered must be there.
	Discovered time.Time `json:"discovered_at"`
}

// told is what a gateway says of a domain that has this record.
func told(t *testing.T, record string) (capability, gatewaytest.Answer) {
	t.Helper()
	p := newPair(t, knows(map[string]string{"x.test": record}))
	got := p.alice.Do(http.MethodGet, "/v1/capabilities/x.test", nil)
	var c capability
	if got.Status == http.StatusOK {
		got.Into(&c)
	}
	return c, got
}

func TestB001ARecordWithAGatewayParses(t *testing.T) {
	t.Parallel()
	c, got := told(t, "v=amtp1;gateway=https://g.test")
	if c.Version != "1.0" || c.Gateway != "https://g.test" || c.MaxSize != nil || c.Auth != nil || c.Features != nil || c.Discovered.IsZero() || c.TTL <= 0 {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
}

func TestB002QuotesAndSpacesAreDropped(t *testing.T) {
	t.Parallel()
	c, got := told(t, ` "v = amtp1 ; gateway = https://g.test ; auth = oauth , cert" `)
	if c.Gateway != "https://g.test" || !slices.Equal(c.Auth, []string{"oauth", "cert"}) {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
}

func TestB003RecordsThatSayNothingAreIgnored(t *testing.T) {
	t.Parallel()
	p := newPair(t, knows(map[string]string{
		"nogateway.test": "v=amtp1;max-size=5", "other.test": "v=amtp2;gateway=https://g.test", "late.test": "gateway=https://g.test;v=amtp1",
	}))
	for _, domain := range []string{"nogateway.test", "other.test", "late.test"} {
		refused(t, domain, p.alice.Do(http.MethodGet, "/v1/capabilities/"+domain, nil), http.StatusNotFound, amtp.CodeCapabilitiesNotFound)
	}
}

func TestB004AMaxSizeThatIsNoNumberIsIgnored(t *testing.T) {
	t.Parallel()
	c, got := told(t, "v=amtp1;gateway=https://g.test;max-size=abc;features=agent-discovery")
	if c.Gateway != "https://g.test" || c.MaxSize != nil || !slices.Equal(c.Features, []string{"agent-discovery"}) {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
}

func TestB005UnknownKeysAreIgnored(t *testing.T) {
	t.Parallel()
	c, got := told(t, "v=amtp1;zzz=1;gateway=https://g.test;yyy")
	if c.Gateway != "https://g.test" {
		t.Errorf("got %d %s", got.Status, got.Body)
	}
}

func TestB006OfTwoRecordsTheValidOneIsUsed(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	z.set("_amtp.x.test", 60, "v=amtp1;max-size=5", "v=spf1 -all", "v=amtp1;gateway=https://g.test")
	p := newPair(t, z.real)
	var c capability
	p.alice.Do(http.MethodGet, "/v1/capabilities/x.test", nil).Want(http.StatusOK).Into(&c)
	if c.Gateway != "https://g.test" {
		t.Errorf("got %+v", c)
	}
}

func TestB007AnHTTPGatewayIsInvalidUnlessAllowed(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *gateway.Config) {
		knows(map[string]string{"x.test": "v=amtp1;gateway=http://127.0.0.1:9"})(c)
		c.Discovery.AllowHTTP = false
	})
	sent := p.alice.Send("u@x.test", `{}`)
	eventually(t, "the recipient says why", func() bool {
		return p.alice.Status(sent.MessageID).Recipients[0].ErrorCode == amtp.CodeInvalidGateway
	})
}

// twoByDNS are the gateways of a.test and b.test, which find each other by DNS.
func twoByDNS(t *testing.T, z *zone) (n *gatewaytest.Net, alice, bob *gatewaytest.Agent) {
	t.Helper()
	n = gatewaytest.StartWith(t, z.real, "a.test", "b.test")
	return n, n.At("a.test").Register("alice"), n.At("b.test").Register("bob")
}

func TestB008ASecondMessageAsksNoDNS(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	n, alice, bob := twoByDNS(t, z)
	z.set("_amtp.b.test", 300, "v=amtp1;gateway="+n.At("b.test").URL)
	for _, payload := range []string{`{"n":1}`, `{"n":2}`} {
		alice.Settled(alice.Send(bob.Address, payload).MessageID)
	}
	if n := z.count("_amtp.b.test"); n != 1 || len(bob.Inbox()) != 2 {
		t.Errorf("%d lookups, inbox %s", n, payloads(bob.Inbox()))
	}
}

func TestB009AnOldAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	n, alice, _ := twoByDNS(t, z)
	z.set("_amtp.b.test", 1, "v=amtp1;gateway="+n.At("b.test").URL)
	eventually(t, "a second lookup after the record's second", func() bool {
		alice.Do(http.MethodGet, "/v1/capabilities/b.test", nil).Want(http.StatusOK)
		return z.count("_amtp.b.test") > 1
	})
}

func TestB010ThatThereIsNoRecordIsRememberedAtMost30Seconds(t *testing.T) {
	t.Parallel()
	z := newZone(t) // whose SOA allows an hour
	p := newPair(t, z.real)
	for range 3 {
		refused(t, "no record", p.alice.Do(http.MethodGet, "/v1/capabilities/x.test", nil), http.StatusNotFound, amtp.CodeCapabilitiesNotFound)
	}
	if n := z.count("_amtp.x.test"); n != 1 {
		t.Errorf("%d lookups", n)
	}
}

func TestB011TheSecondResolverAnswersWhenTheFirstIsDown(t *testing.T) {
	t.Parallel()
	z := newZone(t)
	z.set("_amtp.x.test", 60, "v=amtp1;gateway=https://g.test")
	p := newPair(t, func(c *gateway.Config) {
		z.real(c)
		c.Discovery.Resolvers = []string{freeAddress(t), z.addr}
	})
	p.alice.Do(http.MethodGet, "/v1/capabilities/x.test", nil).Want(http.StatusOK)
}

func TestB013OwnCapabilitiesListTheAgentsSchemas(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.Register("shop", "supported_schemas", []string{"agntcy:shop.*"})
	p.Register("bank", "supported_schemas", []string{"agntcy:bank.*", "agntcy:shop.*"})
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			var c capability
			if err := json.Unmarshal(p.alice.Do(http.MethodGet, "/v1/capabilities/a.test", nil).Body, &c); err != nil {
				t.Error(err)
				return
			}
			slices.Sort(c.Schemas)
			if !slices.Equal(c.Schemas, []string{"agntcy:bank.*", "agntcy:shop.*"}) {
				t.Errorf("got %v", c.Schemas)
			}
		})
	}
	asking.Wait()
}

func TestB014OfAnUnknownDomainThereAreNoCapabilities(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	refused(t, "unknown", p.alice.Do(http.MethodGet, "/v1/capabilities/nowhere.test", nil), http.StatusNotFound, amtp.CodeCapabilitiesNotFound)
}

func TestB015AgentsAreListedByEveryFilter(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.Register("clerk", "role", "clerk", "capabilities", []string{"invoices", "mail"}, "description", "writes", "supported_schemas", []string{"agntcy:shop.*"})
	p.Register("pusher", "delivery_mode", "push", "push_target", "https://hooks.example/x")
	p.alice.Inbox()
	for query, want := range map[string][]string{
		"":                               {"alice@a.test", "bob@a.test", "clerk@a.test", "pusher@a.test"},
		"?delivery_mode=push":            {"pusher@a.test"},
		"?delivery_mode=pull":            {"alice@a.test", "bob@a.test", "clerk@a.test"},
		"?active_only=true":              {"alice@a.test", "bob@a.test", "clerk@a.test", "pusher@a.test"},
		"?address=clerk@a.test":          {"clerk@a.test"},
		"?role=clerk":                    {"clerk@a.test"},
		"?capability=mail":               {"clerk@a.test"},
		"?schema=agntcy:shop.order.v1":   {"clerk@a.test"},
		"?role=clerk&delivery_mode=push": nil,
		"?capability=none":               nil,
	} {
		for _, path := range []string{"/v1/discovery/agents", "/v1/discovery/agents/a.test"} {
			var got struct {
				Agents []struct{ Address, Role, Description string }
				Count  int `json:"agent_count"`
				Domain string
			}
			p.alice.Do(http.MethodGet, path+query, nil).Want(http.StatusOK).Into(&got)
			var names []string
			for _, a := range got.Agents {
				names = append(names, a.Address)
			}
			slices.Sort(names)
			if !slices.Equal(names, want) || got.Count != len(want) || got.Domain != "a.test" {
				t.Errorf("%s%s: got %v of %s, want %v", path, query, names, got.Domain, want)
			}
		}
	}
}

func TestB016AgentsOfAForeignDomainAreNotListed(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	refused(t, "foreign", p.alice.Do(http.MethodGet, "/v1/discovery/agents/b.test", nil), http.StatusNotFound, amtp.CodeDomainNotFound)
}
