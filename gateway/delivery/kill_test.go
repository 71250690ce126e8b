package delivery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"amesh/gateway/amtp"
)

// counts is a gateway that takes everything, and counts by key and recipient. It takes
// its time, and now and then drops its answer.
type counts struct {
	mu    sync.Mutex
	taken map[string]int
	well  atomic.Bool // it fails no more
}

func (c *counts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m struct {
		Key        string   `json:"idempotency_key"`
		Recipients []string `json:"recipients"`
	}
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !c.well.Load() && rand.N(10) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	c.mu.Lock()
	for _, to := range m.Recipients {
		c.taken[m.Key+" "+to]++
	}
	c.mu.Unlock()
	if !c.well.Load() && rand.N(10) == 0 {
		panic(http.ErrAbortHandler)
	}
}

// process is "amesh gateway" in a process of its own.
type process struct {
	t         *testing.T
	bin, data string
	env       []string
	cmd       *exec.Cmd
	url       string
}

func (p *process) start() {
	p.t.Helper()
	addrs := filepath.Join(p.data, "addrs.json")
	_ = os.Remove(addrs)
	p.cmd = exec.Command(p.bin, "gateway", "--compat", "agentry", "--listen", "127.0.0.1:0", "--tls", "off", "--domain", ours,
		"--data", p.data, "--database", filepath.Join(p.data, "gateway.db"), "--print-addrs", addrs, "--log-level", "warn")
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = os.Stderr, os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for range 1000 { // another process writes the file: nothing tells us
		text, err := os.ReadFile(addrs)
		if _, rest, ok := strings.Cut(string(text), "http://"); err == nil && ok {
			addr, _, _ := strings.Cut(rest, `"`)
			p.url = "http://" + strings.TrimSuffix(addr, "/")
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatal("the gateway is not ready")
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// register makes an agent and returns its key.
func (p *process) register(name string) string {
	p.t.Helper()
	resp, err := http.Post(p.url+"/v1/admin/agents", "application/json", strings.NewReader(`{"address":"`+name+`","delivery_mode":"pull"}`))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Agent struct {
			Key string `json:"api_key"`
		} `json:"agent"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Agent.Key == "" {
		p.t.Fatalf("agent %s: %d, %v", name, resp.StatusCode, err)
	}
	return answer.Agent.Key
}

// post sends one message until it is taken, whatever happens to the gateway, and
// returns its id.
func post(ctx context.Context, url func() string, secret, key string) (id string) {
	body := fmt.Appendf(nil, `{"version":"1.0","idempotency_key":%q,"sender":"user@a.test","recipients":["bob@b.test","inbox@a.test"],"payload":{"k":%q}}`, key, key)
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url()+"/v1/messages", bytes.NewReader(body))
		if err != nil {
			return ""
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			var answer amtp.SendResult
			err = json.NewDecoder(resp.Body).Decode(&answer)
			_ = resp.Body.Close()
			if err == nil && resp.StatusCode/100 == 2 && answer.MessageID != "" {
				return answer.MessageID
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return ""
}

// CP 37: a gateway that is killed again and again under load. What it said it has taken
// is delivered, in the queue, or a dead letter, to the last message; and in the end
// everything is delivered, to each recipient once by its key.
func TestSoakKillGatewayUnderLoad(t *testing.T) {
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes half a minute; set AMESH_SOAK=1")
	}
	bin := filepath.Join(t.TempDir(), "amesh")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "amesh/cmd/amesh").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	other := &counts{taken: make(map[string]int)}
	srv := httptest.NewServer(other)
	t.Cleanup(srv.Close)
	p := &process{t: t, bin: bin, data: t.TempDir(), env: []string{
		"AMTP_DNS_MOCK_MODE=true", "AMTP_DNS_ALLOW_HTTP=true", `AMTP_DNS_MOCK_RECORDS={"b.test":"v=amtp1;gateway=` + srv.URL + `"}`,
	}}
	accepted := killUnderLoad(t, p, 8)
	if len(accepted) < 100 {
		t.Errorf("%d messages taken: that is no load", len(accepted))
	}
	other.well.Store(true) // else the last few are tried for minutes
	p.start()
	t.Cleanup(p.kill)
	up, last := time.Now(), -1
	open, delivered := maps.Clone(accepted), 0
	for len(open) > 0 && time.Since(up) < 2*time.Minute {
		dead := 0
		for id := range open {
			switch status(t, p.url, id) {
			case amtp.Delivered:
				delivered++
				delete(open, id)
			case amtp.Failed:
				dead++
			}
		}
		if delivered != last {
			t.Logf("%v after the last start: taken %d = delivered %d + queued %d + dead %d",
				time.Since(up).Round(time.Millisecond), len(accepted), delivered, len(open)-dead, dead)
			last = delivered
		}
		if dead > 0 {
			t.Fatalf("%d dead letters, and nobody refused anything", dead)
		}
		time.Sleep(time.Second) // another process: nothing tells us
	}
	if len(open) > 0 {
		t.Errorf("%d are still in the queue", len(open))
	}
	other.mu.Lock()
	defer other.mu.Unlock()
	for _, key := range accepted {
		if other.taken[key+" bob@b.test"] == 0 {
			t.Errorf("%s is delivered, and not there", key)
		}
	}
	if len(other.taken) < len(accepted) || len(other.taken) > len(accepted)+16 { // the last of each client may not be taken
		t.Errorf("%d have arrived of %d", len(other.taken), len(accepted))
	}
}

// killUnderLoad starts and kills a gateway so many times while clients send. It returns
// the keys of what was taken, by message id.
func killUnderLoad(t *testing.T, p *process, times int) map[string]string {
	t.Helper()
	var mu sync.Mutex
	accepted := make(map[string]string)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	url := func() string { mu.Lock(); defer mu.Unlock(); return p.url }
	restart := func() {
		mu.Lock()
		defer mu.Unlock()
		p.start()
	}
	restart()
	secret := p.register("user")
	p.register("inbox")
	for range 16 {
		clients.Go(func() {
			for ctx.Err() == nil {
				key := amtp.NewKey()
				id := post(ctx, url, secret, key)
				mu.Lock()
				if id != "" {
					accepted[id] = key
				}
				mu.Unlock()
			}
		})
	}
	for range times {
		time.Sleep(200*time.Millisecond + rand.N(500*time.Millisecond))
		p.kill()
		restart()
	}
	p.kill()
	cancel()
	clients.Wait()
	return accepted
}

// status asks what became of a message.
func status(t *testing.T, url, id string) amtp.State {
	t.Helper()
	resp, err := http.Get(url + "/v1/messages/" + id + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s amtp.MessageStatus
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: taken, and lost: %d %v", id, resp.StatusCode, err)
		return amtp.Failed
	}
	return s.Status
}
