package netns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"amesh/testnet/natbox"
	"amesh/testnet/netns"
)

// soon bounds what must come; never is how long nothing must come. A packet here takes
// microseconds.
const (
	soon  = 10 * time.Second
	never = 300 * time.Millisecond
)

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getenv("AMESH_WITH_ROOT") == "" {
		t.Skip("SKIP: set AMESH_WITH_ROOT=1, as root, for network namespaces")
	}
}

// binary is built once for all tests that need it.
var binary string

func TestMain(m *testing.M) { os.Exit(withBinary(m)) }

func withBinary(m *testing.M) int {
	if os.Getenv("AMESH_WITH_ROOT") == "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "nw")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "amesh")
	if out, err := exec.Command("go", "build", "-o", binary, "amesh/cmd/amesh").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// world opens one that is closed with the test.
func world(t *testing.T) *netns.World {
	t.Helper()
	dir, err := os.MkdirTemp("", "nw") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w, err := netns.New(netns.Config{Binary: binary, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := w.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

// within runs something in a host's namespace, in which sockets stay.
func within(t *testing.T, h *netns.Host, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() { done <- inNamespace("/run/netns/"+h.Space(), do) }()
	if err := <-done; err != nil {
		t.Fatalf("on %s: %v", h.Name(), err)
	}
}

// inNamespace takes the thread there and back.
func inNamespace(path string, do func() error) (err error) {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open(path)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = do()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // the thread ends with its goroutine then
	}
	runtime.UnlockOSThread()
	return err
}

// socket is UDP on a host.
type socket struct {
	t *testing.T
	*net.UDPConn
}

func open(t *testing.T, h *netns.Host, ip netip.Addr, port uint16) socket {
	t.Helper()
	var conn *net.UDPConn
	within(t, h, func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, port)))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return socket{t, conn}
}

func (s socket) at() netip.AddrPort { return s.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s socket) tell(to netip.AddrPort, text string) {
	s.t.Helper()
	// A sender hears by an error that an earlier packet was turned away.
	if _, err := s.WriteToUDPAddrPort([]byte(text), to); err != nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EPERM) {
		s.t.Fatal(err)
	}
}

// hears waits for a text and returns where it came from.
func (s socket) hears(text string) netip.AddrPort {
	s.t.Helper()
	from, got, err := s.next(soon)
	if err != nil || got != text {
		s.t.Fatalf("heard %q, %v; want %q", got, err, text)
	}
	return from
}

func (s socket) hearsNothing() {
	s.t.Helper()
	if from, got, err := s.next(never); err == nil {
		s.t.Errorf("heard %q from %s", got, from)
	}
}

func (s socket) next(wait time.Duration) (netip.AddrPort, string, error) {
	buf := make([]byte, 1500)
	if err := s.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return netip.AddrPort{}, "", err
	}
	n, from, err := s.ReadFromUDPAddrPort(buf)
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), string(buf[:n]), err
}

// street is a world with two strangers on the public network, and a host behind a box.
type street struct {
	one, two, home *netns.Host
	box            *netns.Box
}

func put(t *testing.T, w *netns.World, kind natbox.Kind, v6 bool) street {
	t.Helper()
	var s street
	var err error
	must := func(e error) {
		t.Helper()
		if e != nil {
			t.Fatal(e)
		}
	}
	s.one, err = w.Host(t.Context(), fmt.Sprintf("%s-one-%v", kind, v6), nil)
	must(err)
	s.two, err = w.Host(t.Context(), fmt.Sprintf("%s-two-%v", kind, v6), nil)
	must(err)
	s.box, err = w.Box(t.Context(), netns.BoxConfig{Name: fmt.Sprintf("%s-box-%v", kind, v6), Kind: kind, IPv6: v6})
	must(err)
	s.home, err = w.Host(t.Context(), fmt.Sprintf("%s-home-%v", kind, v6), s.box)
	must(err)
	return s
}

