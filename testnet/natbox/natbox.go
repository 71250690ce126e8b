package natbox

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is what a box does with what passes.
type Kind string

// The kinds of boxes. All but Open and FullCone drop what comes from outside unasked,
// also when it is for the box itself: otherwise the packet of a peer that is early would
// take the port that the inside host is about to be mapped to.
const (
	// Open routes and translates nothing: the inside has addresses of the outside world.
	Open Kind = "open"
	// FullCone maps and filters endpoint independently: what arrives at a port of
	// the box goes to the inside host that owns it, whoever sent it.
	FullCone Kind = "full-cone"
	// PortRestricted maps endpoint independently, keeping the port where it is free;
	// only an address and port that was talked to may answer.
	PortRestricted Kind = "port-restricted"
	// Symmetric draws a new outside port for every address and port that is talked
	// to, and lets only that one answer.
	Symmetric Kind = "symmetric"
	// UDPBlocked is PortRestricted for TCP and lets no UDP pass but DNS.
	UDPBlocked Kind = "udp-blocked"
	// HTTPProxy forwards nothing. The box runs a proxy that connects to port 443 of
	// anybody, see ProxyPort.
	HTTPProxy Kind = "http-proxy"
)

// kinds are all of them, the most open first.
var kinds = []Kind{Open, FullCone, PortRestricted, Symmetric, UDPBlocked, HTTPProxy}

// ParseKind reads the name of a kind.
func ParseKind(text string) (Kind, error) {
	if k := Kind(text); slices.Contains(kinds, k) {
		return k, nil
	}
	var names []string
	for _, k := range kinds {
		names = append(names, string(k))
	}
	return "", fmt.Errorf("kind %q: want %s", text, strings.Join(names, ", "))
}

// translates says whether the kind hides IPv4 addresses of the inside.
func (k Kind) translates() bool { return k != Open && k != HTTPProxy }

// Forward gives outside ports to an inside host of a FullCone box: what arrives at one
// of them goes to the same port of the host.
type Forward struct {
	Host     netip.Addr // IPv4
	From, To uint16
}

// lowestForwarded is the first port of a Forward that names none.
const lowestForwarded = 1024

// ParseForward reads ADDRESS, for all ports from 1024, or ADDRESS=FROM-TO.
func ParseForward(text string) (Forward, error) {
	host, ports, some := strings.Cut(text, "=")
	bad := fmt.Errorf("%q: want an IPv4 address, or one with ports like 10.0.0.2=40000-40999", text)
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is4() {
		return Forward{}, bad
	}
	if !some {
		return Forward{Host: ip, From: lowestForwarded, To: 65535}, nil
	}
	first, last, ok := strings.Cut(ports, "-")
	from, errFrom := strconv.ParseUint(first, 10, 16)
	to, errTo := strconv.ParseUint(last, 10, 16)
	if !ok || errFrom != nil || errTo != nil || from == 0 || from > to {
		return Forward{}, bad
	}
	return Forward{Host: ip, From: uint16(from), To: uint16(to)}, nil
}

// Faults are what is wrong with a box's line. The zero value is a good line.
type Faults struct {
	Loss      float64       `json:"loss_percent"` // of the packets of each direction, 0 to 100, in steps of 0.01
	Delay     time.Duration `json:"delay_ns"`     // of every packet, in each direction
	Partition bool          `json:"partition"`    // nothing passes
}

// ErrNoInterface reports that an interface of a box is not there.
var ErrNoInterface = errors.New("no interface")

// ErrFaults refuses numbers that no line can have.
var ErrFaults = errors.New("no such faults")

func (f Faults) check() error {
	switch {
	case !(f.Loss >= 0 && f.Loss <= 100): // also refuses what is no number
		return fmt.Errorf("%w: loss of %g %%, want 0 to 100", ErrFaults, f.Loss)
	case f.Delay < 0 || f.Delay > MaxDelay:
		return fmt.Errorf("%w: delay of %s, want 0s to %s", ErrFaults, f.Delay, MaxDelay)
	}
	return nil
}

// String says what is wrong with the line.
func (f Faults) String() string {
	switch {
	case f.Partition:
		return "partitioned"
	case f == Faults{}:
		return "no faults"
	}
	var parts []string
	if f.Loss > 0 {
		parts = append(parts, fmt.Sprintf("loses %g %%", f.Loss))
	}
	if f.Delay > 0 {
		parts = append(parts, fmt.Sprintf("delays by %s", f.Delay))
	}
	return strings.Join(parts, ", ")
}

// Config says what a box is.
type Config struct {
	Kind Kind
	// Inside and Outside name interfaces, or are addresses or prefixes that an
	// interface has.
	Inside, Outside string
	Forwards        []Forward // of a FullCone box, at least one
	// IPv6 routes IPv6, without translation. What comes from outside unasked passes
	// only an Open or FullCone box; UDPBlocked stays without UDP and HTTPProxy without
	// anything. Otherwise IPv6 does not pass.
	IPv6    bool
	Faults  Faults // at the start
	Control string // path of a unix socket at which Set changes the faults; empty: none
	// ProxyLogin is USER:PASSWORD that the proxy of an HTTPProxy box asks for; empty:
	// nothing.
	ProxyLogin string
	Logger     *slog.Logger
}

func (c Config) check() error {
	if _, err := ParseKind(string(c.Kind)); err != nil {
		return err
	}
	switch {
	case c.Inside == "" || c.Outside == "" || c.Inside == c.Outside:
		return fmt.Errorf("inside %q and outside %q: want two interfaces", c.Inside, c.Outside)
	case c.Kind == FullCone && len(c.Forwards) == 0:
		return errors.New("a full cone needs to know its inside hosts")
	case c.Kind != FullCone && len(c.Forwards) > 0:
		return fmt.Errorf("only a full cone forwards ports, not %s", c.Kind)
	case c.ProxyLogin != "" && c.Kind != HTTPProxy:
		return fmt.Errorf("a login belongs to a proxy, not to %s", c.Kind)
	case c.ProxyLogin != "" && !strings.Contains(c.ProxyLogin, ":"):
		return errors.New("a proxy's login is USER:PASSWORD")
	case len(c.Control) > maxControlPath:
		return fmt.Errorf("the path of the control socket has %d bytes, at most %d", len(c.Control), maxControlPath)
	}
	for i, f := range c.Forwards {
		for _, g := range c.Forwards[:i] {
			if f.From <= g.To && g.From <= f.To {
				return fmt.Errorf("%s and %s have ports in common", g.Host, f.Host)
			}
		}
	}
	return c.Faults.check()
}

// ErrUnsupported says that this system has no nftables.
var ErrUnsupported = errors.New("a box needs Linux")

// Box is a service: New checks, Run works until its context ends.
type Box struct {
	cfg   Config
	log   *slog.Logger
	ready chan struct{}
}

// New makes a box. It opens and starts nothing.
func New(cfg Config) (*Box, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("natbox: %w", err)
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Box{cfg: cfg, log: log, ready: make(chan struct{})}, nil
}

// Ready is closed when the rules are set and the control socket listens.
func (b *Box) Ready() <-chan struct{} { return b.ready }
