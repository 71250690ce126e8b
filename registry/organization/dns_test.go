package organization

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// resolver runs a DNS server on loopback, by UDP and TCP, and returns its address.
func resolver(t *testing.T, h dns.HandlerFunc) string {
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

const (
	testDomain = "corp.example.com"
	testName   = "_agentmesh.corp.example.com."
	testValue  = "agentmesh-verify=c2VjcmV0"
)

// says answers with these records, whatever is asked.
func says(rcode int, records ...string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(reply(q, rcode, records...)) }
}

func reply(q *dns.Msg, rcode int, records ...string) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, rcode)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

var honest = says(dns.RcodeSuccess, testName+` 60 IN TXT "v=other"`, testName+` 60 IN TXT "`+testValue+`"`)

func find(t *testing.T, handlers ...dns.HandlerFunc) Result {
	t.Helper()
	addresses := make([]string, len(handlers))
	for i, h := range handlers {
		addresses[i] = resolver(t, h)
	}
	r, err := NewResolvers(addresses)
	if err != nil {
		t.Fatal(err)
	}
	return r.Find(t.Context(), testDomain, testValue)
}

// T72: what one resolver says, whoever stands behind it.
func TestT72OneResolver(t *testing.T) {
	t.Parallel()
	txt := func(name, value string) string { return name + ` 60 IN TXT "` + value + `"` }
	cname := func(from, to string) string { return from + " 60 IN CNAME " + to }
	cases := map[string]struct {
		handler dns.HandlerFunc
		want    Finding
	}{
		"the record, among others":   {honest, Present},
		"in several strings":         {says(0, testName+` 60 IN TXT "agentmesh-" "verify=c2Vj" "cmV0"`), Present},
		"in another case":            {says(0, txt("_AgentMesh.Corp.example.com.", testValue)), Present},
		"none":                       {says(0), Absent},
		"no such name":               {says(dns.RcodeNameError), Absent},
		"another value":              {says(0, txt(testName, "agentmesh-verify=b3RoZXI=")), Absent},
		"value of another case":      {says(0, txt(testName, "agentmesh-verify=C2VjcmV0")), Absent},
		"value with more behind":     {says(0, txt(testName, testValue+"x")), Absent},
		"value in two records":       {says(0, txt(testName, "agentmesh-verify="), txt(testName, "c2VjcmV0")), Absent},
		"under another name":         {says(0, txt("corp.example.com.", testValue)), Absent},
		"of another class":           {says(0, testName+` 60 CH TXT "`+testValue+`"`), Absent},
		"of another type":            {says(0, testName+` 60 IN SPF "`+testValue+`"`), Absent},
		"an alias inside":            {says(0, cname(testName, "txt.corp.example.com."), txt("txt.corp.example.com.", testValue)), Present},
		"an alias to the domain":     {says(0, cname(testName, "corp.example.com."), txt("corp.example.com.", testValue)), Present},
		"an alias that leaves":       {says(0, cname(testName, "x.evil.com."), txt("x.evil.com.", testValue)), Absent},
		"an alias to the parent":     {says(0, cname(testName, "example.com."), txt("example.com.", testValue)), Absent},
		"an alias to a like name":    {says(0, cname(testName, "x.evilcorp.example.com."), txt("x.evilcorp.example.com.", testValue)), Absent},
		"out and in again":           {says(0, cname(testName, "x.evil.com."), cname("x.evil.com.", "a.corp.example.com."), txt("a.corp.example.com.", testValue)), Absent},
		"an alias and the record":    {says(0, cname(testName, "x.evil.com."), txt(testName, testValue)), Absent},
		"an alias in a circle":       {says(0, cname(testName, "a.corp.example.com."), cname("a.corp.example.com.", testName)), Absent},
		"an alias to nothing":        {says(0, cname(testName, "a.corp.example.com.")), Absent},
		"many aliases":               {says(0, cname(testName, "a.corp.example.com."), cname("a.corp.example.com.", "b.corp.example.com."), cname("b.corp.example.com.", "c.corp.example.com."), cname("c.corp.example.com.", "d.corp.example.com."), cname("d.corp.example.com.", "e.corp.example.com."), txt("e.corp.example.com.", testValue)), Absent},
		"it cannot say":              {says(dns.RcodeServerFailure, txt(testName, testValue)), Unknown},
		"it refuses":                 {says(dns.RcodeRefused), Unknown},
		"truncated, whole by TCP":    {truncating(honest), Present},
		"truncated, by TCP too":      {truncating(truncating(nil)), Unknown},
		"truncated, else when whole": {truncating(says(0)), Absent},
		"to another question":        {otherQuestion, Unknown},
		"nonsense":                   {nonsense, Unknown},
		"a question back":            {echo, Unknown},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := find(t, c.handler)
			if got.Finding != c.want || (got.Why == "") != (c.want == Present) {
				t.Errorf("found %d (%s), want %d", got.Finding, got.Why, c.want)
			}
		})
	}
}

