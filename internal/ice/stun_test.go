package ice

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/pion/stun/v2"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// transaction is the id of the samples of RFC 5769, whose addresses are used too.
const transaction = "b7e7a701bc34d686fa87dfae"

func TestAnswers(t *testing.T) {
	v4 := netip.MustParseAddrPort("192.0.2.1:32853")
	v6 := netip.MustParseAddrPort("[2001:db8:1234:5678:11:2233:4455:6677]:32853")
	request := "000100002112a442" + transaction
	success4 := "0101000c2112a442" + transaction + "002000080001a147e112a643"
	success6 := "010100182112a442" + transaction + "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
	cases := []struct {
		name, request string
		from          netip.AddrPort
		want          string // empty for silence
	}{
		{"IPv4", request, v4, success4},
		{"IPv6", request, v6, success6},
		{"IPv4 on a socket of both families", request, netip.AddrPortFrom(netip.AddrFrom16(v4.Addr().As16()), v4.Port()), success4},
		{"ICE's attributes", "0001000c2112a442" + transaction + "802200047465737400250000", v4, success4},
		{"NAT behaviour discovery", "000100082112a442" + transaction + "0003000400000002", v4,
			"011100102112a442" + transaction + "0009000400000414" + "000a000200030000"},
		{"classic STUN, without the cookie", "000100002112a443" + transaction, v4, ""},
		{"indication", "001100002112a442" + transaction, v4, ""},
		{"answer", success4, v4, ""},
		{"error", "011100002112a442" + transaction, v4, ""},
		{"TURN's allocate", "000300002112a442" + transaction, v4, ""},
		{"the first two bits", "c00100002112a442" + transaction, v4, ""},
		{"something after the message", request + "00000000", v4, ""},
		{"length that lies", "000100042112a442" + transaction, v4, ""},
		{"attribute that lies", "000100042112a442" + transaction + "80220004", v4, ""},
		{"length no multiple of four", "000100022112a442" + transaction + "0000", v4, ""},
		{"short", "00010000", v4, ""},
		{"nothing", "", v4, ""},
	}
	var a answerer
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, verdict := a.answer(unhex(t, c.request), c.from)
			if hex.EncodeToString(got) != c.want {
				t.Errorf("got  %x\nwant %s", got, c.want)
			}
			if silent := verdict == ignored; silent != (c.want == "") {
				t.Errorf("verdict %d", verdict)
			}
		})
	}
}

// T64: however a request is made, the answer is hardly longer.
func FuzzAnswer(f *testing.F) {
	f.Add(unhex(f, "000100002112a442"+transaction), true)
	f.Add(unhex(f, "000100082112a442"+transaction+"0003000400000002"), false)
	f.Add(unhex(f, "0001000c2112a442"+transaction+"802200047465737400250000"), false)
	f.Fuzz(func(t *testing.T, request []byte, v6 bool) {
		from := netip.MustParseAddrPort("192.0.2.1:1")
		if v6 {
			from = netip.MustParseAddrPort("[2001:db8::1]:1")
		}
		a := answerer{other: 3479}
		got, verdict := a.answer(request, from)
		if verdict == ignored {
			if len(got) != 0 {
				t.Fatalf("ignored, and answered with %x", got)
			}
			return
		}
		if len(got) > len(request)+24 {
			t.Fatalf("%d bytes in answer to %d", len(got), len(request))
		}
		m := stun.Message{Raw: got}
		if err := m.Decode(); err != nil || !bytes.Equal(m.TransactionID[:], request[8:20]) {
			t.Fatalf("answer %x to %x: %v", got, request, err)
		}
	})
}

// serve runs a server on a socket of loopback and returns it with its address.
func serve(t *testing.T, l STUNLimits) (*STUN, string) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSTUN(conn, l, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		_ = conn.Close()
	})
	return s, conn.LocalAddr().String()
}

func dial(t *testing.T, from, addr string) net.Conn {
	t.Helper()
	if from != "127.0.0.1" && runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServerTellsTheAddress(t *testing.T) {
	s, addr := serve(t, STUNLimits{})
	conn := dial(t, "127.0.0.1", addr)
	client, err := stun.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var got stun.XORMappedAddress
	err = client.Do(stun.MustBuild(stun.TransactionID, stun.BindingRequest), func(e stun.Event) {
		if err = e.Error; err == nil {
			err = got.GetFrom(e.Message)
		}
	})
	if err != nil || got.String() != conn.LocalAddr().String() {
		t.Errorf("told %s (%v), want %s", got, err, conn.LocalAddr())
	}
	if c := s.Counts(); c.Answered != 1 {
		t.Errorf("counts %+v", c)
	}
}

// T64: what asks too often is not answered, and others are.
func TestServerBoundsWhatAnybodyGets(t *testing.T) {
	s, addr := serve(t, STUNLimits{Rate: 1e-6, Burst: 3, ReadErrors: 1})
	flood, other := dial(t, "127.0.0.1", addr), dial(t, "127.0.0.2", addr)
	request := unhex(t, "000100002112a442"+transaction)
	send := func(c net.Conn, b []byte) {
		t.Helper()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(c net.Conn) {
		t.Helper()
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil || n != 32 {
			t.Fatalf("answer of %d bytes, %v", n, err)
		}
	}
	for range 3 {
		send(flood, request)
		receive(flood)
	}
	// Loopback keeps the order in which datagrams were sent, so the counts below are
	// final once the last is answered.
	for range 5 {
		send(flood, request)
	}
	send(flood, make([]byte, maxRequest+100))
	send(other, request)
	receive(other)
	want := STUNCounts{Answered: 4, Limited: 5, Ignored: 1}
	if got := s.Counts(); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func TestServerIsChecked(t *testing.T) {
	if _, err := NewSTUN(nil, STUNLimits{}, nil); err == nil {
		t.Error("a server without socket")
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSTUN(conn, STUNLimits{Rate: 1}, nil); err == nil {
		t.Error("a server that never answers")
	}
	s, err := NewSTUN(conn, STUNLimits{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if err := s.Run(t.Context()); err == nil {
		t.Error("a server on a closed socket goes on")
	}
}
