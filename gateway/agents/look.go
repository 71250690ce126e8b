package agents

import (
	"context"

	"amesh/gateway/store"
)

// Search is Lookup that looks at a Shared database before it says no.
func (d *Directory) Search(ctx context.Context, name string) (store.Agent, bool) {
	a, ok := d.Lookup(name)
	if !ok && d.look(ctx) {
		a, ok = d.Lookup(name)
	}
	return a, ok
}

// Identify is Authenticate that looks at a Shared database before it says no.
func (d *Directory) Identify(ctx context.Context, key string) (store.Agent, bool) {
	a, ok := d.Authenticate(key)
	if !ok && key != "" && len(key) <= MaxChosenKey && d.look(ctx) {
		a, ok = d.Authenticate(key)
	}
	return a, ok
}

// Confirm is Verify that looks at a Shared database before it says no.
func (d *Directory) Confirm(ctx context.Context, name, key string) (store.Agent, bool) {
	a, ok := d.Verify(name, key)
	if !ok && key != "" && len(key) <= MaxChosenKey && d.look(ctx) {
		a, ok = d.Verify(name, key)
	}
	return a, ok
}

// look takes over what other gateways changed, unless that was asked for too often, or the
// database does not answer: then the last snapshot counts. It reports whether there may
// be something new, which another look may have brought.
func (d *Directory) look(ctx context.Context) bool {
	if !d.cfg.Shared {
		return false
	}
	if !d.looks.AllowN(d.cfg.Clock(), 1) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, LookWait)
	defer cancel()
	// Without the lock, which whoever waits for the database holds.
	version, err := d.cfg.Rows.AgentsVersion(ctx)
	if err == nil && version != d.snap.Load().version {
		err = d.Load(ctx)
	}
	if err != nil {
		d.cfg.Logger.Debug("agents not looked at again", "err", err)
	}
	return true
}
