package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/gatewaytest"
)

// registeredAgent is an answer to a registration.
type registeredAgent struct {
	Message string
	Agent   struct {
		Address        string
		DeliveryMode   string  `json:"delivery_mode"`
		PushTarget     *string `json:"push_target"`
		Headers        json.RawMessage
		APIKey         string          `json:"api_key"`
		Schemas        json.RawMessage `json:"supported_schemas"`
		RequiresSchema *bool           `json:"requires_schema"`
		Created        time.Time       `json:"created_at"`
		LastAccess     time.Time       `json:"last_access"`
	}
}

func agent(name string) m { return m{"address": name, "delivery_mode": "pull"} }

func TestB051ABareNameIsRegistered(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	var made registeredAgent
	p.Admin(http.MethodPost, "/v1/admin/agents", agent("carol")).Want(http.StatusCreated).Into(&made)
	a := made.Agent
	if a.Address != "carol@a.test" || len(a.APIKey) != 43 || strings.ContainsAny(a.APIKey, "+/=") || a.PushTarget == nil || a.RequiresSchema == nil ||
		string(a.Headers) != "null" || string(a.Schemas) != "null" || a.Created.IsZero() || a.LastAccess.IsZero() || made.Message == "" {
		t.Errorf("got %+v", made)
	}
}

func TestB052AFullAddressOfOurDomainIsOneOfOurNames(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	var made registeredAgent
	p.Admin(http.MethodPost, "/v1/admin/agents", agent("carol@A.test")).Want(http.StatusCreated).Into(&made)
	if made.Agent.Address != "carol@a.test" {
		t.Errorf("got %s", made.Agent.Address)
	}
	refused(t, "foreign", p.Admin(http.MethodPost, "/v1/admin/agents", agent("carol@b.test")), http.StatusBadRequest, amtp.CodeAgentRegistrationFailed)
}

func TestB053ANameIsGivenOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, name := range []string{"alice", "ALICE", "alice@a.test"} {
		refused(t, name, p.Admin(http.MethodPost, "/v1/admin/agents", agent(name)), http.StatusBadRequest, amtp.CodeAgentRegistrationFailed)
	}
}

func TestB054APushAgentHasAURL(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, target := range []any{nil, "", "here", "ftp://x.example/", "https://", "//x.example", "javascript:alert(1)"} {
		got := p.Admin(http.MethodPost, "/v1/admin/agents", m{"address": "hook", "delivery_mode": "push", "push_target": target})
		refused(t, fmt.Sprint(target), got, http.StatusBadRequest, amtp.CodeAgentRegistrationFailed)
	}
	refused(t, "fax", p.Admin(http.MethodPost, "/v1/admin/agents", m{"address": "hook", "delivery_mode": "fax"}), http.StatusBadRequest, amtp.CodeAgentRegistrationFailed)
	p.Admin(http.MethodPost, "/v1/admin/agents", m{"address": "hook", "delivery_mode": "push", "push_target": "https://x.example/in"}).Want(http.StatusCreated)
}

func TestB055AListIsAMapWithoutKeys(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	got := p.Admin(http.MethodGet, "/v1/admin/agents", nil).Want(http.StatusOK)
	var list struct {
		Agents map[string]struct {
			Address string
			APIKey  *string `json:"api_key"`
		}
		Count int
	}
	got.Into(&list)
	if a := list.Agents["alice@a.test"]; list.Count != 2 || len(list.Agents) != 2 || a.Address != "alice@a.test" || a.APIKey == nil || *a.APIKey != "" {
		t.Errorf("got %s", got.Body)
	}
	if !strings.Contains(string(got.Body), `"supported_schemas":null`) {
		t.Errorf("got %s", got.Body)
	}
	if strings.Contains(string(got.Body), p.alice.Key) || strings.Contains(string(got.Body), "hash") {
		t.Errorf("keys in %s", got.Body)
	}
}

