package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"sync"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
	"amesh/internal/prefix"
)

// Rate is how many there may be: so many in a second, and so many at once after a pause.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Rates are what others may ask for. The zero value stands for the defaults; a Rate that is
// zero beside others that are not means no bound.
type Rates struct {
	// Off bounds nothing.
	Off bool
	// Sender is messages of one address. Default 2,000 in a second, 20,000 at once.
	Sender Rate
	// Agent is messages for one local agent, and apart from that its looks into its inbox.
	// Default 2,000 in a second, 20,000 at once.
	Agent Rate
	// Domain is messages of one other domain that is known: proven, on the operator's list,
	// or sending from where its gateway is. Default 200 in a second, 2,000 at once.
	Domain Rate
	// UnknownPerHour is messages of any other domain, in any hour. Default 60 (T87).
	UnknownPerHour int
	// Address is what an address may send that has shown nothing yet, and ten times as dear:
	// credentials that are not good. Default 500 in a second, 5,000 at once.
	Address Rate
}

// DefaultRates are the documented defaults.
func DefaultRates() Rates {
	return Rates{
		Sender: Rate{2000, 20_000}, Agent: Rate{2000, 20_000}, Domain: Rate{200, 2000},
		UnknownPerHour: 60, Address: Rate{500, 5000},
	}
}

// check completes rates.
func (r Rates) check() (Rates, error) {
	r = cmp.Or(r, DefaultRates())
	if r.Off {
		return Rates{Off: true}, nil
	}
	for name, rate := range map[string]Rate{"Sender": r.Sender, "Agent": r.Agent, "Domain": r.Domain, "Address": r.Address} {
		if rate != (Rate{}) && (rate.PerSecond <= 0 || rate.Burst <= 0) {
			return r, fmt.Errorf("rate %s must be positive in both numbers, or zero in both", name)
		}
	}
	if r.UnknownPerHour < 0 {
		return r, errors.New("rate UnknownPerHour must not be negative")
	}
	return r, nil
}

// failureCost is how many messages a credential costs that is not good.
const failureCost = 10

// budgets count what was asked for. Nil ones have no bound.
type budgets struct {
	sender, agent, reader, domain, address *budget
	unknown                                *hourly
}

// budget is a Rate for everybody who has a name, or an address.
type budget struct {
	*prefix.Rate
	pause time.Duration // until there is room again for one
}

func newBudgets(r Rates, now time.Time) budgets {
	one := func(rate Rate) *budget {
		if rate == (Rate{}) {
			return nil
		}
		return &budget{prefix.NewRate(rate.PerSecond, rate.Burst, now), time.Duration(float64(time.Second) / rate.PerSecond)}
	}
	b := budgets{sender: one(r.Sender), agent: one(r.Agent), reader: one(r.Agent), domain: one(r.Domain), address: one(r.Address)}
	if r.UnknownPerHour > 0 {
		b.unknown = newHourly(r.UnknownPerHour)
	}
	return b
}

// take takes one of the name's budget.
func (b *budget) take(what, name string, now time.Time) error {
	if b == nil || b.TakeFor(name, 1, now) {
		return nil
	}
	return tooMany(what, b.pause)
}

// tooMany is the answer to those who have used up what they may.
func tooMany(what string, pause time.Duration) *amtp.Error {
	e := amtp.Errorf(http.StatusTooManyRequests, amtp.CodeRateLimitExceeded, "too many %s: try again later", what)
	e.RetryAfter = max(pause, time.Second)
	return e
}

// admit takes a message from the budgets of its sender, or says when there is room again.
func (s *Server) admit(r *request, m *amtp.Message, from standing) error {
	switch {
	case m.Sender.Domain == s.cfg.Domain:
	case from.known:
		if err := s.budgets.domain.take("messages of this domain", m.Sender.Domain, r.now); err != nil {
			return err
		}
	default:
		if err := s.budgets.unknown.take(m.Sender.Domain, r.now); err != nil {
			return err
		}
	}
	if err := s.budgets.sender.take("messages of this sender", m.Sender.Folded(), r.now); err != nil {
		return err
	}
	for _, a := range m.Recipients {
		if a.Domain != s.cfg.Domain {
			continue
		}
		if err := s.budgets.agent.take("messages for a recipient", a.Folded(), r.now); err != nil {
			return err
		}
	}
	return nil
}

// takeReading takes a look into an agent's inbox.
func (s *Server) takeReading(r *request, a store.Agent) error {
	return s.budgets.reader.take("requests for this inbox", a.Address, r.now)
}

// takeAddress takes from the budget of the address that asks. Proxies have none.
func (s *Server) takeAddress(r *request, n int) error {
	b := s.budgets.address
	if b == nil || contains(s.cfg.Proxies, r.from) || b.Take(r.from, n, r.now) {
		return nil
	}
	return tooMany("requests from this address", b.pause*time.Duration(n))
}

// failed is the answer to a credential that is not good: refusal, or that there were too many.
func (s *Server) failed(r *request, refusal *amtp.Error) error {
	if err := s.takeAddress(r, failureCost); err != nil {
		return err
	}
	return refusal
}

// hourly bounds how many messages a domain may send in any hour, in a table whose size never
// changes: whoever makes up domains can use up other strangers' room, and cannot make the table
// grow or forget.
type hourly struct {
	most int
	seed maphash.Seed

	mu    sync.Mutex
	slots [hourlySlots]recent
}

// hourlySlots is how many domains are told apart. Times are kept for those only that write.
const hourlySlots = 4096

// recent is when the last messages came, the next place first.
type recent struct {
	times []time.Time
	next  int
}

func newHourly(most int) *hourly { return &hourly{most: most, seed: maphash.MakeSeed()} }

func (h *hourly) take(domain string, now time.Time) error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	slot := &h.slots[maphash.String(h.seed, domain)%hourlySlots]
	if len(slot.times) < h.most {
		slot.times = append(slot.times, now)
		return nil
	}
	if until := slot.times[slot.next].Add(time.Hour); now.Before(until) {
		return tooMany("messages of a domain that is not known here", until.Sub(now))
	}
	slot.times[slot.next] = now
	slot.next = (slot.next + 1) % h.most
	return nil
}
