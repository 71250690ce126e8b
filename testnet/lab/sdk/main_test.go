// Package sdk_test drives the published SDKs of AgentMesh 0.2, unmodified, against
// the relay as it is shipped: a process of our own binary, a process of Node.js or
// Python, and real sockets between them.
//
// No package registry has the SDKs. AMESH_SDK_JS names the built folder of the
// JavaScript one (agentmesh-js of the AgentMesh repository), AMESH_SDK_PY the
// folder of the Python one (openclaw-skill of its history). Without them a small client beside the test
// takes the SDK's place: the same frames on the same WebSocket libraries.
package sdk_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for another process.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(built)
		os.Exit(code)
	}))
}

// built is the folder of the binary, once there is one.
var built string

// build makes the binary when the first test wants it.
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

// relay is a relay in a process of its own, on a port that stays its own.
type relay struct {
	t      *testing.T
	binary string
	dir    string
	listen string
	url    string
	proc   *exec.Cmd
}

func startRelay(t *testing.T) *relay {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, dir: t.TempDir(), binary: binary, listen: "127.0.0.1:0"}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *relay) start() {
	r.t.Helper()
	r.proc, r.url = run(r.t, r.binary, r.dir, "relay", "--listen", r.listen, "--libp2p", "/ip4/127.0.0.1/udp/0/quic-v1")
	r.listen = strings.TrimSuffix(strings.TrimPrefix(r.url, "ws://"), "/v1/connect")
}

// run starts one of the binary's servers with its state in a folder, and returns its
// URL when it is ready.
func run(t *testing.T, binary, dir, verb string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	info, logs := filepath.Join(dir, "addrs"), filepath.Join(dir, "log")
	_ = os.Remove(info)
	log, err := os.OpenFile(logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	proc := exec.Command(binary, append([]string{verb, "--data", filepath.Join(dir, "data"), "--print-addrs", info}, args...)...)
	proc.Stdout, proc.Stderr = log, log
	if err := proc.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if raw, err := os.ReadFile(info); err == nil {
			var addrs map[string]any
			if err := json.Unmarshal(raw, &addrs); err != nil {
				t.Fatal(err)
			}
			return proc, addrs[verb].(string)
		}
		time.Sleep(5 * time.Millisecond) // another process's file: there is no event to await
	}
	_ = proc.Process.Kill()
	_ = proc.Wait()
	raw, _ := os.ReadFile(logs)
	t.Fatalf("the %s is not ready; its log:\n%s", verb, raw)
	return nil, ""
}

func (r *relay) kill() {
	_ = r.proc.Process.Kill()
	_ = r.proc.Wait()
}