func TestB056NamesHave64CharactersAtMost(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, name := range []string{strings.Repeat("a", 64), "a.b-c_d", "UPPER", "7"} {
		p.Admin(http.MethodPost, "/v1/admin/agents", agent(name)).Want(http.StatusCreated)
	}
	for _, name := range []string{"", strings.Repeat("a", 65), ".a", "a.", "-a", "a-", "_a", "a_", "a b", "ä", "a/b", "a+b"} {
		refused(t, name, p.Admin(http.MethodPost, "/v1/admin/agents", agent(name)), http.StatusBadRequest, amtp.CodeAgentRegistrationFailed)
	}
}

func TestB057AnUnknownAgentCannotBeUnregistered(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	refused(t, "unknown", p.Admin(http.MethodDelete, "/v1/admin/agents/ghost", nil), http.StatusBadRequest, amtp.CodeAgentUnregistrationFailed)
	p.Admin(http.MethodDelete, "/v1/admin/agents/bob", nil).Want(http.StatusOK)
	refused(t, "its key", p.bob.Do(http.MethodGet, "/v1/inbox/bob@a.test", nil), http.StatusForbidden, amtp.CodeAccessDenied)
}

func TestB058AnInboxIsItsAgents(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	const path = "/v1/inbox/bob@a.test"
	refused(t, "no header", p.Do(http.MethodGet, path, nil), http.StatusUnauthorized, amtp.CodeMissingAuthorization)
	refused(t, "empty", p.Do(http.MethodGet, path, nil, "Authorization", "Bearer "), http.StatusUnauthorized, amtp.CodeMissingAuthorization)
	refused(t, "basic", p.Do(http.MethodGet, path, nil, "Authorization", "Basic abc"), http.StatusUnauthorized, amtp.CodeMissingAuthorization)
	refused(t, "wrong", p.Do(http.MethodGet, path, nil, "Authorization", "Bearer nope"), http.StatusForbidden, amtp.CodeAccessDenied)
	refused(t, "another's", p.alice.Do(http.MethodGet, path, nil), http.StatusForbidden, amtp.CodeAccessDenied)
	refused(t, "unknown agent", p.alice.Do(http.MethodGet, "/v1/inbox/ghost@a.test", nil), http.StatusForbidden, amtp.CodeAccessDenied)
	refused(t, "another's message", p.alice.Do(http.MethodDelete, path+"/"+someID, nil), http.StatusForbidden, amtp.CodeAccessDenied)
	p.bob.Do(http.MethodGet, path, nil).Want(http.StatusOK)
}

// inboxOf is a page of an inbox.
type inboxOf struct {
	Recipient string
	Messages  []gatewaytest.Message
	Count     *int
	More      *bool `json:"has_more"`
	Number    *int  `json:"message_count"`
}

func (p pair) page(t *testing.T, query string) inboxOf {
	t.Helper()
	var page inboxOf
	p.bob.Do(http.MethodGet, "/v1/inbox/bob@a.test"+query, nil).Want(http.StatusOK).Into(&page)
	if page.Count == nil || page.More == nil || page.Number == nil || *page.Count != len(page.Messages) || page.Recipient != "bob@a.test" {
		t.Errorf("%s: got %+v", query, page)
	}
	return page
}

func TestB059AnEmptyInboxHasNone(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	got := p.bob.Do(http.MethodGet, "/v1/inbox/bob@a.test", nil).Want(http.StatusOK)
	if !strings.Contains(string(got.Body), `"messages":[]`) || *p.page(t, "").Count != 0 {
		t.Errorf("got %s", got.Body)
	}
	p = newPair(t, func(c *gateway.Config) { c.Inbox.EmptyIsNull = true })
	if got := p.bob.Do(http.MethodGet, "/v1/inbox/bob@a.test", nil); !strings.Contains(string(got.Body), `"messages":null`) {
		t.Errorf("as agentry: got %s", got.Body)
	}
}

func TestB060AnInboxIsInOrderOldestFirst(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for i := range 20 {
		p.alice.Send(p.bob.Address, fmt.Sprint(i))
	}
	const want = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"
	for range 3 {
		if got := payloads(p.bob.Inbox()); got != want {
			t.Errorf("got %s", got)
		}
	}
	p.Stop()
	p.Start()
	if got := payloads(p.bob.Inbox()); got != want {
		t.Errorf("after a restart: got %s", got)
	}
}