// truncating cuts answers by UDP, and has then by TCP; without then all are cut.
func truncating(then dns.HandlerFunc) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		if _, udp := w.RemoteAddr().(*net.UDPAddr); !udp && then != nil {
			then(w, q)
			return
		}
		// The record is there, so that a reader of cut answers would find it.
		m := reply(q, 0, testName+` 60 IN TXT "`+testValue+`"`)
		m.Truncated = true
		_ = w.WriteMsg(m)
	}
}

func otherQuestion(w dns.ResponseWriter, q *dns.Msg) {
	m := reply(q, 0, testName+` 60 IN TXT "`+testValue+`"`)
	m.Question[0].Name = "evil.com."
	_ = w.WriteMsg(m)
}

func nonsense(w dns.ResponseWriter, _ *dns.Msg) { _, _ = w.Write([]byte("no DNS message")) }

func echo(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(q) }

// T72: whoever owns one resolver, or the way to it, proves nothing with it.
func TestT72ResolversMustAgree(t *testing.T) {
	t.Parallel()
	no, broken := says(dns.RcodeNameError), says(dns.RcodeServerFailure)
	for name, c := range map[string]struct {
		resolvers []dns.HandlerFunc
		want      Finding
	}{
		"all three":               {[]dns.HandlerFunc{honest, honest, honest}, Present},
		"two, one broken":         {[]dns.HandlerFunc{honest, broken, honest}, Present},
		"two against one":         {[]dns.HandlerFunc{honest, honest, no}, Unknown},
		"one against two":         {[]dns.HandlerFunc{honest, no, no}, Unknown},
		"one, two broken":         {[]dns.HandlerFunc{honest, broken, broken}, Unknown},
		"none of three":           {[]dns.HandlerFunc{no, no, no}, Absent},
		"no from two, one broken": {[]dns.HandlerFunc{no, broken, no}, Absent},
		"no from one, two broken": {[]dns.HandlerFunc{no, broken, broken}, Unknown},
		"all broken":              {[]dns.HandlerFunc{broken, broken, broken}, Unknown},
		"one of two":              {[]dns.HandlerFunc{honest, broken}, Unknown},
		"three of five":           {[]dns.HandlerFunc{honest, broken, honest, broken, honest}, Present},
		"two of five":             {[]dns.HandlerFunc{honest, broken, honest, broken, broken}, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := find(t, c.resolvers...); got.Finding != c.want {
				t.Errorf("found %d (%s), want %d", got.Finding, got.Why, c.want)
			}
		})
	}
}

func TestResolversAreNumbersToStrangers(t *testing.T) {
	t.Parallel()
	no, broken := says(dns.RcodeNameError), says(dns.RcodeServerFailure)
	for name, handlers := range map[string][]dns.HandlerFunc{
		"absent": {no, broken, no}, "too few": {no, broken, broken}, "disagree": {honest, no, no},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := find(t, handlers...)
			if strings.Contains(got.Why, "127.0.0.1") || !strings.Contains(got.Why, "resolver 2: no ") {
				t.Errorf("strangers read %q", got.Why)
			}
			if !strings.Contains(got.Detail, "127.0.0.1:") {
				t.Errorf("the operator reads %q", got.Detail)
			}
		})
	}
}

// A resolver that never answers holds nobody up for longer than it is waited for.
func TestT72SilentResolver(t *testing.T) {
	t.Parallel()
	silent := func(dns.ResponseWriter, *dns.Msg) {}
	if got := find(t, honest, silent, honest); got.Finding != Present {
		t.Errorf("found %d (%s)", got.Finding, got.Why)
	}
	if got := find(t, silent); got.Finding != Unknown {
		t.Errorf("found %d", got.Finding)
	}
}

