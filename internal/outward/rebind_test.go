package outward

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// fakeDNS answers A questions by UDP on loopback, and returns a resolver that asks it.
func fakeDNS(t *testing.T, answer func(n int) []string) *net.Resolver {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	up, down := make(chan struct{}), make(chan struct{})
	server := &dns.Server{PacketConn: packets, NotifyStartedFunc: func() { close(up) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			for _, ip := range answer(int(asked.Add(1))) {
				m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(ip)})
			}
		}
		_ = w.WriteMsg(m)
	})}
	go func() {
		defer close(down)
		if err := server.ActivateAndServe(); err != nil {
			t.Error(err)
		}
	}()
	<-up
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-down
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", packets.LocalAddr().String())
	}}
}

// T81: a name that changes its mind 1,000 times never leads inside. 127.0.0.2 stands
// for the internet here, and 127.0.0.1 for what is inside.
func TestNamesThatChangeTheirMindLeadNowhere(t *testing.T) {
	t.Parallel()
	const outside, inside = "127.0.0.2", "127.0.0.1"
	in := listen(t, inside+":0")
	port := serve(t, in, http.HandlerFunc(quiet))
	out := listen(t, outside+":"+port)
	serve(t, out, http.HandlerFunc(quiet))
	for name, c := range map[string]struct {
		times  int
		answer func(n int) []string
	}{
		"alternating": {1000, func(n int) []string { return []string{[]string{outside, inside}[n%2]} }},
		"both":        {100, func(n int) []string { return [][]string{{outside, inside}, {inside, outside}}[n%2] }},
	} {
		client := newClient(t, Config{HTTP: true, Resolver: fakeDNS(t, c.answer), Allowed: []netip.Prefix{netip.MustParsePrefix(outside + "/32")}})
		reached, blocked := 0, 0
		for range c.times {
			resp, err := client.Get(t.Context(), "http://rebind.test:"+port+"/")
			switch {
			case errors.Is(err, ErrBlocked):
				blocked++
			case err != nil:
				t.Fatal(err)
			default:
				reached++
				_ = resp.Body.Close()
			}
			client.CloseIdle()
		}
		if n := in.connects.Load(); n != 0 {
			t.Errorf("%s: %d connections inside", name, n)
		}
		if reached == 0 || name == "alternating" && blocked == 0 {
			t.Errorf("%s: %d reached, %d blocked", name, reached, blocked)
		}
	}
}
