package httpapi

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// tokenSize is the number of random bytes in a token.
const tokenSize = 32

// ErrTokenFile reports a token file that others can read or that holds no token.
var ErrTokenFile = errors.New("token file")

// digest is the SHA-256 of a token. The server keeps nothing else of it, so a
// token can appear in no log and no dump of memory.
type digest [sha256.Size]byte

// Credentials are the tokens that the server accepts: the owner's and one of each
// agent. The zero value accepts nothing.
type Credentials struct {
	owner  digest
	agents map[string]digest
}

// LoadCredentials reads <home>/owner.token and <home>/agents/<name>/token and
// makes those that are missing, with mode 0600. It returns ErrTokenFile for a file
// that others can read, that holds no token, or that repeats another's.
func LoadCredentials(home string, agents []string) (Credentials, error) {
	owner, err := loadToken(filepath.Join(home, "owner.token"))
	if err != nil {
		return Credentials{}, err
	}
	c := Credentials{owner: owner, agents: make(map[string]digest, len(agents))}
	seen := map[digest]bool{owner: true}
	for _, name := range agents {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\`) {
			return Credentials{}, fmt.Errorf("agent %q: not a name for a folder", name)
		}
		path := filepath.Join(home, "agents", name, "token")
		d, err := loadToken(path)
		if err != nil {
			return Credentials{}, err
		}
		// A copied file would give one agent another's mail, or the owner's rights.
		if _, twice := c.agents[name]; seen[d] && !twice {
			return Credentials{}, fmt.Errorf("%w %s holds somebody else's token: delete it for a new one", ErrTokenFile, path)
		}
		seen[d] = true
		c.agents[name] = d
	}
	return c, nil
}

// find says whose token it is. Every known digest is compared and none ends the
// search, so that the time it takes says nothing.
func (c Credentials) find(token string) (caller, bool) {
	d := digest(sha256.Sum256([]byte(token)))
	var who caller
	known := false
	if same(d, c.owner) {
		who, known = caller{owner: true}, true
	}
	for name, have := range c.agents {
		if same(d, have) {
			who, known = caller{agent: name}, true
		}
	}
	return who, known
}

func same(a, b digest) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

func loadToken(path string) (digest, error) {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeToken(path)
	}
	if err != nil {
		return digest{}, err
	}
	if !fi.Mode().IsRegular() {
		return digest{}, fmt.Errorf("%w %s is not a regular file", ErrTokenFile, path)
	}
	if runtime.GOOS != "windows" && fi.Mode().Perm()&0o077 != 0 {
		return digest{}, fmt.Errorf("%w %s can be read by others (mode %04o): chmod 600 it, or delete it for a new one",
			ErrTokenFile, path, fi.Mode().Perm())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return digest{}, err
	}
	token := strings.TrimSuffix(string(raw), "\n")
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != tokenSize || base64.RawURLEncoding.EncodeToString(b) != token {
		return digest{}, fmt.Errorf("%w %s holds no token: delete it for a new one", ErrTokenFile, path)
	}
	return sha256.Sum256([]byte(token)), nil
}

func makeToken(path string) (digest, error) {
	var b [tokenSize]byte
	rand.Read(b[:]) // never fails: it crashes the program instead
	token := base64.RawURLEncoding.EncodeToString(b[:])
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return digest{}, err
	}
	if err := writeWhole(path, token+"\n"); err != nil {
		return digest{}, fmt.Errorf("write %s: %w", path, err)
	}
	return sha256.Sum256([]byte(token)), nil
}

// writeWhole puts a file in place whole or not at all, so that a crash leaves no
// half token that the next start would refuse.
func writeWhole(path, text string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.WriteString(text)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
