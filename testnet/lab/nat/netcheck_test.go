package nat_test

import (
	"sync"
	"testing"

	"amesh/node/api"
)

// What a node says of the network that it is in, is what it is in.
func TestWithRootNetcheckKnowsThePlace(t *testing.T) {
	needsRoot(t)
	c := newCity(t)
	var wg sync.WaitGroup
	for at, want := range map[place]struct {
		nat     api.NATType
		verdict api.Verdict
	}{
		atOpen:       {api.NATNone, api.VerdictGood},
		atFullCone:   {api.NATEndpoint, api.VerdictGood},
		atRestricted: {api.NATEndpoint, api.VerdictGood},
		atDouble:     {api.NATEndpoint, api.VerdictGood},
		atSymmetric:  {api.NATSymmetric, api.VerdictDegraded},
		atBlocked:    {api.NATBlocked, api.VerdictDegraded},
		atProxy:      {api.NATBlocked, api.VerdictDegraded},
	} {
		wg.Go(func() {
			r, err := c.moveIn(t.Context(), string(at), at, false)
			if err != nil {
				t.Error(err)
				return
			}
			n, err := r.api.Netcheck(t.Context(), api.NetcheckRequest{})
			if err != nil {
				t.Errorf("%s: %v", at, err)
				return
			}
			if n.NAT.Type != want.nat || n.Verdict != want.verdict || n.UDPBlocked != (want.nat == api.NATBlocked) || (n.Proxy != "") != (at == atProxy) {
				t.Errorf("%s: NAT %s, verdict %s, UDP blocked %v, proxy %q; want NAT %s and verdict %s\n%+v", at, n.NAT.Type, n.Verdict, n.UDPBlocked, n.Proxy, want.nat, want.verdict, n)
			}
			if want.nat != api.NATBlocked && !seenAt(n, r) {
				t.Errorf("%s: seen at %v, want %s", at, n.NAT.Public, r.front)
			}
		})
	}
	wg.Wait()
}

// seenAt says whether the public address is the one that packets really have.
func seenAt(n api.Netcheck, r *resident) bool {
	for _, s := range n.STUN {
		if ip, ok := hostOf(s.Public); !ok || ip != r.front {
			return false
		}
	}
	return len(n.STUN) > 0
}
