package discovery

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// serveDNS runs a DNS server on loopback, by UDP and TCP, and returns its address.
func serveDNS(t *testing.T, h dns.HandlerFunc) string {
	t.Helper()
	for {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err != nil { // the port is free for TCP alone: take another
			_ = stream.Close()
			continue
		}
		for _, s := range []*dns.Server{{Listener: stream, Handler: h}, {PacketConn: packets, Handler: h}} {
			up, down := make(chan struct{}), make(chan struct{})
			s.NotifyStartedFunc = func() { close(up) }
			go func() {
				defer close(down)
				if err := s.ActivateAndServe(); err != nil {
					t.Error(err)
				}
			}()
			<-up
			t.Cleanup(func() {
				_ = s.Shutdown()
				<-down
			})
		}
		return stream.Addr().String()
	}
}

func byTCP(w dns.ResponseWriter) bool { return w.RemoteAddr().Network() == "tcp" }

func TestAnswersOfRealServers(t *testing.T) {
	t.Parallel()
	z := newZone(txt("north.test", 60, good))
	whole := func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(z.answer(q)) }
	large := func(bytes int) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			m := z.answer(q)
			if !byTCP(w) {
				m.Truncated, m.Answer = true, nil
				_ = w.WriteMsg(m)
				return
			}
			for m.Len() < bytes {
				rr, err := dns.NewRR(chunked("_amtp.north.test", 60, strings.Repeat("x", min(250, max(1, bytes-m.Len()-30)))))
				if err != nil {
					panic(err)
				}
				m.Answer = append(m.Answer, rr)
			}
			_ = w.WriteMsg(m)
		}
	}
	for name, c := range map[string]struct {
		handler dns.HandlerFunc
		err     error
	}{
		"plain":                    {handler: whole},
		"cut by UDP, whole by TCP": {handler: large(3000)},
		"more than 4 KiB by TCP":   {handler: large(4200), err: ErrNoAnswer},
		"64 KiB by TCP":            {handler: large(64000), err: ErrNoAnswer},
		"cut by TCP too": {handler: func(w dns.ResponseWriter, q *dns.Msg) {
			m := z.answer(q)
			m.Truncated = true
			_ = w.WriteMsg(m)
		}, err: ErrNoAnswer},
		"refused": {handler: func(w dns.ResponseWriter, q *dns.Msg) {
			_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeRefused))
		}, err: ErrNoAnswer},
		"others speak first": {handler: func(w dns.ResponseWriter, q *dns.Msg) {
			forged := z.answer(q)
			forged.Id++
			_ = w.WriteMsg(forged)
			forged = z.answer(q)
			forged.Question[0].Name = "_amtp.south.test."
			_ = w.WriteMsg(forged)
			_, _ = w.Write([]byte("no DNS"))
			whole(w, q)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := New(Config{Resolvers: []string{serveDNS(t, c.handler)}})
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Lookup(t.Context(), "north.test")
			if !errors.Is(err, c.err) || err == nil && got.Gateway != "https://gw.north.test" {
				t.Errorf("%+v, %v, want %v", got, err, c.err)
			}
		})
	}
}

// A datagram that is lost costs time, and not the lookup.
func TestLostDatagramIsSentAgain(t *testing.T) {
	t.Parallel()
	z := newZone(txt("north.test", 60, good))
	var asked atomic.Int32
	r, err := New(Config{Timeout: time.Minute, Resolvers: []string{serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if asked.Add(1) > 1 {
			_ = w.WriteMsg(z.answer(q))
		}
	})}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lookup(t.Context(), "north.test"); err != nil {
		t.Error(err)
	}
}

func TestDeadResolverIsPassedOver(t *testing.T) {
	t.Parallel()
	z := newZone(txt("north.test", 60, good))
	alive := serveDNS(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(z.answer(q)) })
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := gone.LocalAddr().String()
	_ = gone.Close()
	r, err := New(Config{Resolvers: []string{dead, alive}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lookup(t.Context(), "north.test"); err != nil {
		t.Error(err)
	}
}

func TestSystemResolversAreReadWhenTheyChange(t *testing.T) {
	t.Parallel()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string, at int64) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(conf, time.Unix(at, 0), time.Unix(at, 0)); err != nil {
			t.Fatal(err)
		}
	}
	a, err := newAsker(Config{ResolvConf: conf})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.servers(time.Now()); err == nil {
		t.Error("no file, and no error")
	}
	for at, text := range []string{"nameserver 192.0.2.1\n", "nameserver 192.0.2.2\n"} {
		write(text, int64(at+1))
		list, err := a.servers(time.Now())
		if want := strings.Fields(text)[1] + ":53"; err != nil || len(list) != 1 || list[0] != want {
			t.Errorf("%q, %v, want %s", list, err, want)
		}
	}
}

func TestResolversAreAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"192.0.2.1": "192.0.2.1:53", " 192.0.2.1:5353 ": "192.0.2.1:5353", "2001:db8::1": "[2001:db8::1]:53", "[2001:db8::1]": "[2001:db8::1]:53",
		"[2001:db8::1]:54": "[2001:db8::1]:54", "localhost:5300": "127.0.0.1:5300", "dns.example": "", "": "", "1.2.3": ""} {
		got, err := resolverAddress(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
