package identity

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What the SDKs write (AgentMesh §1.3), for the seeds 01… and 09….
const (
	jsIdentity = `{"amid":"jPUMBAvNeJo8USHNtJ81Wm7cqnk","signing_private_key":"ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=","signing_public_key":"ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=","exchange_private_key":"x25519:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","exchange_public_key":"x25519:EXCHANGE","created_at":"2026-02-01T12:00:00.000Z","framework":"agentmesh-js","framework_version":"0.1.0"}`
	pyCreated  = "2026-02-01T12:00:00.000000+00:00"
)

func sdkFile(t *testing.T, edit func(string) string) string {
	t.Helper()
	x := testExchange(t, 9)
	text := strings.Replace(jsIdentity, "EXCHANGE", PublicKey(x).Text(), 1)
	path := filepath.Join(t.TempDir(), "identity.json")
	if err := os.WriteFile(path, []byte(edit(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func same(s string) string { return s }

func TestCreateAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agents", "main")
	made, err := CreateIdentity(dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700 | fs.ModeDir, filepath.Join(dir, IdentityFile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	read, err := LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if read.Key.Public() != made.Key.Public() || read.Exchange != made.Exchange || !read.Created.Equal(made.Created) {
		t.Error("read back something else")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := CreateIdentity(dir, rand.Reader); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: got %v, want ErrExists", err)
	}
	if again, err := LoadIdentity(dir); err != nil || again.AMID() != made.AMID() {
		t.Errorf("after the second attempt: %v", err)
	}
	if _, err := LoadIdentity(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no identity: got %v, want ErrNotExist", err)
	}
}

func TestImport(t *testing.T) {
	for name, edit := range map[string]func(string) string{
		"JavaScript":  same,
		"Python":      func(s string) string { return strings.Replace(s, "2026-02-01T12:00:00.000Z", pyCreated, 1) },
		"unprefixed":  func(s string) string { return strings.NewReplacer("ed25519:", "", "x25519:", "").Replace(s) },
		"more fields": func(s string) string { return strings.Replace(s, "{", `{"note":"mine",`, 1) },
	} {
		dir := t.TempDir()
		id, err := ImportIdentity(sdkFile(t, edit), dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if id.AMID().String() != "jPUMBAvNeJo8USHNtJ81Wm7cqnk" || !id.Created.Equal(time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %s of %s", name, id.AMID(), id.Created)
		}
		var f identityFile
		raw, err := os.ReadFile(filepath.Join(dir, IdentityFile))
		if err != nil || json.Unmarshal(raw, &f) != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.Framework != "amesh" || !strings.HasPrefix(f.SigningPrivate, "ed25519:") || f.CreatedAt != "2026-02-01T12:00:00.000Z" {
			t.Errorf("%s: wrote %s", name, raw)
		}
		if _, err := ImportIdentity(sdkFile(t, edit), dir); !errors.Is(err, ErrExists) {
			t.Errorf("%s again: got %v, want ErrExists", name, err)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	replace := func(old, with string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, with, 1) }
	}
	for name, c := range map[string]struct {
		edit func(string) string
		want error
	}{
		"another amid":            {replace("jPUMBAvNeJo8USHNtJ81Wm7cqnk", "2Uq51iFVLnqmgbVY3vLZtMD5PR87"), ErrMismatch},
		"another signing key":     {replace("AQEBAQEBAQEBAQEBAQEBAQEB", "AgEBAQEBAQEBAQEBAQEBAQEB"), ErrMismatch},
		"another exchange key":    {replace("x25519:CQkJ", "x25519:CQgJ"), ErrMismatch},
		"short key":               {replace("AQEBAQEBAQEBAQEBAQEB", "AQEB"), ErrKeyFile},
		"no created_at":           {replace("2026-02-01T12:00:00.000Z", ""), ErrKeyFile},
		"no amid":                 {replace(`"amid"`, `"name"`), ErrMismatch},
		"two signing keys":        {replace(`{`, `{"signing_private_key":"ed25519:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",`), ErrKeyFile},
		"two in another spelling": {replace(`{`, `{"Amid":"x",`), ErrKeyFile},
		"empty":                   {func(string) string { return "" }, ErrKeyFile},
	} {
		dir := t.TempDir()
		if _, err := ImportIdentity(sdkFile(t, c.edit), dir); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}

// T10: a key file that others can reach is not used, and the error says what to
// do.
func TestT10KeyFilePermissions(t *testing.T) {
	dir := t.TempDir()
	if _, err := CreateIdentity(dir, rand.Reader); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(dir, "node.key")
	if _, err := LoadNodeKey(node, rand.Reader); err != nil {
		t.Fatal(err)
	}
	for path, load := range map[string]func() error{
		filepath.Join(dir, IdentityFile): func() error { _, err := LoadIdentity(dir); return err },
		node:                             func() error { _, err := LoadNodeKey(node, rand.Reader); return err },
	} {
		for _, mode := range []fs.FileMode{0o600, 0o400, 0o700} {
			if err := errors.Join(os.Chmod(path, mode), load()); err != nil {
				t.Errorf("%s, mode %o: %v", filepath.Base(path), mode, err)
			}
		}
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o644, 0o620, 0o602, 0o660, 0o666, 0o601} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			err := load()
			if !errors.Is(err, ErrKeyPermissions) || !strings.Contains(err.Error(), "chmod 600 "+path) {
				t.Errorf("%s, mode %o: got %v, want ErrKeyPermissions with the command", filepath.Base(path), mode, err)
			}
		}
	}
}

// T10: of a file cut at any place nothing is read as a key.
func TestT10TornKeyFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := CreateIdentity(dir, rand.Reader); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(dir, "node.key")
	if _, err := LoadNodeKey(node, rand.Reader); err != nil {
		t.Fatal(err)
	}
	cut := func(path string, load func() error) {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(strings.TrimRight(string(whole), "\n")) {
			if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			if err := load(); !errors.Is(err, ErrKeyFile) {
				t.Fatalf("%s cut to %d bytes: got %v, want ErrKeyFile", filepath.Base(path), n, err)
			}
		}
	}
	cut(filepath.Join(dir, IdentityFile), func() error { _, err := LoadIdentity(dir); return err })
	cut(node, func() error { _, err := LoadNodeKey(node, rand.Reader); return err })
}

func TestNodeKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.key")
	made, err := LoadNodeKey(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	read, err := LoadNodeKey(path, nil)
	if err != nil || read.Public() != made.Public() {
		t.Errorf("read back something else: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadNodeKey(path, rand.Reader); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a folder: got %v, want ErrKeyFile", err)
	}
}

func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.json")
	for _, text := range []string{"one", "two"} {
		if err := ReplaceFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if err := ReplaceFile(filepath.Join(path, "below a file"), nil); err == nil {
		t.Error("wrote below a file")
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte(jsIdentity))
	f.Fuzz(func(t *testing.T, raw []byte) {
		id, err := parseIdentity(raw)
		if err == nil && id.AMID() != id.Key.Public().AMID() {
			t.Error("name and key differ")
		}
	})
}
