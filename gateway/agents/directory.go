package agents

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"amesh/gateway/store"

	"golang.org/x/time/rate"
)

var (
	// ErrNotFound reports an agent that there is not.
	ErrNotFound = errors.New("no such agent")
	// ErrExists reports a name that an agent has, in whatever case of letters.
	ErrExists = errors.New("there is an agent of that name")
)

// Rows is the part of *store.Store that a Directory needs.
type Rows interface {
	Agents(context.Context) ([]store.Agent, error)
	AgentsVersion(context.Context) (int64, error)
	AddAgent(ctx context.Context, a store.Agent, heir bool) error
	UpdateAgent(context.Context, store.Agent) error
	SetAgentKey(ctx context.Context, address string, hash []byte, expires time.Time) error
	RemoveAgent(ctx context.Context, address string) error
	Touch(context.Context, []store.Touched) error
}

// Config is what a Directory needs.
type Config struct {
	// Domain is the gateway's own, in lower case. Required.
	Domain string
	// Rows are where the agents are kept. Required.
	Rows Rows
	// Schemas knows which schemas there are; nil: any may be named.
	Schemas Schemas
	// Salt goes into the hash of every key: agentry's api_key_salt. Whoever changes it
	// makes all keys void.
	Salt string
	// BareNames refuses full addresses of the domain where an agent is named, as agentry does.
	BareNames bool
	// ShortKeys lets an administrator choose a key of any length, as agentry does.
	ShortKeys bool
	// PlainTargets lets push targets be http on other machines too.
	PlainTargets bool
	// Contact says why nothing would ever be posted to a push target, as far as its URL
	// alone tells; nil allows all.
	Contact func(target string) error
	// Shared says that other gateways change the agents too: Search, Identify and Confirm ask the
	// database before they say no.
	Shared bool
	// Heirs says that a new agent finds in its inbox what came for its name before.
	Heirs bool
	// Clock is the time; nil is time.Now.
	Clock func() time.Time
	// Logger gets events; nil is silence.
	Logger *slog.Logger
}

// Directory is the agents of a domain. All methods are safe for concurrent use; those
// without a context look at memory only.
type Directory struct {
	cfg  Config
	snap atomic.Pointer[snapshot]

	looks *rate.Limiter // at the database before the next refresh

	// write is held while agents are changed or read again, so that an older reading never
	// replaces a newer change.
	write sync.Mutex

	mu    sync.Mutex // guards what follows
	seen  map[string]time.Time
	dirty map[string]time.Time // of seen, what the database does not know
}

// snapshot is all agents at one moment. It is never changed.
type snapshot struct {
	version int64
	byName  map[string]*store.Agent
	byKey   map[[sha256.Size]byte]*store.Agent
	// What not every change needs is computed when it is asked for.
	sorted  func() []*store.Agent
	schemas func() []string
}

func newSnapshot(version int64, byName map[string]*store.Agent, byKey map[[sha256.Size]byte]*store.Agent) *snapshot {
	s := &snapshot{version: version, byName: byName, byKey: byKey}
	s.sorted = sync.OnceValue(func() []*store.Agent {
		all := make([]*store.Agent, 0, len(byName))
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			all = append(all, byName[name])
		}
		return all
	})
	s.schemas = sync.OnceValue(func() []string {
		var all []string
		for _, a := range byName {
			all = append(all, a.Schemas...)
		}
		slices.Sort(all)
		return slices.Compact(all)
	})
	return s
}

