package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// KeyRows is the part of *store.Store that APIKeys need.
type KeyRows interface {
	APIKeys(context.Context) ([]store.APIKey, error)
	AddAPIKey(context.Context, store.APIKey) error
	UpdateAPIKey(context.Context, store.APIKey) error
	TouchAPIKeys(ctx context.Context, used map[string]time.Time) error
	RemoveAPIKey(ctx context.Context, id string) error
}

var (
	// ErrInvalidKey reports a key that cannot be made so. The text after it is for whoever
	// asked for it.
	ErrInvalidKey = errors.New("invalid key")
	// ErrNoSuchKey reports a key that there is not.
	ErrNoSuchKey = errors.New("no such key")
)

// APIKeys are the keys that administrators made for clients and for gateways of other
// domains. They stand in the database as hashes, and in memory as they were there within
// KeysEvery; what is changed here counts at once. It is safe for concurrent use.
type APIKeys struct {
	rows KeyRows
	now  func() time.Time
	log  *slog.Logger

	byHash atomic.Pointer[map[[sha256.Size]byte]*store.APIKey]
	write  sync.Mutex // held while keys are changed or read again

	mu   sync.Mutex
	used map[string]time.Time // id: when, as far as the database does not know
}

// NewAPIKeys knows no key until Load or Run.
func NewAPIKeys(rows KeyRows, now func() time.Time, log *slog.Logger) *APIKeys {
	k := &APIKeys{rows: rows, now: now, log: log, used: map[string]time.Time{}}
	k.byHash.Store(&map[[sha256.Size]byte]*store.APIKey{})
	return k
}

// Caller is whom a key was made for. It returns ErrNone for no key, ErrWrong, or ErrExpired.
func (k *APIKeys) Caller(key string) (Caller, error) {
	if key == "" {
		return Caller{}, ErrNone
	}
	if len(key) > KeySize {
		return Caller{}, ErrWrong
	}
	hash := sha256.Sum256([]byte(key))
	row := (*k.byHash.Load())[hash]
	if row == nil || subtle.ConstantTimeCompare(row.Hash, hash[:]) != 1 {
		return Caller{}, ErrWrong
	}
	now := k.now()
	if !row.Expires.IsZero() && !now.Before(row.Expires) {
		return Caller{}, ErrExpired
	}
	k.mu.Lock()
	k.used[row.ID] = now
	k.mu.Unlock()
	return Caller{Kind: Client, Method: ByAPIKey, Domain: row.Domain, Scopes: row.Scopes, ID: row.ID}, nil
}

// Make adds a key with a name for people, for a domain, with scopes (none: all), and with an
// end (zero: none). It returns its row and the key, which nobody can learn again.
func (k *APIKeys) Make(ctx context.Context, name, domain string, scopes []string, expires time.Time) (store.APIKey, string, error) {
	domain, err := amtp.ParseDomain(domain)
	if err != nil {
		return store.APIKey{}, "", fmt.Errorf("%w: a key is for one domain: %v", ErrInvalidKey, err)
	}
	if name == "" || len(name) > MaxKeyName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return store.APIKey{}, "", fmt.Errorf("%w: it needs a name of at most %d characters, for people", ErrInvalidKey, MaxKeyName)
	}
	if len(scopes) == 0 {
		scopes = Scopes
	}
	for _, s := range scopes {
		if !slices.Contains(Scopes, s) {
			return store.APIKey{}, "", fmt.Errorf("%w: scope %.40q is none of %s", ErrInvalidKey, s, strings.Join(Scopes, ", "))
		}
	}
	now := k.now()
	if !expires.IsZero() && !expires.After(now) {
		return store.APIKey{}, "", fmt.Errorf("%w: it would end before it begins", ErrInvalidKey)
	}
	id := make([]byte, 8)
	rand.Read(id) // never fails
	key, hash := newKey()
	row := store.APIKey{ID: hex.EncodeToString(id), Hash: hash, Name: name, Domain: domain, Scopes: scopes, Expires: expires, Created: now.UTC()}
	k.write.Lock()
	defer k.write.Unlock()
	if err := k.rows.AddAPIKey(ctx, row); err != nil {
		return store.APIKey{}, "", fmt.Errorf("add key: %w", err)
	}
	k.replace(row.ID, &row)
	return row, key, nil
}

