package gateway_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

// listedDeliveries is a page of deliveries.
type listedDeliveries struct {
	Deliveries []map[string]any `json:"deliveries"`
	Total      int              `json:"total"`
}

// waiting is a gateway with one message for a domain that is down, and the message's id.
func waiting(t *testing.T) (*gatewaytest.Gateway, string) {
	t.Helper()
	other := gatewaytest.StartAgentry(t, "b.test")
	other.Down(true)
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Discovery.MockRecords["b.test"] = other.Record() }, "a.test").At("a.test")
	return g, g.Register("user").Send("bob@b.test", `{"n":1}`).MessageID
}

// deadLetter is a gateway with one message that was given up.
func deadLetter(t *testing.T) (*gatewaytest.Gateway, string) {
	t.Helper()
	other := gatewaytest.StartAgentry(t, "b.test")
	g := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Discovery.MockRecords["b.test"] = other.Record() + "/nothing/here"
	}, "a.test").At("a.test")
	user := g.Register("user")
	id := user.Send("bob@b.test", `{"n":1}`).MessageID
	if st := user.Settled(id); st.Status != amtp.Failed {
		t.Fatalf("not given up: %+v", st)
	}
	return g, id
}

// Checklist 87: what was given up is listed with its reason and its tries, can be put back,
// and be forgotten.
func TestDeadLettersAreSeenRedrivenAndPurged(t *testing.T) {
	g, id := deadLetter(t)
	var page listedDeliveries
	g.Admin(http.MethodGet, "/v1/admin/deadletters?target=b.test", nil).Want(http.StatusOK).Into(&page)
	if page.Total != 1 || page.Deliveries[0]["message_id"] != id || page.Deliveries[0]["error_code"] == nil || page.Deliveries[0]["dead_since"] == nil {
		t.Fatalf("listed: %+v", page)
	}
	one := "/v1/admin/deadletters/" + id + "/bob@b.test"
	var dead struct {
		Recipient string           `json:"recipient"`
		History   []map[string]any `json:"attempt_history"`
	}
	g.Admin(http.MethodGet, one, nil).Want(http.StatusOK).Into(&dead)
	if dead.Recipient != "bob@b.test" || len(dead.History) != 1 || dead.History[0]["http_status"] != float64(http.StatusNotFound) {
		t.Errorf("shown: %+v", dead)
	}
	var count struct{ Count int }
	g.Admin(http.MethodPost, one+"/redrive", nil).Want(http.StatusOK).Into(&count)
	if count.Count != 1 {
		t.Errorf("redriven: %d", count.Count)
	}
	for page.Total = 0; page.Total == 0; { // it fails again at once
		g.Admin(http.MethodGet, "/v1/admin/deadletters", nil).Want(http.StatusOK).Into(&page)
	}
	g.Admin(http.MethodPost, "/v1/admin/deadletters/purge", map[string]any{"message_id": id}).Want(http.StatusOK).Into(&count)
	if count.Count != 1 {
		t.Errorf("purged: %d", count.Count)
	}
	g.Admin(http.MethodGet, one, nil).Want(http.StatusNotFound)
	g.Admin(http.MethodDelete, one, nil).Want(http.StatusNotFound)
}

func TestQueueIsListedCountedAndFlushed(t *testing.T) {
	g, id := waiting(t)
	var page listedDeliveries
	g.Admin(http.MethodGet, "/v1/admin/queue?message_id="+id, nil).Want(http.StatusOK).Into(&page)
	if page.Total != 1 || page.Deliveries[0]["target"] != "b.test" || page.Deliveries[0]["sender"] != "user@a.test" {
		t.Errorf("listed: %+v", page)
	}
	g.Admin(http.MethodGet, "/v1/admin/queue?target=B.test.", nil).Want(http.StatusOK).Into(&page)
	if page.Total != 1 {
		t.Errorf("of the domain in another case: %+v", page)
	}
	g.Admin(http.MethodGet, "/v1/admin/queue?target=other.test", nil).Want(http.StatusOK).Into(&page)
	if page.Total != 0 || len(page.Deliveries) != 0 {
		t.Errorf("of another domain: %+v", page)
	}
	var stats map[string]any
	g.Admin(http.MethodGet, "/v1/admin/queue/stats", nil).Want(http.StatusOK).Into(&stats)
	if stats["queued"].(float64)+stats["retrying"].(float64) != 1 || stats["dead"] != float64(0) {
		t.Errorf("stats: %v", stats)
	}
	g.Admin(http.MethodPost, "/v1/admin/queue/flush", map[string]any{"all": true}).Want(http.StatusOK)
}

