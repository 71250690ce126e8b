package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"amesh/node/api"
)

// A clerk with nothing to do sleeps, also after something came within reach: whoever
// connects to a relay kicks them all.
func TestKickedClerksSleepAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stores := fragileWorld(t)
		ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
		arrives(t, w, ann, bob, "hello")
		time.Sleep(time.Minute)
		for _, p := range []*person{ann, bob} {
			p.Kick()
			synctest.Wait()
			before := stores[p.name].views.Load()
			time.Sleep(time.Second)
			if n := stores[p.name].views.Load() - before; n > 10 {
				t.Errorf("%s looked into its store %d times in a second without anything to do", p.name, n)
			}
		}
		if m, err := ann.Messages(1); err != nil || m[0].State != api.StateDelivered {
			t.Fatalf("%+v, %v", m, err)
		}
	})
}
