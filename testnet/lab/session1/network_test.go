package session1_test

import (
	"slices"
	"time"

	"amesh/ratchet"
)

// number names a message of one direction by its chain and its place in it.
type number struct {
	chain, n uint32
}

// numbers are what session.md §6 says of one direction of a session, without a
// byte of cryptography: which message gets which number, and what becomes of one
// that comes. The implementations must agree with them code by code.
type numbers struct {
	// The sender's side. pn is the length of the chain before.
	next number
	pn   uint32

	// The receiver's side. chain is -1 before the first message.
	chain  int
	nr     uint32
	stored []storedNumber // in the order of storing
}

type storedNumber struct {
	number
	at time.Time
}

// sent counts a message that is sealed.
func (x *numbers) sent() (number, uint32) {
	now := x.next
	x.next.n++
	return now, x.pn
}

// turn begins a new sending chain, because the sender opened a message of a new
// chain of the other direction.
func (x *numbers) turn() {
	x.pn = x.next.n
	x.next = number{x.next.chain + 1, 0}
}

// arrives says with which code a message is refused at the time now, "" if it
// opens, and whether it opens a new chain. Only then something is remembered.
func (x *numbers) arrives(m number, pn uint32, now time.Time) (code string, newChain bool) {
	switch {
	case int(m.chain) < x.chain:
		if !slices.ContainsFunc(x.stored, func(s storedNumber) bool { return s.chain == m.chain }) {
			return ratchet.ErrDecrypt.Error(), false
		}
		return x.takeStored(m, now), false
	case int(m.chain) == x.chain && m.n < x.nr:
		return x.takeStored(m, now), false
	case int(m.chain) == x.chain:
		if m.n-x.nr > ratchet.MaxSkip {
			return ratchet.ErrSkipLimit.Error(), false
		}
	default:
		if m.n > ratchet.MaxSkip || x.chain >= 0 && pn > x.nr && pn-x.nr > ratchet.MaxSkip {
			return ratchet.ErrSkipLimit.Error(), false
		}
		if x.chain >= 0 {
			x.store(pn, now)
		}
		x.chain, x.nr, newChain = x.chain+1, 0, true
	}
	x.store(m.n, now)
	x.nr++
	x.tidy(now)
	return "", newChain
}

func (x *numbers) takeStored(m number, now time.Time) string {
	at := slices.IndexFunc(x.stored, func(s storedNumber) bool { return s.number == m })
	if at < 0 || now.Sub(x.stored[at].at) > ratchet.SkippedLife {
		return ratchet.ErrDuplicate.Error()
	}
	x.stored = slices.Delete(x.stored, at, at+1)
	x.tidy(now)
	return ""
}

func (x *numbers) store(until uint32, now time.Time) {
	for ; x.nr < until; x.nr++ {
		x.stored = append(x.stored, storedNumber{number{uint32(x.chain), x.nr}, now})
	}
}

// tidy keeps the bounds: what is too old goes, then the oldest chains, then the
// oldest numbers.
func (x *numbers) tidy(now time.Time) {
	x.stored = slices.DeleteFunc(x.stored, func(s storedNumber) bool { return now.Sub(s.at) > ratchet.SkippedLife })
	var chains []uint32
	for _, s := range x.stored {
		if !slices.Contains(chains, s.chain) {
			chains = append(chains, s.chain)
		}
	}
	if over := len(chains) - ratchet.MaxSkippedChains; over > 0 {
		x.stored = slices.DeleteFunc(x.stored, func(s storedNumber) bool { return slices.Contains(chains[:over], s.chain) })
	}
	if over := len(x.stored) - ratchet.MaxSkipped; over > 0 {
		x.stored = slices.Delete(x.stored, 0, over)
	}
}
