package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/gateway/client"
	"amesh/gateway/config"
)

// What comes later is shown when it comes, and nothing twice.
func TestInboxIsFollowed(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := map[string]int{"": 1, "m1": 2, "m2": 3}[r.URL.Query().Get("after")]
		fmt.Fprintf(w, `{"recipient":"a@b","messages":[{"message_id":"m%d","sender":"x@y"}],"has_more":true}`, n)
	}))
	defer s.Close()
	c, err := client.New(client.Config{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, end := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- (&app{out: w, json: true}).followInbox(ctx, c, "a@b", client.Page{})
		_ = w.Close()
	}()
	lines := bufio.NewScanner(r)
	var got []string
	for len(got) < 3 && lines.Scan() {
		got = append(got, lines.Text())
	}
	end()
	go func() { _, _ = io.Copy(io.Discard, r) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
	want := []string{`{"message_id":"m1","sender":"x@y"}`, `{"message_id":"m2","sender":"x@y"}`, `{"message_id":"m3","sender":"x@y"}`}
	if !slices.Equal(got, want) {
		t.Errorf("shown: %q", got)
	}
}

// Only gateway's flags get a second dash, and only before a bare --.
func TestOneDash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want []string }{
		{in: []string{"gateway", "-config", "x", "-admin-key-file=y"}, want: []string{"gateway", "--config", "x", "--admin-key-file=y"}},
		{in: []string{"gateway", "-version", "--", "-config"}, want: []string{"gateway", "--version", "--", "-config"}},
		{in: []string{"gateway", "schema", "register", "-f", "x"}, want: []string{"gateway", "schema", "register", "-f", "x"}},
		{in: []string{"gateway", "--config", "x"}, want: []string{"gateway", "--config", "x"}},
		{in: []string{"relay", "-config", "x"}, want: []string{"relay", "-config", "x"}},
		{},
	} {
		if got := oneDash(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q", c.in, got)
		}
	}
}

// The start names every switch that is open, and none that is not.
func TestOpenSwitches(t *testing.T) {
	t.Parallel()
	if got := openSwitches(config.Defaults("")); len(got) != 0 {
		t.Errorf("by default: %q", got)
	}
	agentry := config.Defaults(config.ModeAgentry)
	if got := openSwitches(agentry); len(got) < 6 || got[0] != "admin API without a key" {
		t.Errorf("as agentry: %q", got)
	}
	for _, name := range []string{"push.internal", "discovery.public"} {
		if got := openSwitches(agentry); !slices.Contains(got, name) {
			t.Errorf("%s is not named: %q", name, got)
		}
	}
	agentry.Auth.AdminKeyFile = "keys"
	if got := openSwitches(agentry); slices.Contains(got, "admin API without a key") {
		t.Errorf("with a key: %q", got)
	}
	for name, open := range map[string]func(*config.Config){
		"messages.public_read":                     func(c *config.Config) { c.PublicRead = true },
		"discovery.public":                         func(c *config.Config) { c.PublicAgents = true },
		"push.internal":                            func(c *config.Config) { c.PushInternal = true },
		"outward.allow of every address":           func(c *config.Config) { c.Outward.Allow = []string{"10.0.0.0/8", "::/0"} },
		"server.trusted_proxies of every address":  func(c *config.Config) { c.Server.TrustedProxies = []string{"0.0.0.0/0"} },
		"schema.registry.tls.insecure_skip_verify": func(c *config.Config) { c.Schema.HTTP.TLS.InsecureSkipVerify = true },
	} {
		c := config.Defaults("")
		if open(&c); !slices.Equal(openSwitches(c), []string{name}) {
			t.Errorf("%s: %q", name, openSwitches(c))
		}
	}
}

// Gateways in mock records may be anywhere, but only where the records say.
func TestMockRecordsNameHosts(t *testing.T) {
	t.Parallel()
	d := config.DNS{MockMode: true, MockRecords: map[string]string{
		"a.test": "v=amtp1;gateway=https://10.0.0.1", "b.test": "http://localhost:8081", "c.test": "nonsense", "k1._amtpkey.a.test": "v=amtpkey1;p=x",
	}}
	got := mockHosts(d)
	slices.Sort(got)
	if !slices.Equal(got, []string{"10.0.0.1:443", "localhost:8081"}) {
		t.Errorf("%q", got)
	}
	d.MockMode = false
	if got := mockHosts(d); got != nil {
		t.Errorf("without mock mode: %q", got)
	}
}

// Rates that are all 0 bound nothing; one of them leaves the others in force.
func TestRatesOfTheConfiguration(t *testing.T) {
	t.Parallel()
	if got := ratesOf(config.Rates{}); !got.Off {
		t.Errorf("%+v", got)
	}
	r := config.Defaults("").Rates
	r.DomainPerSecond = 0
	got := ratesOf(r)
	if got.Off || got.Domain.PerSecond != 0 || got.Sender.PerSecond != 2000 || got.UnknownPerHour != 60 {
		t.Errorf("%+v", got)
	}
}