// Rotate replaces a key by a new one with the same rights. The old one is void at once.
func (k *APIKeys) Rotate(ctx context.Context, id string) (store.APIKey, string, error) {
	k.write.Lock()
	defer k.write.Unlock()
	rows, err := k.rows.APIKeys(ctx)
	if err != nil {
		return store.APIKey{}, "", fmt.Errorf("keys: %w", err)
	}
	i := slices.IndexFunc(rows, func(r store.APIKey) bool { return r.ID == id })
	if i < 0 {
		return store.APIKey{}, "", fmt.Errorf("%w: %.40q", ErrNoSuchKey, id)
	}
	row := rows[i]
	key, hash := newKey()
	row.Hash = hash
	switch err := k.rows.UpdateAPIKey(ctx, row); {
	case errors.Is(err, store.ErrNotFound):
		return store.APIKey{}, "", fmt.Errorf("%w: %.40q", ErrNoSuchKey, id)
	case err != nil:
		return store.APIKey{}, "", fmt.Errorf("update key: %w", err)
	}
	k.replace(id, &row)
	return row, key, nil
}

// Remove makes a key void at once.
func (k *APIKeys) Remove(ctx context.Context, id string) error {
	k.write.Lock()
	defer k.write.Unlock()
	switch err := k.rows.RemoveAPIKey(ctx, id); {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: %.40q", ErrNoSuchKey, id)
	case err != nil:
		return fmt.Errorf("remove key: %w", err)
	}
	k.replace(id, nil)
	return nil
}

// replace puts a key that was written into the database in the place of the one with its id;
// nil: nothing. It does not read the database again, which may be away by now: a new key that
// is not told is lost. The caller holds write.
func (k *APIKeys) replace(id string, row *store.APIKey) {
	byHash := maps.Clone(*k.byHash.Load())
	maps.DeleteFunc(byHash, func(_ [sha256.Size]byte, old *store.APIKey) bool { return old.ID == id })
	if row != nil {
		byHash[[sha256.Size]byte(row.Hash)] = row
	}
	k.byHash.Store(&byHash)
}

// All are the rows of all keys, with when they were last used.
func (k *APIKeys) All(ctx context.Context) ([]store.APIKey, error) {
	rows, err := k.rows.APIKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range rows {
		if at := k.used[rows[i].ID]; at.After(rows[i].LastUsed) {
			rows[i].LastUsed = at
		}
	}
	return rows, nil
}

// Load reads the keys.
func (k *APIKeys) Load(ctx context.Context) error {
	k.write.Lock()
	defer k.write.Unlock()
	return k.read(ctx)
}

// read is Load for who holds write.
func (k *APIKeys) read(ctx context.Context) error {
	rows, err := k.rows.APIKeys(ctx)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	byHash := make(map[[sha256.Size]byte]*store.APIKey, len(rows))
	for i := range rows {
		if len(rows[i].Hash) == sha256.Size {
			byHash[[sha256.Size]byte(rows[i].Hash)] = &rows[i]
		}
	}
	k.byHash.Store(&byHash)
	return nil
}

// Run reads the keys again every KeysEvery, and writes down which were used, until ctx ends.
func (k *APIKeys) Run(ctx context.Context) error {
	every := time.NewTicker(KeysEvery)
	defer every.Stop()
	away := false
	for rounds := 1; ; rounds++ {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		err := k.Load(ctx)
		if err == nil && rounds%WriteUsesEvery == 0 {
			err = k.writeUses(ctx)
		}
		if err != nil && ctx.Err() == nil && !away {
			k.log.Warn("API keys not up to date", "err", err)
		}
		away = err != nil
	}
}

// writeUses writes down when keys were used. What cannot be written is tried the next time.
func (k *APIKeys) writeUses(ctx context.Context) error {
	k.mu.Lock()
	used := maps.Clone(k.used)
	k.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	if err := k.rows.TouchAPIKeys(ctx, used); err != nil {
		return fmt.Errorf("uses of keys: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.used, func(id string, at time.Time) bool { return at.Equal(used[id]) })
	return nil
}

func newKey() (string, []byte) {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	key := base64.RawURLEncoding.EncodeToString(b)
	hash := sha256.Sum256([]byte(key))
	return key, hash[:]
}
