package relay

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"amesh/internal/store"

	"github.com/coder/websocket"
)

// attempts are the times at which a client tried to connect, in vain.
type attempts struct {
	mu    sync.Mutex
	times []time.Time
}

func (a *attempts) dial(context.Context, string, string) (net.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times = append(a.times, time.Now())
	return nil, errors.New("nobody there")
}

func (a *attempts) list() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.times
}

// runAway runs a client of a relay that is away.
func runAway(t *testing.T, a *attempts) *Client {
	c, err := NewClient(ClientConfig{URL: "ws://relay.test", Key: testKey(t, 1), Deliver: func(Delivery) {}, Dial: a.dial})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// A relay that is restarted is found within two seconds of its return; one that is
// away for long is asked every half minute at most.
func TestPausesBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &attempts{}
		runAway(t, a)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		times := a.list()
		young, long := 0, time.Duration(0)
		for i := 1; i < len(times); i++ {
			pause := times[i].Sub(times[i-1])
			if times[i-1].Sub(times[0]) < time.Minute {
				young++
				if pause > 2*time.Second {
					t.Errorf("a pause of %v in the first minute", pause)
				}
			}
			long = max(long, pause)
		}
		if young < 30 || young > 200 {
			t.Errorf("%d attempts in the first minute", young)
		}
		if late := len(times) - young; long > 30*time.Second || long < 5*time.Second || late > 300 {
			t.Errorf("later %d attempts, with pauses of up to %v", late, long)
		}
	})
}

// A thousand clients lose their relay at the same moment: they do not come back in
// one.
func TestClientsComeBackSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 1000
		c := &Client{limits: DefaultLimits()}
		var slots [20]int
		for range clients {
			slots[c.backoff(&outage{since: time.Now(), attempt: 10})*20/(2*time.Second+1)]++
		}
		for i, n := range slots {
			if n > clients/8 {
				t.Errorf("%d of %d come in the %dth tenth of a second", n, clients, i)
			}
		}
	})
}

func TestRetryAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &attempts{}
		c := runAway(t, a)
		time.Sleep(time.Hour)
		synctest.Wait()
		before := len(a.list())
		c.Retry()
		synctest.Wait()
		if got := len(a.list()); got != before+1 {
			t.Errorf("%d attempts at once", got-before)
		}
	})
}

func TestRelayIsMeasured(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	took, err := Measure(t.Context(), h.url(), nil)
	if err != nil || took <= 0 {
		t.Errorf("%v, %v", took, err)
	}
	none := httptest.NewServer(http.NotFoundHandler())
	defer none.Close()
	if took, err := Measure(t.Context(), strings.Replace(none.URL, "http", "ws", 1), nil); err == nil {
		t.Errorf("something that is no relay took %v", took)
	}
}

// A round trip counts, not what the upgrade took.
func TestMeasuredTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		l := DefaultLimits()
		s, err := NewServer(ServerConfig{Mailbox: testBox(t, store.NewMemory(), l), Limits: l})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		web := &http.Server{Handler: s, ReadHeaderTimeout: time.Second}
		var wg sync.WaitGroup
		wg.Go(func() { _ = web.Serve(p) })
		wg.Go(func() { _ = s.Run(ctx) })
		slow := func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(3 * time.Second)
			c, err := p.dial(ctx, network, addr)
			return slowConn{c}, err
		}
		took, err := Measure(t.Context(), "ws://relay.test", slow)
		if err != nil || took < 40*time.Millisecond || took > 60*time.Millisecond {
			t.Errorf("%v, %v", took, err)
		}
		stop()
		web.Close()
		p.Close()
		wg.Wait()
	})
}

// slowConn takes 40 ms to send.
type slowConn struct{ net.Conn }

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(40 * time.Millisecond)
	return c.Conn.Write(b)
}

func TestDrainingIsTold(t *testing.T) {
	for reason, want := range map[string]bool{"relay is draining": true, "draining; come back tomorrow": true, "relay is stopping": false, "": false} {
		err := errors.Join(errors.New("read"), websocket.CloseError{Code: websocket.StatusGoingAway, Reason: reason})
		if Draining(err) != want {
			t.Errorf("%q: %t", reason, !want)
		}
	}
	if Draining(nil) || Draining(websocket.CloseError{Code: CloseReplaced, Reason: "draining"}) {
		t.Error("another end is taken for draining")
	}
}