// What RFC 5780 calls mapping and filtering, measured; and what a stranger gets who
// knocked at the box before the home spoke to him.
func TestWithRootBoxesAreOfTheirKind(t *testing.T) {
	needsRoot(t)
	w := world(t)
	for _, c := range []struct {
		kind                       natbox.Kind
		sees                       bool // UDP gets out
		samePort, sameAddress      bool // two strangers see the same port; they see the host itself
		anybodyAnswers, twoAnswers bool // one that was not talked to; another port of one that was
	}{
		{natbox.Open, true, true, true, true, true},
		{natbox.FullCone, true, true, false, true, true},
		{natbox.PortRestricted, true, true, false, false, false},
		{natbox.Symmetric, true, false, false, false, false},
		{natbox.UDPBlocked, false, false, false, false, false},
		{natbox.HTTPProxy, false, false, false, false, false},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			s := put(t, w, c.kind, false)
			home := open(t, s.home, s.home.IP(), s.home.Ports().From+7)
			one, otherPort := open(t, s.one, s.one.IP(), 5001), open(t, s.one, s.one.IP(), 5002)
			two := open(t, s.two, s.two.IP(), 5001)
			// Early knocks, which a box must forget.
			for _, stranger := range []socket{one, two} {
				stranger.tell(netip.AddrPortFrom(s.box.Outside(), s.home.Ports().From+7), "early")
			}
			if c.kind == natbox.FullCone {
				home.hears("early")
				home.hears("early")
			}
			home.tell(one.at(), "hello one")
			if !c.sees {
				one.hearsNothing()
				return
			}
			seen := one.hears("hello one")
			otherPort.tell(seen, "other port")
			two.tell(seen, "unasked")
			heard := 0
			for _, _, err := home.next(never); err == nil; _, _, err = home.next(never) {
				heard++
			}
			if want := map[bool]int{false: 0, true: 2}[c.anybodyAnswers && c.twoAnswers]; heard != want {
				t.Errorf("%d of two strangers were heard, want %d", heard, want)
			}
			one.tell(seen, "hello home")
			home.hears("hello home")
			home.tell(two.at(), "hello two")
			seenToo := two.hears("hello two")
			if (seen == seenToo) != c.samePort {
				t.Errorf("seen as %s and %s, the same: want %v", seen, seenToo, c.samePort)
			}
			if (seen == home.at()) != c.sameAddress || !c.sameAddress && seen.Addr() != s.box.Outside() {
				t.Errorf("%s is seen as %s behind %s", home.at(), seen, s.box.Outside())
			}
		})
	}
}

// connects says whether TCP does.
func connects(t *testing.T, from *netns.Host, to netip.AddrPort) bool {
	t.Helper()
	var err error
	within(t, from, func() error {
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", to.String(), time.Second); err == nil {
			conn.Close()
		}
		return nil
	})
	return err == nil
}

func listenTCP(t *testing.T, h *netns.Host, at netip.AddrPort) {
	t.Helper()
	var l net.Listener
	within(t, h, func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	})
	t.Cleanup(func() { l.Close() })
}

func TestWithRootTCPThroughBoxes(t *testing.T) {
	needsRoot(t)
	w := world(t)
	for kind, want := range map[natbox.Kind]struct{ out, in bool }{
		natbox.Open: {true, true}, natbox.FullCone: {true, true}, natbox.PortRestricted: {true, false},
		natbox.Symmetric: {true, false}, natbox.UDPBlocked: {true, false}, natbox.HTTPProxy: {false, false},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := put(t, w, kind, false)
			server := netip.AddrPortFrom(s.one.IP(), 443)
			listenTCP(t, s.one, server)
			if got := connects(t, s.home, server); got != want.out {
				t.Errorf("out: %v, want %v", got, want.out)
			}
			home := netip.AddrPortFrom(s.box.Outside(), s.home.Ports().From)
			if kind == natbox.Open {
				home = netip.AddrPortFrom(s.home.IP(), s.home.Ports().From)
			}
			listenTCP(t, s.home, netip.AddrPortFrom(s.home.IP(), s.home.Ports().From))
			if got := connects(t, s.one, home); got != want.in {
				t.Errorf("in: %v, want %v", got, want.in)
			}
		})
	}
}

// IPv6 is not translated; who may come in is decided as for IPv4.
func TestWithRootIPv6(t *testing.T) {
	needsRoot(t)
	w := world(t)
	for kind, want := range map[natbox.Kind]struct{ out, in bool }{
		natbox.Open: {true, true}, natbox.PortRestricted: {true, false}, natbox.Symmetric: {true, false},
		natbox.UDPBlocked: {false, false}, natbox.HTTPProxy: {false, false},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := put(t, w, kind, true)
			home, one, two := open(t, s.home, s.home.IP6(), 4001), open(t, s.one, s.one.IP6(), 4001), open(t, s.two, s.two.IP6(), 4001)
			home.tell(one.at(), "hello")
			if !want.out {
				one.hearsNothing()
				return
			}
			if seen := one.hears("hello"); seen != home.at() {
				t.Errorf("%s is seen as %s", home.at(), seen)
			}
			one.tell(home.at(), "answer")
			home.hears("answer")
			two.tell(home.at(), "unasked")
			if want.in {
				home.hears("unasked")
			} else {
				home.hearsNothing()
			}
		})
	}
}

