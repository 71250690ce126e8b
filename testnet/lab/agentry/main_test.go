// Package agentry_test runs the reference gateway of AMTP, unmodified, beside ours, each
// in a process of its own: they send each other messages, its console manages ours, and
// what its documentation says to type works with ours.
//
// AMESH_AGENTRY names the reference's gateway, AMESH_AGENTRY_ADMIN its console. Without
// them these tests are skipped; gateway/federation_test.go has a stand-in.
package agentry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"amesh/testnet/process"
)

// patience is how long a test waits for another process.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(built)
		os.Exit(code)
	}))
}

// built is the folder of the binary, once there is one.
var built string

// build makes our binary when the first test wants it.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "amesh")
	if err != nil {
		return "", err
	}
	built = dir
	binary := filepath.Join(dir, "amesh")
	if out, err := exec.Command("go", "build", "-o", binary, "amesh/cmd/amesh").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return binary, nil
})

// program is what a variable names, or the test is skipped. AMESH_WITH_AGENTRY is not asked
// for: a path says enough.
func program(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("needs a program of the reference gateway; set %s to its path", variable)
	}
	return path
}

// gateway is one in a process of its own. It keeps its port.
type gateway struct {
	t      *testing.T
	domain string
	url    string
	dir    string
	binary string
	args   []string
	env    map[string]string
	proc   *exec.Cmd
}

// adminKey opens the admin API of every gateway here.
const adminKey = "admin-key-0123456789abcdef"

