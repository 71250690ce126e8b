package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"amesh/identity"
	"amesh/internal/proxy"
	"amesh/internal/store"
	"amesh/node/api"
	"amesh/registry/client"
)

// Numbers of the registries.
const (
	// maxRegistries is how many the owner may name.
	maxRegistries = 8
	// tendEvery is the time between two looks at whether a registry has all that it
	// should have; a change is told at once.
	tendEvery = 10 * time.Minute
	// lookEvery is the time between two questions whether a registry is there, so that the
	// owner of an idle node hears when it is not.
	lookEvery = time.Minute
	// presenceEvery is how often a registry is told that an agent is there.
	presenceEvery = 30 * time.Minute
	// awayTime is how long the end of the node may take for telling that it ends.
	awayTime = time.Second
	// againFirst is the pause after a call that failed; it doubles up to againMost, and up to
	// awayMost where the registry is not there at all: its owner waits for it to be back.
	againFirst = 5 * time.Second
	againMost  = 10 * time.Minute
	awayMost   = 30 * time.Second
	// refusedRest is the pause after a registry said no, which trying again soon does
	// not change.
	refusedRest = time.Hour
)

// ownRegistries checks what the owner wrote as registries. It returns them as a client
// writes them, each once.
func ownRegistries(list []string) ([]string, error) {
	var own []string
	for _, text := range list {
		url, err := client.ParseURL(text)
		if err != nil {
			return nil, err
		}
		if len(url) > maxRelayText {
			return nil, fmt.Errorf("registry URL %.40q: want at most %d bytes", url, maxRelayText)
		}
		if !slices.Contains(own, url) {
			own = append(own, url)
		}
	}
	if len(own) > maxRegistries {
		return nil, fmt.Errorf("%d registries, want at most %d", len(own), maxRegistries)
	}
	return own, nil
}

// registries are the registries of a node, in the owner's order. All agents of the node
// share them.
type registries struct {
	book  *registryBook
	lines []*registryLine
}

// registryHouse is what a line to a registry needs of the node.
type registryHouse struct {
	rooms  func() []*room
	joined func() // an agent was registered for the first time
	clock  func() time.Time
	log    *slog.Logger
	proxy  *proxy.Proxy // nil: no proxies
}

// registryLine is what a node has to do with one registry: a service.
type registryLine struct {
	registryHouse
	client   *client.Client
	book     *registryBook
	warnings *warnings
	poke     chan struct{}
	back     chan struct{} // it answered somebody, while it was believed to be away
	served   servedKeys
	vouching vouching

	mu         sync.Mutex
	state      string // of api.Registry
	since      time.Time
	err        error
	next       time.Time // when it is tried again, zero while it works
	enrolments map[identity.AMID]*enrolment
	shown      map[identity.AMID]shown // what our agents' knocks can show
	cursor     int64                   // up to which keys that left were looked at
}

// openRegistries makes what the node has to do with its registries.
func (m *mesh) openRegistries(ctx context.Context, ids map[string]*identity.Identity) (*registries, error) {
	cfg := &m.node.cfg
	named := make(map[string]bool)
	for _, url := range cfg.Registries {
		named[url] = true
	}
	var amids []identity.AMID
	for _, id := range ids {
		amids = append(amids, id.Key.AMID())
	}
	book, err := openRegistryBook(ctx, m.store, amids, named)
	if err != nil {
		return nil, err
	}
	return newRegistries(cfg.Registries, cfg.AllowLegacyRegistry, book, registryHouse{
		rooms: func() []*room { return m.rooms },
		joined: func() {
			for _, r := range m.rooms { // a legacy relay may have waited for it
				r.relays.retry()
			}
		},
		clock: cfg.Clock, log: cfg.Logger, proxy: m.node.proxy,
	})
}

// newRegistries makes the lines. It connects to nobody.
func newRegistries(urls []string, legacy bool, book *registryBook, house registryHouse) (*registries, error) {
	all := &registries{book: book}
	for _, url := range urls {
		c, err := client.New(client.Config{URL: url, Dial: house.proxy.Dialer(url, nil), Pinned: book.pinned(url), AllowLegacy: legacy, Clock: house.clock})
		if err != nil {
			return nil, err
		}
		one := &registryLine{
			registryHouse: house, client: c, book: book, warnings: &warnings{url: url, log: house.log}, poke: make(chan struct{}, 1),
			back: make(chan struct{}, 1), state: "trying", since: house.clock(), enrolments: make(map[identity.AMID]*enrolment), shown: make(map[identity.AMID]shown),
		}
		one.log = house.log.With("registry", url)
		all.lines = append(all.lines, one)
	}
	return all, nil
}

// all are the lines; a nil registries has none.
func (r *registries) all() []*registryLine {
	if r == nil {
		return nil
	}
	return r.lines
}

// close ends idle connections, once nobody asks any more.
func (r *registries) close() {
	for _, l := range r.all() {
		l.client.Close()
	}
}

// refresh has every registry looked after soon.
func (r *registries) refresh() {
	for _, l := range r.all() {
		kick(l.poke)
	}
}

