package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// settle runs what comes before "up" and returns the flags it would see.
func settle(t *testing.T, file string, env map[string]string, args ...string) (*upFlags, error) {
	t.Helper()
	home := t.TempDir()
	if file != "" {
		if err := os.WriteFile(filepath.Join(home, configFile), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := &app{getenv: func(k string) string { return env[k] }, verb: "up", out: os.Stderr, err: os.Stderr}
	root := a.root()
	cmd, rest, err := root.Find(append([]string{"up", "--home", home}, args...))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	if err := a.prepare(cmd, nil); err != nil {
		return nil, err
	}
	return readFlags(t, cmd), nil
}

type upFlags struct {
	Relay, Bootstrap, Listen       []string
	API, Announce, Agent, LogLevel string
	Homes, Legacy                  string
}

func readFlags(t *testing.T, cmd *cobra.Command) *upFlags {
	t.Helper()
	list := func(name string) []string {
		v, err := cmd.Flags().GetStringSlice(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(v) == 0 {
			return nil
		}
		return v
	}
	text := func(name string) string { return cmd.Flag(name).Value.String() }
	return &upFlags{list("relay"), list("bootstrap"), list("listen"), text("api"), text("announce"), text("agent"), text("log-level"), text("relays-kept"), text("allow-legacy-relay")}
}

func TestFlagsBeatEnvironmentBeatsFile(t *testing.T) {
	const file = "relay: [ws://file/v1/connect, ws://file2/v1/connect]\nannounce: public\nlog_level: warn\nagent: filed\napi: 127.0.0.1:1\nrelay.homes: 3\nrelay.allow_legacy: true\n"
	env := map[string]string{"AMESH_RELAY": "ws://env/v1/connect, ws://env2/v1/connect", "AMESH_LOG_LEVEL": "error", "AMESH_API": "127.0.0.1:2", "AMESH_RELAYS_KEPT": "4", "AMESH_ALLOW_LEGACY_RELAY": "false"}
	got, err := settle(t, file, env, "--relay", "ws://flag/v1/connect", "--relay", "ws://flag2/v1/connect", "--api", "127.0.0.1:3", "--relays-kept", "5", "--allow-legacy-relay")
	if err != nil {
		t.Fatal(err)
	}
	want := &upFlags{Relay: []string{"ws://flag/v1/connect", "ws://flag2/v1/connect"}, API: "127.0.0.1:3", Announce: "public", Agent: "filed", LogLevel: "error", Homes: "5", Legacy: "true"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got, err = settle(t, file, env)
	if err != nil {
		t.Fatal(err)
	}
	want = &upFlags{Relay: []string{"ws://env/v1/connect", "ws://env2/v1/connect"}, API: "127.0.0.1:2", Announce: "public", Agent: "filed", LogLevel: "error", Homes: "4", Legacy: "false"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got, err = settle(t, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	want = &upFlags{Relay: []string{"ws://file/v1/connect", "ws://file2/v1/connect"}, API: "127.0.0.1:1", Announce: "public", Agent: "filed", LogLevel: "warn", Homes: "3", Legacy: "true"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestConfigIsStrict(t *testing.T) {
	for _, c := range []struct{ name, file, says string }{
		{"misspelt key", "relays: ws://x/v1/connect\n", `unknown key "relays", did you mean relay?`},
		{"key of nothing", "colour: red\n", `unknown key "colour"`},
		{"the same key twice", "api: a\napi: b\n", "already"},
		{"no YAML", "{", "config.yaml"},
		{"number for a text", "relay: 5\n", "relay: want a ws:// or wss:// URL, or a list of texts; found 5"},
		{"number in a list", "relay: [5]\n", "list of texts"},
		{"list for one value", "api: [a, b]\n", "want one text, HOST:PORT; found [a b]"},
		{"numbers for a word", "announce: [1, 2]\n", "announce: want none or public; found [1 2]"},
		{"word for a number", "relay.homes: many\n", "relay.homes: "},
		{"word for a truth", "relay.allow_legacy: perhaps\n", "relay.allow_legacy: "},
		{"number for a truth", "relay.allow_legacy: 1\n", "relay.allow_legacy: want true or false; found 1"},
		{"list for a number", "relay.homes: [1]\n", "relay.homes: want a number, 1 to 8; found [1]"},
		{"map for a text", "api: {host: x}\n", "want one text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := settle(t, c.file, nil)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %q", err, c.says)
			}
			if f := explain(err); f.exit != exitUsage {
				t.Errorf("exit %d, want %d", f.exit, exitUsage)
			}
		})
	}
	if f := configError("x", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}); f.exit != exitUnauthorized || f.hint == "" {
		t.Errorf("file of another user: exit %d, next %q", f.exit, f.hint)
	}
	if f := configError("home/x", &fs.PathError{Op: "open", Path: "home/x", Err: syscall.ENOTDIR}); f.exit != exitUsage || f.message != "home is no folder" {
		t.Errorf("file for a home: exit %d, %q", f.exit, f.message)
	}
	if _, err := settle(t, "# nothing\n", nil); err != nil {
		t.Errorf("file of comments: %v", err)
	}
}
