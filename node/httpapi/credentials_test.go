package httpapi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTokensAreMadeOnce(t *testing.T) {
	home := t.TempDir()
	first, err := LoadCredentials(home, []string{"alice"})
	if err != nil {
		t.Fatal(err)
	}
	token := make(map[string]string)
	for _, name := range []string{"owner.token", "agents/alice/token"} {
		path := filepath.Join(home, name)
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode() != 0o600 {
			t.Errorf("%s has mode %s, want 0600", name, fi.Mode())
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		token[name] = strings.TrimSuffix(string(raw), "\n")
		if len(token[name]) != 43 { // 256 bits in base64url
			t.Errorf("%s has %d characters, want 43", name, len(token[name]))
		}
	}
	if fi, err := os.Stat(filepath.Join(home, "agents", "alice")); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the agent's folder: %v, %v; want mode 0700", fi, err)
	}
	again, err := LoadCredentials(home, []string{"alice", "carol"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Credentials{first, again} {
		if who, known := c.find(token["owner.token"]); !known || !who.owner || who.agent != "" {
			t.Errorf("the owner's token is %+v's, known %t", who, known)
		}
		if who, known := c.find(token["agents/alice/token"]); !known || who.owner || who.agent != "alice" {
			t.Errorf("alice's token is %+v's, known %t", who, known)
		}
	}
	if again.agents["carol"] == again.agents["alice"] {
		t.Error("two agents have one token")
	}
	if text := fmt.Sprintf("%+v %#v", again, again); strings.Contains(text, token["owner.token"]) {
		t.Error("credentials print their tokens")
	}
	left, err := filepath.Glob(filepath.Join(home, "*.new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, known := (Credentials{}).find(""); known {
		t.Error("no credentials accept somebody")
	}
}

func TestTokenFilesThatAreRefused(t *testing.T) {
	good := strings.Repeat("A", 43)
	rows := []struct {
		name  string
		spoil func(path string) error
	}{
		{"read by the group", func(p string) error { return os.Chmod(p, 0o640) }},
		{"read by everybody", func(p string) error { return os.Chmod(p, 0o604) }},
		{"written by everybody", func(p string) error { return os.Chmod(p, 0o602) }},
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"too short", func(p string) error { return os.WriteFile(p, []byte(good[1:]), 0o600) }},
		{"too long", func(p string) error { return os.WriteFile(p, []byte(good+"AAAA"), 0o600) }},
		{"of another alphabet", func(p string) error { return os.WriteFile(p, []byte("+"+good[1:]), 0o600) }},
		{"not canonical", func(p string) error { return os.WriteFile(p, []byte(good[1:]+"B"), 0o600) }},
		{"with a second line", func(p string) error { return os.WriteFile(p, []byte(good+"\n\n"), 0o600) }},
		{"a folder", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }},
		{"a link", func(p string) error {
			return errors.Join(os.Rename(p, p+".real"), os.Symlink(p+".real", p))
		}},
	}
	for _, file := range []string{"owner.token", "agents/alice/token"} {
		for _, row := range rows {
			t.Run(file+" "+row.name, func(t *testing.T) {
				home := t.TempDir()
				if _, err := LoadCredentials(home, []string{"alice"}); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(home, file)
				if err := row.spoil(path); err != nil {
					t.Fatal(err)
				}
				_, err := LoadCredentials(home, []string{"alice"})
				if !errors.Is(err, ErrTokenFile) {
					t.Fatalf("%v, want %v", err, ErrTokenFile)
				}
				if !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), good[:20]) {
					t.Errorf("%v: want the path and not the content", err)
				}
			})
		}
	}
}

// A copied token file would give one agent another's rights.
func TestTokenOfSomebodyElse(t *testing.T) {
	for _, from := range []string{"owner.token", "agents/alice/token"} {
		home := t.TempDir()
		if _, err := LoadCredentials(home, []string{"alice", "carol"}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(home, from))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, "agents/carol/token"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCredentials(home, []string{"alice", "carol"}); !errors.Is(err, ErrTokenFile) {
			t.Errorf("carol with %s: %v, want %v", from, err, ErrTokenFile)
		}
		if _, err := LoadCredentials(home, []string{"alice", "alice"}); err != nil {
			t.Errorf("alice named twice: %v", err)
		}
	}
}

func TestAgentsThatAreNoFolders(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../x", "a/b", `a\b`, "/"} {
		home := t.TempDir()
		if _, err := LoadCredentials(home, []string{name}); err == nil {
			t.Errorf("agent %q: accepted", name)
		}
		if _, err := os.Stat(filepath.Join(home, "token")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("agent %q: left a file outside of its folder", name)
		}
	}
}
