// Package ban remembers whom a relay's operator does not want: agents by name and
// networks by prefix, for a time or for good, across restarts.
package ban

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"amesh/identity"
)

// Limits of a list. They are the operator's own, so they only have to be sane.
const (
	// MaxBans is how many bans a list holds.
	MaxBans = 10_000
	// MaxWhy is the longest reason, in bytes.
	MaxWhy = 200
	// MinBitsIPv4 and MinBitsIPv6 are the widest networks: a slip of the finger shall
	// not ban everybody.
	MinBitsIPv4 = 8
	MinBitsIPv6 = 16
)

var (
	// ErrTarget reports a text that is neither an AMID nor a network.
	ErrTarget = errors.New("want an AMID, an address or a network")
	// ErrFull reports a list that holds MaxBans.
	ErrFull = errors.New("too many bans")
	// ErrFile reports a file that is not a list of bans, or cannot be read.
	ErrFile = errors.New("bans cannot be read")
)

// Target is whom a ban is about: an agent or a network. Targets can be compared.
type Target struct {
	agent   identity.AMID
	network netip.Prefix
}

// Agent is the target of one agent.
func Agent(who identity.AMID) Target { return Target{agent: who} }

// ParseTarget reads an AMID, an address or a network. Bits of a network beyond its
// length are dropped.
func ParseTarget(s string) (Target, error) {
	s = strings.TrimSpace(s)
	if who, err := identity.ParseAMID(s); err == nil {
		return Target{agent: who}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return Target{}, fmt.Errorf("%w: %q", ErrTarget, s)
		}
		ip = ip.Unmap().WithZone("")
		p = netip.PrefixFrom(ip, ip.BitLen())
	}
	least := MinBitsIPv6
	if p.Addr().Is4() {
		least = MinBitsIPv4
	}
	if p.Bits() < least || p.Addr().Is4In6() {
		return Target{}, fmt.Errorf("%w: %q is too wide, or IPv4 written as IPv6", ErrTarget, s)
	}
	return Target{network: p.Masked()}, nil
}

// String is what ParseTarget reads.
func (t Target) String() string {
	if t.network.IsValid() {
		return t.network.String()
	}
	return t.agent.String()
}

// Covers reports whether the target is this agent or a network with this address.
func (t Target) Covers(who identity.AMID, ip netip.Addr) bool {
	if t.network.IsValid() {
		return t.network.Contains(ip)
	}
	return !who.IsZero() && t.agent == who
}

// Ban is one entry of a list.
type Ban struct {
	Target Target
	Since  time.Time
	// Until is when the ban ends by itself; zero for never.
	Until time.Time
	// Why is the operator's note for himself. It is told to nobody.
	Why string
}

func (b Ban) over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }
