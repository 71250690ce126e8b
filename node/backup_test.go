package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/api"
)

func ageKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// lived is a home in which an agent has some mail.
func lived(t *testing.T) Config {
	t.Helper()
	r := startNode(t, Config{Agent: "alice"})
	r.set("strangers", "reject")
	for _, text := range []string{"one", "two"} {
		_, err := r.api.Send(t.Context(), "", api.SendRequest{To: identity.AMID{7}.String(), Body: []byte(text)}, "key-"+text)
		if err != nil {
			t.Fatal(err)
		}
	}
	r.end()
	return r.cfg
}

func backUp(t *testing.T, home string, key *age.X25519Identity) (file string, b api.Backup) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "b.age")
	b, err := BackupHome(t.Context(), home, file, []age.Recipient{key.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	return file, b
}

func restoreFrom(t *testing.T, home string, raw []byte, key age.Identity) (Restored, error) {
	t.Helper()
	return Restore(t.Context(), home, bytes.NewReader(raw), []age.Identity{key}, time.Now())
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// tree is all that is in a folder.
func tree(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

func TestBackupAndRestore(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	file, b := backUp(t, cfg.Home, key)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != b.Size || b.File != file || b.Rows == 0 {
		t.Fatalf("%v, %v; %+v", info, err, b)
	}
	if names := tree(t, filepath.Dir(file)); len(names) != 2 {
		t.Errorf("beside the backup lies something: %v", names)
	}
	home := filepath.Join(homeFolder(t), "new")
	now := time.Now()
	res, err := restoreFrom(t, home, read(t, file), key)
	if err != nil {
		t.Fatal(err)
	}
	want := Restored{Agents: []RestoredAgent{{"alice", b.Agents[0].AMID, uint32(now.Unix())}}, Rows: b.Rows, Files: []string{policyName}}
	if len(res.Agents) == 1 && res.Agents[0].Epoch >= uint32(now.Unix()) {
		want.Agents[0].Epoch = res.Agents[0].Epoch // the clock went on
	}
	if diff := cmp.Diff(want, res); diff != "" {
		t.Error(diff)
	}
	left, err := os.ReadDir(home)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if want := []string{agentsDir, policyName, stateDir, stateKey}; !slices.Equal(names, want) {
		t.Errorf("in the home is %v, want %v", names, want)
	}
	r := startNode(t, Config{Home: home})
	if r.amid != b.Agents[0].AMID {
		t.Errorf("%s came back as %s", b.Agents[0].AMID, r.amid)
	}
	list, err := r.api.Messages(t.Context(), "", 0)
	if err != nil || len(list) != 2 {
		t.Errorf("%d messages, %v", len(list), err)
	}
	if p, err := r.api.Policy(t.Context(), ""); err != nil || p.Rules["strangers"] != "reject" {
		t.Errorf("policy %v, %v", p.Rules, err)
	}
}

// A backup holds no key but the agents', and no credential of the old home.
func TestBackupHoldsNoOtherKey(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	file, _ := backUp(t, cfg.Home, key)
	in, err := age.Decrypt(bytes.NewReader(read(t, file)), key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	var canaries [][]byte
	for _, name := range []string{"owner.token", "agents/alice/token", nodeKeyFile, "agents/alice/" + markName} {
		canaries = append(canaries, bytes.TrimSpace(read(t, filepath.Join(cfg.Home, name))))
	}
	for line := range strings.Lines(string(read(t, filepath.Join(cfg.Home, stateKey)))) {
		if _, key, found := strings.Cut(strings.TrimSpace(line), " "); found && len(key) == 64 {
			raw, err := hex.DecodeString(key)
			if err != nil {
				t.Fatal(err)
			}
			canaries = append(canaries, []byte(key), raw)
		}
	}
	if len(canaries) != 6 {
		t.Fatalf("%d canaries", len(canaries))
	}
	for _, c := range canaries {
		if len(c) < 16 || bytes.Contains(plain, c) || bytes.Contains(plain, c[len(c)-16:]) {
			t.Errorf("%.40q is in the backup", c)
		}
	}
	if !bytes.Contains(plain, []byte("signing_private_key")) {
		t.Error("the agent's key is not in the backup")
	}
}

func TestBackupNamesANewFile(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	dir := t.TempDir()
	file, link := filepath.Join(dir, "b.age"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		_, err := BackupHome(t.Context(), cfg.Home, path, []age.Recipient{key.Recipient()})
		if !errors.Is(err, ErrBackupExists) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := BackupHome(t.Context(), cfg.Home, filepath.Join(dir, "none", "b"), []age.Recipient{key.Recipient()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("into a folder that is none: %v", err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if _, err := BackupHome(ended, cfg.Home, filepath.Join(dir, "c"), []age.Recipient{key.Recipient()}); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if names := tree(t, dir); len(names) != 3 || string(read(t, file)) != "mine" {
		t.Errorf("something was touched or left behind: %v", names)
	}
}

// What came to stand there while the backup was written is not replaced, on a disk
// without links neither.
func TestPlaceReplacesNothing(t *testing.T) {
	for name, link := range map[string]func(old, new string) error{
		"with links":    os.Link,
		"without links": func(string, string) error { return &os.LinkError{Op: "link", Err: errors.ErrUnsupported} },
	} {
		dir := t.TempDir()
		tmp, file := filepath.Join(dir, "tmp"), filepath.Join(dir, "file")
		if err := os.WriteFile(tmp, []byte("backup"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := place(tmp, file, link); err != nil || string(read(t, file)) != "backup" {
			t.Errorf("%s: %v", name, err)
		}
		if err := identity.ReplaceFile(tmp, []byte("another")); err != nil {
			t.Fatal(err)
		}
		if err := place(tmp, file, link); !errors.Is(err, ErrBackupExists) || string(read(t, file)) != "backup" {
			t.Errorf("%s: replaced, %v", name, err)
		}
	}
}

func TestBackupOfNobody(t *testing.T) {
	to := []age.Recipient{ageKey(t).Recipient()}
	file := filepath.Join(t.TempDir(), "b.age")
	none := filepath.Join(t.TempDir(), "none")
	if _, err := BackupHome(t.Context(), none, file, to); !errors.Is(err, ErrNobody) {
		t.Errorf("no home: %v", err)
	}
	empty := t.TempDir()
	if err := os.Mkdir(filepath.Join(empty, agentsDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := BackupHome(t.Context(), empty, file, to); !errors.Is(err, ErrNobody) {
		t.Errorf("empty home: %v", err)
	}
	if names := append(tree(t, none), tree(t, empty)...); len(names) != 2 {
		t.Errorf("something was made: %v", names)
	}
	cfg := lived(t)
	if err := os.Remove(filepath.Join(cfg.Home, agentsDir, "alice", identity.IdentityFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := BackupHome(t.Context(), cfg.Home, file, to); !errors.Is(err, ErrIdentityLost) {
		t.Errorf("key lost: %v", err)
	}
}

// Without the key of the state sessions are lost, and mail is not.
func TestBackupWithoutTheKeyOfTheState(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	if err := os.Remove(filepath.Join(cfg.Home, stateKey)); err != nil {
		t.Fatal(err)
	}
	file, b := backUp(t, cfg.Home, key)
	res, err := restoreFrom(t, homeFolder(t), read(t, file), key)
	if err != nil || res.Rows != b.Rows {
		t.Fatalf("%+v, %v", res, err)
	}
}

// An agent that was imported and never ran has a key and nothing else.
func TestBackupOfANewAgent(t *testing.T) {
	from, key := t.TempDir(), ageKey(t)
	id, err := identity.CreateIdentity(filepath.Join(from, agentsDir, "new"), strings.NewReader(strings.Repeat("seed", 16)))
	if err != nil {
		t.Fatal(err)
	}
	file, b := backUp(t, from, key)
	if b.Rows != 0 {
		t.Errorf("%d rows", b.Rows)
	}
	if there, err := exists(filepath.Join(from, stateDir)); err != nil || there {
		t.Errorf("a backup made state, %v", err)
	}
	res, err := restoreFrom(t, homeFolder(t), read(t, file), key)
	if err != nil || len(res.Agents) != 1 || res.Agents[0].AMID != id.AMID() {
		t.Fatalf("%+v, %v", res, err)
	}
}

func TestHomeInUse(t *testing.T) {
	r, key := startNode(t, Config{}), ageKey(t)
	file := filepath.Join(t.TempDir(), "b.age")
	if _, err := BackupHome(t.Context(), r.cfg.Home, file, []age.Recipient{key.Recipient()}); !errors.Is(err, ErrHomeInUse) {
		t.Errorf("backup: %v", err)
	}
	if _, err := r.api.Backup(t.Context(), api.BackupRequest{File: file, Recipients: []string{key.Recipient().String()}}); err != nil {
		t.Fatal(err)
	}
	if _, err := restoreFrom(t, r.cfg.Home, read(t, file), key); !errors.Is(err, ErrHomeInUse) {
		t.Errorf("restore: %v", err)
	}
}

// The node's API writes the same backup, and says what is wrong with a request. The
// passphrase is in no answer and in no log.
func TestBackupByTheAPI(t *testing.T) {
	const words = "correct horse battery staple"
	var log lockedBuffer
	r := startNode(t, Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "taken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := ageKey(t).Recipient().String()
	for name, c := range map[string]struct {
		r    api.BackupRequest
		code api.Code
	}{
		"with a passphrase":    {api.BackupRequest{File: filepath.Join(dir, "words"), Passphrase: words}, ""},
		"with keys":            {api.BackupRequest{File: filepath.Join(dir, "keys"), Recipients: []string{good, ageKey(t).Recipient().String()}}, ""},
		"for nobody":           {api.BackupRequest{File: filepath.Join(dir, "x")}, api.CodeInvalid},
		"for both":             {api.BackupRequest{File: filepath.Join(dir, "x"), Passphrase: words, Recipients: []string{good}}, api.CodeInvalid},
		"no key":               {api.BackupRequest{File: filepath.Join(dir, "x"), Recipients: []string{words}}, api.CodeInvalid},
		"an empty key":         {api.BackupRequest{File: filepath.Join(dir, "x"), Recipients: []string{good, ""}}, api.CodeInvalid},
		"two keys in one":      {api.BackupRequest{File: filepath.Join(dir, "x"), Recipients: []string{good + "\n" + good}}, api.CodeInvalid},
		"relative path":        {api.BackupRequest{File: "x", Recipients: []string{good}}, api.CodeInvalid},
		"a file that is there": {api.BackupRequest{File: filepath.Join(dir, "taken"), Recipients: []string{good}}, api.CodeConflict},
		"no such folder":       {api.BackupRequest{File: filepath.Join(dir, "none", "x"), Recipients: []string{good}}, api.CodeNotFound},
	} {
		b, err := r.api.Backup(t.Context(), c.r)
		if problemCode(err) != c.code || c.code == "" && (err != nil || b.File != c.r.File) {
			t.Errorf("%s: %v, want %q", name, err, c.code)
		}
		if err != nil && strings.Contains(err.Error(), words) {
			t.Errorf("%s: the error says the passphrase: %v", name, err)
		}
	}
	if names := tree(t, dir); len(names) != 4 {
		t.Errorf("something was left behind: %v", names)
	}
	if log.Contains(words) {
		t.Error("the passphrase is in the log")
	}
	r.end()
	raw := read(t, filepath.Join(dir, "words"))
	for passphrase, want := range map[string]error{"correct horse": ErrBackupKey, words: nil} {
		by, err := BackupIdentities(passphrase, nil)
		if err != nil {
			t.Fatal(err)
		}
		home := filepath.Join(homeFolder(t), "home")
		if _, err := Restore(t.Context(), home, bytes.NewReader(raw), by, time.Now()); !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), passphrase) {
			t.Errorf("%q: %v", passphrase, err)
		}
		if there, _ := exists(home); there != (want == nil) {
			t.Errorf("%q: the home is there: %t", passphrase, there)
		}
	}
	if _, err := restoreFrom(t, t.TempDir(), raw, ageKey(t)); !errors.Is(err, ErrBackupKey) || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("a key for a passphrase: %v", err)
	}
}

// lockedBuffer takes what several goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) Contains(s string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.buf.Bytes(), []byte(s))
}

// One backup after the other: each takes memory for its passphrase.
func TestOneBackupAtATime(t *testing.T) {
	m := &mesh{}
	m.backups.Lock()
	_, err := m.Backup(t.Context(), api.BackupRequest{File: "/tmp/x", Recipients: []string{ageKey(t).Recipient().String()}})
	if problemCode(err) != api.CodeBusy {
		t.Errorf("got %v", err)
	}
}

// What BackupHome finds in a store is what agent.Backup gives of it.
func TestBackupOfWhatTheAgentHas(t *testing.T) {
	cfg := lived(t)
	_, b := backUp(t, cfg.Home, ageKey(t))
	st, err := store.Open(filepath.Join(cfg.Home, stateDir), store.Options{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	rows := 0
	err = st.View(func(r store.Reader) error {
		return agent.Backup(r, b.Agents[0].AMID, func(_, _ []byte) error { rows++; return nil })
	})
	if err != nil || rows != b.Rows {
		t.Errorf("%d rows are in the backup, %d in the state, %v", b.Rows, rows, err)
	}
}
