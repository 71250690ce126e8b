package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/relay"
	"amesh/relay/admin"

	"github.com/coder/websocket"
)

// patient bounds every wait of these tests.
const patient = 20 * time.Second

// quietBuffer takes what several goroutines write.
type quietBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (q *quietBuffer) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.Write(p)
}

func (q *quietBuffer) String() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.b.String()
}

// relayProcess is "amesh relay" in this process.
type relayProcess struct {
	t     *testing.T
	addrs relayAddresses
	data  string
	err   *quietBuffer
	stop  context.CancelFunc
	exit  chan int
}

// runRelay starts a relay on loopback and waits until it is ready.
func runRelay(t *testing.T, data string, env map[string]string, args ...string) *relayProcess {
	t.Helper()
	file := filepath.Join(t.TempDir(), "addrs.json")
	args = append([]string{"relay", "--libp2p", "/ip4/127.0.0.1/tcp/0", "--data", data, "--print-addrs", file}, args...)
	p := &relayProcess{t: t, data: data, err: &quietBuffer{}, exit: make(chan int, 1)}
	a := &app{
		out: &quietBuffer{}, err: p.err, args: args,
		getenv: func(k string) string {
			if k == "HOME" {
				return data
			}
			return env[k]
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	p.stop = stop
	go func() { p.exit <- a.main(ctx) }()
	t.Cleanup(func() { p.end(exitOK) })
	for end := time.Now().Add(patient); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(file)
		if err == nil {
			if err := json.Unmarshal(b, &p.addrs); err != nil {
				t.Fatal(err)
			}
			return p
		}
		select {
		case code := <-p.exit:
			p.stop = nil
			t.Fatalf("relay ended with %d: %s", code, p.err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("relay is not ready: %s", p.err)
		}
	}
}

// end stops the relay, if it runs, and compares its exit code.
func (p *relayProcess) end(want int) {
	p.t.Helper()
	if p.stop == nil {
		return
	}
	p.stop()
	p.ended(want)
}

// ended waits for the end and compares the exit code.
func (p *relayProcess) ended(want int) {
	p.t.Helper()
	select {
	case code := <-p.exit:
		if code != want {
			p.t.Errorf("relay ended with %d, want %d: %s", code, want, p.err)
		}
	case <-time.After(patient):
		p.t.Error("relay does not end")
	}
	p.stop()
	p.stop = nil
}

func TestRelayAnswersSTUN(t *testing.T) {
	p := runRelay(t, t.TempDir(), nil, "--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0")
	c, err := net.Dial("udp4", p.addrs.STUN)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	askSTUN(t, c)
}

// askSTUN asks and wants an answer.
func askSTUN(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patient)); err != nil {
		t.Fatal(err)
	}
	request := []byte{1: 1, 4: 0x21, 5: 0x12, 6: 0xa4, 7: 0x42, 19: 9}
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 100)
	if n, err := c.Read(answer); err != nil || n != 32 || answer[0] != 1 || answer[1] != 1 {
		t.Errorf("answer % x, %v", answer[:n], err)
	}
}

func TestWhereSTUNListens(t *testing.T) {
	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var told []string
	tell := func(line string) { told = append(told, line) }

	if c, err := listenSTUN(off, true, tell); c != nil || err != nil {
		t.Errorf("off: %v, %v", c, err)
	}
	_, err = listenSTUN(taken.LocalAddr().String(), true, tell)
	if f := explain(err); f.exit != exitConflict {
		t.Errorf("a port that was asked for and is taken: exit %d, %v", f.exit, err)
	}
	_, err = listenSTUN("nobody.invalid:1", true, tell)
	if f := explain(err); f.exit != exitUsage {
		t.Errorf("a name that does not exist: exit %d, %v", f.exit, err)
	}
	if len(told) > 0 {
		t.Errorf("told %q", told)
	}
	// The default: whether it is free or taken by somebody here, it is on loopback.
	for range 2 {
		c, err := listenSTUN("", true, tell)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if ip := c.LocalAddr().(*net.UDPAddr).IP; !ip.IsLoopback() {
			t.Errorf("listens on %s", ip)
		}
	}
	if len(told) == 0 || !strings.Contains(told[len(told)-1], stunDefault) {
		t.Errorf("told %q", told)
	}
}