func TestB061AnInboxHasPages(t *testing.T) {
	t.Parallel()
	time := newClock()
	p := newPair(t, func(c *gateway.Config) { c.Clock = time.Now })
	for i := range 5 {
		time.forward(1e9)
		p.alice.Send(p.bob.Address, fmt.Sprint(i))
	}
	since := url.QueryEscape(time.Now().UTC().Format("2006-01-02T15:04:05.999999999Z07:00"))
	for query, want := range map[string]struct {
		payloads string
		more     bool
	}{
		"?limit=2":          {"0 1", true},
		"?limit=2&offset=2": {"2 3", true},
		"?limit=2&offset=4": {"4", false},
		"?limit=5":          {"0 1 2 3 4", false},
		"?offset=9":         {"", false},
		"?since=" + since:   {"4", false},
	} {
		if got := p.page(t, query); payloads(got.Messages) != want.payloads || *got.More != want.more {
			t.Errorf("%s: got %s, more %v", query, payloads(got.Messages), *got.More)
		}
	}
	for query, code := range map[string]amtp.Code{"limit=0": amtp.CodeInvalidLimit, "offset=-1": amtp.CodeInvalidOffset, "since=x": amtp.CodeInvalidSinceFormat} {
		refused(t, query, p.bob.Do(http.MethodGet, "/v1/inbox/bob@a.test?"+query, nil), http.StatusBadRequest, code)
	}
}

func TestB062AnAcknowledgedMessageIsGone(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	id := p.alice.Send(p.bob.Address, `{}`).MessageID
	var ack struct {
		Message, Recipient, Status string
		MessageID                  string `json:"message_id"`
		Timestamp                  time.Time
	}
	p.bob.Ack(id).Want(http.StatusOK).Into(&ack)
	if ack.MessageID != id || ack.Recipient != "bob@a.test" || ack.Status != "acknowledged" || ack.Message == "" || ack.Timestamp.IsZero() {
		t.Errorf("got %+v", ack)
	}
	if len(p.bob.Inbox()) != 0 {
		t.Error("still there")
	}
	refused(t, "again", p.bob.Ack(id), http.StatusNotFound, amtp.CodeMessageNotFound)
	refused(t, "unknown", p.bob.Ack(otherID), http.StatusNotFound, amtp.CodeMessageNotFound)
}

func TestB063AnAckIsOneRecipients(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	carol := p.Register("carol")
	id := taken(t, p.alice.Post(to(p.bob.Address, carol.Address))).MessageID
	p.bob.Ack(id).Want(http.StatusOK)
	if len(p.bob.Inbox()) != 0 || len(carol.Inbox()) != 1 {
		t.Errorf("bob has %d, carol %d", len(p.bob.Inbox()), len(carol.Inbox()))
	}
	carol.Ack(id).Want(http.StatusOK)
}

func TestB064AReaderSeesTheRecipientsThatPolicyAllows(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	carol := p.Register("carol")
	p.alice.Post(to(p.bob.Address, carol.Address)).Want(http.StatusOK)
	if got := p.bob.Inbox()[0].Recipients; len(got) != 2 {
		t.Errorf("got %v", got)
	}
	p = newPair(t, func(c *gateway.Config) { c.Inbox.OwnRecipients = true })
	carol = p.Register("carol")
	p.alice.Post(to(p.bob.Address, carol.Address)).Want(http.StatusOK)
	for _, a := range []*gatewaytest.Agent{p.bob, carol} {
		if got := a.Inbox()[0].Recipients; !slices.Equal(got, []string{a.Address}) {
			t.Errorf("%s sees %v", a.Address, got)
		}
	}
}