// kick sends a signal, unless one waits already.
func kick(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// enrolled reports whether an agent has been registered wherever that binds what is
// signed for it: then a bare timestamp of it is worth nothing there (relay.md §2).
func (r *registries) enrolled(amid identity.AMID) bool {
	for _, l := range r.all() {
		if l.client.Kind() != client.KindLegacy && !r.book.has(registration{amid, l.client.URL()}) {
			return false
		}
	}
	return true
}

// servedTwice takes the mailroom's word that a one-time key which lay at a registry was
// used twice.
func (r *registries) servedTwice(url string, peer identity.AMID) {
	for _, l := range r.all() {
		if l.client.URL() == url {
			l.warnings.add(warnTwice, peer, l.clock())
		}
	}
}

// status lists the registries for the owner.
func (r *registries) status() []api.Registry {
	var list []api.Registry
	for _, l := range r.all() {
		list = append(list, l.status())
	}
	return list
}

func (l *registryLine) status() api.Registry {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := api.Registry{URL: l.client.URL(), Kind: string(l.client.Kind()), State: l.state, Since: l.since, Warnings: l.warnings.all()}
	if l.err != nil {
		s.Error = l.err.Error()
	}
	if next := l.next; !next.IsZero() {
		s.NextTry = &next
	}
	for _, e := range l.enrolments {
		if e.registered {
			s.Registered++
		}
	}
	return s
}

// trouble says what is wrong with a registry, nothing for nothing.
func (l *registryLine) trouble(now time.Time) []string {
	list := l.warnings.trouble(now)
	s := l.status()
	switch s.State {
	case "failing":
		list = append(list, "the registry "+s.URL+" does not work: "+s.Error)
	case "refused":
		list = append(list, "the registry "+s.URL+" is not used: "+s.Error)
	}
	return list
}

// run looks after the registry until ctx ends, and then tells it that our agents go.
// Only an error of the store is returned.
func (l *registryLine) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := time.Duration(0)
	var tended time.Time
	for {
		whole := true
		select {
		case <-ctx.Done():
			l.leave(ctx)
			return nil
		case <-l.poke:
			if pause > 0 {
				continue // it does not answer: when it does, all is told
			}
		case <-l.back:
		case <-timer.C:
			whole = pause > 0 || time.Since(tended) >= tendEvery
		}
		err := l.round(ctx, whole)
		if isStorage(err) {
			return err
		}
		if ctx.Err() != nil {
			continue
		}
		if whole {
			tended = time.Now()
		}
		l.note(err)
		pause = l.wait(err, pause)
		rest := cmp.Or(pause, lookEvery)
		rest += rand.N(rest / 4) // so that not all nodes come at once
		l.trySoon(pause > 0, rest)
		timer.Reset(rest)
	}
}

// round is one look at the registry: whether it is there or, as a whole, also whether it
// has all that it should have.
func (l *registryLine) round(ctx context.Context, whole bool) error {
	if whole {
		return l.tend(ctx)
	}
	if _, err := l.client.Health(ctx); isAway(err) {
		return err
	}
	return nil // a no is an answer too
}

// trySoon keeps for the owner when a registry that does not work is tried again.
func (l *registryLine) trySoon(again bool, rest time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = time.Time{}
	if again {
		l.next = l.clock().Add(rest)
	}
}

// isAway reports that the registry does not work at all just now.
func isAway(err error) bool {
	no, _ := errors.AsType[*client.StatusError](err)
	return errors.Is(err, client.ErrUnreachable) || no != nil && no.Status >= 500
}

// heard takes what became of a question to the registry that somebody waits for: the
// owner learns of it in the status, and the registry is looked after at once.
func (l *registryLine) heard(err error) {
	l.mu.Lock()
	state, last := l.state, l.err
	l.mu.Unlock()
	switch {
	case isAway(err) && state != "refused":
		l.note(err)
		kick(l.poke)
	case state == "failing" && errors.Is(last, client.ErrUnreachable) && answered(err):
		kick(l.back)
	}
}

// answered reports a result that only a registry which is there can give.
func answered(err error) bool {
	no, _ := errors.AsType[*client.StatusError](err)
	return err == nil || no != nil
}

// wait is the pause before a registry that failed is tried again, 0 for one that works.
func (l *registryLine) wait(err error, last time.Duration) time.Duration {
	no, _ := errors.AsType[*client.StatusError](err)
	switch {
	case err == nil:
		return 0
	case barred(err):
		return refusedRest
	case no != nil && no.RetryAfter > 0:
		return min(max(no.RetryAfter, againFirst), refusedRest)
	}
	most := againMost
	if isAway(err) {
		most = awayMost
	}
	return min(max(2*last, againFirst), most)
}

// barred tells what trying again soon cannot change.
func barred(err error) bool {
	no, _ := errors.AsType[*client.StatusError](err)
	return errors.Is(err, client.ErrLegacy) || errors.Is(err, client.ErrDowngrade) ||
		no != nil && (no.Status == 401 || no.Status == 403)
}

// note keeps what became of the last round, and logs a change.
func (l *registryLine) note(err error) {
	state := "ok"
	switch {
	case err == nil:
	case barred(err):
		state = "refused"
	default:
		state = "failing"
	}
	l.mu.Lock()
	changed := l.state != state
	if changed {
		l.state, l.since = state, l.clock()
	}
	l.err = err
	l.mu.Unlock()
	switch {
	case !changed:
	case err == nil:
		l.log.Info("registry works")
	default:
		l.log.Warn("registry does not work", "state", state, "err", err)
	}
}

// isStorage reports an error after which the node must not go on.
func isStorage(err error) bool {
	return errors.Is(err, store.ErrPoisoned) || errors.Is(err, store.ErrClosed)
}
