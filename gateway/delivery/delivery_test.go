package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
	"amesh/gateway/peer"
	"amesh/gateway/store"
	"amesh/gateway/webhook"
)

func TestDeliversAtOnceWithoutATick(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		s, _ := start(t, delivery.Config{Store: q, Peers: always(taken), Hooks: hooks(func(context.Context, store.Agent) webhook.Result {
			return webhook.Result{State: amtp.Delivered, HTTPStatus: 204}
		})})
		synctest.Wait()
		before := time.Now()
		q.add(t, "user@a.test", store.Remote, "", "x@b.test", "y@b.test")
		q.add(t, "user@a.test", store.Push, "", "pusher@a.test")
		synctest.Wait()
		if diff := cmp.Diff(map[amtp.State]int{amtp.Delivered: 3}, q.states()); diff != "" {
			t.Error(diff)
		}
		if time.Since(before) != 0 {
			t.Errorf("took %v", time.Since(before))
		}
		if v := s.Stats(); v.Delivered != 3 || v.InFlight != 0 {
			t.Errorf("%+v", v)
		}
	})
}

func TestResultsArePerRecipient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		byName := map[string]peer.Result{
			"ok": taken, "handed": {State: amtp.Delivering, HTTPStatus: 202}, "no": denied,
			"later": {State: amtp.Retrying, Code: amtp.CodeServerError, Text: "500", HTTPStatus: 500},
		}
		sent := make(map[string]int)
		var mu sync.Mutex
		s, stop := start(t, delivery.Config{Store: q, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			mu.Lock()
			defer mu.Unlock()
			var rs []peer.Result
			for _, to := range m.Recipients {
				sent[to]++
				rs = append(rs, byName[strings.TrimSuffix(to, "@b.test")])
			}
			return rs
		}}})
		q.add(t, "user@a.test", store.Remote, "", "ok@b.test", "handed@b.test", "no@b.test", "later@b.test")
		time.Sleep(time.Minute)
		stop()
		want := map[amtp.State]int{amtp.Delivered: 1, amtp.Delivering: 1, amtp.Failed: 1, amtp.Retrying: 1}
		if diff := cmp.Diff(want, q.states()); diff != "" {
			t.Error(diff)
		}
		if sent["later@b.test"] < 2 {
			t.Errorf("tried %d times", sent["later@b.test"])
		}
		delete(sent, "later@b.test")
		if diff := cmp.Diff(map[string]int{"ok@b.test": 1, "handed@b.test": 1, "no@b.test": 1}, sent); diff != "" {
			t.Errorf("what is delivered, handed on or refused is never sent again: %s", diff)
		}
		if v := s.Stats(); v.Delivered != 1 || v.HandedOn != 1 || v.Failed != 1 || v.Retried == 0 || v.Notices != 1 {
			t.Errorf("%+v", v)
		}
	})
}

// A recipient that is answered 500 every time: at once, then at growing random
// distances, for seven days; then it is a dead letter, and the sender hears of it.
func TestScheduleOfSevenDays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		var at []time.Time
		_, stop := start(t, delivery.Config{Store: q, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			at = append(at, time.Now())
			return all(m, peer.Result{State: amtp.Retrying, Code: amtp.CodeServerError, Text: "the gateway answered 500", HTTPStatus: 500})
		}}})
		begun := time.Now()
		q.add(t, "user@a.test", store.Remote, "", "x@b.test")
		time.Sleep(8 * 24 * time.Hour)
		stop()
		if !at[0].Equal(begun) {
			t.Errorf("first tried after %v", at[0].Sub(begun))
		}
		// 168 h of at most an hour each.
		if len(at) < 168 || len(at) > 168*3 {
			t.Errorf("%d tries", len(at))
		}
		gaps := make(map[time.Duration]int)
		bound := time.Second
		for i := range at[1:] {
			gap := at[i+1].Sub(at[i])
			bound = min(2*bound, time.Hour)
			if gap < time.Second || gap > bound+time.Minute {
				t.Errorf("gap %d: %v", i, gap)
			}
			gaps[gap]++
		}
		if len(gaps) < len(at)*9/10 {
			t.Errorf("%d distances of %d are different: that is no jitter", len(gaps), len(at))
		}
		if got := at[len(at)-1].Sub(begun); got < 7*24*time.Hour || got > 7*24*time.Hour+2*time.Minute {
			t.Errorf("last tried after %v", got)
		}
		last := q.written[len(q.written)-1]
		if last.State != amtp.Failed || last.Code != amtp.CodeServerError || last.Notice == nil ||
			!strings.HasPrefix(last.Text, fmt.Sprintf("given up after %d tries in 168h", len(at))) || !strings.HasSuffix(last.Text, "; at last: the gateway answered 500") {
			t.Errorf("%+v", last)
		}
	})
}

func TestRetryAfterIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			status int
			asked  time.Duration
		}{{429, 10 * time.Minute}, {503, 30 * time.Minute}, {429, time.Hour}} {
			q := newQueue()
			var at []time.Time
			_, stop := start(t, delivery.Config{Store: q, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
				at = append(at, time.Now())
				return all(m, peer.Result{State: amtp.Retrying, Code: amtp.CodeServerError, HTTPStatus: c.status, RetryAfter: c.asked})
			}}})
			q.add(t, "user@a.test", store.Remote, "", "x@b.test")
			time.Sleep(2 * time.Hour)
			stop()
			if gap := at[1].Sub(at[0]); gap < c.asked || gap > c.asked+2*time.Minute {
				t.Errorf("%d asked for %v, got %v", c.status, c.asked, gap)
			}
		}
	})
}

// T85: a domain that is dead for 72 h gets at most one request a second, however many
// messages wait for it; and all of them arrive when it is back.
func TestT85NoStormAgainstADeadPeer(t *testing.T) {
	t.Parallel()
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		var at []time.Time
		dead := true
		var mu sync.Mutex
		_, stop := start(t, delivery.Config{Store: q, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			mu.Lock()
			defer mu.Unlock()
			if !dead {
				return all(m, taken)
			}
			at = append(at, time.Now())
			return all(m, silent)
		}}})
		for range 50 {
			q.add(t, "user@a.test", store.Remote, "", "x@dead.test")
		}
		time.Sleep(72 * time.Hour)
		mu.Lock()
		for i := range at[1:] {
			if gap := at[i+1].Sub(at[i]); gap < time.Second {
				t.Errorf("two requests within %v", gap)
			}
		}
		if len(at) < 72 || len(at) > 72*60+60 {
			t.Errorf("%d requests in 72 h", len(at))
		}
		dead = false
		mu.Unlock()
		time.Sleep(5 * time.Minute) // the longest pause, and the first who is due after it
		if diff := cmp.Diff(map[amtp.State]int{amtp.Delivered: 50}, q.states()); diff != "" {
			t.Error(diff)
		}
		stop()
	})
	t.Logf("72 h took %v", time.Since(began))
}

// What an operator wants now is tried now, although its target has been silent for long;
// but a target that stays silent is asked no more than once a second for it.
func TestWhatAnOperatorWantsNowIsTriedNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		at := make(chan time.Time, 10_000)
		s, _ := start(t, delivery.Config{Store: q, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			at <- time.Now()
			return all(m, silent)
		}}})
		for range 50 {
			q.add(t, "user@a.test", store.Remote, "", "x@dead.test")
		}
		time.Sleep(time.Hour)
		for len(at) > 0 {
			<-at
		}
		<-at // the pause has just begun
		time.Sleep(2 * time.Second)
		began := time.Now()
		var got []time.Duration
		for range 15 {
			s.Hurry([]string{"dead.test", "unknown.test"})
			if _, err := q.Expedite(t.Context(), store.Selection{Target: "dead.test"}, time.Now()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for len(at) > 0 {
			got = append(got, (<-at).Sub(began).Round(100*time.Millisecond))
		}
		if diff := cmp.Diff([]time.Duration{0, time.Second}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Whoever waits for a target that is left alone is given up when its time is over,
// tried or not.
func TestTimeIsUpBehindAPause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		_, stop := start(t, delivery.Config{Store: q, Peers: always(silent), Limits: delivery.Limits{MaxAge: time.Hour}})
		for range 200 {
			q.add(t, "user@a.test", store.Remote, "", "x@dead.test")
		}
		time.Sleep(2 * time.Hour)
		stop()
		if diff := cmp.Diff(map[amtp.State]int{amtp.Failed: 200}, q.states()); diff != "" {
			t.Error(diff)
		}
		codes := make(map[amtp.Code]int)
		for _, r := range q.rows {
			codes[r.code]++
		}
		if codes[amtp.CodeDeliveryExpired] == 0 || codes[amtp.CodeDeliveryExpired]+codes[amtp.CodeHTTPRequestFailed] != 200 {
			t.Errorf("%v", codes)
		}
		if len(q.notices()) != 200 {
			t.Errorf("%d notices", len(q.notices()))
		}
	})
}

