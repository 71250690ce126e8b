package prefix

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	cases := []struct{ addr, want string }{
		{"192.0.2.7", "192.0.2.7/32"},
		{"::ffff:192.0.2.7", "192.0.2.7/32"},
		{"2001:db8:1:2ff:3::4", "2001:db8:1:200::/56"},
		{"fe80::1%eth0", "fe80::/56"},
	}
	for _, c := range cases {
		if got := Of(netip.MustParseAddr(c.addr)).String(); got != c.want {
			t.Errorf("Of(%s) = %s, want %s", c.addr, got, c.want)
		}
	}
	if got := Of(netip.Addr{}); got.IsValid() {
		t.Errorf("Of(nothing) = %s", got)
	}
}

func TestRateIsPerPrefixAndComesBack(t *testing.T) {
	now := time.Now()
	r := NewRate(10, 5, now)
	one, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	stranger := netip.MustParseAddr("192.0.2.1")
	take := func(ip netip.Addr, n int, after time.Duration, want bool) {
		t.Helper()
		if got := r.Take(ip, n, now.Add(after)); got != want {
			t.Fatalf("take %d of %s after %s: %v, want %v", n, ip, after, got, want)
		}
	}
	take(one, 3, 0, true)
	take(other, 3, 0, false) // takes none
	take(other, 2, 0, true)
	take(one, 1, 0, false)
	take(stranger, 5, 0, true)
	take(one, 1, 100*time.Millisecond, true)
	take(one, 1, 100*time.Millisecond, false)
	take(one, 5, time.Hour, true)
	take(one, 1, time.Hour, false)
	r.Charge(one, 1000, now.Add(time.Hour))
	take(one, 1, time.Hour+500*time.Millisecond, false) // one burst of debt, no more
	take(one, 1, time.Hour+600*time.Millisecond, true)
}

func TestRateOfNames(t *testing.T) {
	now := time.Now()
	r := NewRate(1, 2, now)
	for i, want := range []bool{true, true, false} {
		if got := r.TakeFor("ann", 1, now); got != want {
			t.Errorf("ann's take %d: %v", i+1, got)
		}
	}
	if !r.TakeFor("bob", 2, now) || !r.TakeFor("ann", 1, now.Add(time.Second)) {
		t.Error("bob paid for ann, or nothing came back")
	}
}

func TestRateUnderConcurrency(t *testing.T) {
	now := time.Now()
	r := NewRate(1, 100, now)
	var got atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if r.Take(netip.MustParseAddr("192.0.2.1"), 1, now) {
					got.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got.Load() != 100 {
		t.Errorf("%d tokens of 100", got.Load())
	}
}