func TestB065ANewKeyEndsTheOldOneAtOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	var made struct {
		Address   string
		APIKey    string `json:"api_key"`
		Timestamp time.Time
	}
	p.Admin(http.MethodPost, "/v1/admin/agents/bob/rotate-key", nil).Want(http.StatusOK).Into(&made)
	if made.Address != "bob@a.test" || len(made.APIKey) != 43 || made.APIKey == p.bob.Key || made.Timestamp.IsZero() {
		t.Errorf("got %+v", made)
	}
	const path = "/v1/inbox/bob@a.test"
	refused(t, "the old key", p.bob.Do(http.MethodGet, path, nil), http.StatusForbidden, amtp.CodeAccessDenied)
	p.Do(http.MethodGet, path, nil, "Authorization", "Bearer "+made.APIKey).Want(http.StatusOK)
	refused(t, "unknown", p.Admin(http.MethodPost, "/v1/admin/agents/ghost/rotate-key", nil), http.StatusNotFound, amtp.CodeAgentNotFound)
}

// keyFile is an admin key file of a gateway.
func keyFile(t *testing.T, text string) (path string, change func(*gateway.Config)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "admin.keys")
	write(t, path, text)
	return path, func(c *gateway.Config) { c.Admins = auth.NewAdminKeys(path, time.Now) }
}

const agentsPath = "/v1/admin/agents"

func TestB067AKeyFileHasCommentsAndSeveralKeys(t *testing.T) {
	t.Parallel()
	_, change := keyFile(t, "# ours\n\n  first-admin-key-000001  \n#old-admin-key-00000000\nsecond-admin-key-00002\n")
	g := gatewaytest.StartWith(t, change, "a.test").At("a.test")
	for _, key := range []string{"first-admin-key-000001", "second-admin-key-00002"} {
		g.Do(http.MethodGet, agentsPath, nil, "X-Admin-Key", key).Want(http.StatusOK)
	}
	for _, key := range []string{"old-admin-key-00000000", "# ours", "#old-admin-key-00000000"} {
		refused(t, key, g.Do(http.MethodGet, agentsPath, nil, "X-Admin-Key", key), http.StatusForbidden, amtp.CodeAdminAccessDenied)
	}
}

func TestB068AChangedKeyFileCountsWithoutARestart(t *testing.T) {
	t.Parallel()
	path, change := keyFile(t, "first-admin-key-000001\n")
	g := gatewaytest.StartWith(t, change, "a.test").At("a.test")
	g.Do(http.MethodGet, agentsPath, nil, "X-Admin-Key", "first-admin-key-000001").Want(http.StatusOK)
	write(t, path+".new", "second-admin-key-00002-longer\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new key opens", func() bool {
		return g.Do(http.MethodGet, agentsPath, nil, "X-Admin-Key", "second-admin-key-00002-longer").Status == http.StatusOK
	})
	refused(t, "the old key", g.Do(http.MethodGet, agentsPath, nil, "X-Admin-Key", "first-admin-key-000001"), http.StatusForbidden, amtp.CodeAdminAccessDenied)
}

func TestB069AWrongAdminKeyIsForbiddenAndNoneUnauthorized(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, path := range []string{agentsPath, "/v1/admin/queue", "/v1/admin/deadletters"} {
		refused(t, path, p.Do(http.MethodGet, path, nil), http.StatusUnauthorized, amtp.CodeAdminAuthenticationRequired)
		refused(t, path, p.Do(http.MethodGet, path, nil, "X-Admin-Key", "wrong"), http.StatusForbidden, amtp.CodeAdminAccessDenied)
		refused(t, path+" with an agent's key", p.alice.Do(http.MethodGet, path, nil), http.StatusUnauthorized, amtp.CodeAdminAuthenticationRequired)
	}
}

func TestB070WithoutAKeyFileAdminsAreShutOut(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Admins = nil }, "a.test").At("a.test")
	refused(t, "closed", g.Do(http.MethodGet, agentsPath, nil), http.StatusUnauthorized, amtp.CodeAdminAuthNotConfigured)
	refused(t, "with a key", g.Do(http.MethodGet, agentsPath, nil, "X-Admin-Key", "x"), http.StatusUnauthorized, amtp.CodeAdminAuthNotConfigured)
	g = gatewaytest.StartWith(t, func(c *gateway.Config) { c.Admins, c.AdminOpen = nil, true }, "a.test").At("a.test")
	g.Do(http.MethodGet, agentsPath, nil).Want(http.StatusOK)
}
