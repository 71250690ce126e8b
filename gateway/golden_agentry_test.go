package gateway_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The player is right if agentry itself answers as it did. AMESH_AGENTRY is the program.
func TestWithAgentryTheRecordingsAreAgentrys(t *testing.T) {
	program := os.Getenv("AMESH_AGENTRY")
	if program == "" {
		t.Skip("SKIP: needs agentry's program in AMESH_AGENTRY")
	}
	w := &world{url: map[string]string{}, foreign: newForeign(t), workflows: true}
	for name := range goldenDomains {
		w.url[name] = "http://" + freeAddress(t)
	}
	for name, domain := range goldenDomains {
		startAgentry(t, program, w, name, domain)
	}
	judge(t, play(t, w), ofAgentry, nil)
}

// ofAgentry are recordings that agentry did not make as it is started here.
var ofAgentry = map[string]divergence{
	"050-metrics-enabled.json":                  {reason: "another time", paths: []string{"body.timestamp"}},
	"171-federate-two-inbox-bob.json":           {reason: "agentry loses one of the two copies, now this one and now that one", paths: []string{"body.count", "body.messages"}, perhaps: true},
	"172-federate-two-inbox-eve.json":           {reason: "the same", paths: []string{"body.count", "body.messages"}, perhaps: true},
	"306-db-send-same-message-id.json":          {reason: inMemory, paths: []string{"status", "body"}},
	"307-db-resend-same-key-after-restart.json": {reason: inMemory, paths: []string{"status", "body"}},
	"312-db-schema-force.json":                  {reason: inMemory, paths: []string{"status", "body"}},
}

const inMemory = "recorded with a database; here it runs in memory"

// freeAddress is one that the kernel chose, for a program that cannot say which it got.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startAgentry(t *testing.T, program string, w *world, name, domain string) {
	t.Helper()
	dir := t.TempDir()
	records, err := json.Marshal(w.records())
	if err != nil {
		t.Fatal(err)
	}
	args := []string{}
	env := append(os.Environ(), "AMTP_SERVER_ADDRESS="+w.url[name][len("http://"):], "AMTP_DOMAIN="+domain, "AMTP_TLS_ENABLED=false",
		"AMTP_DNS_MOCK_MODE=true", "AMTP_DNS_ALLOW_HTTP=true", "AMTP_DNS_MOCK_RECORDS="+string(records), "AMTP_STORAGE_TYPE=memory", "GIN_MODE=release")
	if name == "C" {
		keys := filepath.Join(dir, "admin.keys")
		config := filepath.Join(dir, "schema.yaml")
		write(t, keys, goldenAdminKey+"\n")
		write(t, config, "schema:\n  registry_type: local\n  local_registry:\n    base_path: "+dir+"/schemas\n    index_file: index.json\n    auto_save: true\n    create_dirs: true\n"+
			"  validation:\n    enabled: true\n  negotiation:\n    enabled: true\n    fallback_strategy: latest\n  pipeline:\n    enabled: true\n")
		args = append(args, "-config", config)
		env = append(env, "AMTP_ADMIN_KEY_FILE="+keys, "AMTP_METRICS_ENABLED=true")
	}
	if name == "D" {
		env = append(env, "AMTP_SCHEMA_REGISTRY_TYPE=local", "AMTP_SCHEMA_REGISTRY_PATH="+dir)
	}
	ctx, end := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(); cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(w.url[name] + "/health")
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", name, err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// goldenDomains are the domains of a world's gateways.
var goldenDomains = map[string]string{"A": "a.local", "B": "b.local", "C": "localhost", "D": "a.local", "M": "a.local", "F": "b.local"}
