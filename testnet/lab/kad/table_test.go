package kad_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"amesh/dht"
)

func TestTableOf64(t *testing.T) { table(t, 64, 4) }

func TestSoakTable128(t *testing.T) { soak(t); table(t, 128, 25) }

func TestSoakTable200(t *testing.T) { soak(t); table(t, 200, 25) }

func TestSoakLargeTable(t *testing.T) { soak(t); table(t, 500, 25) }

func soak(t *testing.T) {
	t.Helper()
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("SKIP: takes minutes; set AMESH_SOAK=1")
	}
}

// table publishes and finds records in a quiet world, and once more after every fifth
// server died at once and others came.
func table(t *testing.T, servers, count int) {
	empty, began := memory(), time.Now()
	inWorld(t, servers, 8, func(w *world) {
		perNode := (memory() - empty) / uint64(servers+8) >> 10
		routines := runtime.NumGoroutine() / (servers + 8)
		var puts, finds, churned []cost
		var agents []agent
		for i := range count {
			a := w.agent(1)
			agents = append(agents, a)
			puts = append(puts, w.measure(func(ctx context.Context) error { return w.users[i%4].Publish(ctx, a.raw) }))
		}
		find := func(i int) cost {
			return w.measure(func(ctx context.Context) error {
				rec, err := w.users[4+i%4].Find(ctx, agents[i].key.AMID())
				if err == nil && !bytes.Equal(rec.Raw(), agents[i].raw) {
					return fmt.Errorf("another record than was published")
				}
				return err
			})
		}
		for i := range agents {
			finds = append(finds, find(i))
		}
		for _, n := range w.users { // who has found once would remember
			n.stop()
		}
		w.churn(servers / 5)
		for i := range w.users {
			w.users[i] = w.join(dht.ModeClient)
		}
		time.Sleep(settle)
		for i := range agents {
			churned = append(churned, find(i))
		}
		var again []cost
		for i := range count {
			a := w.agent(1)
			again = append(again, w.measure(func(ctx context.Context) error { return w.users[i%4].Publish(ctx, a.raw) }))
		}
		for name, list := range map[string][]cost{"publish": puts, "find": finds, "find after churn": churned, "publish after churn": again} {
			for i, c := range list {
				if c.err != nil {
					t.Errorf("%s %d: %v", name, i, c.err)
				}
			}
		}
		t.Logf("%d servers: %d KiB and %d goroutines a node", servers, perNode, routines)
		t.Log(summary("publish", puts))
		t.Log(summary("find", finds))
		t.Log(summary("find*", churned) + " (* after every fifth server died)")
		t.Log(summary("publish*", again))
	})
	t.Logf("took %.0f s", time.Since(began).Seconds())
}

// churn kills n servers without a word, and lets as many new ones join.
func (w *world) churn(n int) {
	dead := w.servers[len(w.servers)/2:][:n]
	for _, s := range dead {
		for _, other := range w.mn.Peers() {
			_ = w.mn.UnlinkPeers(s.host.ID(), other)
		}
		s.stop()
	}
	w.servers = append(w.servers[:len(w.servers)/2], w.servers[len(w.servers)/2+n:]...)
	for range n {
		w.servers = append(w.servers, w.join(dht.ModeServer))
	}
}
