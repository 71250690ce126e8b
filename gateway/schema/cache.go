package schema

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// recent keeps the size values that were asked for last. It is not safe for
// concurrent use.
type recent[K comparable, V any] struct {
	size  int
	order *list.List // of *pair[K, V], the latest first
	at    map[K]*list.Element
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{size: size, order: list.New(), at: make(map[K]*list.Element)}
}

func (r *recent[K, V]) get(key K) (V, bool) {
	e, ok := r.at[key]
	if !ok {
		var none V
		return none, false
	}
	r.order.MoveToFront(e)
	return e.Value.(*pair[K, V]).value, true
}

func (r *recent[K, V]) put(key K, value V) {
	r.drop(key)
	r.at[key] = r.order.PushFront(&pair[K, V]{key, value})
	for r.order.Len() > r.size {
		r.drop(r.order.Back().Value.(*pair[K, V]).key)
	}
}

func (r *recent[K, V]) drop(key K) {
	if e, ok := r.at[key]; ok {
		r.order.Remove(e)
		delete(r.at, key)
	}
}

// cache keeps answers of a registry, the answer that there is nothing included.
// Of many who ask for one thing at once, one asks the registry.
type cache[K comparable, V any] struct {
	fresh time.Duration

	mu      sync.Mutex
	answers *recent[K, answer[V]]
	flights map[K]*flight[V]
}

type answer[V any] struct {
	value V
	err   error // nil or ErrNotFound
	at    time.Time
}

// flight is a question on its way to the registry.
type flight[V any] struct {
	done    chan struct{}
	value   V
	err     error
	dropped bool // changed meanwhile: not to be kept
}

const (
	// askTime is how long a registry may take to answer.
	askTime = 10 * time.Second
	// staleFor is how old an answer may be that stands in for a registry which
	// cannot be reached.
	staleFor = 24 * time.Hour
	// leastFreshList is how long the list of all schemas is used at least.
	leastFreshList = time.Second
)

func newCache[K comparable, V any](fresh time.Duration, size int) *cache[K, V] {
	return &cache[K, V]{fresh: fresh, answers: newRecent[K, answer[V]](size), flights: make(map[K]*flight[V])}
}

// get returns the answer for key, from ask when none is fresh. When ask fails
// for another reason than ErrNotFound, an older answer is returned if there is
// one.
func (c *cache[K, V]) get(ctx context.Context, key K, ask func(context.Context) (V, error)) (V, error) {
	if c.fresh <= 0 {
		return ask(ctx)
	}
	c.mu.Lock()
	known, ok := c.answers.get(key)
	if ok && time.Since(known.at) < c.fresh {
		c.mu.Unlock()
		return known.value, known.err
	}
	f, flying := c.flights[key]
	if !flying {
		f = &flight[V]{done: make(chan struct{})}
		c.flights[key] = f
	}
	c.mu.Unlock()
	if !flying {
		// Others wait for this answer, so it does not end with the first asker.
		c.fly(context.WithoutCancel(ctx), key, f, ask)
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
	if f.err != nil && !errors.Is(f.err, ErrNotFound) && ok && time.Since(known.at) < staleFor {
		return known.value, known.err
	}
	return f.value, f.err
}

func (c *cache[K, V]) fly(ctx context.Context, key K, f *flight[V], ask func(context.Context) (V, error)) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	f.value, f.err = ask(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if (f.err == nil || errors.Is(f.err, ErrNotFound)) && !f.dropped {
		c.answers.put(key, answer[V]{value: f.value, err: f.err, at: time.Now()})
	}
	delete(c.flights, key)
	close(f.done)
}

// drop forgets the answer for key, also one that is on its way.
func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers.drop(key)
	if f, ok := c.flights[key]; ok {
		f.dropped = true
	}
}
