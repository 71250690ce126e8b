package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"amesh/gateway/store"
)

// domainsEvery is how often the operator's list of domains is read again: a block counts
// within a second, at every gateway of the database (T87).
const domainsEvery = 500 * time.Millisecond

// domains is the operator's list of domains, as it was in the database a moment ago.
type domains struct {
	rows interface {
		Domains(context.Context) ([]store.Domain, error)
	}
	log   *slog.Logger
	state atomic.Pointer[map[string]store.DomainState]
}

// load reads the list.
func (d *domains) load(ctx context.Context) error {
	list, err := d.rows.Domains(ctx)
	if err != nil {
		return fmt.Errorf("domains: %w", err)
	}
	state := make(map[string]store.DomainState, len(list))
	for _, domain := range list {
		state[domain.Name] = domain.State
	}
	d.state.Store(&state)
	return nil
}

// run reads the list again and again. While the database is away the last one counts.
func (d *domains) run(ctx context.Context) error {
	every := time.NewTicker(domainsEvery)
	defer every.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		err := d.load(ctx)
		if err != nil && ctx.Err() == nil && !away {
			d.log.Warn("domains not up to date", "err", err)
		}
		away = err != nil
	}
}

// known reports whether the operator knows a domain.
func (d *domains) known(domain string) bool { return d.at(domain) == store.DomainKnown }

// blocked reports whether the operator wants nothing of a domain, or of one above it:
// whoever is shut out with one name has as many below it as he likes.
func (d *domains) blocked(domain string) bool {
	for domain != "" {
		switch d.at(domain) {
		case store.DomainBlocked:
			return true
		case store.DomainKnown:
			return false
		}
		_, domain, _ = strings.Cut(domain, ".")
	}
	return false
}

func (d *domains) at(domain string) store.DomainState {
	if state := d.state.Load(); state != nil {
		return (*state)[domain]
	}
	return ""
}
