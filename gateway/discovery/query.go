package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// asker asks resolvers.
type asker struct {
	configured []string // HOST:PORT; empty: conf names them
	conf       string
	exchange   func(ctx context.Context, server, owner string) (*dns.Msg, error)

	mu     sync.Mutex
	system []string // what conf said last
	read   time.Time
	shun   map[string]time.Time // resolvers that did not answer
}

func newAsker(cfg Config) (*asker, error) {
	a := &asker{conf: cfg.ResolvConf, exchange: exchange, shun: make(map[string]time.Time)}
	for _, text := range cfg.Resolvers {
		server, err := resolverAddress(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(a.configured, server) {
			a.configured = append(a.configured, server)
		}
	}
	if len(a.configured) > maxResolvers {
		return nil, fmt.Errorf("%d resolvers; at most %d", len(a.configured), maxResolvers)
	}
	return a, nil
}

// resolverAddress reads IP, IP:PORT or, for resolvers beside us in containers,
// localhost:PORT.
func resolverAddress(text string) (string, error) {
	text = strings.TrimSpace(text)
	if port, ok := strings.CutPrefix(text, "localhost:"); ok {
		text = "127.0.0.1:" + port
	}
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a.String(), nil
	}
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return "", fmt.Errorf("resolver %q: want IP or IP:PORT", text)
	}
	return netip.AddrPortFrom(ip, 53).String(), nil
}

// servers are whom to ask, in order: those that did not answer lately come last.
func (a *asker) servers(now time.Time) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.configured
	if len(list) == 0 {
		if err := a.readSystem(); err != nil {
			return nil, err
		}
		list = a.system
	}
	var good, bad []string
	for _, s := range list {
		if now.Before(a.shun[s]) {
			bad = append(bad, s)
		} else {
			good = append(good, s)
		}
	}
	return append(good, bad...), nil
}

// readSystem reads resolv.conf where it changed.
func (a *asker) readSystem() error {
	info, err := os.Stat(a.conf)
	if err != nil {
		return err
	}
	if a.system != nil && info.ModTime().Equal(a.read) {
		return nil
	}
	c, err := dns.ClientConfigFromFile(a.conf)
	if err != nil {
		return fmt.Errorf("%s: %w", a.conf, err)
	}
	list := make([]string, 0, len(c.Servers))
	for _, s := range c.Servers[:min(len(c.Servers), maxResolvers)] {
		list = append(list, net.JoinHostPort(s, c.Port))
	}
	if len(list) == 0 {
		return fmt.Errorf("%s names no resolver; configure dns.resolvers", a.conf)
	}
	a.system, a.read = list, info.ModTime()
	return nil
}

// mark remembers whether a resolver answered.
func (a *asker) mark(server string, answered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if answered {
		delete(a.shun, server)
	} else {
		a.shun[server] = time.Now().Add(shunFor)
	}
}

// txt asks one resolver after the other for the TXT records of a name, and those that
// were silent a second time: a datagram may get lost.
func (a *asker) txt(ctx context.Context, name string) texts {
	servers, err := a.servers(time.Now())
	if err != nil {
		return texts{err: silent(name, err.Error())}
	}
	var failed []string
	for round := range rounds {
		var again []string
		for i, server := range servers {
			last := round+1 == rounds && i+1 == len(servers)
			t, err := a.askOne(ctx, server, name, last)
			if err == nil {
				a.mark(server, true)
				return t
			}
			failed = append(failed, fmt.Sprintf("%s: %v", server, err))
			if ctx.Err() != nil {
				break
			}
			// What a resolver says of a zone, SERVFAIL for instance, is no fault of its own.
			if _, silent := errors.AsType[net.Error](err); silent {
				a.mark(server, false)
				again = append(again, server)
			}
		}
		servers = again
	}
	return texts{err: silent(name, strings.Join(failed, "; "))}
}

// askOne asks one resolver, and follows aliases that it does not follow itself.
// The last try has all the time that is left.
func (a *asker) askOne(ctx context.Context, server, name string, last bool) (texts, error) {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, tryFor)
		defer cancel()
	}
	owner := dns.Fqdn(name)
	ttl := uint32(1<<31 - 1)
	for range maxAliases + 1 {
		msg, err := a.exchange(ctx, server, owner)
		if err != nil {
			return texts{}, err
		}
		found := read(msg, owner)
		ttl = min(ttl, found.ttl)
		switch {
		case found.err != nil:
			return texts{}, found.err
		case len(found.values) > 0:
			return texts{values: found.values, ttl: seconds(ttl)}, nil
		case found.owner == owner || msg.Rcode == dns.RcodeNameError:
			return texts{err: missing(name), ttl: seconds(min(ttl, absence(msg)))}, nil
		}
		owner = found.owner
	}
	return texts{}, errAliases
}

var (
	errAliases = errors.New("too many aliases")
	errOther   = errors.New("the answer is to another question")
	errCut     = errors.New("the answer is cut")
	errLong    = fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
)

func seconds(ttl uint32) time.Duration { return time.Duration(ttl) * time.Second }

// absence is how long a zone wants the absence of a record to be believed (RFC 2308 §5).
func absence(m *dns.Msg) uint32 {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(soa.Hdr.Ttl, soa.Minttl)
		}
	}
	return uint32(negativeTTL / time.Second)
}

// reading is what an answer has for a name.
type reading struct {
	values []string
	ttl    uint32
	owner  string // where its aliases lead to
	err    error
}

// read follows the aliases in an answer to the TXT records, in the order in which they
// stand there.
func read(m *dns.Msg, owner string) reading {
	r := reading{ttl: 1<<31 - 1, owner: owner}
	for range maxAliases + 1 {
		alias := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if !strings.EqualFold(h.Name, r.owner) || h.Class != dns.ClassINET {
				continue
			}
			switch rr := rr.(type) {
			case *dns.CNAME:
				alias = dns.Fqdn(rr.Target)
				r.ttl = min(r.ttl, h.Ttl)
			case *dns.TXT:
				r.values = append(r.values, joined(rr))
				r.ttl = min(r.ttl, h.Ttl)
			}
		}
		if alias == "" || len(r.values) > 0 {
			return r
		}
		r.owner = alias
	}
	r.err = errAliases
	return r
}

// joined is the text of a record: its strings in one, without the escapes with which
// the library shows them.
func joined(rr *dns.TXT) string {
	var b strings.Builder
	for _, s := range rr.Txt {
		b.WriteString(unescape(s))
	}
	return b.String()
}

// unescape undoes \DDD and \X.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && digits(s[i+1:i+4]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }
