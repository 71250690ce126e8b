package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"amesh/identity"
)

func runFails(t *testing.T, cfg Config, want error) {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// A lost key is never replaced by a new one: that would hide what belongs to the old.
func TestLostKeysAreNotReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"the agent's key": {filepath.Join(agentsDir, defaultAgent, identity.IdentityFile), ErrIdentityLost},
		"all agents":      {agentsDir, ErrIdentityLost},
		"the state's key": {stateKey, ErrStateKeyLost},
	} {
		t.Run(name, func(t *testing.T) {
			r := startNode(t, Config{})
			r.end()
			path := filepath.Join(r.cfg.Home, c.file)
			away := path + ".away"
			if err := os.Rename(path, away); err != nil {
				t.Fatal(err)
			}
			runFails(t, r.cfg, c.want)
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("something was put in its place: %v", err)
			}
			if err := os.Rename(away, path); err != nil {
				t.Fatal(err)
			}
			was := r.amid
			r.start()
			if r.amid != was {
				t.Errorf("%s before, %s after it was restored", was, r.amid)
			}
		})
	}
}

func TestSameIdentityTwice(t *testing.T) {
	r := startNode(t, Config{})
	r.end()
	from := filepath.Join(r.cfg.Home, agentsDir, defaultAgent)
	if err := os.CopyFS(filepath.Join(r.cfg.Home, agentsDir, "copy"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(r.cfg.Home, agentsDir, "copy", identity.IdentityFile), 0o600); err != nil {
		t.Fatal(err)
	}
	runFails(t, r.cfg, ErrIdentityTwice)
}

func TestAPIOnlyOnThisMachine(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:7777", "example.org:7777"} {
		if _, err := New(Config{Home: "x", API: addr}); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", "localhost:7777"} {
		if _, err := New(Config{Home: "x", API: addr}); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
