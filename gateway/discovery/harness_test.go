package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// zone is a DNS in memory: the answer for each name, and who was asked what.
type zone struct {
	mu      sync.Mutex
	records map[string][]string // owner without final dot, lower case: records as in zone files
	rcode   map[string]int      // by owner, instead of records
	down    map[string]bool     // resolvers that do not answer
	asked   []string            // "RESOLVER OWNER"
	hold    chan struct{}       // answers wait until it is closed
}

func newZone(lines ...string) *zone {
	z := &zone{records: make(map[string][]string), rcode: make(map[string]int), down: make(map[string]bool)}
	for _, line := range lines {
		z.add(line)
	}
	return z
}

func (z *zone) add(line string) {
	owner, _, _ := strings.Cut(line, " ")
	owner = strings.ToLower(strings.TrimSuffix(owner, "."))
	z.records[owner] = append(z.records[owner], line)
}

func (z *zone) set(owner string, lines ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[owner] = lines
}

func (z *zone) turn(server string, down bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.down[server] = down
}

func (z *zone) count() int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return len(z.asked)
}

func (z *zone) exchange(ctx context.Context, server, owner string) (*dns.Msg, error) {
	z.mu.Lock()
	z.asked = append(z.asked, server+" "+owner)
	down, hold := z.down[server], z.hold
	z.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	q := new(dns.Msg).SetQuestion(owner, dns.TypeTXT)
	m := z.answer(q)
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("the resolver says %s", dns.RcodeToString[m.Rcode])
	}
	return m, nil
}

func (z *zone) answer(q *dns.Msg) *dns.Msg {
	z.mu.Lock()
	defer z.mu.Unlock()
	owner := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
	m := new(dns.Msg).SetReply(q)
	if m.Rcode = z.rcode[owner]; m.Rcode != dns.RcodeSuccess {
		return m
	}
	for range maxAliases + 3 {
		lines := z.records[owner]
		if len(lines) == 0 && len(m.Answer) == 0 {
			m.Rcode = dns.RcodeNameError
			return m
		}
		alias := ""
		for _, line := range lines {
			rr, err := dns.NewRR(line)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
			if c, ok := rr.(*dns.CNAME); ok {
				alias = strings.ToLower(strings.TrimSuffix(c.Target, "."))
			}
		}
		if alias == "" {
			return m
		}
		owner = alias
	}
	return m
}

// resolver asks the zone instead of a network.
func (z *zone) resolver(t *testing.T, cfg Config) *Resolver {
	t.Helper()
	if cfg.Resolvers == nil {
		cfg.Resolvers = []string{"192.0.2.1"}
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.ask.exchange = z.exchange
	return r
}

const (
	first  = "192.0.2.1:53"
	second = "192.0.2.2:53"
)

// txt is the record of a domain as a line of a zone file.
func txt(domain string, ttl int, text string) string {
	return fmt.Sprintf("_amtp.%s. %d IN TXT %q", domain, ttl, text)
}
