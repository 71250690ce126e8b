package discovery

import (
	"container/list"
	"context"
	"errors"
	"strings"
	"time"
)

// texts is what is known of a name.
type texts struct {
	values []string
	at     time.Time     // when it was read
	ttl    time.Duration // how long it is believed from then on
	stale  bool
	err    *LookupError // instead of values
}

// entry is what is remembered of a name.
type entry struct {
	name string
	texts
	until  time.Time // then somebody is asked again
	spared time.Time // until when it serves while no resolver answers
}

// names is the memory: of the names asked for last, at most max.
type names struct {
	max    int
	byName map[string]*list.Element
	order  *list.List // the last used in front
}

func newNames(limit int) *names {
	return &names{max: limit, byName: make(map[string]*list.Element), order: list.New()}
}

func (n *names) len() int { return n.order.Len() }

func (n *names) get(name string) *entry {
	at := n.byName[name]
	if at == nil {
		return nil
	}
	n.order.MoveToFront(at)
	return at.Value.(*entry)
}

func (n *names) put(e *entry) {
	if at := n.byName[e.name]; at != nil {
		at.Value = e
		n.order.MoveToFront(at)
		return
	}
	n.byName[e.name] = n.order.PushFront(e)
	if n.order.Len() > n.max {
		last := n.order.Back()
		delete(n.byName, last.Value.(*entry).name)
		n.order.Remove(last)
	}
}

// flight is a question that is under way.
type flight struct {
	done  chan struct{}
	texts texts
}

// fresh reports whether a name can be answered from memory.
func (r *Resolver) fresh(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.names.get(name)
	return e != nil && time.Now().Before(e.until)
}

// texts returns the TXT records of a name, from memory where it is fresh.
func (r *Resolver) texts(ctx context.Context, name string) (texts, *LookupError) {
	if r.cfg.Mock {
		return r.mocked(name)
	}
	r.mu.Lock()
	if e := r.names.get(name); e != nil && time.Now().Before(e.until) {
		r.stats.Hits++
		if e.stale {
			r.stats.Stale++
		}
		t := e.texts
		r.mu.Unlock()
		return t.result()
	}
	f := r.flying[name]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		r.flying[name] = f
		r.stats.Lookups++
		// Whoever asked first may go away; the others wait for the same answer.
		go r.fly(context.WithoutCancel(ctx), f, name)
	}
	r.mu.Unlock()
	select {
	case <-f.done:
		return f.texts.result()
	case <-ctx.Done():
		return texts{}, silent(name, context.Cause(ctx).Error())
	}
}

// fly asks for a name, remembers the answer and tells those who wait. It comes back
// within Config.Timeout.
func (r *Resolver) fly(ctx context.Context, f *flight, name string) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	answer := r.ask.txt(ctx, name)
	r.mu.Lock()
	defer r.mu.Unlock()
	f.texts = r.remember(name, answer, time.Now())
	delete(r.flying, name)
	close(f.done)
}

// remember decides how long an answer is believed. r.mu is held.
func (r *Resolver) remember(name string, answer texts, now time.Time) texts {
	before := r.names.get(name)
	answer.at = now
	switch {
	case answer.err == nil:
		answer.ttl = min(max(answer.ttl, minTTL), r.cfg.MaxTTL)
	case errors.Is(answer.err, ErrNoRecord):
		r.stats.Absent++
		answer.ttl = min(max(answer.ttl, minTTL), negativeTTL)
	default:
		r.stats.Failures++
		if before != nil && before.err == nil && now.Before(before.spared) {
			r.cfg.Logger.Warn("DNS does not answer, an old record serves", "name", name, "err", answer.err.Detail)
			old := *before
			old.stale, old.until = true, now.Add(staleTTL)
			r.names.put(&old)
			return old.texts
		}
		answer.ttl = failureTTL
	}
	e := &entry{name: name, texts: answer, until: now.Add(answer.ttl)}
	e.spared = e.until.Add(r.cfg.Stale)
	r.names.put(e)
	return answer
}

func (t texts) result() (texts, *LookupError) {
	if t.err != nil {
		return texts{}, t.err
	}
	return t, nil
}

// mocked answers from Config.MockRecords.
func (r *Resolver) mocked(name string) (texts, *LookupError) {
	if text, ok := r.mock[strings.TrimPrefix(name, "_amtp.")]; ok {
		return texts{values: []string{text}, at: r.own, ttl: r.cfg.MaxTTL}, nil
	}
	return texts{}, missing(name)
}
