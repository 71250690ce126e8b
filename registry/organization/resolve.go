package organization

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Finding is what resolvers say of a record.
type Finding int

// The findings.
const (
	Unknown Finding = iota // too few answered, or they disagree
	Absent                 // it is not there
	Present
)

// Result is a finding with what is worth remembering of it.
type Result struct {
	Finding Finding
	// DNSSEC says that every resolver that answered had checked the signatures of the
	// zone. It is believed as far as the way to the resolvers.
	DNSSEC bool
	// Why says for people why the record was not found. Resolvers have numbers in it, in
	// the order in which they were given: strangers read this.
	Why string
	// Detail is the same with their addresses, for the operator.
	Detail string
}

// Resolvers ask for the records that prove domains. They may be used concurrently.
type Resolvers struct {
	servers []string // HOST:PORT
	quorum  int
	timeout time.Duration
}

// NewResolvers takes the addresses of recursive resolvers, IP or IP:PORT. Two must
// answer, of more than three the majority; a single one is taken if it is the only one
// given, and then proves as much as the network between. It asks nothing yet.
func NewResolvers(addresses []string) (*Resolvers, error) {
	r := &Resolvers{timeout: attemptTimeout}
	for _, text := range addresses {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return nil, fmt.Errorf("resolver %q: want IP or IP:PORT", text)
			}
			a = netip.AddrPortFrom(ip, 53)
		}
		if slices.Contains(r.servers, a.String()) {
			return nil, fmt.Errorf("resolver %s is given twice, and counts once", text)
		}
		r.servers = append(r.servers, a.String())
	}
	if len(r.servers) == 0 {
		return nil, errors.New("no resolvers")
	}
	r.quorum = len(r.servers)/2 + 1
	return r, nil
}

// SystemResolvers are those of a resolv.conf. It returns an error if they are fewer
// than two, because one answer proves too little for a default.
func SystemResolvers(path string) (*Resolvers, error) {
	c, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, err
	}
	list := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		list[i] = net.JoinHostPort(s, c.Port)
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) < 2 {
		return nil, fmt.Errorf("%s names %d resolver(s), and an organisation's domain needs two that agree: name three with --resolver", path, len(list))
	}
	return NewResolvers(list)
}

// answer is what one resolver says.
type answer struct {
	server  string
	err     error // it said nothing
	present bool
	signed  bool // it checked DNSSEC
	why     string
}

// Find looks for a record of a domain that says exactly value.
func (r *Resolvers) Find(ctx context.Context, domain, value string) Result {
	answers := make([]answer, len(r.servers))
	var wg sync.WaitGroup
	for i, server := range r.servers {
		wg.Go(func() { answers[i] = r.ask(ctx, server, domain, value) })
	}
	wg.Wait()
	return r.judge(answers)
}

// judge wants enough answers, and all of them the same: whoever owns one of the
// resolvers, or the way to it, can prevent a proof but not make one.
func (r *Resolvers) judge(answers []answer) Result {
	said, present := 0, 0
	result := Result{DNSSEC: true}
	var why, detail []string
	for i, a := range answers {
		if a.err == nil {
			said++
			result.DNSSEC = result.DNSSEC && a.signed
		}
		if a.present {
			present++
			continue
		}
		why = append(why, fmt.Sprintf("resolver %d: %s", i+1, a.why))
		detail = append(detail, fmt.Sprintf("%s: %s", a.server, a.why))
	}
	head := ""
	switch {
	case said < r.quorum:
		head = fmt.Sprintf("%d of %d resolvers answered, %d must: ", said, len(answers), r.quorum)
	case present == said:
		return Result{Finding: Present, DNSSEC: result.DNSSEC}
	case present > 0:
		head = "the resolvers disagree: "
	default:
		result.Finding = Absent
	}
	result.DNSSEC = false
	result.Why, result.Detail = head+strings.Join(why, "; "), head+strings.Join(detail, "; ")
	return result
}

// ask asks one resolver, by TCP when the answer does not fit.
func (r *Resolvers) ask(ctx context.Context, server, domain, value string) answer {
	name := dns.Fqdn(Record(domain))
	var msg *dns.Msg
	var err error
	for range attempts {
		if msg, err = r.exchange(ctx, "udp", server, name); err == nil {
			break
		}
	}
	if err == nil && msg.Truncated {
		msg, err = r.exchange(ctx, "tcp", server, name)
	}
	if err == nil {
		err = checkReply(msg, name)
	}
	if err != nil {
		return answer{server: server, err: err, why: "no answer"}
	}
	present, why := search(msg, name, dns.Fqdn(domain), value)
	return answer{server: server, present: present, signed: msg.AuthenticatedData, why: why}
}

func (r *Resolvers) exchange(ctx context.Context, network, server, name string) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeTXT)
	m.SetEdns0(udpSize, true)
	m.AuthenticatedData = true
	c := &dns.Client{Net: network, Timeout: r.timeout, UDPSize: udpSize}
	reply, _, err := c.ExchangeContext(ctx, m, server)
	return reply, err
}

// checkReply returns an error for what is no answer to our question.
func checkReply(m *dns.Msg, name string) error {
	switch {
	case !m.Response || len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, name) || m.Question[0].Qtype != dns.TypeTXT:
		return errors.New("the answer is to another question")
	case m.Truncated:
		return errors.New("the answer is cut")
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return fmt.Errorf("the resolver says %s", dns.RcodeToString[m.Rcode])
	}
	return nil
}

// search follows aliases as long as they stay in the domain: whoever is named by one
// that leaves it could prove a domain that is not his.
func search(m *dns.Msg, name, domain, value string) (present bool, why string) {
	for range maxAliases + 1 {
		alias := ""
		found := false
		for _, rr := range m.Answer {
			if !strings.EqualFold(rr.Header().Name, name) || rr.Header().Class != dns.ClassINET {
				continue
			}
			switch rr := rr.(type) {
			case *dns.CNAME:
				alias = rr.Target
			case *dns.TXT:
				found = true
				if strings.Join(rr.Txt, "") == value {
					present = true
				}
			}
		}
		switch {
		case alias == "" && present:
			return true, ""
		case alias == "" && found:
			return false, "the record says something else"
		case alias == "":
			return false, "no record"
		case !dns.IsSubDomain(domain, strings.ToLower(alias)):
			return false, "the record is an alias that leaves the domain"
		}
		name, present = alias, false
	}
	return false, "too many aliases"
}
