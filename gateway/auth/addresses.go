package auth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Locate finds the addresses of the gateway of a domain, as discovery and DNS name them.
type Locate func(ctx context.Context, domain string) ([]netip.Addr, error)

// Addresses says whether somebody who calls comes from where a domain's gateway is. That
// proves little: everybody behind that address can do it, and DNS can be forged. It makes a
// domain a known one, whose rate is its own, and no more. It is safe for concurrent use.
type Addresses struct {
	locate Locate
	now    func() time.Time
	asking chan struct{}

	mu    sync.Mutex
	known map[string]located
}

type located struct {
	addrs []netip.Addr
	until time.Time
}

// NewAddresses asks locate, and remembers what it says.
func NewAddresses(locate Locate, now func() time.Time) *Addresses {
	return &Addresses{locate: locate, now: now, asking: make(chan struct{}, MaxAsking), known: map[string]located{}}
}

// Caller is the gateway of a domain if from is one of its addresses. It returns ErrWrong if
// it is not, or if the addresses were not found within AddressWait, and ErrUnavailable if too
// many are being looked for.
func (a *Addresses) Caller(ctx context.Context, domain string, from netip.Addr) (Caller, error) {
	domain = strings.ToLower(domain)
	addrs, err := a.find(ctx, domain)
	if err != nil {
		return Caller{}, err
	}
	if !slices.Contains(addrs, from.Unmap()) {
		return Caller{}, ErrWrong
	}
	return Proven(domain, ByAddress), nil
}

func (a *Addresses) find(ctx context.Context, domain string) ([]netip.Addr, error) {
	a.mu.Lock()
	known, ok := a.known[domain]
	a.mu.Unlock()
	if ok && a.now().Before(known.until) {
		return known.addrs, nil
	}
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	default:
		return nil, fmt.Errorf("%w: %d questions under way", ErrUnavailable, MaxAsking)
	}
	// What is found is remembered for all: a caller who goes away must not make it a failure.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), AddressWait)
	defer cancel()
	addrs, err := a.locate(ctx, domain)
	fresh := AddressFresh
	if err != nil {
		addrs, fresh = nil, AddressFailed
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	a.remember(domain, located{addrs, a.now().Add(fresh)})
	return addrs, nil
}

func (a *Addresses) remember(domain string, l located) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= MaxAddresses {
		for d, k := range a.known {
			if !a.now().Before(k.until) {
				delete(a.known, d)
			}
		}
	}
	if len(a.known) >= MaxAddresses {
		clear(a.known) // to ask again costs less than to find the oldest
	}
	a.known[domain] = l
}
