package doctor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// Home looks at a home folder. schema is what the program expects of its state.
func Home(dir string, schema store.Schema, now time.Time) []api.Check {
	info, err := os.Stat(dir)
	if err != nil {
		return []api.Check{fail("home", "amesh up makes one; another is named with --home", "there is no home: %v", err)}
	}
	return []api.Check{
		folder(dir, info), space(dir), keys(dir), state(dir, schema), policy(dir), backup(dir, now),
	}
}

func folder(dir string, info fs.FileInfo) api.Check {
	switch {
	case !info.IsDir():
		return fail("home", "name another with --home", "%s is no folder", dir)
	case !store.Private(info.Mode()):
		return fail("home", "chmod 700 "+dir, "others can enter %s (%04o)", dir, info.Mode().Perm())
	}
	return ok("home", "%s, for its owner only", dir)
}

func space(dir string) api.Check {
	free, err := store.FreeSpace(dir)
	switch {
	case err != nil:
		return skip("disk", "free space: %v", err)
	case free < diskFail:
		return fail("disk", "make room: below 64 MiB nothing is accepted any more", "%s free", size(free))
	case free < diskWarn:
		return warn("disk", "make room", "%s free", size(free))
	}
	return ok("disk", "%s free", size(free))
}

func size(n int64) string {
	switch {
	case n >= 1<<40: // also where it is not known
		return "more than 1 TiB"
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// SecretFiles are the files of a home that nobody else may read, as patterns.
var SecretFiles = []string{"owner.token", "node.key", "state.key", "agents/*/identity.json", "agents/*/token", "echo/identity.json"}

func keys(dir string) api.Check {
	var open []string
	seen := 0
	for _, pattern := range SecretFiles {
		found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the patterns are ours
		for _, path := range found {
			info, err := os.Lstat(path)
			if err != nil {
				continue
			}
			seen++
			if !store.Private(info.Mode()) {
				open = append(open, path)
			}
		}
	}
	switch {
	case len(open) > 0:
		return fail("keys", "chmod 600 "+strings.Join(open, " ")+"; if somebody else may have read it, amesh key revoke",
			"others can read %s", strings.Join(open, ", "))
	case seen == 0:
		return skip("keys", "there are none yet")
	}
	return ok("keys", "%d secret files, for their owner only", seen)
}

func state(dir string, schema store.Schema) api.Check {
	if _, err := os.Stat(filepath.Join(dir, "restoring")); err == nil {
		return fail("state", "run amesh restore again", "a restore has not finished")
	}
	at := filepath.Join(dir, "state")
	switch err := schema.Fits(at); {
	case errors.Is(err, store.ErrTooNew):
		return fail("state", "use the newer amesh; nothing was changed", "%v", err)
	case err != nil:
		return fail("state", "restore the folder from where it was damaged, or move it away and start anew", "%v", err)
	}
	if !store.Exists(at) {
		return skip("state", "there is none yet")
	}
	if _, err := os.Stat(filepath.Join(dir, "state.key")); err != nil {
		return fail("state", "put state.key back from where the state is from", "the key of the state: %v", err)
	}
	if ids, _ := filepath.Glob(filepath.Join(dir, "agents/*/identity.json")); len(ids) == 0 {
		return fail("state", "put identity.json back from a backup", "there is mail, and no agent's key")
	}
	return ok("state", "schema %d", schema.Version)
}

func policy(dir string) api.Check {
	f, err := os.Open(filepath.Join(dir, "policy.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return ok("policy", "no policy.json: the owner is asked about strangers")
	}
	if err != nil {
		return fail("policy", "let the node's user read it", "%v", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, knock.MaxPolicySize+1))
	if err != nil {
		return fail("policy", "let the node's user read it", "%v", err)
	}
	p, err := knock.ParsePolicy(raw)
	if err != nil {
		return fail("policy", "mend policy.json; until then the one before it is in force", "%v", err)
	}
	return ok("policy", "strangers: %v, %d blocked", p.Strangers, len(p.Block))
}

// LastBackup is the file in a home whose time is that of the last backup.
const LastBackup = "last-backup"

// NoteBackup says in a home that a backup was made just now.
func NoteBackup(dir string, now time.Time) error {
	return os.WriteFile(filepath.Join(dir, LastBackup), []byte(now.UTC().Format(time.RFC3339)+"\n"), 0o600)
}

func backup(dir string, now time.Time) api.Check {
	const next = "amesh backup FILE, on another disk"
	if info, err := os.Stat(filepath.Join(dir, LastBackup)); err == nil {
		if age := now.Sub(info.ModTime()); age > backupAge {
			return warn("backup", next, "the last one is %d days old", int(age.Hours()/24))
		}
		return ok("backup", "the last one is of %s", info.ModTime().UTC().Format(time.RFC3339))
	}
	var oldest time.Time
	found, _ := filepath.Glob(filepath.Join(dir, "agents/*/identity.json"))
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && (oldest.IsZero() || info.ModTime().Before(oldest)) {
			oldest = info.ModTime()
		}
	}
	if !oldest.IsZero() && now.Sub(oldest) > backupFirst {
		return warn("backup", next, "none was made, and the agent is %d days old: without its key it is gone for ever", int(now.Sub(oldest).Hours()/24))
	}
	return skip("backup", "none was made yet")
}
