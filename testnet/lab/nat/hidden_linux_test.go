package nat_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"amesh/node/api"
)

// T66. Nobody who has not accepted learns an address of a node that does not announce
// its own: not by a packet from it, not in what was decrypted, and neither do the
// servers, then or later. Everything that reached the stranger is searched by searching
// the memory of its node; and to show that this finds what is there, the
// same is done again after the accept.
func TestWithRootAddressesAreHiddenUntilAccepted(t *testing.T) {
	needsRoot(t)
	c := newCity(t)
	a, b := c.two(atRestricted, atRestricted)
	if _, err := b.api.SetPolicy(t.Context(), "", api.PolicyChange{Key: "strangers", Value: "ask"}); err != nil {
		t.Fatal(err)
	}
	public, home := listen(t, c.Space()), listen(t, b.Space())
	if _, err := a.api.Send(t.Context(), "", api.SendRequest{To: b.amid, Body: []byte("let me in"), Intent: "lab"}, ""); err != nil {
		t.Fatal(err)
	}
	knock := c.knockAt(b, a)
	if _, err := b.api.Lookup(t.Context(), "", a.amid, true); err != nil {
		t.Fatal(err)
	}
	if n := public.between(a.front, b.front); n > 0 {
		t.Errorf("%d packets between the two before the accept", n)
	}
	for _, ip := range []netip.Addr{a.front, a.IP()} {
		if n := home.with(ip); n > 0 {
			t.Errorf("%d packets of %s came to the stranger before the accept", n, ip)
		}
		if where := remembers(t, b.proc.PID(), ip); where != "" {
			t.Errorf("the stranger knows %s before the accept: %s", ip, where)
		}
	}
	c.serversKnowNot(a.IP(), b.IP())

	if _, err := b.api.Decide(t.Context(), "", knock, true, api.DecideRequest{}); err != nil {
		t.Fatal(err)
	}
	p := &pair{a: a, b: b, want: expect(atRestricted, atRestricted)}
	if err := c.pathAfter(p); err != nil {
		t.Error(err)
	}
	if public.between(a.front, b.front) == 0 || home.with(a.front) == 0 {
		t.Error("after the accept there are no packets between the two either: nothing was shown")
	}
	if remembers(t, b.proc.PID(), a.front) == "" {
		t.Error("after the accept the peer's memory has no address either: nothing was shown")
	}
	c.serversKnowNot(a.IP(), b.IP())
}

// knockAt waits for a knock and returns its id.
func (c *city) knockAt(r, from *resident) (id string) {
	c.t.Helper()
	err := await(c.t.Context(), "the knock", func() (bool, error) {
		knocks, err := r.api.Knocks(c.t.Context(), "")
		for _, k := range knocks {
			if k.Peer.String() == from.amid && k.Direction == "in" && k.State == "pending" {
				id = k.ID
			}
		}
		return id != "", err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// pathAfter talks and waits for the path that is wanted.
func (c *city) pathAfter(p *pair) error {
	for _, text := range p.there() {
		if err := p.a.tell(c.t.Context(), p.b, text); err != nil {
			return err
		}
	}
	if _, err := p.improve(c.t.Context()); err != nil {
		return err
	}
	w, err := p.a.why(c.t.Context(), p.b)
	if err != nil {
		return err
	}
	if err := reaches(w, p.b); err != nil {
		return fmt.Errorf("%w\n%s", err, told(w))
	}
	return nil
}

// serversKnowNot searches relays and registry for addresses that no packet to them
// carries: those of the network behind a box.
func (c *city) serversKnowNot(ips ...netip.Addr) {
	c.t.Helper()
	for _, s := range append(c.relays, c.registry) {
		for _, ip := range ips {
			if where := remembers(c.t, s.Process().PID(), ip); where != "" {
				c.t.Errorf("%s knows %s: %s", s.Name(), ip, where)
			}
		}
	}
}

// remembers searches the memory of a process for an IPv4 address: as text, and in the
// bytes of a multiaddr. It returns what stands around the first, empty when there is none.
func remembers(t *testing.T, pid int, ip netip.Addr) string {
	t.Helper()
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to int64
		var rights string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &rights); err != nil || !strings.HasPrefix(rights, "rw") {
			continue
		}
		part := make([]byte, to-from)
		n, err := mem.ReadAt(part, from)
		if err != nil && err != io.EOF && n == 0 {
			continue // such as a device's
		}
		if where := around(part[:n], ip); where != "" {
			return where
		}
	}
	return ""
}

// multiaddrProtocols follow an address in a multiaddr: tcp, and udp as a varint.
var multiaddrProtocols = [][]byte{{0x06}, {0x91, 0x02}}

func around(memory []byte, ip netip.Addr) string {
	text := []byte(ip.String())
	for at := 0; ; at++ {
		i := bytes.Index(memory[at:], text)
		if i < 0 {
			break
		}
		at += i
		if !isOfNumber(memory, at-1) && !isOfNumber(memory, at+len(text)) {
			return fmt.Sprintf("%q", memory[max(0, at-40):min(len(memory), at+len(text)+40)])
		}
	}
	for _, proto := range multiaddrProtocols {
		raw := append(append([]byte{0x04}, ip.AsSlice()...), proto...)
		if i := bytes.Index(memory, raw); i >= 0 {
			return fmt.Sprintf("multiaddr, %x", memory[max(0, i-8):min(len(memory), i+24)])
		}
	}
	return ""
}

// isOfNumber says whether a longer address than the one found stands there.
func isOfNumber(memory []byte, at int) bool {
	return at >= 0 && at < len(memory) && memory[at] >= '0' && memory[at] <= '9'
}

func TestMemoryIsSearchedForWholeAddresses(t *testing.T) {
	ip := netip.MustParseAddr("8.9.10.7")
	udp := binary.BigEndian.AppendUint16([]byte{0x04, 8, 9, 10, 7, 0x91, 0x02}, 10000)
	for text, want := range map[string]bool{
		"": false, "8.9.10.7": true, "/ip4/8.9.10.7/udp": true, "8.9.10.7:80": true, "8.9.10.70": false, "18.9.10.7": false,
		"8.9.10.70 8.9.10.7": true, "xx" + string(udp): true, "\x04\x08\x09\x0a\x07\x06\x00\x50": true, "\x08\x09\x0a\x07": false,
	} {
		if got := around([]byte(text), ip) != ""; got != want {
			t.Errorf("%q: found %v, want %v", text, got, want)
		}
	}
}
