package outward

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ErrBlocked reports a URL that is not contacted. Its code is ssrf_blocked.
var ErrBlocked = errors.New("ssrf_blocked")

// BlockedError says why something is not contacted. It is ErrBlocked.
type BlockedError struct {
	Host string // as named, or the address that it led to
	Why  string
}

// Error says it with the code in front.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("%v: %s is not contacted: %s", ErrBlocked, e.Host, e.Why)
}

// Unwrap makes it ErrBlocked.
func (e *BlockedError) Unwrap() error { return ErrBlocked }

// Check refuses, with ErrBlocked, what Do would refuse without resolving a name: for
// URLs that are kept now and contacted later.
func (c *Client) Check(target string) error {
	if len(target) > maxURL {
		return &BlockedError{Host: "(URL)", Why: "it is too long"}
	}
	u, err := url.Parse(target)
	if err != nil { // whose text may be anything
		return &BlockedError{Host: "(URL)", Why: "it is no URL"}
	}
	return c.CheckURL(u)
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// CheckURL is Check for a URL that is parsed.
func (c *Client) CheckURL(u *url.URL) error {
	host, port := u.Hostname(), u.Port()
	blocked := func(why string) error { return &BlockedError{Host: fmt.Sprintf("%.80q", host), Why: why} }
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return blocked("the scheme must be https")
	case u.Scheme == "http" && !c.cfg.HTTP && !c.named(net.JoinHostPort(host, cmp.Or(port, defaultPorts["http"]))):
		return blocked("the scheme must be https; http is not allowed here")
	case u.User != nil:
		return blocked("a URL with a user or password")
	case u.Opaque != "" || host == "":
		return blocked("there is no host")
	case strings.HasSuffix(u.Host, ":"):
		return blocked("the port is empty")
	}
	port = cmp.Or(port, defaultPorts[u.Scheme])
	if c.named(net.JoinHostPort(host, port)) {
		return nil
	}
	ip, err := literal(host)
	if err != nil {
		return blocked(err.Error())
	}
	if ip.IsValid() {
		return c.checkAddr(ip, port)
	}
	if c.judgesNames(u.Scheme, net.JoinHostPort(host, port)) {
		switch {
		case localName(host):
			return blocked("the name is local")
		case !c.ports[port]:
			return blocked("port " + port + " is not allowed")
		}
	}
	return nil
}

// judgesNames reports whether nothing but the internet's addresses may be contacted, or
// a proxy resolves the name: then what a name alone says is enough to refuse it.
// Otherwise its address decides, when it is dialled.
func (c *Client) judgesNames(scheme, addr string) bool {
	internet := len(c.cfg.Allowed) == 0 && !c.cfg.Rules.Loopback && len(c.cfg.Rules.Interfaces) == 0
	return internet || c.cfg.Proxy.Way(scheme+"://"+addr) != ""
}

// checkAddr judges an address and a port.
func (c *Client) checkAddr(ip netip.Addr, port string) error {
	switch {
	case c.allows(ip):
		return nil
	case !c.cfg.Rules.Allow(ip):
		return &BlockedError{Host: ip.String(), Why: "the address is internal, or nobody's"}
	case !c.ports[port]:
		return &BlockedError{Host: net.JoinHostPort(ip.String(), port), Why: "the port is not allowed"}
	}
	return nil
}

// allows reports whether the operator named the prefix of an address.
func (c *Client) allows(ip netip.Addr) bool {
	ip = ip.Unmap()
	return slices.ContainsFunc(c.cfg.Allowed, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// literal returns the address that a host is, or none where it is a name. It refuses
// what resolvers disagree about: 0x7f.1, 2130706433, 017700000001 and the like are
// 127.0.0.1 for some and a name for others. The rule is that of browsers: a host whose
// last label is a number is an IPv4 address, and then it must be one in full.
func literal(host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return netip.Addr{}, errors.New("an address with a zone")
		}
		return ip, nil
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return netip.Addr{}, errors.New("it is no host name")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, hostChars) != "" {
			return netip.Addr{}, errors.New("it is no host name")
		}
	}
	last := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return netip.Addr{}, errors.New("an address must be written as four decimal numbers")
	}
	return netip.Addr{}, nil
}

// hostChars may stand in a name. The underscore is no host's, but names of containers
// have it.
const hostChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// localName reports whether a name means something of this machine or its network: one
// without a dot, which a resolver completes, and those that nobody can register.
func localName(host string) bool {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.Contains(name, ".") || slices.ContainsFunc(localSuffixes, func(last string) bool { return strings.HasSuffix(name, last) })
}

var localSuffixes = []string{".localhost", ".local", ".internal", ".localdomain", ".home.arpa"}

// allowedHost checks one of AllowedHosts: HOST or HOST:PORT.
func allowedHost(text string) (string, error) {
	u, err := url.Parse("https://" + text)
	if err != nil || u.Host != text || u.Hostname() == "" {
		return "", fmt.Errorf("allowed host %q: want HOST or HOST:PORT", text)
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if u.Port() != "" {
		return net.JoinHostPort(host, u.Port()), nil
	}
	return host, nil
}