// New checks a configuration. The Directory is empty until Load or Run.
func New(cfg Config) (*Directory, error) {
	if cfg.Domain == "" || cfg.Rows == nil {
		return nil, errors.New("a directory of agents needs a domain and a store")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Directory{cfg: cfg, looks: rate.NewLimiter(LooksPerSecond, LooksPerSecond), seen: map[string]time.Time{}, dirty: map[string]time.Time{}}
	d.snap.Store(newSnapshot(-1, map[string]*store.Agent{}, map[[sha256.Size]byte]*store.Agent{}))
	return d, nil
}

// Lookup finds the agent of a name, in whatever case of letters. The agent is not to be
// changed.
func (d *Directory) Lookup(name string) (store.Agent, bool) {
	if a := d.snap.Load().byName[folded(name)]; a != nil {
		return *a, true
	}
	return store.Agent{}, false
}

// Find is Lookup for what an administrator calls an agent. It returns ErrInvalid for what is
// no name, and ErrNotFound.
func (d *Directory) Find(address string) (store.Agent, error) {
	name, err := d.name(address)
	if err != nil {
		return store.Agent{}, err
	}
	a, ok := d.Lookup(name)
	if !ok {
		return store.Agent{}, fmt.Errorf("%w: %s", ErrNotFound, name+"@"+d.cfg.Domain)
	}
	return d.latest(a), nil
}

// Authenticate finds the agent whose key this is.
func (d *Directory) Authenticate(key string) (store.Agent, bool) {
	if key == "" || len(key) > MaxChosenKey {
		return store.Agent{}, false
	}
	hash := d.hash(key)
	return d.opened(d.snap.Load().byKey[hash], hash)
}

// Verify finds the agent of a name if this is its key.
func (d *Directory) Verify(name, key string) (store.Agent, bool) {
	if key == "" || len(key) > MaxChosenKey {
		return store.Agent{}, false
	}
	return d.opened(d.snap.Load().byName[folded(name)], d.hash(key))
}

// opened is an agent, if there is one whose key has this hash, and has not ended.
func (d *Directory) opened(a *store.Agent, hash [sha256.Size]byte) (store.Agent, bool) {
	if a == nil || subtle.ConstantTimeCompare(a.KeyHash, hash[:]) != 1 || !a.KeyExpires.IsZero() && !d.cfg.Clock().Before(a.KeyExpires) {
		return store.Agent{}, false
	}
	return *a, true
}

// All are the agents, by address, with when they were last heard of.
func (d *Directory) All() iter.Seq[store.Agent] {
	return func(yield func(store.Agent) bool) {
		for _, a := range d.snap.Load().sorted() {
			if !yield(d.latest(*a)) {
				return
			}
		}
	}
}

// latest is an agent with when it was last heard of.
func (d *Directory) latest(a store.Agent) store.Agent {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := d.seen[a.Address]; at.After(a.LastAccess) {
		a.LastAccess = at
	}
	return a
}

// Count is how many agents there are.
func (d *Directory) Count() int { return len(d.snap.Load().byName) }

// Schemas are the schemas and patterns that any agent takes, each once, in order. The list
// is not to be changed.
func (d *Directory) Schemas() []string { return d.snap.Load().schemas() }

// Seen notes that an agent is heard of now.
func (d *Directory) Seen(a store.Agent) {
	now := d.cfg.Clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[a.Address], d.dirty[a.Address] = now, now
}

// Register adds an agent and returns it with its key, which nobody can learn again.
func (d *Directory) Register(ctx context.Context, r Registration) (store.Agent, string, error) {
	name, err := d.name(r.Address)
	if err != nil {
		return store.Agent{}, "", err
	}
	key := r.Key
	if key == "" {
		key = newKey()
	} else if err := d.checkKey(key); err != nil {
		return store.Agent{}, "", err
	}
	if err := d.checkEnd(r.KeyExpires); err != nil {
		return store.Agent{}, "", err
	}
	now := d.cfg.Clock().UTC().Truncate(time.Microsecond) // as the database keeps it
	hash := d.hash(key)
	a := store.Agent{
		Address: name + "@" + d.cfg.Domain, Mode: store.Mode(r.Mode), PushTarget: r.PushTarget, Headers: r.Headers,
		KeyHash: hash[:], KeyExpires: r.KeyExpires, Schemas: r.Schemas, Role: r.Role, Description: r.Description, Capabilities: r.Capabilities,
		Created: now, LastAccess: now,
	}
	if err := d.check(&a); err != nil {
		return store.Agent{}, "", err
	}
	if err := d.checkSchemas(ctx, a.Schemas); err != nil {
		return store.Agent{}, "", err
	}
	d.write.Lock()
	defer d.write.Unlock()
	snap := d.snap.Load()
	if snap.byName[folded(name)] != nil {
		return store.Agent{}, "", fmt.Errorf("%w: %s", ErrExists, a.Address)
	}
	if snap.byKey[hash] != nil {
		return store.Agent{}, "", invalid("api_key is another agent's: leave it out, and a good one is made")
	}
	if a.Mode == store.Push {
		a.PushSecret = newKey()
	}
	switch err := d.cfg.Rows.AddAgent(ctx, a, d.cfg.Heirs); {
	case errors.Is(err, store.ErrExists):
		return store.Agent{}, "", fmt.Errorf("%w: %s", ErrExists, a.Address)
	case err != nil:
		return store.Agent{}, "", fmt.Errorf("register %s: %w", a.Address, err)
	}
	d.put(a)
	return a, key, nil
}

// Update changes an agent.
func (d *Directory) Update(ctx context.Context, address string, c Change) (store.Agent, error) {
	if c.Schemas != nil {
		if err := d.checkSchemas(ctx, *c.Schemas); err != nil {
			return store.Agent{}, err
		}
	}
	return d.change(ctx, address, func(a *store.Agent) error {
		c.apply(a)
		if err := d.check(a); err != nil {
			return err
		}
		if a.Mode == store.Push && (a.PushSecret == "" || c.NewSecret) {
			a.PushSecret = newKey()
		}
		return d.cfg.Rows.UpdateAgent(ctx, *a)
	})
}

// Rotate gives an agent a new key, until expires if that is not zero. The old one is void
// when it returns, and within a second at other gateways of the database.
func (d *Directory) Rotate(ctx context.Context, address string, expires time.Time) (store.Agent, string, error) {
	if err := d.checkEnd(expires); err != nil {
		return store.Agent{}, "", err
	}
	key := newKey()
	hash := d.hash(key)
	a, err := d.change(ctx, address, func(a *store.Agent) error {
		a.KeyHash, a.KeyExpires = hash[:], expires
		return d.cfg.Rows.SetAgentKey(ctx, a.Address, a.KeyHash, a.KeyExpires)
	})
	return a, key, err
}

// change writes an agent anew, as edit leaves it.
func (d *Directory) change(ctx context.Context, address string, edit func(*store.Agent) error) (store.Agent, error) {
	d.write.Lock()
	defer d.write.Unlock()
	old, err := d.current(ctx, address)
	if err != nil {
		return store.Agent{}, err
	}
	a := *old
	switch err := edit(&a); {
	case errors.Is(err, store.ErrNotFound):
		return store.Agent{}, fmt.Errorf("%w: %s", ErrNotFound, a.Address)
	case errors.Is(err, ErrInvalid):
		return store.Agent{}, err
	case err != nil:
		return store.Agent{}, fmt.Errorf("update %s: %w", a.Address, err)
	}
	d.put(a)
	return a, nil
}

// current is an agent as the database has it: another gateway may have changed it less than
// a refresh ago. The caller holds write.
func (d *Directory) current(ctx context.Context, address string) (*store.Agent, error) {
	name, err := d.name(address)
	if err != nil {
		return nil, err
	}
	if err := d.refresh(ctx); err != nil {
		return nil, err
	}
	a := d.snap.Load().byName[folded(name)]
	if a == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name+"@"+d.cfg.Domain)
	}
	return a, nil
}

// Remove removes an agent. Its messages are kept as long as others, and nobody can read
// them: an agent that gets the name later begins with an empty inbox.
func (d *Directory) Remove(ctx context.Context, address string) error {
	d.write.Lock()
	defer d.write.Unlock()
	old, err := d.current(ctx, address)
	if err != nil {
		return err
	}
	switch err := d.cfg.Rows.RemoveAgent(ctx, old.Address); {
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w: %s", ErrNotFound, old.Address)
	case err != nil:
		return fmt.Errorf("remove %s: %w", old.Address, err)
	}
	d.take(old)
	return nil
}

// keyOf is the hash of an agent's key; false if the database has none for it: then no key
// opens it until Rotate.
func keyOf(a *store.Agent) ([sha256.Size]byte, bool) {
	if len(a.KeyHash) != sha256.Size {
		return [sha256.Size]byte{}, false
	}
	return [sha256.Size]byte(a.KeyHash), true
}

// put replaces the snapshot by one with an agent as it is now. The caller holds write.
func (d *Directory) put(a store.Agent) {
	old := d.snap.Load()
	byName, byKey := maps.Clone(old.byName), maps.Clone(old.byKey)
	name := folded(local(a.Address))
	if was := byName[name]; was != nil {
		if hash, ok := keyOf(was); ok {
			delete(byKey, hash)
		}
	}
	byName[name] = &a
	if hash, ok := keyOf(&a); ok {
		byKey[hash] = &a
	}
	d.snap.Store(newSnapshot(old.version, byName, byKey))
}

// take replaces the snapshot by one without an agent. The caller holds write.
func (d *Directory) take(a *store.Agent) {
	old := d.snap.Load()
	byName, byKey := maps.Clone(old.byName), maps.Clone(old.byKey)
	delete(byName, folded(local(a.Address)))
	if hash, ok := keyOf(a); ok {
		delete(byKey, hash)
	}
	d.snap.Store(newSnapshot(old.version, byName, byKey))
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seen, a.Address)
	delete(d.dirty, a.Address)
}

// Load reads all agents, if they have changed since the last time.
func (d *Directory) Load(ctx context.Context) error {
	d.write.Lock()
	defer d.write.Unlock()
	return d.refresh(ctx)
}

// refresh is Load for who holds write.
func (d *Directory) refresh(ctx context.Context) error {
	// Read before the agents: one that changes in between is read again the next time.
	version, err := d.cfg.Rows.AgentsVersion(ctx)
	if err != nil {
		return fmt.Errorf("agents: %w", err)
	}
	if version == d.snap.Load().version {
		return nil
	}
	list, err := d.cfg.Rows.Agents(ctx)
	if err != nil {
		return fmt.Errorf("agents: %w", err)
	}
	byName := make(map[string]*store.Agent, len(list))
	byKey := make(map[[sha256.Size]byte]*store.Agent, len(list))
	for i := range list {
		a := &list[i]
		if _, domain, _ := strings.Cut(a.Address, "@"); !strings.EqualFold(domain, d.cfg.Domain) {
			continue // the gateway had another domain once
		}
		byName[folded(local(a.Address))] = a
		if hash, ok := keyOf(a); ok {
			byKey[hash] = a
		}
	}
	d.snap.Store(newSnapshot(version, byName, byKey))
	return nil
}
