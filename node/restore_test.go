package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/node/backup"
)

// A backup that is cut or changed anywhere leaves nothing behind: no home where none
// was, and what was in a home as it was.
func TestRestoreOfADamagedBackup(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	file, _ := backUp(t, cfg.Home, key)
	whole := read(t, file)
	old := homeFolder(t)
	for name, content := range map[string]string{"policy.json": "{}", "notes": "mine"} {
		if err := os.WriteFile(filepath.Join(old, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := tree(t, old)
	for at := 0; at < len(whole); at += max(1, len(whole)/40) {
		changed := bytes.Clone(whole)
		changed[at] ^= 1
		for how, raw := range map[string][]byte{"cut": whole[:at], "changed": changed} {
			none := filepath.Join(old, "..", filepath.Base(old)+".none")
			for _, home := range []string{none, old} {
				_, err := restoreFrom(t, home, raw, key)
				if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrFormat) && !errors.Is(err, ErrBackupKey) {
					t.Errorf("%s at %d: %v", how, at, err)
				}
			}
			if names := tree(t, none); len(names) != 0 {
				t.Fatalf("%s at %d left %v", how, at, names)
			}
			if diff := cmp.Diff(before, tree(t, old)); diff != "" {
				t.Fatalf("%s at %d: %s", how, at, diff)
			}
		}
	}
}

func TestRestoreWhereSomebodyLives(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	file, _ := backUp(t, cfg.Home, key)
	raw := read(t, file)
	for name, there := range map[string]string{
		"an agent": "agents/bob/identity.json", "state": "state/SCHEMA", "the key of a state": stateKey,
	} {
		home := homeFolder(t)
		path := filepath.Join(home, there)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := tree(t, home)
		if _, err := restoreFrom(t, home, raw, key); !errors.Is(err, ErrHomeNotEmpty) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, tree(t, home)); diff != "" || string(read(t, path)) != "mine" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What the owner has put into the home before stays.
func TestRestoreKeepsWhatIsThere(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	file, _ := backUp(t, cfg.Home, key)
	home := homeFolder(t)
	for name, content := range map[string]string{policyName: `{"strangers":"accept"}`, configName: "announce: none\n", "agents/alice/token": "tok"} {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	res, err := restoreFrom(t, home, read(t, file), key)
	if err != nil || !slices.Equal(res.Kept, []string{policyName}) || len(res.Files) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if string(read(t, filepath.Join(home, policyName))) != `{"strangers":"accept"}` || string(read(t, filepath.Join(home, "agents/alice/token"))) != "tok" {
		t.Error("a file was replaced")
	}
}

// A restore that dies at any point keeps nodes from starting, and is made good by the
// next one. What somebody has put into the home meanwhile is theirs.
func TestRestoreThatDied(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	file, b := backUp(t, cfg.Home, key)
	raw := read(t, file)
	for name, die := range map[string]func(*testing.T, *home, *restorer){
		"before anything": func(*testing.T, *home, *restorer) {},
		"while it reads": func(t *testing.T, _ *home, r *restorer) {
			in, err := backup.NewReader(bytes.NewReader(raw), key)
			if err != nil {
				t.Fatal(err)
			}
			for range 4 {
				e, err := in.Next()
				if err == nil {
					err = r.take(t.Context(), e)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := r.st.Close(); err != nil {
				t.Fatal(err)
			}
		},
		"when all was read": func(t *testing.T, _ *home, r *restorer) { fillAll(t, r, raw, key) },
		"before the state is in place": func(t *testing.T, h *home, r *restorer) {
			fillAll(t, r, raw, key)
			inTheWay := h.path(stateDir, "x")
			if err := os.MkdirAll(inTheWay, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := h.putInPlace(&r.res); err == nil {
				t.Fatal("a folder was replaced")
			}
			if err := os.RemoveAll(h.path(stateDir)); err != nil {
				t.Fatal(err)
			}
		},
		"when all is in place": func(t *testing.T, h *home, r *restorer) {
			fillAll(t, r, raw, key)
			if err := os.WriteFile(h.path(restored), nil, 0o600); err != nil { // no folder can have the name
				t.Fatal(err)
			}
			if err := h.putInPlace(&r.res); err == nil {
				t.Fatal("the last step went well")
			}
			if err := os.Remove(h.path(restored)); err != nil {
				t.Fatal(err)
			}
			if there, err := exists(h.path(stateDir)); err != nil || !there {
				t.Fatalf("the state is not in place, %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := homeFolder(t)
			h := &home{dir: dir}
			if err := h.beginRestore(); err != nil {
				t.Fatal(err)
			}
			die(t, h, &restorer{dir: h.path(restoring), now: time.Now()})
			runFails(t, Config{Home: dir}, ErrRestoreUnfinished)
			if _, err := BackupHome(t.Context(), dir, filepath.Join(t.TempDir(), "b"), []age.Recipient{key.Recipient()}); !errors.Is(err, ErrRestoreUnfinished) {
				t.Errorf("backup: %v", err)
			}
			if _, err := restoreFrom(t, dir, raw[:200], key); err == nil {
				t.Error("a damaged backup was restored")
			}
			if _, err := restoreFrom(t, dir, raw, key); err != nil {
				t.Fatal(err)
			}
			r := startNode(t, Config{Home: dir})
			if r.amid != b.Agents[0].AMID {
				t.Errorf("another agent: %s", r.amid)
			}
			if list, err := r.api.Messages(t.Context(), "", 0); err != nil || len(list) != 2 {
				t.Errorf("%d messages, %v", len(list), err)
			}
		})
	}
}

func fillAll(t *testing.T, r *restorer, raw []byte, key age.Identity) {
	t.Helper()
	in, err := backup.NewReader(bytes.NewReader(raw), key)
	if err == nil {
		err = r.fill(t.Context(), in)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A key that its owner has put where a dead restore had put one is not removed.
func TestRestoreTakesBackOnlyItsOwn(t *testing.T) {
	cfg, key := lived(t), ageKey(t)
	file, _ := backUp(t, cfg.Home, key)
	raw := read(t, file)
	h := &home{dir: homeFolder(t)}
	if err := h.beginRestore(); err != nil {
		t.Fatal(err)
	}
	r := &restorer{dir: h.path(restoring), now: time.Now()}
	fillAll(t, r, raw, key)
	if err := os.WriteFile(h.path(restored), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.putInPlace(&r.res); err == nil {
		t.Fatal("the last step went well")
	}
	mine := h.path(agentsDir, "alice", identity.IdentityFile)
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := restoreFrom(t, h.dir, raw, key); !errors.Is(err, ErrHomeNotEmpty) || string(read(t, mine)) != "mine" {
		t.Errorf("the owner's key: %v", err)
	}
}

// What was left when everything was in place goes with the next start.
func TestRestoreThatDiedAtTheVeryEnd(t *testing.T) {
	cfg := lived(t)
	left := filepath.Join(cfg.Home, restored, agentsDir)
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	startNode(t, Config{Home: cfg.Home})
	if there, err := exists(filepath.Dir(left)); err != nil || there {
		t.Errorf("it is still there, %v", err)
	}
}

// entry is one of a backup that a test makes up.
type entry struct {
	kind        backup.Kind
	name, value string
}

// madeUp is a backup that somebody made who knows the owner's public key.
func madeUp(t *testing.T, key *age.X25519Identity, entries []entry) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := backup.NewWriter(&file, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := w.Add(e.kind, []byte(e.name), []byte(e.value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// T10: a backup names no file but those that it may, and nothing of a backup that does
// not fit together stays.
func TestRestoreOfAMadeUpBackup(t *testing.T) {
	keys := make(map[string]string)
	who := make(map[string]string)
	for i, name := range []string{"a", "b"} {
		dir := t.TempDir()
		id, err := identity.CreateIdentity(dir, strings.NewReader(strings.Repeat(string(rune('k'+i)), 64)))
		if err != nil {
			t.Fatal(err)
		}
		amid := id.AMID()
		keys[name] = string(read(t, filepath.Join(dir, identity.IdentityFile)))
		who[name] = string(binary.BigEndian.AppendUint32(amid[:], 1))
	}
	version := func(v uint32) entry {
		return entry{backup.State, "", string(binary.BigEndian.AppendUint32(nil, v))}
	}
	state := version(schema.Version)
	keyA, agentA := entry{backup.File, "agents/a/identity.json", keys["a"]}, entry{backup.Agent, "a", who["a"]}
	keyB := entry{backup.File, "agents/b/identity.json", keys["b"]}
	rows := map[string][]entry{
		"nothing":                  nil,
		"no agent":                 {state},
		"a key without its agent":  {state, keyA, keyB, agentA},
		"an agent without a key":   {state, agentA},
		"another's key":            {state, keyA, entry{backup.Agent, "a", who["b"]}},
		"no state":                 {keyA, agentA},
		"state twice":              {state, state, keyA, agentA},
		"state of no version":      {version(0), keyA, agentA},
		"state torn":               {entry{backup.State, "", "\x00"}, keyA, agentA},
		"agent twice":              {state, keyA, agentA, agentA},
		"key twice":                {state, keyA, keyA, agentA},
		"one agent by two names":   {state, keyA, agentA, entry{backup.File, "agents/c/identity.json", keys["a"]}, entry{backup.Agent, "c", who["a"]}},
		"agent's value torn":       {state, keyA, entry{backup.Agent, "a", who["a"][:20]}},
		"no key file":              {state, entry{backup.File, "agents/a/identity.json", "{}"}, agentA},
		"a row of nobody":          {state, keyA, entry{backup.Row, "o", "{}"}, agentA},
		"a session":                {state, keyA, agentA, entry{backup.Row, "s1", "x"}},
		"an epoch":                 {state, keyA, agentA, entry{backup.Row, "ue", "12345678"}},
		"a torn row":               {state, keyA, agentA, entry{backup.Row, "o1", "{"}},
		"a kind of another day":    {state, keyA, agentA, entry{200, "x", "y"}},
		"a policy twice":           {state, entry{backup.File, policyName, "{}"}, entry{backup.File, policyName, "{}"}, keyA, agentA},
		"the last epoch there was": {state, keyA, entry{backup.Agent, "a", who["a"][:20] + "\xff\xff\xff\xff"}},
	}
	for _, name := range []string{
		"", ".", "..", "/", "../evil", "agents", "agents/a", "agents/a/", "agents//identity.json", "agents/./identity.json",
		"agents/../identity.json", "agents/../../identity.json", "agents/a/b/identity.json", "agents/a/../b/identity.json",
		"/agents/a/identity.json", "/etc/passwd", "agents/a/token", "agents/a/mark", "node.key", "owner.token", stateKey, "state/SCHEMA",
		"policy.json/", "./policy.json", "agents/..\\x/identity.json", "agents/a\\b/identity.json", "agents/\x00/identity.json",
		"agents/" + strings.Repeat("n", 256) + "/identity.json", restoring + "/" + wholeName, wholeName,
	} {
		rows["file "+name] = []entry{{backup.File, name, keys["a"]}, state, keyA, agentA}
	}
	for _, name := range []string{"", ".", "..", "a/../a", "../" + restoring + "/agents/a", "a\x00"} {
		rows["agent "+name] = []entry{state, keyA, {backup.Agent, name, who["a"]}}
	}
	key := ageKey(t)
	for name, entries := range rows {
		parent := t.TempDir()
		_, err := restoreFrom(t, filepath.Join(parent, "home"), madeUp(t, key, entries), key)
		if err == nil || !errors.Is(err, backup.ErrFormat) && name != "the last epoch there was" {
			t.Errorf("%q: %v", name, err)
		}
		if names := tree(t, parent); len(names) != 1 {
			t.Errorf("%q left %v", name, names)
		}
	}
	_, err := restoreFrom(t, filepath.Join(t.TempDir(), "home"), madeUp(t, key, []entry{version(schema.Version + 1), keyA, agentA}), key)
	if !errors.Is(err, backup.ErrNewer) {
		t.Errorf("rows of a later version: %v", err)
	}
	if _, err := restoreFrom(t, homeFolder(t), madeUp(t, key, []entry{state, keyA, agentA}), key); err != nil {
		t.Errorf("one that fits together: %v", err)
	}
}

func TestNextEpoch(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	for _, c := range []struct {
		before uint32
		now    time.Time
		want   uint32
	}{
		{1, at(1_800_000_000), 1_800_000_000},
		{1_800_000_000, at(1_800_000_000), 1_800_000_001},
		{1_900_000_000, at(1_800_000_000), 1_900_000_001},
		{1, at(0), 2},
		{1<<32 - 2, at(0), 1<<32 - 1},
		{1<<32 - 1, at(0), 0},
		{1, at(-1), 0},
		{1, at(1<<32 - 1), 0},
	} {
		got, err := nextEpoch(c.before, c.now)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("after %d at %d: %d, %v; want %d", c.before, c.now.Unix(), got, err, c.want)
		}
	}
}
