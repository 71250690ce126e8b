package signature

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"amesh/identity"
)

// Names in a ring's folder: SELECTOR.pem for each key, and a file that says which one
// signs.
const (
	keySuffix   = ".pem"
	signingFile = "signing"
)

// Errors of a Ring, for those who ask it to change.
var (
	ErrKeyExists   = errors.New("there is such a key")
	ErrNoKey       = errors.New("no such key")
	ErrKeySigns    = errors.New("this key signs")
	ErrRingFixed   = errors.New("the key is a file of the configuration")
	ErrNoneSigning = errors.New("no key signs")
)

// Ring is our domain's keys. One of them signs; all are to be published, so that
// what an older one signed can still be verified, until they are retired. A Ring
// may be used by many at once.
type Ring struct {
	dir string // empty: fixed

	mu      sync.Mutex
	keys    map[string]*Key
	signing string
}

// Published is one key's record as it is to stand in DNS.
type Published struct {
	Selector string
	Name     string // of the record
	Text     string // of the record: one TXT string
	Signs    bool
}

// FixedRing is a ring of one key that cannot be changed.
func FixedRing(key *Key) *Ring {
	return &Ring{keys: map[string]*Key{key.selector: key}, signing: key.selector}
}

// OpenRing reads the keys in a folder. A folder that is not there is an empty ring.
func OpenRing(dir string) (*Ring, error) {
	r := &Ring{dir: dir}
	if err := r.Reload(); err != nil {
		return nil, err
	}
	return r, nil
}

// Reload reads the folder again. After an error the ring is as it was.
func (r *Ring) Reload() error {
	if r.dir == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	files, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("signing keys: %w", err)
	}
	keys := make(map[string]*Key)
	for _, f := range files {
		selector, ok := strings.CutSuffix(f.Name(), keySuffix)
		if !ok || f.IsDir() {
			continue
		}
		if keys[selector], err = LoadKey(selector, filepath.Join(r.dir, f.Name())); err != nil {
			return fmt.Errorf("signing keys: %w", err)
		}
	}
	signing, err := os.ReadFile(filepath.Join(r.dir, signingFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("signing keys: %w", err)
	}
	name := strings.TrimSpace(string(signing))
	if name != "" && keys[name] == nil {
		return fmt.Errorf("signing keys: %w: %.80q, which %s names", ErrNoKey, name, signingFile)
	}
	r.keys, r.signing = keys, name
	return nil
}

// Add makes a key. The first one signs at once; a later one signs after Use, when
// its record has reached the resolvers of others.
func (r *Ring) Add(selector string) (Published, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dir == "" {
		return Published{}, ErrRingFixed
	}
	path := filepath.Join(r.dir, selector+keySuffix)
	if _, err := os.Lstat(path); ValidSelector(selector) && err == nil {
		return Published{}, fmt.Errorf("%w: %s", ErrKeyExists, selector)
	}
	key, err := Generate(selector)
	if err != nil {
		return Published{}, err
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return Published{}, err
	}
	if err := key.Save(path); err != nil {
		return Published{}, err
	}
	r.keys[selector] = key
	if r.signing == "" {
		if err := r.use(selector); err != nil {
			return Published{}, err
		}
	}
	return r.published(key, ""), nil
}

// Use makes a key the one that signs.
func (r *Ring) Use(selector string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dir == "" {
		return ErrRingFixed
	}
	if r.keys[selector] == nil {
		return fmt.Errorf("%w: %.80q", ErrNoKey, selector)
	}
	return r.use(selector)
}

func (r *Ring) use(selector string) error {
	if err := identity.ReplaceFile(filepath.Join(r.dir, signingFile), []byte(selector+"\n")); err != nil {
		return err
	}
	r.signing = selector
	return nil
}

// Retire removes a key for good. The one that signs stays: use another one first.
func (r *Ring) Retire(selector string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.dir == "":
		return ErrRingFixed
	case r.keys[selector] == nil:
		return fmt.Errorf("%w: %.80q", ErrNoKey, selector)
	case r.signing == selector:
		return fmt.Errorf("%w: %s; use another one first", ErrKeySigns, selector)
	}
	if err := os.Remove(filepath.Join(r.dir, selector+keySuffix)); err != nil {
		return err
	}
	delete(r.keys, selector)
	return nil
}

// Published lists what the domain has to publish, by selector.
func (r *Ring) Published(domain string) []Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Published
	for _, key := range r.keys {
		all = append(all, r.published(key, domain))
	}
	slices.SortFunc(all, func(a, b Published) int { return strings.Compare(a.Selector, b.Selector) })
	return all
}

func (r *Ring) published(key *Key, domain string) Published {
	p := Published{Selector: key.selector, Text: key.record, Signs: key.selector == r.signing}
	if domain != "" {
		p.Name = RecordName(key.selector, domain)
	}
	return p
}

// Signs says whether there is a key that signs.
func (r *Ring) Signs() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.signing != ""
}

// Sign signs as Key.Sign does, with the key whose turn it is. It returns
// ErrNoneSigning when there is none.
func (r *Ring) Sign(message []byte) ([]byte, error) {
	r.mu.Lock()
	key := r.keys[r.signing]
	r.mu.Unlock()
	if key == nil {
		return nil, ErrNoneSigning
	}
	return key.Sign(message)
}
