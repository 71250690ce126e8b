package httpapi

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"amesh/node/api"
)

// The verbs are written down here a second time, by hand: a new verb fails
// the tests until somebody has said in both places who may call it.
var (
	openVerbs  = []string{"livez", "readyz"}
	agentVerbs = []string{"node", "identity", "peers", "contacts", "compare", "keys", "policy", "openapi", "send", "messages", "message", "cancel",
		"inbox", "lease", "read", "ack", "nack", "search", "lookup", "card", "contact", "why", "ping"}
	ownerVerbs = []string{"verify", "rotate-keys", "revoke", "knocks", "approve", "refuse", "sessions", "kill", "block", "unblock", "set-policy", "backup",
		"set-card", "invite", "invites", "revoke-invite", "join", "add-contact", "rename-contact", "remove-contact",
		"try", "doctor", "netcheck", "bugreport"}
)

// sample is a request that each verb accepts: the id in its path and its body.
var sample = map[string]struct{ id, body string }{
	"send":       {"", `{"to":"` + bobAMID.String() + `","body":"aGk="}`},
	"message":    {"out-1", ""},
	"cancel":     {"out-1", ""},
	"lease":      {"", `{"max":1}`},
	"read":       {"in-1", `{"lease_s":60}`},
	"ack":        {"in-1", `{"outcome":"handled"}`},
	"nack":       {"in-1", ""},
	"compare":    {bobAMID.String(), ""},
	"verify":     {bobAMID.String(), `{"matches":true}`},
	"revoke":     {"", `{"reason":"retired"}`},
	"approve":    {"k-1", `{}`},
	"refuse":     {"k-2", `{}`},
	"kill":       {bobAMID.String(), ""},
	"block":      {bobAMID.String(), ""},
	"unblock":    {bobAMID.DID(), ""},
	"set-policy": {"", `{"key":"strangers","value":"reject"}`},
	"lookup":     {bobAMID.String(), ""},
	"set-card":   {"", `{"name":"Bot"}`},
	"invite":     {"", `{"uses":2}`},
	"join":       {"", `{"invite":"amesh1qqq"}`},
	"contact":    {bobAMID.String(), ""},
	"why":        {bobAMID.String(), ""},
	"try":        {bobAMID.String(), ""},
	"ping":       {bobAMID.String(), `{"via":"relayed"}`},

	"revoke-invite":  {"00000000", ""},
	"add-contact":    {"", `{"amid":"` + bobAMID.String() + `","name":"bob"}`},
	"rename-contact": {bobAMID.String(), `{"name":"bob"}`},
	"remove-contact": {bobAMID.String(), ""},

	"backup": {"", `{"file":"/b.age","passphrase":"open sesame"}`},
}

// pathFor fills in the sample's id.
func (o operation) pathFor() string {
	return strings.ReplaceAll(o.path, "{id}", sample[o.id].id)
}

// Every route, every credential, both doors (F17, T97 as far as one user goes).
func TestWhoMayCallWhat(t *testing.T) {
	h := openHouse(t)
	callers := []struct {
		name   string
		token  func(h *house) string
		agent  string // named in the query
		open   int    // status at verbs for anybody; 0: let in
		agents int    // at verbs for agents
		owner  int    // at verbs for the owner
	}{
		{name: "no credential", token: func(*house) string { return "" }, agents: 401, owner: 401},
		{name: "empty token", token: func(*house) string { return "Bearer " }, agents: 401, owner: 401},
		{name: "wrong token", token: func(*house) string { return "Bearer AAAA" }, agents: 401, owner: 401},
		{name: "a token's beginning", token: func(h *house) string { return "Bearer " + h.tokens["owner"][:42] }, agents: 401, owner: 401},
		{name: "owner's token, wrong scheme", token: func(h *house) string { return "Basic " + h.tokens["owner"] }, agents: 401, owner: 401},
		{name: "token without scheme", token: func(h *house) string { return h.tokens["owner"] }, agents: 401, owner: 401},
		{name: "agent", token: func(h *house) string { return "Bearer " + h.tokens["alice"] }, owner: 403},
		{name: "agent, naming itself", token: func(h *house) string { return "bearer " + h.tokens["alice"] }, agent: "alice", owner: 403},
		{name: "agent, naming another", token: func(h *house) string { return "Bearer " + h.tokens["alice"] }, agent: "carol", agents: 403, owner: 403},
		{name: "another agent's token", token: func(h *house) string { return "Bearer " + h.tokens["carol"] }, agent: "alice", agents: 403, owner: 403},
		{name: "owner", token: func(h *house) string { return "Bearer " + h.tokens["owner"] }},
		{name: "owner, naming an agent", token: func(h *house) string { return "Bearer " + h.tokens["owner"] }, agent: "carol"},
	}
	for _, door := range []string{"tcp", "socket"} {
		web := h.raw(door)
		for _, who := range callers {
			for _, op := range h.operations() {
				name := door + ", " + who.name + ", " + op.id
				want := who.agents
				switch {
				case slices.Contains(openVerbs, op.id):
					want = who.open
				case slices.Contains(ownerVerbs, op.id):
					want = who.owner
				case !slices.Contains(agentVerbs, op.id):
					t.Fatalf("%s: say here who may call %s %s", name, op.method, op.path)
				}
				path := op.pathFor()
				if who.agent != "" && !slices.Contains(openVerbs, op.id) {
					path += "?agent=" + who.agent
				}
				token := who.token(h)
				if door == "socket" && token == "" {
					want = 0 // the kernel has said that it is the owner
				}
				before := h.node.calls.Load()
				got := h.ask(web, op.method, path, sample[op.id].body, "Authorization", token)
				came := h.node.calls.Load() != before
				switch {
				case want != 0 && (got.status != want || came):
					t.Errorf("%s: status %d, came through %t; want %d", name, got.status, came, want)
				case want == 0 && (got.status == 401 || got.status == 403):
					t.Errorf("%s: refused with %d %s", name, got.status, got.body)
				case want == 0 && !came && op.id != "livez" && op.id != "openapi":
					t.Errorf("%s: did not come through: %d %s", name, got.status, got.body)
				case got.status == 401 && got.header.Get("WWW-Authenticate") == "":
					t.Errorf("%s: 401 without WWW-Authenticate", name)
				}
			}
		}
	}
	for who, token := range h.tokens {
		if strings.Contains(h.log.String(), token) {
			t.Errorf("the token of %s is in the log", who)
		}
	}
}

