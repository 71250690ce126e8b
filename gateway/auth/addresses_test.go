package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestAddressOfAGatewayMakesItKnown(t *testing.T) {
	now := time.Now()
	asked := 0
	var fail error
	a := NewAddresses(func(_ context.Context, domain string) ([]netip.Addr, error) {
		asked++
		if domain != "north.test" {
			return nil, errors.New("no record")
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, fail
	}, func() time.Time { return now })
	for _, c := range []struct {
		name, domain, from string
		want               error
	}{
		{"from it", "North.test", "192.0.2.1", nil},
		{"in IPv6's clothes", "north.test", "::ffff:192.0.2.1", nil},
		{"from the other", "north.test", "2001:db8::1", nil},
		{"from elsewhere", "north.test", "192.0.2.2", ErrWrong},
		{"from its network", "north.test", "2001:db8::2", ErrWrong},
		{"for a domain without a gateway", "south.test", "192.0.2.1", ErrWrong},
	} {
		got, err := a.Caller(t.Context(), c.domain, netip.MustParseAddr(c.from))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err == nil && (got.Domain != "north.test" || got.Method != ByAddress) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times for two domains", asked)
	}
	now, fail = now.Add(AddressFresh), errors.New("away")
	if _, err := a.Caller(t.Context(), "north.test", netip.MustParseAddr("192.0.2.1")); !errors.Is(err, ErrWrong) {
		t.Errorf("when it cannot be found any more: %v", err)
	}
}

// Whoever claims a domain and hangs up would make its gateway a stranger for AddressFailed.
func TestCallerWhoGoesAwayMakesNobodyAStranger(t *testing.T) {
	a := NewAddresses(func(ctx context.Context, _ string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, ctx.Err()
	}, time.Now)
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, _ = a.Caller(gone, "north.test", netip.MustParseAddr("192.0.2.9"))
	if _, err := a.Caller(t.Context(), "north.test", netip.MustParseAddr("192.0.2.1")); err != nil {
		t.Error(err)
	}
}

func TestAddressesAreBounded(t *testing.T) {
	a := NewAddresses(func(context.Context, string) ([]netip.Addr, error) { return nil, nil }, time.Now)
	for i := range MaxAddresses + 10 {
		_, _ = a.Caller(t.Context(), fmt.Sprint("d", i, ".test"), netip.Addr{})
		if len(a.known) > MaxAddresses {
			t.Fatalf("%d domains remembered", len(a.known))
		}
	}
}

func TestOnlySoManyAddressesAreLookedForAtOnce(t *testing.T) {
	busy, end := make(chan struct{}), make(chan struct{})
	a := NewAddresses(func(context.Context, string) ([]netip.Addr, error) {
		busy <- struct{}{}
		<-end
		return nil, nil
	}, time.Now)
	done := make(chan struct{})
	for i := range MaxAsking {
		go func() {
			_, _ = a.Caller(context.Background(), fmt.Sprint("d", i, ".test"), netip.Addr{})
			done <- struct{}{}
		}()
		<-busy
	}
	if _, err := a.Caller(t.Context(), "one-more.test", netip.Addr{}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	close(end)
	for range MaxAsking {
		<-done
	}
}
