package quickstart

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/foxcpp/go-mockdns"

	"amesh/gateway/amtp"
	"amesh/gateway/discovery"
	"amesh/internal/outward"
)

// world is a DNS, and a gateway at https://example.com:PORT, which is right in all respects.
type world struct {
	zones   map[string]mockdns.Zone
	gateway map[string]http.HandlerFunc // by path
	now     time.Time
	strict  bool // the client refuses what is internal
	roots   bool // the client knows the gateway's authority
}

const key = "v=amtpkey1;alg=RS256;p="

// rightWorld has all that is to be published for north.test.
func rightWorld(url string) *world {
	answer := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	return &world{
		roots: true, now: time.Now(),
		zones: map[string]mockdns.Zone{
			"_amtp.north.test.":       {TXT: []string{"v=amtp1;gateway=" + url + ";max-size=1000"}},
			"k1._amtpkey.north.test.": {TXT: []string{longKey()}},
			"example.com.":            {A: []string{"127.0.0.1"}},
		},
		gateway: map[string]http.HandlerFunc{
			"/health":                     answer(`{"status":"healthy","healthy":true,"version":"1.0"}`),
			"/v1/capabilities/north.test": answer(`{"version":"1.0","gateway":"` + url + `","ttl":300000000000}`),
		},
	}
}

func longKey() string { return key + strings.Repeat("A", 392) }

