package node

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"amesh/identity"
	"amesh/internal/store"
)

// The home folder:
//
//	agents/<name>/identity.json   an agent's signing key (0600)
//	agents/<name>/token           the agent's credential for the local API (0600)
//	agents/<name>/mark            its rollback mark
//	echo/                         the echo agent, where one was offered
//	owner.token                   the owner's credential on TCP (0600)
//	node.key                      the node's own key, for its peer id (0600)
//	servers.json                  DHT servers that were known, for the next start
//	state/                        the store; state.key beside it seals its secrets (0600)
//	policy.json                   who may talk to us
//	config.yaml                   read by the command line
//	last-backup                   when the last backup was made
//	node.sock, node.json          while a node runs
//	restoring/                    while a restore has not finished (restore.go)
const (
	agentsDir   = "agents"
	nodeKeyFile = "node.key"
	serversFile = "servers.json"
	stateDir    = "state"
	stateKey    = "state.key"
	policyName  = "policy.json"
	socketName  = "node.sock"
	infoName    = "node.json"
)

// maxSocketPath is what fits into a socket address on every system, with some room.
const maxSocketPath = 100

// home is a home folder that belongs to this process until close.
type home struct {
	dir  string
	lock *os.File
}

// openHome makes the folder private and takes it. A second process gets
// ErrHomeInUse, and nothing of its attempt stays.
func openHome(dir string) (*home, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		// Key files have modes of their own; the socket relies on the folder.
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, fmt.Errorf("home: others can enter %s: %w", dir, err)
		}
	}
	f, err := store.LockFolder(dir)
	if errors.Is(err, store.ErrLocked) {
		return nil, fmt.Errorf("%w: %s", ErrHomeInUse, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	return &home{dir: dir, lock: f}, nil
}

func (h *home) path(parts ...string) string {
	return filepath.Join(append([]string{h.dir}, parts...)...)
}

// close gives the folder back.
func (h *home) close() error {
	return errors.Join(removeIfThere(h.path(infoName)), h.lock.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// agents loads every agent of the home by name; none is no error.
func (h *home) agents() (map[string]*identity.Identity, error) {
	entries, err := os.ReadDir(h.path(agentsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("agents: %w", err)
	}
	found := make(map[string]*identity.Identity)
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		id, err := identity.LoadIdentity(h.path(agentsDir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a folder with a token and no key is no agent
		}
		if err != nil {
			return nil, err
		}
		for name, other := range found {
			if other.Key.AMID() == id.Key.AMID() {
				return nil, fmt.Errorf("%w: %s and %s are both %s", ErrIdentityTwice, name, e.Name(), id.Key.AMID())
			}
		}
		found[e.Name()] = id
	}
	return found, nil
}

// identities loads every agent of the home, or makes the first one. An SDK's
// identity that nobody imported stops the node: silently making another one would
// give the owner a second name.
func (h *home) identities(first string) (map[string]*identity.Identity, error) {
	found, err := h.agents()
	if err != nil || len(found) > 0 {
		return found, err
	}
	if store.Exists(h.path(stateDir)) {
		// Somebody lived here. A new identity beside the old one's mail would hide it.
		return nil, fmt.Errorf("%w: no %s in %s", ErrIdentityLost, identity.IdentityFile, h.path(agentsDir))
	}
	for _, sdk := range []string{h.path("keys", identity.IdentityFile), h.path(identity.IdentityFile)} {
		if _, err := os.Stat(sdk); err == nil {
			return nil, fmt.Errorf("%w: %s", ErrSDKIdentity, sdk)
		}
	}
	id, err := identity.CreateIdentity(h.path(agentsDir, first), rand.Reader)
	if err != nil {
		return nil, err
	}
	return map[string]*identity.Identity{first: id}, nil
}

// state opens the store and the key that seals its secrets. The key is there before
// the store is, so that a store without one has lost it; the lock on the home keeps
// others from making one meanwhile.
func (h *home) state(opt store.Options) (store.Store, *store.StateKey, error) {
	if _, err := os.Stat(h.path(stateKey)); errors.Is(err, fs.ErrNotExist) && store.Exists(h.path(stateDir)) {
		// A new key would open nothing that the old one sealed.
		return nil, nil, fmt.Errorf("%w: %s", ErrStateKeyLost, h.path(stateKey))
	}
	key, err := store.LoadStateKey(h.path(stateKey))
	if err != nil {
		return nil, nil, err
	}
	st, err := store.Open(h.path(stateDir), opt)
	if errors.Is(err, store.ErrLocked) {
		return nil, nil, fmt.Errorf("%w: %s", ErrHomeInUse, h.dir)
	}
	return st, key, err
}

// socketPath is where the unix socket goes: into the home, or where its path would
// be too long for the system, into a private folder of XDG_RUNTIME_DIR.
func (h *home) socketPath() (string, error) {
	path := h.path(socketName)
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if len(abs) <= maxSocketPath {
		return abs, nil
	}
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		return "", fmt.Errorf("%w: %s has %d bytes, at most %d", ErrSocketPath, abs, len(abs), maxSocketPath)
	}
	sum := sha256.Sum256([]byte(abs))
	dir := filepath.Join(runtime, "amesh-"+hex.EncodeToString(sum[:6]))
	if path = filepath.Join(dir, socketName); len(path) > maxSocketPath {
		return "", fmt.Errorf("%w: %s has %d bytes, at most %d", ErrSocketPath, path, len(path), maxSocketPath)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("folder for the socket: %w", err)
	}
	return path, nil
}

// announce tells local clients where the node listens, until close.
func (h *home) announce(a Addrs) error {
	raw, err := json.Marshal(struct {
		PID int `json:"pid"`
		Addrs
	}{os.Getpid(), a})
	if err != nil {
		return err
	}
	return identity.ReplaceFile(h.path(infoName), append(raw, '\n'))
}