// Thirty domains that answer after ten seconds, with a heap of messages each, and thirty
// that do not answer at all, delay nobody else's.
func TestSlowAndDeadTargetsDelayNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		took := make(map[string]time.Duration)
		var mu sync.Mutex
		inFlight, most := make(map[string]int), make(map[string]int)
		var begun time.Time
		_, stop := start(t, delivery.Config{Store: q, Limits: delivery.Limits{InFlight: 100}, Peers: peers{send: func(ctx context.Context, domain string, m peer.Outgoing) []peer.Result {
			mu.Lock()
			inFlight[domain]++
			most[domain] = max(most[domain], inFlight[domain])
			mu.Unlock()
			defer func() { mu.Lock(); inFlight[domain]--; mu.Unlock() }()
			switch {
			case strings.HasPrefix(domain, "slow"):
				time.Sleep(10 * time.Second)
				return all(m, taken)
			case strings.HasPrefix(domain, "dead"):
				time.Sleep(10 * time.Second)
				return all(m, silent)
			}
			mu.Lock()
			took[domain] = time.Since(begun)
			mu.Unlock()
			return all(m, taken)
		}}})
		for i := range 30 {
			for range 100 {
				q.add(t, "user@a.test", store.Remote, "", fmt.Sprintf("x@slow%d.test", i))
				q.add(t, "user@a.test", store.Remote, "", fmt.Sprintf("x@dead%d.test", i))
			}
		}
		time.Sleep(45 * time.Second) // the slow ones have all that they get
		mu.Lock()
		begun = time.Now()
		mu.Unlock()
		for i := range 20 {
			q.add(t, "user@a.test", store.Remote, "", fmt.Sprintf("x@good%d.test", i))
		}
		synctest.Wait()
		mu.Lock()
		if len(took) != 20 {
			t.Errorf("%d of 20 were delivered at once", len(took))
		}
		for domain, n := range maps.All(most) {
			if n > 8 || strings.HasPrefix(domain, "dead") && n > 1 {
				t.Errorf("%s had %d at a time", domain, n)
			}
		}
		mu.Unlock()
		stop()
	})
}

// What a gateway put off while a target was silent is not waited for by the one that is
// started after it: the first answer says that the target is back.
func TestWhatWasPutOffBeforeAStartIsDueWithTheFirstAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		for range 3 {
			q.add(t, "user@a.test", store.Remote, "", "x@b.test")
		}
		for _, r := range q.rows[1:] {
			r.due = r.due.Add(time.Hour)
		}
		_, stop := start(t, delivery.Config{Store: q, Peers: always(taken)})
		defer stop()
		synctest.Wait()
		if diff := cmp.Diff(map[amtp.State]int{amtp.Delivered: 3}, q.states()); diff != "" {
			t.Error(diff)
		}
	})
}

// CP 37: what was under way when the process died is tried again when its lease is over,
// as the same message.
func TestCP37LeaseOfADeadProcessIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		id := q.add(t, "user@a.test", store.Remote, "", "x@b.test")
		now := time.Now()
		if jobs, err := q.Lease(t.Context(), store.LeaseRequest{Now: now, Until: now.Add(2 * time.Minute), Limit: 1}); err != nil || len(jobs) != 1 {
			t.Fatal(jobs, err)
		}
		var got []string
		_, stop := start(t, delivery.Config{Store: q, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			got = append(got, m.MessageID)
			return all(m, taken)
		}}})
		time.Sleep(2*time.Minute + 5*time.Second)
		stop()
		if diff := cmp.Diff([]string{id}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDrainWaitsAndThenBreaksOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, c := range []struct {
			name     string
			takes    time.Duration
			want     int // delivered of 31
			stopTime time.Duration
		}{
			{"short", 3 * time.Second, 1, 3 * time.Second},
			{"long", time.Hour, 0, 10 * time.Second},
		} {
			q := newQueue()
			_, stop := start(t, delivery.Config{Store: q, Peers: peers{send: func(ctx context.Context, _ string, m peer.Outgoing) []peer.Result {
				select {
				case <-time.After(c.takes):
					return all(m, taken)
				case <-ctx.Done():
					return all(m, peer.Result{State: amtp.Retrying, Code: amtp.CodeContextCanceled, Untried: true})
				}
			}}})
			for range 31 {
				q.add(t, "user@a.test", store.Remote, "", "x@b.test")
			}
			synctest.Wait()
			before := time.Now()
			stop()
			if got := time.Since(before); got != c.stopTime {
				t.Errorf("%s: stopped after %v", c.name, got)
			}
			if n := q.states(); n[amtp.Delivered] != c.want || n[amtp.Queued]+n[amtp.Retrying] != 31-c.want {
				t.Errorf("%s: %v", c.name, n)
			}
			for _, r := range q.rows {
				if q.open(r) && (r.attempts != 0 || r.due.Sub(before) > 15*time.Second || !r.leased.IsZero()) {
					t.Errorf("%s: %d attempts, due %v", c.name, r.attempts, r.due.Sub(before))
				}
			}
		}
	})
}