func TestWhatAgentsAreToldOfSTUN(t *testing.T) {
	listen := func(addr string) *net.UDPConn {
		c, err := listenSTUN(addr, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	one, all := listen("127.0.0.1:0"), listen(":0")
	port := func(c *net.UDPConn) string {
		_, port, _ := net.SplitHostPort(c.LocalAddr().String())
		return port
	}
	for _, c := range []struct {
		what string
		conn *net.UDPConn
		name string
		want string
	}{
		{"none", nil, "relay.example:443", ""},
		{"on one address", one, "", "127.0.0.1:" + port(one)},
		{"on all", all, "", ":" + port(all)},
		{"with a name", all, "relay.example:443", "relay.example:" + port(all)},
	} {
		if got := toldSTUN(c.conn, c.name); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestNetworksOfFlags(t *testing.T) {
	got, err := parsePrefixes("--exempt", []string{"10.1.2.3/8", "192.0.2.7", "::ffff:192.0.2.7", "fd00::1/8"})
	want := "[10.0.0.0/8 192.0.2.7/32 192.0.2.7/32 fd00::/8]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
	for _, s := range []string{"", "localhost", "10.0.0.0/33"} {
		if _, err := parsePrefixes("--exempt", []string{s}); explain(err).exit != exitUsage {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// T49 end to end: the flags reach the server.
func TestRelayCountsByAddress(t *testing.T) {
	p := runRelay(t, t.TempDir(), nil, "--listen", "127.0.0.1:0", "--stun", off, "--per-address", "1", "--trusted-proxy", "127.0.0.1")
	connect := func(from string) (*websocket.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		defer cancel()
		ws, _, err := websocket.Dial(ctx, p.addrs.Relay, &websocket.DialOptions{HTTPHeader: http.Header{"X-Forwarded-For": {from}}})
		return ws, err
	}
	first, err := connect("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.CloseNow() }()
	sayHello(t, first, 1)
	if ws, err := connect("192.0.2.1"); err == nil {
		_ = ws.CloseNow()
		t.Error("two connections of one address")
	}
	second, err := connect("192.0.2.2")
	if err != nil {
		t.Fatal(err)
	}
	_ = second.CloseNow()
}

// A relay that only this machine reaches does not count it by address.
func TestRelayOnLoopbackCountsNobody(t *testing.T) {
	p := runRelay(t, t.TempDir(), nil, "--listen", "127.0.0.1:0", "--stun", off, "--per-address", "1")
	most := relay.DefaultLimits().Admission.WaitingPerAddress
	var all []*websocket.Conn
	for range 2 * most {
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		ws, _, err := websocket.Dial(ctx, p.addrs.Relay, nil)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ws.CloseNow() }()
		all = append(all, ws)
	}
	sayHello(t, all[0], 1)
	sayHello(t, all[1], 2)
}

func testKey(t *testing.T, n byte) identity.PrivateKey {
	t.Helper()
	key, err := identity.PrivateKeyFromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sayHello connects an agent and waits for the relay's answer.
func sayHello(t *testing.T, ws *websocket.Conn, n byte) identity.AMID {
	t.Helper()
	key := testKey(t, n)
	stamp := time.Now().UTC().Format("2006-01-02T15:04:05.000000+00:00")
	frame := fmt.Sprintf(`{"type":"connect","protocol":"agentmesh/0.2","amid":%q,"public_key":%q,"signature":%q,"timestamp":%q}`,
		key.AMID(), key.Public().Text(), base64.StdEncoding.EncodeToString(key.SignTimestamp(stamp)), stamp)
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
	if _, answer, err := ws.Read(ctx); err != nil || !strings.Contains(string(answer), `"connected"`) {
		t.Fatalf("connect answered with %s, %v", answer, err)
	}
	return key.AMID()
}

// Numbers, page and readiness are where the addresses say; neither they nor the log
// name both ends of a message (T55).
func TestRelayShowsItself(t *testing.T) {
	p := runRelay(t, t.TempDir(), nil, "--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
		"--operator", "Ann & Co", "--contact", "ops@relay.example", "--log-level", "debug")
	var amids []string
	var lines []*websocket.Conn
	for n := range byte(2) {
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		defer cancel()
		ws, _, err := websocket.Dial(ctx, p.addrs.Relay, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ws.CloseNow() }()
		amids, lines = append(amids, sayHello(t, ws, n+1).String()), append(lines, ws)
	}
	frame := fmt.Sprintf(`{"type":"send","to":%q,"encrypted_payload":"hi","message_type":"message"}`, amids[1])
	if err := lines[0].Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := lines[1].Read(t.Context()); err != nil || !strings.Contains(string(got), amids[0]) {
		t.Fatalf("%s, %v", got, err)
	}
	web := strings.Replace(strings.TrimSuffix(p.addrs.Relay, relayPath), "ws://", "http://", 1)
	numbers := fetch(t, p.addrs.Metrics+"/metrics", "")
	for url, want := range map[string]string{
		web + "/readyz": `{"status":"ok"}`, web + "/livez": `{"status":"ok"}`,
		web: `"operator":"Ann \u0026 Co","contact":"ops@relay.example"`,
	} {
		if got := fetch(t, url, "application/json"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", url, got)
		}
	}
	if got := fetch(t, web, "text/html"); !strings.Contains(got, "Ann &amp; Co") {
		t.Errorf("page: %s", got)
	}
	for _, want := range []string{`amesh_relay_connections{state="legacy"} 2`, `amesh_relay_frames_received_total{type="send"} 1`, "amesh_relay_stun_requests_total"} {
		if !strings.Contains(numbers, want) {
			t.Errorf("numbers lack %s", want)
		}
	}
	p.end(exitOK)
	for line := range strings.Lines(p.err.String() + numbers) {
		if strings.Contains(line, amids[0]) && strings.Contains(line, amids[1]) {
			t.Errorf("a pair: %s", line)
		}
	}
	if strings.Contains(numbers, amids[0]) || strings.Contains(numbers, "127.0.0.1") {
		t.Errorf("the numbers name somebody: %s", numbers)
	}
	if !strings.Contains(p.err.String(), amids[0]) {
		t.Error("nobody was logged, so the test proves nothing")
	}
}

func fetch(t *testing.T, url, accept string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	client := &http.Client{Timeout: patient, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// short is a folder whose path leaves room for a socket.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "am")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestTopReadsLikeATable(t *testing.T) {
	var out bytes.Buffer
	mail := relay.Room{Messages: 7, Bytes: 5000}
	writeTop(&out, admin.Top{
		At:        time.Date(2026, 11, 20, 9, 22, 46, 0, time.UTC),
		Relay:     admin.Glance{Status: "ok", Ack: 2, Legacy: 1, Waiting: 4, Bans: 1, In: relay.Count{N: 10, Bytes: 2048}, Messages: relay.Room{Messages: 1, Bytes: 1 << 20}},
		Agents:    []relay.Busy{{Who: "3Qju", Connections: 1, Recent: relay.Activity{In: relay.Count{N: 9, Bytes: 900}, Stored: 5, Refused: 1}, Mailbox: &mail}},
		Addresses: []relay.Busy{{Who: "192.0.2.1", Connections: 1, Waiting: 4}},
	})
	want := `relay      09:22:46, ok; 3 agents, 4 waiting; 1 ban
mailboxes  1 message, 1.0 MiB; 0 expired
so far     in 10 frames, 2.0 KiB; out 0, 0 B; refused 0, cut 0

  CONN  IN  BYTES  OUT  BYTES  STORED  REFUSED  MAILBOX  AGENT
     1   9  900 B    0    0 B       5        1        7  3Qju

   CONN  IN  BYTES  OUT  BYTES  STORED  REFUSED  MAILBOX  ADDRESS
  1 (4)   0    0 B    0    0 B       0        0           192.0.2.1
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestSizesForPeople(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 3 << 29: "1.5 GiB", 1 << 40: "1.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

func TestConnectionsFitTheFileLimit(t *testing.T) {
	l := relay.DefaultLimits()
	for n, want := range map[int][2]int{1024: {512, 128}, 10_000: {8000, 1000}, 3: {1, 1}} {
		if c, u := withFiles(l, n); [2]int{c, u} != want {
			t.Errorf("%d files: %d connections, %d without a name; want %v", n, c, u, want)
		}
	}
}

// The unit files start what there is, with flags that there are.
func TestServiceFilesAreOfThisProgram(t *testing.T) {
	unit, err := os.ReadFile(filepath.Join("..", "..", "deploy", "amesh-relay.service"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(unit)) {
		if command, ok := strings.CutPrefix(line, "ExecStart=/usr/local/bin/"); ok {
			found = true
			checkExample(t, command)
		}
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "#   AMESH_"), "="); ok && strings.HasPrefix(line, "#   AMESH_") {
			if flag := strings.ReplaceAll(strings.ToLower(name), "_", "-"); !slices.Contains(fromEnvironment, flag) {
				t.Errorf("AMESH_%s is not read", name)
			}
		}
	}
	if !found {
		t.Error("no ExecStart")
	}
}
