package registry

import (
	"sync"
	"testing"
	"time"

	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestWithPostgresOutage(t *testing.T) { dbtest.Postgres(t, outageCases) }

var outageCases = dbtest.Cases{
	"without a database nothing is answered and nothing lost": testCutOff,
	"a database that hangs is given up":                       testHanging,
	"two registries register one agent once":                  testRegisterAtBoth,
}

// refusedAll asks more often than there are connections left from before.
func refusedAll(t *testing.T, ask func() answer) {
	t.Helper()
	for range 20 {
		if a := ask().want(503).code(wire.CodeUnavailable); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
}

func testCutOff(t *testing.T, url string) {
	line := dbtest.NewLine(t, url)
	h := start(t, line.URL(), generous)
	key := testKey(t, 1)
	amid := key.AMID().String()
	h.register(key, strictly)
	status := func(s wire.Status) answer {
		return h.post("/v1/registry/status", key, strictly, object{"amid": amid, "status": s})
	}
	status(wire.StatusAway).want(200)
	line.Cut()
	refusedAll(t, func() answer { return status(wire.StatusOnline) })
	refusedAll(t, func() answer { return h.get("/v1/registry/lookup?amid=" + amid) })
	h.get("/health").want(200)
	if h.server.Stats().Ready {
		t.Error("ready without a database")
	}
	line.Mend()
	h.get("/v1/registry/lookup?amid=" + amid).want(200).has(object{"status": "away", "display_name": "Ann"})
	status(wire.StatusDND).want(200)
	h.get("/v1/registry/lookup?amid=" + amid).want(200).has(object{"status": "dnd"})
	if !h.server.Stats().Ready {
		t.Error("not ready with a database")
	}
}

func testHanging(t *testing.T, url string) {
	line := dbtest.NewLine(t, url)
	h := start(t, line.URL(), generous, func(c *Config) { c.Limits.AnswerWait = 300 * time.Millisecond })
	key := testKey(t, 1)
	amid := key.AMID().String()
	h.register(key, strictly)
	line.Hold()
	h.get("/v1/registry/lookup?amid=" + amid).want(503).code(wire.CodeUnavailable)
	h.post("/v1/registry/status", key, strictly, object{"amid": amid, "status": "online"}).want(503).code(wire.CodeUnavailable)
	line.Release()
	h.get("/v1/registry/lookup?amid=" + amid).want(200).has(object{"display_name": "Ann"})
	h.post("/v1/registry/status", key, strictly, object{"amid": amid, "status": "online"}).want(200)
}

func testRegisterAtBoth(t *testing.T, url string) {
	h, other := start(t, url, generous), start(t, url, generous)
	key := testKey(t, 1)
	const each = 4
	got := make(chan int, 2*each)
	var wg sync.WaitGroup
	for _, at := range []*harness{h, other} {
		for range each {
			wg.Go(func() { got <- at.post("/v1/registry/register", key, strictly, profile(key)).status })
		}
	}
	wg.Wait()
	close(got)
	count := map[int]int{}
	for status := range got {
		count[status]++
	}
	if count[201] != 1 || count[409] != 2*each-1 {
		t.Errorf("answers by status: %v", count)
	}
}