// What a gateway answers ends in the exit codes that every verb has, with a next step where
// there is one, and with nothing that moves a cursor.
func TestRefusalsOfGateways(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		code   string
		want   int
	}{
		{400, "VALIDATION_FAILED", exitUsage}, {413, "PAYLOAD_TOO_LARGE", exitUsage}, {401, "ADMIN_AUTHENTICATION_REQUIRED", exitUnauthorized},
		{403, "ADMIN_ACCESS_DENIED", exitUnauthorized}, {404, "MESSAGE_NOT_FOUND", exitNotFound}, {400, "AGENT_UNREGISTRATION_FAILED", exitNotFound},
		{409, "SCHEMA_ALREADY_EXISTS", exitConflict}, {429, "RATE_LIMIT_EXCEEDED", exitRefused}, {503, "SERVICE_UNAVAILABLE", exitDegraded},
		{504, "TIMEOUT", exitTimeout}, {500, "PROCESSING_FAILED", exitFailed}, {502, "", exitFailed},
	} {
		f := refusedBy(&client.Error{Status: c.status, Code: c.code, Message: "no", RetryAfter: time.Second})
		if f.exit != c.want || f.hint == "" {
			t.Errorf("%d %s: exit %d, hint %q", c.status, c.code, f.exit, f.hint)
		}
	}
	var shown bytes.Buffer
	a := &app{out: io.Discard, err: &shown, verb: "gateway"}
	a.report(explain(explainGateway(&client.Error{Status: 400, Code: "X\x1b[2J", Message: "evil \x1b]0;title\a"}, &adminOptions{})))
	if bytes.ContainsAny(shown.Bytes(), "\x1b\a") {
		t.Errorf("shown: %q", shown.String())
	}
}

// The names of other gateways are asked where the operator says, as their records are, and
// of the next resolver when one does not answer.
func TestResolversForAddresses(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults("")
	if peers, _, err := outwardConfigs(cfg); err != nil || peers.Resolver != nil {
		t.Errorf("without resolvers: %v, %v", peers.Resolver, err)
	}
	first, second := listenUDP(t), listenUDP(t)
	cfg.DNS.Resolvers = []string{first, second}
	peers, hooks, err := outwardConfigs(cfg)
	if err != nil || peers.Resolver == nil || hooks.Resolver == nil {
		t.Fatalf("%v, %v, %v", peers.Resolver, hooks.Resolver, err)
	}
	for _, want := range []string{first, second, first} {
		c, err := peers.Resolver.Dial(t.Context(), "udp", "192.0.2.1:53")
		if err != nil {
			t.Fatal(err)
		}
		if got := c.RemoteAddr().String(); got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		c.Close()
	}
}

func listenUDP(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().String()
}

// The start says that a file of administrators' keys has none.
func TestKeyFileWithoutKeysIsTold(t *testing.T) {
	t.Parallel()
	for text, told := range map[string]bool{"# only a comment\n\n": true, "": true, "# one\nkey\n": false} {
		cfg := config.Defaults("")
		cfg.Auth.AdminKeyFile = filepath.Join(t.TempDir(), "admin.keys")
		if err := os.WriteFile(cfg.Auth.AdminKeyFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		writeGatewayReady(&out, gatewayOptions{}, cfg, nil, gatewayAddresses{}, time.Now())
		if strings.Contains(out.String(), "nobody can register agents yet: write a key into") != told {
			t.Errorf("%q: %s", text, out.String())
		}
	}
}

// The unit starts what there is, and its text and the manual let keys be made by the user
// who has to read them.
func TestGatewayUnitIsOfThisProgram(t *testing.T) {
	t.Parallel()
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	unit, manual := read("deploy", "amesh-gateway.service"), read("docs", "operations", "gateway.md")
	for _, start := range []string{"\nExecStart=/usr/local/bin/", "\n#     /usr/local/bin/"} {
		_, rest, ok := strings.Cut(unit, start)
		if !ok {
			t.Fatalf("no %q", start)
		}
		command, _, _ := strings.Cut(rest, "\n")
		checkExample(t, command)
	}
	for _, setting := range []string{"DynamicUser=yes", "User=amesh-gateway", "StateDirectory=amesh-gateway", "StateDirectoryMode=0700", "UMask=0077"} {
		if !strings.Contains(unit, "\n"+setting+"\n") || !strings.Contains(unit, " -p "+setting) || !strings.Contains(manual, " -p "+setting) {
			t.Errorf("%s: not the same for the gateway and for who makes its keys", setting)
		}
	}
}
