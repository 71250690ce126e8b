package agentry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// ledger is what clients know of the messages that they sent.
type ledger struct {
	mu       sync.Mutex
	accepted map[int]bool // the answer said so
	sent     int          // numbers that were tried
}

// load posts messages of an agent, eight at a time, until it is told to stop. What is not
// answered is not tried again: its sender does not know what became of it.
func (l *ledger) load(from agent, recipients string, stop <-chan struct{}) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				l.mu.Lock()
				n := l.sent
				l.sent++
				l.mu.Unlock()
				body := fmt.Sprintf(`{"sender":%q,"recipients":%s,"payload":{"n":%d}}`, from.address, recipients, n)
				got, err := from.g.try(http.MethodPost, "/v1/messages", body, "Authorization", "Bearer "+from.key)
				if err == nil && (got.status == http.StatusOK || got.status == http.StatusAccepted) {
					l.mu.Lock()
					l.accepted[n] = true
					l.mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}

// balance waits until an agent has all that was accepted. What was not may be there too,
// since an answer can get lost, but nothing is there twice.
func (l *ledger) balance(t *testing.T, to agent) {
	t.Helper()
	times := make(map[int]int)
	to.g.until(to.address+" has all that was accepted", func() bool {
		clear(times)
		for _, m := range to.inbox() {
			var payload struct{ N int }
			if err := json.Unmarshal(m.Payload, &payload); err != nil {
				t.Fatal(err)
			}
			times[payload.N]++
		}
		for n := range l.accepted {
			if times[n] == 0 {
				return false
			}
		}
		return true
	})
	for n, k := range times {
		if k > 1 || n >= l.sent {
			t.Errorf("%s has message %d %d times", to.address, n, k)
		}
	}
	t.Logf("%s: %d sent, %d accepted, %d there", to.address, l.sent, len(l.accepted), len(times))
}

// CP 37, checklist 86: ours is killed three times while it hands messages on and gets
// some. What it accepted arrives, and nothing arrives twice.
func TestWithAgentryNothingIsLostWhenOursIsKilled(t *testing.T) {
	theirs, ours := couple(t)
	north, south := theirs.register("bob"), ours.register("bob")
	alice, ann := ours.register("alice"), theirs.register("ann")
	toNorth, toSouth := &ledger{accepted: map[int]bool{}}, &ledger{accepted: map[int]bool{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { toNorth.load(alice, `["bob@north.test"]`, stop) })
	wg.Go(func() { toSouth.load(ann, `["bob@south.test"]`, stop) })
	for range 3 {
		enough := toNorth.count() + 100
		ours.until("a hundred more are accepted", func() bool { return toNorth.count() >= enough })
		ours.kill()
		ours.start()
	}
	close(stop)
	wg.Wait()
	toNorth.balance(t, north)
	toSouth.balance(t, south)
}
