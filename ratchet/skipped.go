package ratchet

import (
	"math"
	"slices"
	"time"
)

// storedKey is the key of a message that has not come yet.
type storedKey struct {
	number uint32
	stored int64 // seconds since 1970
	key    Secret
}

// chain is the stored keys of one receiving chain, in the order of derivation.
type chain struct {
	header Secret
	keys   []storedKey
}

func (c *chain) find(number uint32, now time.Time) (Secret, bool) {
	oldest := now.Add(-SkippedLife).Unix()
	for i := range c.keys {
		if c.keys[i].number == number {
			return c.keys[i].key, c.keys[i].stored >= oldest
		}
	}
	return Secret{}, false
}

// oldest is when the oldest key was stored. Every message asks, so it is a plain
// loop: DeleteFunc copies each key, which made a session with a thousand of them
// half as quick.
func (c *chain) oldest() int64 {
	oldest := int64(math.MaxInt64)
	for i := range c.keys {
		oldest = min(oldest, c.keys[i].stored)
	}
	return oldest
}

// skipped are the stored keys of a session, the oldest chain first.
type skipped struct {
	chains []chain
}

func (k *skipped) clone() skipped {
	c := skipped{chains: slices.Clone(k.chains)}
	for i := range c.chains {
		c.chains[i].keys = slices.Clone(c.chains[i].keys)
	}
	return c
}

func (k *skipped) count() int {
	n := 0
	for i := range k.chains {
		n += len(k.chains[i].keys)
	}
	return n
}

func (k *skipped) index(header *Secret) int {
	return slices.IndexFunc(k.chains, func(c chain) bool { return c.header.equal(header) })
}

func (k *skipped) add(c chain) {
	if i := k.index(&c.header); i >= 0 {
		k.chains[i].keys = append(k.chains[i].keys, c.keys...)
		return
	}
	k.chains = append(k.chains, c)
}

func (k *skipped) remove(at int, number uint32) {
	c := &k.chains[at]
	c.keys = slices.DeleteFunc(c.keys, func(s storedKey) bool { return s.number == number })
	k.dropEmpty()
}

func (k *skipped) expire(before time.Time) {
	limit := before.Unix()
	for i := range k.chains {
		c := &k.chains[i]
		if c.oldest() < limit {
			c.keys = slices.DeleteFunc(c.keys, func(s storedKey) bool { return s.stored < limit })
		}
	}
	k.dropEmpty()
}

// trim keeps the store within its limits; what goes is the oldest of the oldest
// chain.
func (k *skipped) trim() {
	if over := len(k.chains) - MaxSkippedChains; over > 0 {
		k.chains = slices.Delete(k.chains, 0, over)
	}
	for over := k.count() - MaxSkipped; over > 0; over = k.count() - MaxSkipped {
		c := &k.chains[0]
		c.keys = slices.Delete(c.keys, 0, min(over, len(c.keys)))
		k.dropEmpty()
	}
}

func (k *skipped) dropEmpty() {
	k.chains = slices.DeleteFunc(k.chains, func(c chain) bool { return len(c.keys) == 0 })
}

// SkippedKeys is the number of keys kept for messages that have not come, for an
// owner of many sessions who bounds their sum.
func (s *Session) SkippedKeys() int { return s.skipped.count() }

// Expire forgets the keys stored before the given time.
func (s *Session) Expire(before time.Time) { s.skipped.expire(before) }

// DropOldestChain forgets the stored keys of the oldest chain and returns how
// many they were. Their messages can no longer be opened.
func (s *Session) DropOldestChain() int {
	if len(s.skipped.chains) == 0 {
		return 0
	}
	n := len(s.skipped.chains[0].keys)
	s.skipped.chains = slices.Delete(s.skipped.chains, 0, 1)
	return n
}
