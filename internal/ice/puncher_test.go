package ice

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	pion "github.com/pion/ice/v3"

	"amesh/internal/reach"
)

// listen opens a socket on loopback and has the Puncher close it.
func listen(t *testing.T) net.PacketConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// run makes a Puncher on sockets of loopback and runs it until the test ends.
func run(t *testing.T, cfg Config) *Puncher {
	t.Helper()
	if cfg.Sockets == nil {
		c := listen(t)
		cfg.Sockets = func() ([]net.PacketConn, error) { return []net.PacketConn{c}, nil }
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return p
}

func begin(t *testing.T, p *Puncher) *Attempt {
	t.Helper()
	a, err := p.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

type punched struct {
	r   Result
	err error
}

// meet punches from both sides at once.
func meet(t *testing.T, a, b *Attempt, toA, toB Description) (punched, punched) {
	t.Helper()
	controlled := make(chan punched, 1)
	go func() {
		r, err := b.Punch(t.Context(), toB, false)
		controlled <- punched{r, err}
	}()
	r, err := a.Punch(t.Context(), toA, true)
	return punched{r, err}, <-controlled
}

func TestTwoSidesFindEachOther(t *testing.T) {
	_, server := serve(t, STUNLimits{})
	servers := func() []string { return []string{server} }
	pa, pb := run(t, Config{Servers: servers}), run(t, Config{Servers: servers})
	a, b := begin(t, pa), begin(t, pb)
	ra, rb := meet(t, a, b, b.Local(), a.Local())
	if ra.err != nil || rb.err != nil {
		t.Fatalf("punch: %v, %v", ra.err, rb.err)
	}
	if want := multiaddr(pb.sockets[0].local); ra.r.Remote != want {
		t.Errorf("remote %s, want %s", ra.r.Remote, want)
	}
	if want := multiaddr(pa.sockets[0].local); rb.r.Remote != want {
		t.Errorf("remote of the other side %s, want %s", rb.r.Remote, want)
	}
	if len(ra.r.Pairs) != 1 || !ra.r.Pairs[0].Answered || !ra.r.Pairs[0].Chosen || ra.r.Pairs[0].Kind != "host" || ra.r.Pairs[0].RTT <= 0 {
		t.Errorf("pairs %+v", ra.r.Pairs)
	}
}

// A host has a socket for each family; each serves the candidates of its own.
func TestOverIPv6(t *testing.T) {
	both := func() Config {
		v6, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
		if err != nil {
			t.Skipf("SKIP no IPv6 here: %v", err)
		}
		t.Cleanup(func() { _ = v6.Close() })
		v4 := listen(t)
		return Config{Sockets: func() ([]net.PacketConn, error) { return []net.PacketConn{v4, v6}, nil }}
	}
	pa, pb := run(t, both()), run(t, both())
	a, b := begin(t, pa), begin(t, pb)
	six := func(d Description) Description {
		d.Candidates = slices.DeleteFunc(d.Candidates, func(c string) bool { return !strings.Contains(c, " ::1 ") })
		return d
	}
	toA, toB := six(b.Local()), six(a.Local())
	if len(toA.Candidates) != 1 || len(toB.Candidates) != 1 {
		t.Fatalf("%q and %q", toA.Candidates, toB.Candidates)
	}
	ra, rb := meet(t, a, b, toA, toB)
	if ra.err != nil || rb.err != nil || ra.r.Remote != multiaddr(pb.sockets[1].local) || !strings.HasPrefix(ra.r.Remote, "/ip6/::1/udp/") {
		t.Errorf("%q %v, %v", ra.r.Remote, ra.err, rb.err)
	}
}

// One socket serves all attempts: several with one peer don't take each other's answers.
func TestAttemptsBetweenTheSameTwoDoNotMix(t *testing.T) {
	pa, pb := run(t, Config{}), run(t, Config{})
	type two struct{ x, y punched }
	results := make(chan two)
	const n = 5
	for range n {
		a, b := begin(t, pa), begin(t, pb)
		go func() {
			x, y := meet(t, a, b, b.Local(), a.Local())
			results <- two{x, y}
		}()
	}
	for range n {
		if r := <-results; r.x.err != nil || r.y.err != nil {
			t.Errorf("punch: %v, %v", r.x.err, r.y.err)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	l := DefaultLimits()
	l.Time = 1
	p := run(t, Config{Limits: l})
	a := begin(t, p)
	silent := listen(t)
	at, err := addrPort(silent.LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	text, err := candidate{at: at, kind: pion.CandidateTypeHost}.text()
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Punch(t.Context(), Description{Ufrag: "abcd", Password: strings.Repeat("x", 22), Candidates: []string{text}}, true)
	if !errors.Is(err, ErrNoPath) {
		t.Errorf("Punch = %v", err)
	}
}

func TestWrongPasswordFindsNothing(t *testing.T) {
	l := DefaultLimits()
	l.Time = 300e6
	a, b := begin(t, run(t, Config{Limits: l})), begin(t, run(t, Config{Limits: l}))
	wrong := b.Local()
	wrong.Password = strings.Repeat("x", 26)
	ra, rb := meet(t, a, b, wrong, a.Local())
	if !errors.Is(ra.err, ErrNoPath) || !errors.Is(rb.err, ErrNoPath) {
		t.Errorf("punch: %v, %v", ra.err, rb.err)
	}
}

func TestClosedMeansClosed(t *testing.T) {
	a := begin(t, run(t, Config{}))
	done := make(chan error, 1)
	go func() {
		_, err := a.Punch(t.Context(), Description{Ufrag: "abcd", Password: strings.Repeat("x", 22)}, false)
		done <- err
	}()
	a.Close()
	a.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Punch = %v", err)
	}
	p, err := New(Config{Sockets: func() ([]net.PacketConn, error) { return nil, errors.New("none") }})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil {
		t.Error("Run without sockets")
	}
	if _, err := p.Begin(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Begin = %v", err)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	l := DefaultLimits()
	l.Attempts = 2
	p := run(t, Config{Limits: l})
	first := begin(t, p)
	begin(t, p)
	if _, err := p.Begin(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("third attempt: %v", err)
	}
	first.Close()
	begin(t, p)
}

func TestHostOnLoopbackOffersLoopback(t *testing.T) {
	p := run(t, Config{})
	d := begin(t, p).Local()
	if len(d.Candidates) != 1 || !strings.Contains(d.Candidates[0], " 127.0.0.1 ") {
		t.Errorf("candidates %q", d.Candidates)
	}
	if err := d.check(); err != nil {
		t.Error(err)
	}
	list, refused := pick(d.Candidates, reach.Rules{Loopback: true}, 16)
	if len(list) != 1 || list[0].at != p.sockets[0].local || len(refused) != 0 {
		t.Errorf("read back: %v %v", list, refused)
	}
}

func TestAddressesAreThoseOfTheSockets(t *testing.T) {
	_, server := serve(t, STUNLimits{})
	p := run(t, Config{Servers: func() []string { return []string{server} }})
	got := p.Addresses(t.Context())
	if len(got) != 1 || got[0] != multiaddr(p.sockets[0].local) {
		t.Errorf("%q", got)
	}
}

func TestMappingsAreAskedOnceAndForgottenWhenTheNetworkChanges(t *testing.T) {
	s, server := serve(t, STUNLimits{})
	p := run(t, Config{Servers: func() []string { return []string{server} }})
	begin(t, p)
	begin(t, p)
	if c := s.Counts(); c.Answered != 1 {
		t.Errorf("asked %d times", c.Answered)
	}
	p.NetworkChanged()
	begin(t, p)
	if c := s.Counts(); c.Answered != 2 {
		t.Errorf("asked %d times after the change", c.Answered)
	}
}

// T63: who names a STUN server does not choose whom we send to in our own network.
func TestServersOfOthersAreJudged(t *testing.T) {
	s, server := serve(t, STUNLimits{})
	const metadata = "169.254.169.254:53"
	p := run(t, Config{Servers: func() []string { return []string{metadata, server} }, Sure: func(string) bool { return false }})
	if _, err := p.resolve(t.Context(), metadata, true); !errors.Is(err, errInside) {
		t.Errorf("%s would be asked: %v", metadata, err)
	}
	nat, err := p.Detect(t.Context())
	if err != nil || len(nat.Servers) != 2 || s.Counts().Answered == 0 {
		t.Fatalf("%+v, %v", nat, err)
	}
	for _, r := range nat.Servers {
		if r.Server == metadata && (r.Asked.IsValid() || !errors.Is(r.Err, errInside)) {
			t.Errorf("%+v", r)
		}
	}
	owner := run(t, Config{Sure: func(at string) bool { return at == metadata }})
	if _, err := owner.resolve(t.Context(), metadata, true); err != nil {
		t.Errorf("the owner named it: %v", err)
	}
}

// T63: a server that names another address than its own, or answers for another, is not
// believed.
func TestAnswersOfOthersAreNotBelieved(t *testing.T) {
	server := netip.MustParseAddrPort("192.0.2.1:3478")
	id, _ := bindingRequest()
	good := unhex(t, "0101000c2112a442"+transaction+"002000080001a147e112a643")
	copy(good[8:], id[:])
	if r, ok := parseReply(datagram{good, server}, server); !ok || r.mapped.String() != "192.0.2.1:32853" {
		t.Errorf("good answer: %v %v", r, ok)
	}
	if _, ok := parseReply(datagram{good, netip.MustParseAddrPort("192.0.2.2:3478")}, server); ok {
		t.Error("answer from elsewhere believed")
	}
	other := unhex(t, "010100182112a442"+transaction+"002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")
	if _, ok := parseReply(datagram{other, server}, server); ok {
		t.Error("an IPv6 address of an IPv4 socket believed")
	}
}
