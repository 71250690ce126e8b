package nat_test

import (
	"fmt"
	"strings"
	"testing"
)

// The machine gets another address, and with it another place on the public network:
// the peer meets it there, says so, and nobody had to be restarted. QUIC may have taken
// the connection along, so the packets are looked at too.
func TestWithRootAddressChanges(t *testing.T) {
	needsRoot(t)
	for _, peer := range []place{atRestricted, atOpen} {
		t.Run(string(peer), func(t *testing.T) {
			c := newCity(t)
			a, b := c.two(atOpen, peer)
			p := &pair{a: a, b: b, want: expect(atOpen, peer)}
			if p.talk(t.Context()); p.err != nil {
				t.Fatalf("%v\n%s", p.err, told(p.whys[0]))
			}
			public := listen(t, c.Space())
			if err := a.Move(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := a.tell(t.Context(), b, "I have moved"); err != nil {
				t.Fatal(err)
			}
			n := 0
			err := await(t.Context(), "a direct path from the new address", func() (bool, error) {
				n++
				if err := b.tell(t.Context(), a, fmt.Sprintf("are you there %d", n)); err != nil {
					return false, err
				}
				w, err := b.api.Why(t.Context(), "", a.amid)
				return isDirect(w) && !w.Limited && strings.Contains(w.Remote, "/"+a.IP().String()+"/") && public.between(a.IP(), b.front) > 0, err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}