func TestWithRootABoxBehindABox(t *testing.T) {
	needsRoot(t)
	w := world(t)
	outer, err := w.Box(t.Context(), netns.BoxConfig{Name: "outer", Kind: natbox.PortRestricted, IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	inner, err := w.Box(t.Context(), netns.BoxConfig{Name: "inner", Kind: natbox.PortRestricted, IPv6: true, Behind: outer})
	if err != nil {
		t.Fatal(err)
	}
	home, err := w.Host(t.Context(), "home", inner)
	if err != nil {
		t.Fatal(err)
	}
	server, err := w.Host(t.Context(), "server", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, ips := range [][2]netip.Addr{{home.IP(), server.IP()}, {home.IP6(), server.IP6()}} {
		at, to := open(t, home, ips[0], 4000), open(t, server, ips[1], 4000)
		at.tell(to.at(), "hello")
		seen := to.hears("hello")
		if ips[0].Is4() && seen.Addr() != outer.Outside() || ips[0].Is6() && seen != at.at() {
			t.Errorf("%s is seen as %s", at.at(), seen)
		}
		to.tell(seen, "answer")
		at.hears("answer")
	}
}

func TestWithRootFaults(t *testing.T) {
	needsRoot(t)
	w := world(t)
	s := put(t, w, natbox.PortRestricted, false)
	home, one := open(t, s.home, s.home.IP(), 4000), open(t, s.one, s.one.IP(), 4000)
	faults := func(f natbox.Faults) {
		t.Helper()
		if err := s.box.SetFaults(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	there := func() time.Duration {
		t.Helper()
		began := time.Now()
		home.tell(one.at(), "ping")
		one.tell(one.hears("ping"), "pong")
		home.hears("pong")
		return time.Since(began)
	}
	there()
	faults(natbox.Faults{Delay: 100 * time.Millisecond})
	if took := there(); took < 200*time.Millisecond {
		t.Errorf("there and back in %s, with a delay of 100 ms", took)
	}
	faults(natbox.Faults{Partition: true})
	home.tell(one.at(), "lost")
	one.hearsNothing()
	faults(natbox.Faults{Loss: 50})
	const packets = 2000
	heard := make(chan int)
	go func() { // at once, because a socket keeps few packets
		came := 0
		for _, _, err := one.next(never); err == nil; _, _, err = one.next(never) {
			came++
		}
		heard <- came
	}()
	for range packets {
		home.tell(one.at(), "perhaps")
	}
	came := <-heard
	// Six times the standard deviation of a fair coin is 134.
	if came < packets/2-150 || came > packets/2+150 {
		t.Errorf("%d of %d packets came, with a loss of 50 %%", came, packets)
	}
	faults(natbox.Faults{})
	there()
	if err := s.home.Unplug(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := home.WriteToUDPAddrPort([]byte("nobody"), one.at()); err == nil {
		one.hearsNothing()
	}
	if err := s.home.Plug(t.Context()); err != nil {
		t.Fatal(err)
	}
	there()
	before := s.home.IP()
	if err := s.home.Move(t.Context()); err != nil || s.home.IP() == before {
		t.Fatalf("moved from %s to %s: %v", before, s.home.IP(), err)
	}
	moved := open(t, s.home, s.home.IP(), 4000)
	moved.tell(one.at(), "moved")
	one.hears("moved")
}

// A world whose process was killed leaves its namespaces; the next one that opens takes
// them away, and nobody else's.
func TestWithRootTheNextWorldSweeps(t *testing.T) {
	needsRoot(t)
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	stale := fmt.Sprintf("amesh-%d-test-home", gone.ProcessState.Pid())
	alive := fmt.Sprintf("amesh-%d-test-home", os.Getppid())
	for _, name := range []string{stale, alive} {
		if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", alive).Run() })
	left := exec.Command("ip", "netns", "exec", stale, "sleep", "1000")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- left.Wait() }()
	for end := time.Now().Add(soon); ; time.Sleep(time.Millisecond) {
		if out, _ := exec.Command("ip", "netns", "pids", stale).Output(); len(out) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the process did not come into its namespace")
		}
	}
	world(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	select {
	case <-ended:
	case <-ctx.Done():
		t.Error("what ran in the old world still runs")
	}
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil || strings.Contains(string(out), stale) || !strings.Contains(string(out), alive) {
		t.Errorf("%v, left:\n%s", err, out)
	}
}