func TestAnAgentOnlySeesItself(t *testing.T) {
	h := openHouse(t)
	alice := h.client(api.ClientConfig{URL: "http://" + h.host, Token: h.tokens["alice"]})
	got, err := alice.Status(t.Context(), "")
	if err != nil || len(got.Agents) != 1 || got.Agents[0].Name != "alice" {
		t.Errorf("alice sees the agents %v (%v), want herself only", got.Agents, err)
	}
	// On the socket, too, a token takes rights away.
	bound := h.client(api.ClientConfig{Socket: h.socket, Token: h.tokens["carol"]})
	if got, err := bound.Status(t.Context(), ""); err != nil || len(got.Agents) != 1 || got.Agents[0].Name != "carol" {
		t.Errorf("carol sees the agents %v (%v), want herself only", got.Agents, err)
	}
	if _, err := bound.Knocks(t.Context(), ""); codeOf(err) != api.CodeForbidden {
		t.Errorf("knocks with carol's token on the socket: %v, want %s", err, api.CodeForbidden)
	}
}

// Two values of a parameter could be read differently by two readers.
func TestParameterGivenTwice(t *testing.T) {
	h := openHouse(t)
	for _, query := range []string{"?agent=alice&agent=carol", "?agent=alice&%61gent=carol", "?agent=%zz", "?agent=alice;agent=carol"} {
		got := h.ask(h.raw("tcp"), "GET", "/v1/identity"+query, "", "Authorization", "Bearer "+h.tokens["alice"])
		if got.status != 400 || got.problem.Code != api.CodeInvalid {
			t.Errorf("%s: %d %s, want 400 %s", query, got.status, got.problem.Code, api.CodeInvalid)
		}
	}
}

// byHand sends one request without a client, since none would send such hosts. A
// refusal by net/http itself has no problem in it.
func (h *house) byHand(lines ...string) seen {
	h.t.Helper()
	c, err := net.Dial("tcp", h.host)
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s\r\nConnection: close\r\n\r\n", strings.Join(lines, "\r\n"))
	method, rest, _ := strings.Cut(lines[0], " ")
	req, err := http.NewRequest(method, "/"+strings.TrimLeft(rest, "/"), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		h.t.Fatal(err)
	}
	if resp.StatusCode == 400 && resp.Header.Get("Content-Type") != problemType {
		resp.Body.Close() // net/http has refused it before we saw it
		return seen{status: 400}
	}
	return h.see(resp, method)
}