// away is a store whose database takes nothing.
type away struct{ *queue }

func (away) Finish(context.Context, []store.Outcome) error {
	return errors.New("the database is away")
}

// What cannot be put back does not hold up the end: its lease ends by itself.
func TestDrainWaitsForNoDatabase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		_, stop := start(t, delivery.Config{Store: away{q}, Peers: peers{send: func(ctx context.Context, _ string, m peer.Outgoing) []peer.Result {
			<-ctx.Done()
			return all(m, peer.Result{State: amtp.Retrying, Code: amtp.CodeContextCanceled, Untried: true})
		}}})
		for range 31 {
			q.add(t, "user@a.test", store.Remote, "", "x@b.test")
		}
		synctest.Wait()
		before := time.Now()
		stop()
		if got := time.Since(before); got != 10*time.Second {
			t.Errorf("stopped after %v", got)
		}
	})
}

func TestWhatCannotBeWrittenDownIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		sent := 0
		_, stop := start(t, delivery.Config{Store: q, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			sent++
			return all(m, taken)
		}}})
		q.mu.Lock()
		q.refuse = errors.New("the database is away")
		q.mu.Unlock()
		q.add(t, "user@a.test", store.Remote, "", "x@b.test")
		time.Sleep(2 * time.Second)
		stop()
		if diff := cmp.Diff(map[amtp.State]int{amtp.Delivered: 1}, q.states()); diff != "" || sent != 1 {
			t.Errorf("sent %d times: %s", sent, diff)
		}
	})
}

// A signed message's first recipient of a domain stays the first when others are left.
func TestFirstRecipientOfTheWholeMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		var firsts []string
		p := peers{signs: true, send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			firsts = append(firsts, m.First)
			if len(m.Recipients) == 2 {
				return []peer.Result{taken, silent}
			}
			return all(m, taken)
		}}
		_, stop := start(t, delivery.Config{Store: q, Peers: p})
		q.add(t, "user@a.test", store.Remote, "", "x@b.test", "y@b.test")
		time.Sleep(10 * time.Second)
		stop()
		if diff := cmp.Diff([]string{"x@b.test", "x@b.test"}, firsts); diff != "" {
			t.Error(diff)
		}
	})
}

// An empty queue costs a look now and then.
func TestIdleQueueIsLeftInPeace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		_, stop := start(t, delivery.Config{Store: q})
		time.Sleep(time.Hour)
		stop()
		if q.leases > 3600/5+2 {
			t.Errorf("%d looks in an hour", q.leases)
		}
	})
}

// heap is a queue that changes one place of three with each call.
type heap struct {
	*queue
	after []store.Place
}

func (h *heap) Expedite(_ context.Context, sel store.Selection, _ time.Time) (store.Changed, error) {
	h.after = append(h.after, sel.After)
	places := []string{"1.1", "2.1"}
	if len(h.after) > len(places) {
		return store.Changed{Count: 1}, nil
	}
	next, err := store.ParsePlace(places[len(h.after)-1])
	return store.Changed{Count: 1, Next: next}, err
}

// Whatever waits for a target is made due, in as many calls as that takes.
func TestExpediteComesToTheEndOfAHeap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := &heap{queue: newQueue()}
		s, _ := start(t, delivery.Config{Store: h, Peers: always(taken)})
		s.Expedite(t.Context(), "b.test", time.Now())
		if len(h.after) != 3 || h.after[0] != (store.Place{}) || h.after[1] == h.after[2] {
			t.Errorf("asked behind %v", h.after)
		}
	})
}