// A forgotten filter changes nothing, and a wrong one is told.
func TestSelectionsThatChooseNothingAreRefused(t *testing.T) {
	g, id := deadLetter(t)
	for _, path := range []string{"/v1/admin/queue/flush", "/v1/admin/deadletters/redrive", "/v1/admin/deadletters/purge"} {
		for name, body := range map[string]any{
			"empty":          map[string]any{},
			"limit alone":    map[string]any{"limit": 10},
			"all and one":    map[string]any{"all": true, "message_id": id},
			"no id":          map[string]any{"message_id": "nonsense"},
			"no address":     map[string]any{"recipient": "nonsense"},
			"no target":      map[string]any{"target": "\x00"},
			"no time":        map[string]any{"before": "yesterday"},
			"no place":       map[string]any{"all": true, "after": "x"},
			"negative limit": map[string]any{"all": true, "limit": -1},
			"no JSON":        "all of it",
			"two names":      json.RawMessage(`{"all":false,"all":true}`),
			"two cases":      json.RawMessage(`{"all":false,"ALL":true}`),
		} {
			if got := g.Admin(http.MethodPost, path, body); got.Status != http.StatusBadRequest || got.Code() == "" {
				t.Errorf("%s, %s: %d %s", path, name, got.Status, got.Body)
			}
		}
	}
	all := g.Admin(http.MethodPost, "/v1/admin/queue/flush", map[string]any{"all": true, "limit": -1})
	if got := all.Code(); got != amtp.CodeInvalidLimit {
		t.Errorf("a negative limit is called %s", got)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "offset=-1", "before=yesterday", "message_id=x", "recipient=x", "target=%00", "target=a%ff"} {
		g.Admin(http.MethodGet, "/v1/admin/queue?"+query, nil).Want(http.StatusBadRequest)
	}
	var page listedDeliveries
	if g.Admin(http.MethodGet, "/v1/admin/deadletters", nil).Into(&page); page.Total != 1 {
		t.Errorf("%d dead letters are left", page.Total)
	}
}

// Everything under /v1/admin wants an admin key.
func TestOperatorsRoutesWantAnAdminKey(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	user := g.Register("user")
	for _, c := range []struct{ method, path string }{
		{"GET", "/v1/admin/queue"}, {"GET", "/v1/admin/queue/stats"}, {"POST", "/v1/admin/queue/flush"},
		{"GET", "/v1/admin/deadletters"}, {"POST", "/v1/admin/deadletters/redrive"}, {"POST", "/v1/admin/deadletters/purge"},
		{"GET", "/v1/admin/deadletters/x/y"}, {"POST", "/v1/admin/deadletters/x/y/redrive"}, {"DELETE", "/v1/admin/deadletters/x/y"},
		{"GET", "/v1/admin/domains"}, {"PUT", "/v1/admin/domains/x.test"}, {"DELETE", "/v1/admin/domains/x.test"},
		{"GET", "/v1/admin/apikeys"}, {"POST", "/v1/admin/apikeys"}, {"POST", "/v1/admin/apikeys/x/rotate-key"}, {"DELETE", "/v1/admin/apikeys/x"},
	} {
		if got := g.Do(c.method, c.path, nil).Want(http.StatusUnauthorized); got.Code() != amtp.CodeAdminAuthenticationRequired {
			t.Errorf("%s %s: %s", c.method, c.path, got.Code())
		}
		user.Do(c.method, c.path, nil).Want(http.StatusUnauthorized)
		if got := g.Do(c.method, c.path, nil, "X-Admin-Key", "wrong").Want(http.StatusForbidden); got.Code() != amtp.CodeAdminAccessDenied {
			t.Errorf("%s %s: %s", c.method, c.path, got.Code())
		}
	}
}

