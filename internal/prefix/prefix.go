// Package prefix groups addresses by who is likely to hold them, and bounds what
// each group may ask for. Servers that talk to strangers count by these groups:
// somebody with one line at home has one IPv4 address and a whole IPv6 /56.
package prefix

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

// Bits that an address shares with others of the same holder.
const (
	BitsIPv4 = 32
	BitsIPv6 = 56
)

// Of is the group of an address: the address itself for IPv4, also in IPv6's
// clothes, and the /56 for IPv6. The zero address has the zero prefix.
func Of(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := BitsIPv6
	if ip.Is4() {
		bits = BitsIPv4
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// slots is how many buckets a Rate has: 256 KiB. Groups that meet in one share it,
// which a few thousand busy groups hardly notice.
const slots = 1 << 15

// Rate is a token bucket for every prefix, in a table whose size never changes:
// whoever can make up addresses can empty many buckets, and cannot make the table
// grow or forget. Which groups share a bucket is secret and differs in every
// process. It is safe for concurrent use.
type Rate struct {
	seed  maphash.Seed
	start time.Time
	token time.Duration // the time in which one token comes back
	burst time.Duration // the time in which all of them do

	// full is when each bucket is full again, in nanoseconds after start.
	full [slots]atomic.Int64
}

// NewRate gives each prefix burst tokens, of which perSecond come back in a second.
func NewRate(perSecond float64, burst int, now time.Time) *Rate {
	token := time.Duration(float64(time.Second) / perSecond)
	return &Rate{seed: maphash.MakeSeed(), start: now, token: token, burst: token * time.Duration(burst)}
}

// Take takes n tokens of the prefix of an address. When there are fewer it takes
// none and returns false.
func (r *Rate) Take(ip netip.Addr, n int, now time.Time) bool {
	return r.take(maphash.Comparable(r.seed, Of(ip)), n, now)
}

// TakeFor is Take for those who have a name.
func (r *Rate) TakeFor(name string, n int, now time.Time) bool {
	return r.take(maphash.String(r.seed, name), n, now)
}

func (r *Rate) take(hash uint64, n int, now time.Time) bool {
	bucket := &r.full[hash%slots]
	at := now.Sub(r.start)
	for {
		old := bucket.Load()
		full := max(time.Duration(old), at) + r.token*time.Duration(n)
		if full-at > r.burst {
			return false
		}
		if bucket.CompareAndSwap(old, int64(full)) {
			return true
		}
	}
}

// Charge takes n tokens whether they are there or not; the bucket can be at most
// one burst in debt.
func (r *Rate) Charge(ip netip.Addr, n int, now time.Time) {
	bucket := &r.full[maphash.Comparable(r.seed, Of(ip))%slots]
	at := now.Sub(r.start)
	for {
		old := bucket.Load()
		full := min(max(time.Duration(old), at)+r.token*time.Duration(n), at+2*r.burst)
		if bucket.CompareAndSwap(old, int64(full)) {
			return
		}
	}
}
