package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// plan gives out addresses. Nothing that was given comes back.
type plan struct {
	link     netip.Prefix // the public network's half that is one link
	gateway  netip.Prefix
	gateway6 netip.Prefix
	prefix6  netip.Prefix

	mu     sync.Mutex
	next   netip.Addr   // on the link
	next6  netip.Addr   // on the link
	block  netip.Prefix // the next for an open box
	whole  netip.Prefix
	number int // of the next box
}

func newPlan(prefix, prefix6 netip.Prefix) (*plan, error) {
	prefix, prefix6 = prefix.Masked(), prefix6.Masked()
	if !prefix.Addr().Is4() || prefix.Bits() < leastBits || prefix.Bits() > mostBits {
		return nil, fmt.Errorf("prefix %s: want an IPv4 one, /%d to /%d", prefix, leastBits, mostBits)
	}
	if !prefix6.Addr().Is6() || prefix6.Addr().Is4In6() || prefix6.Bits() < leastBits6 || prefix6.Bits() > mostBits6 {
		return nil, fmt.Errorf("prefix %s: want an IPv6 one, /%d to /%d", prefix6, leastBits6, mostBits6)
	}
	p := &plan{whole: prefix, prefix6: prefix6, number: 1}
	p.link = netip.PrefixFrom(prefix.Addr(), prefix.Bits()+1)
	p.gateway = netip.PrefixFrom(p.link.Addr().Next(), p.link.Bits())
	p.next = p.gateway.Addr().Next()
	link6 := p.network6(0)
	p.gateway6 = netip.PrefixFrom(link6.Addr().Next(), link6.Bits())
	p.next6 = p.gateway6.Addr().Next()
	p.block = netip.PrefixFrom(upperHalf(prefix), blockBits)
	return p, nil
}

// upperHalf is the first address of the second half.
func upperHalf(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	a[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	return netip.AddrFrom4(a)
}

// network6 is the n-th /64.
func (p *plan) network6(n int) netip.Prefix {
	a := p.prefix6.Addr().As16()
	a[6], a[7] = byte(n>>8), byte(n)
	return netip.PrefixFrom(netip.AddrFrom16(a), linkBits6)
}

// public gives a place on the public link. Every place has IPv6 as well; who does not
// want it leaves it out.
func (p *plan) public() (cable, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := cable{
		address: netip.PrefixFrom(p.next, p.link.Bits()), gateway: p.gateway.Addr(),
		address6: netip.PrefixFrom(p.next6, linkBits6), gateway6: p.gateway6.Addr(),
	}
	p.next, p.next6 = p.next.Next(), p.next6.Next()
	if !p.link.Contains(p.next) { // the last is for broadcasts
		return cable{}, errors.New("the public network is full")
	}
	return c, nil
}

// inside gives the network behind a box.
func (p *plan) inside(open bool) (n int, v4, v6 netip.Prefix, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.number > mostBoxes {
		return 0, v4, v6, fmt.Errorf("more than %d boxes", mostBoxes)
	}
	n = p.number
	v4, v6 = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(n), 0}), 24), p.network6(n)
	if open {
		if v4 = p.block; !p.whole.Contains(v4.Addr()) {
			return 0, v4, v6, fmt.Errorf("no room in %s for one more open box", p.whole)
		}
		p.block = netip.PrefixFrom(after(v4, 1<<(32-blockBits)), blockBits)
	}
	p.number++
	return n, v4, v6, nil
}

// after is the address n after the prefix's first.
func after(p netip.Prefix, n int) netip.Addr {
	a := p.Addr()
	for range n {
		a = a.Next()
	}
	return a
}

// linkAddress is that of the bridge of the n-th box, and for 0 of the public one. Without
// one of its own a bridge takes another whenever a cable comes to it, and its
// neighbours send to the old one until they notice.
func linkAddress(n int) string { return fmt.Sprintf("02:00:00:00:%02x:01", n) }
