package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"amesh/dht"
	"amesh/identity"
	"amesh/node/api"
	"amesh/registry/client"
)

// findSettle is how long the first good record of a peer waits for a newer one of
// another source.
const findSettle = 250 * time.Millisecond

// sourceDHT and sourceCache name the sources that are no registry.
const (
	sourceLAN   = "lan"
	sourceDHT   = "dht"
	sourceCache = "cache"
)

// book is a place where records of agents are looked up.
type book interface {
	Find(ctx context.Context, peer identity.AMID) (*identity.AgentRecord, error)
}

// shelf is a book with its name, and what is done when it lies.
type shelf struct {
	name string
	book
	lied func(code string, about identity.AMID) // nil: nobody keeps count
}

// finder is an agent's Directory: it asks all books at once (T58). Every answer is
// verified; the first that holds counts, unless a newer one comes right behind it.
type finder struct {
	shelves func() []shelf
	check   func(*identity.AgentRecord) error // against what was seen of the peer before
}

// finding is what one book said.
type finding struct {
	from shelf
	rec  *identity.AgentRecord
	err  error
}

var errNobodyAsked = errors.New("there is neither a DHT server nor a registry to ask")

// Find implements agent.Directory.
func (f *finder) Find(ctx context.Context, peer identity.AMID) (*identity.AgentRecord, error) {
	all, err := f.ask(ctx, peer, findSettle)
	if err != nil {
		return nil, err
	}
	best := newest(all)
	if best == nil {
		return nil, failures(all)
	}
	return best.rec, nil
}

// ask asks every book, and comes back when all have answered, settle after the first
// good answer, or at the end of ctx, whichever is first. The books that have not
// answered by then are not in the list.
func (f *finder) ask(ctx context.Context, peer identity.AMID, settle time.Duration) ([]finding, error) {
	shelves := f.shelves()
	if len(shelves) == 0 {
		return nil, errNobodyAsked
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan finding, len(shelves)) // with room for the late ones
	for _, s := range shelves {
		wg.Go(func() {
			rec, err := s.Find(ctx, peer)
			answers <- finding{s, rec, err}
		})
	}
	var all []finding
	var enough <-chan time.Time
	for range shelves {
		select {
		case one := <-answers:
			all = append(all, f.judge(one, peer))
			if all[len(all)-1].err == nil && enough == nil {
				timer := time.NewTimer(settle)
				defer timer.Stop()
				enough = timer.C
			}
		case <-enough:
			return all, nil
		case <-ctx.Done():
			return all, nil
		}
	}
	return all, nil
}

// judge holds an answer against its signature, which its book has checked, and against
// what was seen before. What an honest book would not say is counted.
func (f *finder) judge(one finding, peer identity.AMID) finding {
	if one.err == nil && one.rec.AMID != peer {
		one.err = fmt.Errorf("%w: the record of %s", client.ErrLie, one.rec.AMID)
	}
	if one.err == nil {
		one.err = f.check(one.rec)
	}
	if code := lieIn(one.err); code != "" && one.from.lied != nil {
		one.from.lied(code, peer)
	}
	return one
}

// newest is the good answer with the highest sequence, nil when there is none.
func newest(all []finding) *finding {
	var best *finding
	for i := range all {
		one := &all[i]
		if one.err == nil && (best == nil || identity.Newer(one.rec.Raw(), best.rec.Raw()) > 0) {
			best = one
		}
	}
	return best
}

func failures(all []finding) error {
	var list []error
	for _, one := range all {
		list = append(list, fmt.Errorf("%s: %w", one.from.name, one.err))
	}
	if len(list) == 0 {
		return context.DeadlineExceeded
	}
	return errors.Join(list...)
}

// source is what the owner is told about an answer.
func (one finding) source() api.Source {
	s := api.Source{Name: one.from.name, State: "found"}
	switch {
	case one.err == nil:
	case lieIn(one.err) != "":
		s.State, s.Error = "refused", one.err.Error()
	case isNowhere(one.err):
		s.State = "none"
	default:
		s.State, s.Error, s.Hint = "failed", one.err.Error(), client.Next(one.err)
	}
	return s
}

// isNowhere reports an answer that there is nothing.
func isNowhere(err error) bool {
	return errors.Is(err, dht.ErrNotFound) || errors.Is(err, client.ErrNotFound)
}