// check looks at a world that was changed.
func check(t *testing.T, change func(w *world, c *Config)) map[string]Finding {
	t.Helper()
	var w *world
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if h := w.gateway[r.URL.Path]; h != nil {
			h(rw, r)
			return
		}
		http.NotFound(rw, r)
	}))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	url := "https://example.com:" + port
	w = rightWorld(url)
	c := Config{
		Domain: "north.test", Record: amtp.Record{Version: "1.0", Gateway: url, MaxSize: 1000},
		KeySelector: "k1", KeyText: longKey(), Clock: func() time.Time { return w.now },
	}
	if change != nil {
		change(w, &c)
	}
	dns, err := mockdns.NewServerWithLogger(w.zones, log.New(io.Discard, "", 0), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	resolver, err := discovery.New(discovery.Config{Resolvers: []string{dns.LocalAddr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if c.TXT == nil {
		c.TXT = resolver.TXT
	}
	system := dns.NewResolver()
	c.Addresses = func(ctx context.Context, host string) ([]netip.Addr, error) {
		return system.LookupNetIP(ctx, "ip4", host)
	}
	out := outward.Config{Resolver: system, HTTP: true, Roots: x509.NewCertPool()}
	if w.roots {
		out.Roots.AddCert(server.Certificate())
	}
	if !w.strict {
		out.Allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	if c.Client, err = outward.New(out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Client.CloseIdle)
	report, err := c.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, bad := make(map[string]Finding), 0
	for _, f := range report {
		if f.State != OK {
			bad++
		}
		if (f.State == OK) == (f.Do != "") && f.State != Skipped {
			t.Errorf("%+v: what to do is said when there is something to do", f)
		}
		found[strings.Fields(f.Check)[0]] = f
		if strings.HasPrefix(f.Check, "TXT record k1.") {
			found["key"] = f
		}
	}
	if strings.HasPrefix(report[0].Check, "TXT record _amtp") {
		found["TXT"] = report[0]
	}
	if report.OK() != (bad == 0) {
		t.Errorf("OK() = %v with %d findings", report.OK(), bad)
	}
	return found
}

func TestEverythingIsRight(t *testing.T) {
	t.Parallel()
	for name, f := range check(t, nil) {
		if f.State != OK {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestWhatIsWrongIsFoundAndSaid(t *testing.T) {
	t.Parallel()
	amtpName, keyName := "_amtp.north.test.", "k1._amtpkey.north.test."
	for name, c := range map[string]struct {
		change func(w *world, c *Config)
		want   map[string]State // of what is not OK
		do     string           // in what the first of them advises
	}{
		"nothing is published": {func(w *world, _ *Config) { clear(w.zones) },
			map[string]State{"TXT": Missing, "key": Missing, "address": Missing, "gateway": Missing, "certificate": Skipped, "capabilities": Skipped, "clock": Skipped}, "_amtp.north.test. IN TXT"},
		"another gateway is published": {func(w *world, _ *Config) {
			w.zones[amtpName] = mockdns.Zone{TXT: []string{"v=amtp1;gateway=https://old.example"}}
		},
			map[string]State{"TXT": Wrong}, "make it"},
		"two records": {func(w *world, _ *Config) {
			z := w.zones[amtpName]
			z.TXT = append(z.TXT, "v=amtp1;gateway=https://old.example")
			w.zones[amtpName] = z
		}, map[string]State{"TXT": Wrong}, "leave one"},
		"another text alone": {func(w *world, _ *Config) { w.zones[amtpName] = mockdns.Zone{TXT: []string{"v=spf1 -all"}} },
			map[string]State{"TXT": Missing}, "beside"},
		"another text beside": {func(w *world, _ *Config) {
			z := w.zones[amtpName]
			z.TXT = append(z.TXT, "v=spf1 -all")
			w.zones[amtpName] = z
		}, nil, ""},
		"other spaces and order": {func(w *world, c *Config) {
			w.zones[amtpName] = mockdns.Zone{TXT: []string{"v=amtp1; max-size=1000 ;gateway = " + c.Record.Gateway + "/"}}
		}, nil, ""},
		"a record without what may be left out": {func(w *world, c *Config) {
			w.zones[amtpName] = mockdns.Zone{TXT: []string{"v=amtp1;gateway=" + c.Record.Gateway}}
		}, nil, ""},
		"a record of another size": {func(w *world, c *Config) {
			w.zones[amtpName] = mockdns.Zone{TXT: []string{"v=amtp1;max-size=7;gateway=" + c.Record.Gateway}}
		}, map[string]State{"TXT": Wrong}, "make it"},
		"the key of last year": {func(w *world, _ *Config) { w.zones[keyName] = mockdns.Zone{TXT: []string{key + "BBBB"}} },
			map[string]State{"key": Wrong}, "make it"},
		"no key": {func(w *world, c *Config) { c.KeyText = ""; delete(w.zones, keyName) }, nil, ""},
		"an internal address": {func(w *world, _ *Config) { w.strict = true },
			map[string]State{"address": Wrong, "gateway": Wrong, "certificate": Skipped, "capabilities": Skipped, "clock": Skipped}, "the internet reaches"},
		"nobody listens": {func(w *world, c *Config) {
			c.Record.Gateway = "https://example.com:1"
			w.zones[amtpName] = mockdns.Zone{TXT: []string{c.Record.String()}}
		}, map[string]State{"gateway": Missing, "certificate": Skipped, "capabilities": Skipped, "clock": Skipped}, "start the gateway"},
		"a certificate of nobody's": {func(w *world, _ *Config) { w.roots = false },
			map[string]State{"gateway": Skipped, "certificate": Wrong, "capabilities": Skipped, "clock": Skipped}, "certificate"},
		"another service": {func(w *world, _ *Config) { delete(w.gateway, "/health") },
			map[string]State{"gateway": Wrong, "capabilities": Skipped}, "listens"},
		"a redirect": {func(w *world, _ *Config) {
			w.gateway["/health"] = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/v1/capabilities/north.test", http.StatusFound)
			}
		}, map[string]State{"gateway": Wrong, "capabilities": Skipped}, "redirect"},
		"the gateway of another domain": {func(w *world, _ *Config) { delete(w.gateway, "/v1/capabilities/north.test") },
			map[string]State{"capabilities": Wrong}, "AMTP_DOMAIN"},
		"a gateway that says another URL": {func(w *world, _ *Config) {
			w.gateway["/v1/capabilities/north.test"] = func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `{"version":"1.0","gateway":"https://north.test"}`)
			}
		}, map[string]State{"capabilities": Wrong}, "same URL"},
		"our clock is an hour late": {func(w *world, _ *Config) { w.now = w.now.Add(-time.Hour) }, map[string]State{"clock": Wrong}, "NTP"},
		"the DNS is down": {func(w *world, c *Config) {
			down, err := discovery.New(discovery.Config{Resolvers: []string{"127.0.0.1:1"}})
			if err != nil {
				t.Fatal(err)
			}
			c.TXT = down.TXT
		}, map[string]State{"TXT": Unknown, "key": Unknown}, "try again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			advised := ""
			for at, f := range check(t, c.change) {
				want := c.want[at]
				if want == "" {
					want = OK
				}
				if f.State != want {
					t.Errorf("%s: %+v, want %s", at, f, want)
				}
				advised += f.Do + "\n"
			}
			if !strings.Contains(advised, c.do) {
				t.Errorf("advised %q, and not %q", advised, c.do)
			}
		})
	}
}

func TestCertificateThatEndsSoonIsWrong(t *testing.T) {
	t.Parallel()
	f := Config{Clock: time.Now}.checkCertificate(&http.Response{}, Finding{})
	if f.State != Wrong || !strings.Contains(f.Do, "https") {
		t.Errorf("%+v", f)
	}
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	end := server.Certificate().NotAfter
	for before, want := range map[time.Duration]State{renewBefore + time.Hour: OK, renewBefore - time.Hour: Wrong, -time.Hour: Wrong} {
		c := Config{Clock: func() time.Time { return end.Add(-before) }}
		if f := c.checkCertificate(resp, Finding{State: OK}); f.State != want {
			t.Errorf("%s before: %+v", before, f)
		}
	}
}

func TestRecordsAreLinesOfAZoneFile(t *testing.T) {
	t.Parallel()
	c := Config{Domain: "North.test.", Record: amtp.Record{Version: "1.0", Gateway: "https://gw.north.test", Auth: []string{"cert"}}, KeySelector: "k1", KeyText: longKey()}
	records, err := c.Records()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range records {
		lines = append(lines, r.String())
		if r.For == "" {
			t.Errorf("%s: what is it for?", r.Name)
		}
	}
	want := []string{
		`_amtp.north.test. IN TXT "v=amtp1;gateway=https://gw.north.test;auth=cert"`,
		`k1._amtpkey.north.test. IN TXT "` + longKey()[:255] + `" "` + longKey()[255:] + `"`,
		"gw.north.test. IN A/AAAA <the public address of this gateway>",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for _, wrong := range []Config{{}, {Domain: "a b"}, {Domain: "a.test", Record: amtp.Record{Gateway: "ftp://x"}}, {Domain: "a.test", Record: c.Record, KeyText: "x"}} {
		if _, err := wrong.Records(); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
		if _, err := wrong.Check(t.Context()); err == nil {
			t.Errorf("%+v is checked", wrong)
		}
	}
}
