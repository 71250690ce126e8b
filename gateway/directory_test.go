package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

// agentList is the list of a domain's agents.
type agentList struct {
	Agents []struct {
		Address string `json:"address"`
		Active  bool   `json:"active"`
	} `json:"agents"`
	Count  int    `json:"agent_count"`
	Domain string `json:"domain"`
	Total  int    `json:"total"`
}

func (l agentList) String() string {
	names := make([]string, len(l.Agents))
	for i, a := range l.Agents {
		names[i], _, _ = strings.Cut(a.Address, "@")
	}
	return strings.Join(names, " ")
}

// Checklist 15: all six filters, in one order.
func TestAgentsAreFoundByAllFilters(t *testing.T) {
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.PublicAgents = true }, "a.test").At("a.test")
	g.Register("zoe", "role", "clerk", "capabilities", []string{"orders", "Returns"})
	g.Register("Bob", "role", "Clerk", "supported_schemas", []string{"agntcy:shop.*"})
	g.Register("ann", "supported_schemas", []string{"agntcy:shop.order.*"}, "description", "says hello")
	g.Register("hook", "delivery_mode", "push", "push_target", "https://hook.test/in")
	for query, want := range map[string]string{
		"":                                     "ann Bob hook zoe",
		"delivery_mode=push":                   "hook",
		"delivery_mode=pull":                   "ann Bob zoe",
		"delivery_mode=fax":                    "",
		"active_only=true":                     "ann Bob hook zoe",
		"address=bob@a.test":                   "Bob",
		"address=BOB":                          "Bob",
		"address=bo":                           "",
		"role=clerk":                           "Bob zoe",
		"capability=returns":                   "zoe",
		"capability=return":                    "",
		"schema=agntcy:shop.order.v2":          "ann Bob",
		"schema=agntcy:shop.invoice.v1":        "Bob",
		"schema=agntcy:bank.pay.v1":            "",
		"role=clerk&capability=orders":         "zoe",
		"delivery_mode=push&role=clerk":        "",
		"limit=2":                              "ann Bob",
		"limit=2&offset=2":                     "hook zoe",
		"offset=9":                             "",
		"delivery_mode=pull&limit=1&offset=1":  "Bob",
		"active_only=false&delivery_mode=push": "hook",
	} {
		for _, path := range []string{"/v1/discovery/agents", "/v1/discovery/agents/a.test", "/v1/discovery/agents/A.TEST"} {
			var got agentList
			answer := g.Do(http.MethodGet, path+"?"+query, nil).Want(http.StatusOK)
			answer.Into(&got)
			if got.String() != want || got.Count != len(got.Agents) || got.Domain != "a.test" || got.Agents == nil {
				t.Errorf("%s?%s: %s", path, query, answer.Body)
			}
			for _, secret := range []string{"hook.test", "push_target", "api_key", "headers"} {
				if strings.Contains(string(answer.Body), secret) {
					t.Errorf("%s?%s tells %s", path, query, secret)
				}
			}
		}
	}
	for query, code := range map[string]amtp.Code{
		"schema=shop": amtp.CodeInvalidSchemaID, "limit=0": amtp.CodeInvalidLimit, "limit=1001": amtp.CodeInvalidLimit, "offset=-1": amtp.CodeInvalidOffset,
	} {
		if got := g.Do(http.MethodGet, "/v1/discovery/agents?"+query, nil).Want(http.StatusBadRequest); got.Code() != code {
			t.Errorf("%s: %s", query, got.Body)
		}
	}
	var page agentList
	g.Do(http.MethodGet, "/v1/discovery/agents?limit=3", nil).Want(http.StatusOK).Into(&page)
	if page.Count != 3 || page.Total != 4 {
		t.Errorf("%+v", page)
	}
}

// Checklist 16: of another domain's agents this gateway knows nothing.
func TestAgentsOfAnotherDomain(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	for _, domain := range []string{"b.test", "x.a.test", "a_test"} {
		if got := g.Do(http.MethodGet, "/v1/discovery/agents/"+domain, nil).Want(http.StatusNotFound); got.Code() != amtp.CodeDomainNotFound {
			t.Errorf("%s: %s", domain, got.Body)
		}
	}
}

// Who works for somebody is told to those who say who they are, unless the operator wants
// it otherwise.
func TestAgentsAreNotListedForStrangers(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("bob")
	if got := g.Do(http.MethodGet, "/v1/discovery/agents", nil).Want(http.StatusUnauthorized); got.Code() != amtp.CodeAuthenticationRequired || strings.Contains(string(got.Body), "bob") {
		t.Errorf("%s", got.Body)
	}
	g.Do(http.MethodGet, "/v1/discovery/agents", nil, "Authorization", "Bearer nope").Want(http.StatusUnauthorized)
	bob.Do(http.MethodGet, "/v1/discovery/agents", nil).Want(http.StatusOK)
	g.Admin(http.MethodGet, "/v1/discovery/agents", nil).Want(http.StatusOK)
}
