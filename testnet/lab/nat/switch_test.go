package nat_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"amesh/node/api"
)

// switches is how often the path is forced to another one, and back.
const switches = 100

// T65. Under traffic the cable between two machines is pulled and plugged in again, until
// the path has changed a hundred times: no message is lost or comes twice.
func TestSoakWithRootAHundredSwitches(t *testing.T) {
	if os.Getenv("AMESH_SOAK") == "" || os.Getenv("AMESH_WITH_ROOT") == "" {
		t.Skip("SKIP: set AMESH_SOAK=1 and AMESH_WITH_ROOT=1, as root: takes minutes, and network namespaces")
	}
	c := newCity(t)
	a, b := c.two(atRestricted, atSymmetric)
	desk, err := c.Cable(t.Context(), a.Host, b.Host)
	if err != nil {
		t.Fatal(err)
	}
	first := &pair{a: a, b: b}
	if err := first.converse(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.pathTo(t.Context(), a, b, desk.IP(b.Host)); err != nil {
		t.Fatal(err)
	}
	ctx, over := context.WithCancel(t.Context())
	said := make(chan []string)
	go func() { said <- chatter(ctx, t, a, b) }()
	began := time.Now()
	for i := range switches {
		if i%2 == 0 {
			err = desk.Pull(t.Context())
		} else {
			err = desk.Mend(t.Context())
		}
		if err == nil {
			err = c.onCable(a, b, desk.IP(b.Host), i%2 == 1)
		}
		if err != nil {
			t.Errorf("switch %d: %v", i+1, err)
			break
		}
	}
	over()
	texts := append(first.there(), <-said...)
	t.Logf("%d switches in %.0f s, %d messages", switches, time.Since(began).Seconds(), len(texts))
	c.allHeard(a, b, texts)
}

// chatter sends one message after the other until ctx ends.
func chatter(ctx context.Context, t *testing.T, a, b *resident) (texts []string) {
	for i := 0; ctx.Err() == nil; i++ {
		text := fmt.Sprintf("message %d", i)
		// Not with ctx: what is said must be known to have been said.
		_, err := a.api.Send(t.Context(), "", api.SendRequest{To: b.amid, Body: []byte(text), Intent: "lab", Wait: api.StateDelivered, TimeoutMS: lookEvery.Milliseconds()}, "")
		if err != nil {
			t.Errorf("message %d: %v", i, err)
			return texts
		}
		texts = append(texts, text)
	}
	return texts
}

// onCable waits until the path is the cable, or until it is another.
func (c *city) onCable(a, b *resident, ip netip.Addr, want bool) error {
	return await(c.t.Context(), fmt.Sprintf("the cable in use: %v", want), func() (bool, error) {
		w, err := a.api.Why(c.t.Context(), "", b.amid)
		if err != nil {
			return false, err
		}
		at, err := ipOf(w.Remote)
		return (isDirect(w) && err == nil && at == ip) == want, nil
	})
}