// T94: a page whose name was pointed at this machine.
func TestHosts(t *testing.T) {
	h := openHouse(t)
	_, port, err := net.SplitHostPort(h.host)
	if err != nil {
		t.Fatal(err)
	}
	foreign := []string{
		"evil.example", "evil.example:" + port, "127.0.0.1", "127.0.0.1:80", "127.0.0.1:1", "127.0.0.1:0" + port, "127.0.0.1:" + port + "0",
		"localhost", "localhost:" + port, "LOCALHOST:" + port, "localhost.:" + port, "localhost.evil.example:" + port,
		"127.0.0.1.evil.example:" + port, "evil.example.127.0.0.1:" + port, "127.0.0.1.:" + port, "127.1:" + port, "127.0.1:" + port,
		"2130706433:" + port, "0x7f000001:" + port, "0177.0.0.1:" + port, "127.0.0.2:" + port, "0.0.0.0:" + port, "0:" + port,
		"[::1]:" + port, "[::]:" + port, "[::ffff:127.0.0.1]:" + port, "[::ffff:7f00:1]:" + port, "169.254.169.254:" + port,
		"10.0.0.1:" + port, "192.168.1.1:" + port, "host.docker.internal:" + port, "amesh", "amesh:" + port, "node.local:" + port,
		"127.0.0.1:" + port + ":" + port, "user@127.0.0.1:" + port, "127.0.0.1:" + port + "@evil.example", "127.0.0.1:" + port + ",evil.example",
		"1.0.0.127.in-addr.arpa:" + port, "127-0-0-1.rebind.example:" + port,
	}
	if len(foreign) != 40 {
		t.Fatalf("%d hosts, want 40", len(foreign))
	}
	ops := h.operations()
	before := h.node.calls.Load()
	for _, host := range foreign {
		for _, op := range ops {
			got := h.byHand(op.method+" "+op.pathFor()+" HTTP/1.1", "Host: "+host, "Authorization: Bearer "+h.tokens["owner"])
			if byServer := got.status == 400 && got.problem.Code == ""; !byServer && (got.status != 403 || got.problem.Code != api.CodeHost) {
				t.Errorf("host %q, %s %s: %d %s", host, op.method, op.path, got.status, got.problem.Code)
			}
		}
	}
	if h.node.calls.Load() != before {
		t.Error("a request came through")
	}
	for _, odd := range [][]string{
		{"GET http://evil.example/v1/node HTTP/1.1", "Host: " + h.host}, // the target's host counts
		{"GET /v1/node HTTP/1.0"},
		{"OPTIONS * HTTP/1.1", "Host: evil.example"},
		{"GET /nowhere HTTP/1.1", "Host: evil.example"},
		{"TRACE /v1/node HTTP/1.1", "Host: evil.example"},
	} {
		if got := h.byHand(odd...); got.status != 403 || got.problem.Code != api.CodeHost {
			t.Errorf("%s: %d %s, want %s", odd[0], got.status, got.problem.Code, api.CodeHost)
		}
	}
	if got := h.byHand("GET /v1/node HTTP/1.1", "Host: "+h.host, "Authorization: Bearer "+h.tokens["owner"]); got.status != 200 {
		t.Errorf("our own host: %d, want 200", got.status)
	}
}

// T95: a page that makes the browser send a request to this machine.
func TestOrigins(t *testing.T) {
	h := openHouse(t)
	_, port, _ := net.SplitHostPort(h.host)
	rows := []struct {
		header, value string
		ok            bool
	}{
		{"Origin", "http://" + h.host, true},
		{"Sec-Fetch-Site", "same-origin", true},
		{"Sec-Fetch-Site", "none", true},
		{"Origin", "null", false},
		{"Origin", "http://evil.example", false},
		{"Origin", "https://" + h.host, false},
		{"Origin", "http://127.0.0.1", false},
		{"Origin", "http://127.0.0.1:1", false},
		{"Origin", "http://localhost:" + port, false},
		{"Origin", "http://0.0.0.0:" + port, false},
		{"Origin", "http://" + h.host + ".evil.example", false},
		{"Origin", "http://" + h.host + "/", false},
		{"Origin", "HTTP://" + h.host, false},
		{"Origin", "chrome-extension://abcdefgh", false},
		{"Origin", "file://", false},
		{"Sec-Fetch-Site", "cross-site", false},
		{"Sec-Fetch-Site", "same-site", false},
		{"Sec-Fetch-Site", "Cross-Site", false},
	}
	web := h.raw("tcp")
	for _, op := range h.operations() {
		for _, row := range rows {
			before := h.node.calls.Load()
			got := h.ask(web, op.method, op.pathFor(), sample[op.id].body, "Authorization", "Bearer "+h.tokens["owner"], row.header, row.value)
			refused := got.status == 403 && got.problem.Code == api.CodeOrigin
			if row.ok == refused || !row.ok && h.node.calls.Load() != before {
				t.Errorf("%s %s with %s: %s: status %d, came through %t", op.method, op.path, row.header, row.value,
					got.status, h.node.calls.Load() != before)
			}
			for name := range got.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s: sends %s", op.method, op.path, name)
				}
			}
		}
	}
	two := h.byHand("GET /v1/node HTTP/1.1", "Host: "+h.host, "Origin: http://"+h.host, "Origin: http://evil.example")
	empty := h.byHand("GET /v1/node HTTP/1.1", "Host: "+h.host, "Origin: ")
	preflight := h.byHand("OPTIONS /v1/messages HTTP/1.1", "Host: "+h.host, "Origin: http://evil.example", "Access-Control-Request-Method: POST")
	for name, got := range map[string]seen{"two origins": two, "empty origin": empty, "preflight": preflight} {
		if got.problem.Code != api.CodeOrigin {
			t.Errorf("%s: %d %s, want %s", name, got.status, got.problem.Code, api.CodeOrigin)
		}
	}
}

// A handler on a server that does not ask the kernel who calls trusts nobody.
func TestSocketWithoutPeerCredentials(t *testing.T) {
	h := newHouse(t)
	l, err := ListenSocket(h.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h.server.SocketHandler()}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	if got := h.ask(h.raw("socket"), "GET", "/v1/node", ""); got.status != 403 || got.problem.Code != api.CodeForbidden {
		t.Errorf("%d %s, want 403 %s", got.status, got.problem.Code, api.CodeForbidden)
	}
}