// newGateway is a gateway that is not started yet, with the environment that both kinds
// read.
func newGateway(t *testing.T, domain string) *gateway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	g := &gateway{t: t, domain: domain, url: "http://" + addr, dir: t.TempDir()}
	keys := filepath.Join(g.dir, "admin.keys")
	if err := os.WriteFile(keys, []byte(adminKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.env = map[string]string{
		"AMTP_SERVER_ADDRESS": addr, "AMTP_DOMAIN": domain, "AMTP_TLS_ENABLED": "false", "AMTP_DNS_MOCK_MODE": "true",
		"AMTP_DNS_ALLOW_HTTP": "true", "AMTP_ADMIN_KEY_FILE": keys,
	}
	return g
}

// theirs makes it the reference's.
func (g *gateway) theirs() *gateway {
	g.t.Helper()
	g.binary = program(g.t, "AMESH_AGENTRY")
	return g
}

// ours makes it ours.
func (g *gateway) ours(args ...string) *gateway {
	g.t.Helper()
	binary, err := build()
	if err != nil {
		g.t.Fatal(err)
	}
	g.binary, g.args = binary, append([]string{"gateway", "--data", g.dir}, args...)
	return g
}

// acquaint lets gateways know each other, each by the other's URL.
func acquaint(t *testing.T, list ...*gateway) {
	t.Helper()
	records := make(map[string]string)
	for _, g := range list {
		records[g.domain] = "v=amtp1;gateway=" + g.url
	}
	text, err := json.Marshal(records)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range list {
		g.env["AMTP_DNS_MOCK_RECORDS"] = string(text)
	}
}

// start starts the process, and returns when it answers. It ends with the test.
func (g *gateway) start() *gateway {
	g.t.Helper()
	log, err := os.OpenFile(filepath.Join(g.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(g.binary, g.args...)
	cmd.Env = []string{"HOME=" + g.dir, "PATH=" + os.Getenv("PATH")}
	for _, name := range slices.Sorted(maps.Keys(g.env)) {
		cmd.Env = append(cmd.Env, name+"="+g.env[name])
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = g.dir, log, log, process.DieWithParent()
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.proc = cmd
	g.t.Cleanup(g.stop)
	g.until("answers", func() bool {
		resp, err := http.Get(g.url + "/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return g
}

// run runs a verb of the gateway's program to its end.
func (g *gateway) run(args ...string) {
	g.t.Helper()
	cmd := exec.Command(g.binary, args...)
	cmd.Env, cmd.Dir = []string{"HOME=" + g.dir}, g.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		g.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// stop ends the process, if it runs.
func (g *gateway) stop() { g.end(os.Interrupt) }

// kill ends the process as a power cut does.
func (g *gateway) kill() { g.end(os.Kill) }

func (g *gateway) end(by os.Signal) {
	if g.proc == nil {
		return
	}
	proc := g.proc
	g.proc = nil
	http.DefaultClient.CloseIdleConnections()
	_ = proc.Process.Signal(by)
	if err := proc.Wait(); err != nil {
		if _, ended := errors.AsType[*exec.ExitError](err); !ended {
			g.t.Errorf("%s: %v", g.domain, err)
		}
	}
	if g.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(g.dir, "log"))
		g.t.Logf("%s said:\n%s", g.domain, log[max(0, len(log)-2000):])
	}
}

// until looks again and again: another process does not tell when it is ready.
func (g *gateway) until(what string, done func() bool) {
	g.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !done(); {
		select {
		case <-tick.C:
		case <-end:
			log, _ := os.ReadFile(filepath.Join(g.dir, "log"))
			g.t.Fatalf("%s: not in %s: %s\n%s", g.domain, patience, what, log[max(0, len(log)-2000):])
		}
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request. Headers are name, value, ….
func (g *gateway) do(method, path, body string, headers ...string) answer {
	g.t.Helper()
	got, err := g.try(method, path, body, headers...)
	if err != nil {
		g.t.Fatal(err)
	}
	return got
}

// try is do for a gateway that may be away.
func (g *gateway) try(method, path, body string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, raw}, err
}

// read reads a body as JSON.
func (a answer) read(t *testing.T, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(a.body))
	if err := d.Decode(v); err != nil {
		t.Fatalf("status %d: %v\n%s", a.status, err, a.body)
	}
}

// kind is the type of the body, without its parameters.
func (a answer) kind(t *testing.T) string {
	t.Helper()
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	return kind
}

// agent is one of a gateway's.
type agent struct {
	g       *gateway
	address string
	key     string
}

// register registers an agent that fetches its messages.
func (g *gateway) register(name string) agent {
	g.t.Helper()
	var made struct {
		Agent struct {
			Address string
			APIKey  string `json:"api_key"`
		}
	}
	got := g.do(http.MethodPost, "/v1/admin/agents", fmt.Sprintf(`{"address":%q,"delivery_mode":"pull"}`, name), "X-Admin-Key", adminKey)
	if got.status != http.StatusCreated {
		g.t.Fatalf("register %s: %d %s", name, got.status, got.body)
	}
	got.read(g.t, &made)
	return agent{g, made.Agent.Address, made.Agent.APIKey}
}

// letter is a message as an inbox has it.
type letter struct {
	MessageID      string          `json:"message_id"`
	IdempotencyKey string          `json:"idempotency_key"`
	Sender         string          `json:"sender"`
	Subject        string          `json:"subject"`
	InReplyTo      string          `json:"in_reply_to"`
	Headers        json.RawMessage `json:"headers"`
	Payload        json.RawMessage `json:"payload"`
}

// inbox is all that an agent has: the reference gives all at once, ours in pages.
func (a agent) inbox() []letter {
	a.g.t.Helper()
	var all []letter
	for {
		var page struct {
			Messages []letter
			HasMore  bool `json:"has_more"`
		}
		got := a.g.do(http.MethodGet, fmt.Sprintf("/v1/inbox/%s?limit=1000&offset=%d", a.address, len(all)), "", "Authorization", "Bearer "+a.key)
		if got.status != http.StatusOK {
			a.g.t.Fatalf("inbox of %s: %d %s", a.address, got.status, got.body)
		}
		got.read(a.g.t, &page)
		if all = append(all, page.Messages...); !page.HasMore {
			return all
		}
	}
}
