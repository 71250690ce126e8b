package agent

import (
	"bytes"
	"errors"

	"amesh/identity"
	"amesh/internal/store"
)

// skippedKeySize is what a stored message key counts as in bytes, with its share of the
// header key and of the row.
const skippedKeySize = 128

// countSkipped counts the stored message keys of all sessions.
func (a *Agent) countSkipped() error {
	counts := make(map[identity.AMID]int)
	err := a.Store.View(func(r store.Reader) error {
		var bad error
		prefix := a.key(rowSession)
		err := r.Scan(prefix, nil, func(k, v []byte) bool {
			var s *session
			if s, bad = a.openSession(bytes.Clone(k), v); bad != nil {
				return false
			}
			counts[identity.AMID(k[len(prefix):][:identity.AMIDSize])] += s.r.SkippedKeys()
			return true
		})
		return errors.Join(err, bad)
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for peer, n := range counts {
		a.setStored(peer, n)
	}
	return nil
}

// setStored notes how many message keys of a peer are stored; a.mu is held.
func (a *Agent) setStored(peer identity.AMID, n int) {
	a.stored += n - a.keys[peer]
	if n == 0 {
		delete(a.keys, peer)
		return
	}
	a.keys[peer] = n
}

// tally counts the stored message keys of a peer anew.
func (a *Agent) tally(peer identity.AMID, list []*session) {
	n := 0
	for _, s := range list {
		n += s.r.SkippedKeys()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setStored(peer, n)
}

func (a *Agent) storedKeys() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stored
}

// boundSkipped keeps the stored message keys of all sessions within their bound, at the
// cost of the session that had fewer of them before (session.md §6).
func (c *clerk) boundSkipped(s *session, before int) {
	growth := s.r.SkippedKeys() - before
	if growth <= 0 {
		return
	}
	over := c.a.storedKeys() + growth - c.a.Limits.SkippedBytes/skippedKeySize
	for over > 0 && s.r.SkippedKeys() > 0 {
		over -= s.r.DropOldestChain()
	}
}