// T87: a blocked domain is refused with the answer to who blocked it, and with it all below.
func TestDomainsAreBlockedAtOnce(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	g.Register("user")
	post := func(sender string, want int) gatewaytest.Answer {
		t.Helper()
		return g.Do(http.MethodPost, "/v1/messages", map[string]any{"sender": sender, "recipients": []string{"user@a.test"}, "payload": 1}).Want(want)
	}
	post("x@spam.test", http.StatusOK)
	g.Admin(http.MethodPut, "/v1/admin/domains/Spam.Test", map[string]any{"state": "blocked", "note": "floods"}).Want(http.StatusOK)
	if got := post("x@spam.test", http.StatusForbidden); got.Code() != amtp.CodeDomainBlocked {
		t.Errorf("%s", got.Body)
	}
	post("x@mail.spam.test", http.StatusForbidden)
	var list struct{ Domains []map[string]any }
	g.Admin(http.MethodGet, "/v1/admin/domains", nil).Want(http.StatusOK).Into(&list)
	if len(list.Domains) != 1 || list.Domains[0]["domain"] != "spam.test" || list.Domains[0]["note"] != "floods" {
		t.Errorf("%+v", list)
	}
	g.Admin(http.MethodDelete, "/v1/admin/domains/spam.test", nil).Want(http.StatusOK)
	post("x@spam.test", http.StatusOK)
	if got := g.Admin(http.MethodDelete, "/v1/admin/domains/spam.test", nil).Want(http.StatusNotFound); got.Code() != amtp.CodeDomainNotFound {
		t.Errorf("%s", got.Body)
	}
	for name, c := range map[string]struct {
		path string
		body any
	}{
		"our own":      {"a.test", map[string]any{"state": "blocked"}},
		"no domain":    {"a_b.test", map[string]any{"state": "blocked"}},
		"no state":     {"x.test", map[string]any{}},
		"other state":  {"x.test", map[string]any{"state": "loved"}},
		"line in note": {"x.test", map[string]any{"state": "known", "note": "a\nb"}},
	} {
		if got := g.Admin(http.MethodPut, "/v1/admin/domains/"+c.path, c.body); got.Status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got.Status)
		}
	}
}

// A key is shown once, proves its domain, and is worth nothing when it was replaced or revoked.
func TestAPIKeysAreMadeRotatedAndRevoked(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	g.Register("user")
	var made, rotated struct {
		ID  string `json:"id"`
		Key string `json:"api_key"`
	}
	g.Admin(http.MethodPost, "/v1/admin/apikeys", map[string]any{"name": "partner", "domain": "B.Test"}).Want(http.StatusCreated).Into(&made)
	post := func(sender, key string) int {
		t.Helper()
		return g.Do(http.MethodPost, "/v1/messages", map[string]any{"sender": sender, "recipients": []string{"user@a.test"}, "payload": sender + key}, "Authorization", "Bearer "+key).Status
	}
	if got := post("x@b.test", made.Key); got != http.StatusOK {
		t.Errorf("with its key: %d", got)
	}
	if got := post("x@c.test", made.Key); got != http.StatusForbidden {
		t.Errorf("another domain with that key: %d", got)
	}
	var list struct {
		Keys []map[string]any `json:"api_keys"`
	}
	g.Admin(http.MethodGet, "/v1/admin/apikeys", nil).Want(http.StatusOK).Into(&list)
	if len(list.Keys) != 1 || list.Keys[0]["api_key"] != nil || list.Keys[0]["domain"] != "b.test" || list.Keys[0]["last_used"] == nil {
		t.Errorf("%+v", list)
	}
	g.Admin(http.MethodPost, "/v1/admin/apikeys/"+made.ID+"/rotate-key", nil).Want(http.StatusOK).Into(&rotated)
	if post("x@b.test", made.Key) == http.StatusOK || post("x@b.test", rotated.Key) != http.StatusOK || rotated.ID != made.ID {
		t.Error("the old key still counts, or the new one does not")
	}
	g.Admin(http.MethodDelete, "/v1/admin/apikeys/"+made.ID, nil).Want(http.StatusOK)
	if post("x@b.test", rotated.Key) == http.StatusOK {
		t.Error("a revoked key counts")
	}
	g.Admin(http.MethodDelete, "/v1/admin/apikeys/"+made.ID, nil).Want(http.StatusNotFound)
	for name, body := range map[string]any{
		"no name":       map[string]any{"domain": "b.test"},
		"no domain":     map[string]any{"name": "x"},
		"unknown scope": map[string]any{"name": "x", "domain": "b.test", "scopes": []string{"all"}},
		"over already":  map[string]any{"name": "x", "domain": "b.test", "expires_at": "2020-01-01T00:00:00Z"},
		"no time":       map[string]any{"name": "x", "domain": "b.test", "expires_at": "soon"},
	} {
		if got := g.Admin(http.MethodPost, "/v1/admin/apikeys", body); got.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
}
