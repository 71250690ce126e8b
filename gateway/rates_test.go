package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

func from(sender string, recipients ...string) *amtp.Message {
	m := new(amtp.Message)
	m.Sender, _ = amtp.ParseAddress(sender)
	for _, r := range recipients {
		a, _ := amtp.ParseAddress(r)
		m.Recipients = append(m.Recipients, a)
	}
	return m
}

// admitted is how many of n messages get in.
func (h *house) admitted(n int, m *amtp.Message, st standing) int {
	h.t.Helper()
	in := 0
	for range n {
		err := h.admit(h.asks("", nil), m, st)
		if err == nil {
			in++
			continue
		}
		e, ok := errors.AsType[*amtp.Error](err)
		if !ok || e.Status != http.StatusTooManyRequests || e.Code != amtp.CodeRateLimitExceeded || e.RetryAfter < time.Second {
			h.t.Fatalf("refused with %v", err)
		}
	}
	return in
}

// T87: a domain that nobody knows has 60 messages in any hour.
func TestUnknownDomainHasSixtyAnHourT87(t *testing.T) {
	h := newHouse(t, nil)
	m := from("eve@nowhere.test", "ann@north.test")
	if n := h.admitted(100, m, standing{}); n != 60 {
		t.Errorf("%d at once", n)
	}
	if n := h.admitted(100, from("mallory@nowhere.test"), standing{}); n != 0 {
		t.Errorf("%d of another sender there", n)
	}
	h.now = h.now.Add(time.Hour - time.Second)
	if n := h.admitted(1, m, standing{}); n != 0 {
		t.Error("more within the hour")
	}
	h.now = h.now.Add(time.Second)
	if n := h.admitted(100, m, standing{}); n != 60 {
		t.Errorf("%d in the next hour", n)
	}
	if n := h.admitted(100, m, standing{known: true}); n != 100 {
		t.Errorf("%d when it is known", n)
	}
}

// Over any hour there are no more than so many, however they are spread.
func TestHourlyIsAnyHour(t *testing.T) {
	const most = 5
	h := newHourly(most)
	start := time.Now()
	var took []time.Time
	for minute := range 300 {
		now := start.Add(time.Duration(minute*7%11+minute) * time.Minute)
		if h.take("x.test", now) == nil {
			took = append(took, now)
		}
	}
	for i := most; i < len(took); i++ {
		if d := took[i].Sub(took[i-most]); d < time.Hour {
			t.Fatalf("%d within %s", most+1, d)
		}
	}
	if len(took) < 20 {
		t.Errorf("only %d got in", len(took))
	}
	for i := range 10 * hourlySlots {
		_ = h.take(fmt.Sprint("d", i, ".test"), start)
	}
	if len(h.slots) != hourlySlots || cap(h.slots[0].times) > 2*most {
		t.Error("the table grew")
	}
}

// Checklist 112: whoever sends more than it may is told when to come back.
func TestRatesAreCountedApart(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.Rates = Rates{Sender: Rate{1, 4}, Agent: Rate{1, 6}, Domain: Rate{1, 5}, UnknownPerHour: 3, Address: Rate{1, 20}}
	})
	known := standing{known: true}
	if n := h.admitted(10, from("Ann@north.test", "x@south.test"), known); n != 4 {
		t.Errorf("%d of one sender", n)
	}
	if n := h.admitted(10, from("ann@NORTH.test", "x@south.test"), known); n != 0 {
		t.Errorf("%d of the same one in other letters", n)
	}
	if n := h.admitted(10, from("bob@north.test", "x@south.test"), known); n != 4 {
		t.Errorf("%d of another one", n)
	}
	if a, b := h.admitted(3, from("s1@south.test"), known), h.admitted(3, from("s2@south.test"), known); a+b != 5 {
		t.Errorf("%d of one domain", a+b)
	}
	h.now = h.now.Add(time.Hour)
	total := 0
	for i := range 5 {
		total += h.admitted(2, from(fmt.Sprintf("c%d@north.test", i), "Bob@north.test"), known)
	}
	if total != 6 {
		t.Errorf("%d for one agent", total)
	}
	for i := range 10 {
		if err := h.takeReading(h.asks("", nil), store.Agent{Address: "bob@north.test"}); (err == nil) != (i < 6) {
			t.Errorf("look %d into an inbox: %v", i, err)
		}
	}
}

// Whoever tries keys pays for each, and is then not even told that it was wrong.
func TestTriedKeysAreDear(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Rates = Rates{Address: Rate{1, 50}} })
	wrong := func() amtp.Code {
		_, err := h.judge("Ann@north.test", nil, "Authorization", "Bearer nope")
		return code(t, err)
	}
	for range 5 { // a try costs as much as ten messages
		if got := wrong(); got != amtp.CodeSenderCredentialMismatch {
			t.Fatal(got)
		}
	}
	if got := wrong(); got != amtp.CodeRateLimitExceeded {
		t.Errorf("after too many: %s", got)
	}
	if err := h.admins(h.asks("", nil, "X-Admin-Key", "nope")); code(t, err) != amtp.CodeRateLimitExceeded {
		t.Errorf("admin keys can be tried without end: %v", err)
	}
	if _, err := h.judge("Ann@north.test", nil, "Authorization", "Bearer "+h.ann); err != nil {
		t.Errorf("her own key, from the same address: %v", err)
	}
	h.now = h.now.Add(time.Minute)
	if got := wrong(); got != amtp.CodeSenderCredentialMismatch {
		t.Errorf("later: %s", got)
	}
}

func TestRatesCanBeOff(t *testing.T) {
	for name, rates := range map[string]Rates{"off": {Off: true}, "without one that counts": {UnknownPerHour: 0, Sender: Rate{1e6, 1e6}}} {
		h := newHouse(t, func(c *Config) { c.Rates = rates })
		if n := h.admitted(1000, from("eve@nowhere.test", "ann@north.test"), standing{}); n != 1000 {
			t.Errorf("%s: %d", name, n)
		}
		for range 1000 {
			if _, err := h.judge("Ann@north.test", nil, "Authorization", "Bearer nope"); code(t, err) != amtp.CodeSenderCredentialMismatch {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// Behind a proxy that is trusted and names nobody, one guest does not use up another's budget.
func TestProxiesHaveNoBudget(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.Rates = Rates{Address: Rate{1, 1}}
		c.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	r := h.asks("", nil)
	r.from = netip.MustParseAddr("192.0.2.9")
	for range 5 {
		if err := h.takeAddress(r, 1); err != nil {
			t.Fatal(err)
		}
	}
}

// T87: what another gateway of the database blocks is blocked here within a second.
func TestBlockElsewhereCountsWithinASecondT87(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := &lists{}
		d := &domains{rows: rows, log: slog.New(slog.DiscardHandler)}
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.run(ctx) }()
		synctest.Wait()
		rows.block("evil.test")
		time.Sleep(time.Second)
		if !d.blocked("evil.test") || !d.blocked("a.evil.test") || d.blocked("test") {
			t.Error("not blocked, or too much is")
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