func TestDNSSECIsRecorded(t *testing.T) {
	t.Parallel()
	signed := func(w dns.ResponseWriter, q *dns.Msg) {
		if o := q.IsEdns0(); o == nil || !o.Do() {
			t.Error("DNSSEC was not asked for")
		}
		m := reply(q, 0, testName+` 60 IN TXT "`+testValue+`"`)
		m.AuthenticatedData = true
		_ = w.WriteMsg(m)
	}
	broken := says(dns.RcodeServerFailure)
	for _, c := range []struct {
		resolvers []dns.HandlerFunc
		want      bool
	}{{[]dns.HandlerFunc{signed, signed, signed}, true}, {[]dns.HandlerFunc{signed, signed, honest}, false},
		{[]dns.HandlerFunc{signed, signed, broken}, true}, {[]dns.HandlerFunc{honest}, false}} {
		if got := find(t, c.resolvers...); got.DNSSEC != c.want || got.Finding != Present {
			t.Errorf("%+v, want DNSSEC %v", got, c.want)
		}
	}
}

func TestResolversByAddress(t *testing.T) {
	t.Parallel()
	r, err := NewResolvers([]string{"192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353"})
	if err != nil || r.servers[0] != "192.0.2.1:53" || r.servers[2] != "[2001:db8::1]:53" || r.quorum != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range [][]string{nil, {"dns.example"}, {"192.0.2.1", "192.0.2.1:53"}, {"192.0.2.1:99999"}, {""}} {
		if _, err := NewResolvers(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestSystemResolvers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0, "nameserver 127.0.0.53\n": 0, "nameserver 192.0.2.1\nnameserver 192.0.2.1\n": 0,
		"search example.com\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n": 2,
		"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n": 3,
	} {
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := SystemResolvers(file)
		if (err == nil) != (want > 0) || err == nil && len(r.servers) != want {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	if _, err := SystemResolvers(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there")
	}
}

// Day by day: what two failed days do, and what a resolver's bad day does not.
func TestT72Health(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return start.Add(time.Duration(n) * CheckEvery) }
	first := Health{State: Claimed}.After(Present, start)
	if want := (Health{State: Verified, Proved: start, Next: day(1)}); first != want {
		t.Fatalf("verified: %+v", first)
	}
	one := first.After(Absent, day(1))
	if one.State != Verified || one.FailedDays != 1 || one.Next != day(2) {
		t.Errorf("one failed day: %+v", one)
	}
	if back := one.After(Present, day(2)); back.FailedDays != 0 || back.State != Verified {
		t.Errorf("back on the second day: %+v", back)
	}
	two := one.After(Absent, day(2))
	if two.State != Lapsed || !two.Next.IsZero() {
		t.Errorf("two failed days: %+v", two)
	}
	if healed := two.After(Present, day(5)); healed != (Health{State: Verified, Proved: day(5), Next: day(6)}) {
		t.Errorf("healed: %+v", healed)
	}
	if still := two.After(Absent, day(5)); still.State != Lapsed || !still.Next.IsZero() {
		t.Errorf("looked at in vain: %+v", still)
	}
	if again := (Health{State: Claimed}).After(Absent, start); again != (Health{State: Claimed}) {
		t.Errorf("a claim without a record: %+v", again)
	}
	h := first
	for hour := range 7 * 24 {
		now := day(0).Add(time.Duration(hour) * RetryEvery)
		if h = h.After(Unknown, now); h.State != Verified || h.Next != now.Add(RetryEvery) || h.FailedDays != 0 {
			t.Fatalf("after %d hours without answers: %+v", hour, h)
		}
	}
	if h = h.After(Unknown, day(7)); h.State != Lapsed {
		t.Errorf("after a week without answers: %+v", h)
	}
}

func TestChallengesAreRandom(t *testing.T) {
	t.Parallel()
	a, b := NewChallenge(), NewChallenge()
	if a == b || len(a) != len(valuePrefix)+44 {
		t.Errorf("%q and %q", a, b)
	}
	if Record("example.com") != "_agentmesh.example.com" {
		t.Error(Record("example.com"))
	}
}
