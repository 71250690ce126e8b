package discovery

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"amesh/gateway/amtp"
)

const good = "v=amtp1;gateway=https://gw.north.test;auth=apikey;max-size=1000"

func TestChecklistRecords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		texts   []string
		gateway string
		size    int64
		err     error
		code    amtp.Code
	}{
		"1 plain":                   {texts: []string{"v=amtp1;gateway=https://g.test"}, gateway: "https://g.test"},
		"2 spaces and quotes":       {texts: []string{`"v=amtp1 ; gateway = https://g.test"`}, gateway: "https://g.test"},
		"3 no gateway":              {texts: []string{"v=amtp1;auth=cert"}, err: ErrRecord, code: amtp.CodeDiscoveryFailed},
		"3 another version":         {texts: []string{"v=amtp2;gateway=https://g.test"}, err: ErrRecord, code: amtp.CodeDiscoveryFailed},
		"3 v not first":             {texts: []string{"gateway=https://g.test;v=amtp1"}, err: ErrRecord, code: amtp.CodeDiscoveryFailed},
		"4 max-size is no number":   {texts: []string{"v=amtp1;max-size=abc;gateway=https://g.test"}, gateway: "https://g.test"},
		"5 unknown keys":            {texts: []string{"v=amtp1;gateway=https://g.test;colour=blue;alone"}, gateway: "https://g.test"},
		"6 the first is invalid":    {texts: []string{"v=amtp1;", "v=spf1 -all", good}, gateway: "https://gw.north.test", size: 1000},
		"6 the first two are valid": {texts: []string{"v=amtp1;gateway=https://one.test", good}, gateway: "https://one.test"},
		"7 http":                    {texts: []string{"v=amtp1;gateway=http://g.test"}, err: ErrRecord, code: amtp.CodeInvalidGateway},
		"7 http, and a right one":   {texts: []string{"v=amtp1;gateway=http://g.test", good}, gateway: "https://gw.north.test", size: 1000},
		"a slash at the end":        {texts: []string{"v=amtp1;gateway=https://g.test/"}, gateway: "https://g.test"},
		"a user in the URL":         {texts: []string{"v=amtp1;gateway=https://u@g.test"}, err: ErrRecord, code: amtp.CodeInvalidGateway},
		"an IPv6 address":           {texts: []string{"v=amtp1;gateway=https://[::1]"}, err: ErrRecord, code: amtp.CodeInvalidGateway},
		"a query":                   {texts: []string{"v=amtp1;gateway=https://g.test/?a=b"}, err: ErrRecord, code: amtp.CodeInvalidGateway},
		"a file":                    {texts: []string{"v=amtp1;gateway=file:///etc/passwd"}, err: ErrRecord, code: amtp.CodeInvalidGateway},
		"a port":                    {texts: []string{"v=amtp1;gateway=https://g.test:8443/amtp"}, gateway: "https://g.test:8443/amtp"},
		"a port that is none":       {texts: []string{"v=amtp1;gateway=https://g.test:0"}, err: ErrRecord, code: amtp.CodeInvalidGateway},
		"nothing of AMTP":           {texts: []string{"v=spf1 -all"}, err: ErrRecord, code: amtp.CodeDiscoveryFailed},
		"14 no record":              {err: ErrNoRecord, code: amtp.CodeDiscoveryFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := newZone()
			for _, text := range c.texts {
				z.add(chunked("_amtp.north.test", 300, text))
			}
			got, err := z.resolver(t, Config{}).Lookup(t.Context(), "North.Test.")
			if !errors.Is(err, c.err) {
				t.Fatalf("err = %v, want %v", err, c.err)
			}
			if e, ok := errors.AsType[*LookupError](err); ok && (e.Code != c.code || e.Temporary() || e.Name != "north.test") {
				t.Errorf("error %+v, want code %s", e, c.code)
			}
			if got.Gateway != c.gateway || got.MaxSize != c.size && c.size != 0 {
				t.Errorf("record %+v", got.Record)
			}
		})
	}
}

// chunked is a TXT record whose text is cut into strings of 200 bytes.
func chunked(owner string, ttl int, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. %d IN TXT", owner, ttl)
	for len(text) > 200 {
		fmt.Fprintf(&b, " %q", text[:200])
		text = text[200:]
	}
	fmt.Fprintf(&b, " %q", text)
	return b.String()
}

func TestHTTPGatewaysAreTakenWhereAllowed(t *testing.T) {
	t.Parallel()
	z := newZone(txt("north.test", 60, "v=amtp1;gateway=http://g.test:8080"))
	got, err := z.resolver(t, Config{AllowHTTP: true}).Lookup(t.Context(), "north.test")
	if err != nil || got.Gateway != "http://g.test:8080" {
		t.Errorf("%+v, %v", got, err)
	}
}

// Checklist 8 and 9; promise 3.
func TestRecordIsBelievedForItsOwnTTLAndNoLonger(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ttl  int
		max  time.Duration
		want time.Duration
	}{
		"of the record":           {ttl: 60, want: time.Minute},
		"of the configuration":    {ttl: 86400, want: 5 * time.Minute},
		"of that, a short one":    {ttl: 86400, max: 10 * time.Second, want: 10 * time.Second},
		"none, which is a second": {ttl: 0, want: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				z := newZone(txt("north.test", c.ttl, good))
				r := z.resolver(t, Config{MaxTTL: c.max})
				for _, step := range []struct {
					wait time.Duration
					asks int
				}{{0, 1}, {0, 1}, {c.want - 1, 1}, {1, 2}, {c.want - 1, 2}} {
					time.Sleep(step.wait)
					got, err := r.Lookup(t.Context(), "north.test")
					if err != nil || got.TTL != c.want {
						t.Fatalf("%+v, %v", got, err)
					}
					if z.count() != step.asks {
						t.Errorf("asked %d times, want %d", z.count(), step.asks)
					}
				}
			})
		})
	}
}

// Checklist 10.
func TestAbsenceIsBelievedForHalfAMinuteAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone()
		r := z.resolver(t, Config{})
		for range 3 {
			if _, err := r.Lookup(t.Context(), "north.test"); !errors.Is(err, ErrNoRecord) {
				t.Fatal(err)
			}
		}
		time.Sleep(29 * time.Second)
		if _, known, _ := r.Known("north.test"); !known || z.count() != 1 {
			t.Errorf("known %v, asked %d times", known, z.count())
		}
		z.set("_amtp.north.test", txt("north.test", 60, good))
		time.Sleep(time.Second)
		if _, known, _ := r.Known("north.test"); known {
			t.Error("known after its time")
		}
		if _, err := r.Lookup(t.Context(), "north.test"); err != nil {
			t.Error(err)
		}
	})
}

// Checklist 11.
func TestSecondResolverIsAskedWhenTheFirstIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(txt("a.test", 60, good), txt("b.test", 60, good), txt("c.test", 60, good))
		z.turn(first, true)
		r := z.resolver(t, Config{Resolvers: []string{"192.0.2.1", "192.0.2.2"}})
		for _, domain := range []string{"a.test", "b.test"} {
			if _, err := r.Lookup(t.Context(), domain); err != nil {
				t.Fatal(err)
			}
		}
		z.turn(first, false)
		time.Sleep(shunFor)
		if _, err := r.Lookup(t.Context(), "c.test"); err != nil {
			t.Fatal(err)
		}
		want := []string{first + " _amtp.a.test.", second + " _amtp.a.test.", second + " _amtp.b.test.", first + " _amtp.c.test."}
		if strings.Join(z.asked, "\n") != strings.Join(want, "\n") {
			t.Errorf("asked %q, want %q", z.asked, want)
		}
	})
}

func TestServfailGoesToTheNextResolverAndBlamesNone(t *testing.T) {
	t.Parallel()
	z := newZone(txt("b.test", 60, good))
	z.rcode["_amtp.a.test"] = 2
	r := z.resolver(t, Config{Resolvers: []string{"192.0.2.1", "192.0.2.2"}})
	_, err := r.Lookup(t.Context(), "a.test")
	e, ok := errors.AsType[*LookupError](err)
	if !ok || !e.Temporary() || !strings.Contains(e.Detail, "SERVFAIL") || strings.Contains(e.Error(), "192.0.2") {
		t.Errorf("err = %#v", err)
	}
	if _, err := r.Lookup(t.Context(), "b.test"); err != nil {
		t.Fatal(err)
	}
	if last := z.asked[len(z.asked)-1]; last != first+" _amtp.b.test." || len(z.asked) != 3 {
		t.Errorf("asked %q", z.asked)
	}
}

func TestOldRecordServesWhileNoResolverAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(txt("north.test", 60, good))
		r := z.resolver(t, Config{})
		if _, err := r.Lookup(t.Context(), "north.test"); err != nil {
			t.Fatal(err)
		}
		z.turn(first, true)
		time.Sleep(time.Minute)
		for range 100 {
			got, err := r.Lookup(t.Context(), "north.test")
			if err != nil || !got.Stale || got.Gateway != "https://gw.north.test" {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		if z.count() != 3 { // the first, and one lookup of two rounds
			t.Errorf("asked %d times", z.count())
		}
		time.Sleep(DefaultStale)
		if _, err := r.Lookup(t.Context(), "north.test"); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("after the hour: %v", err)
		}
		z.turn(first, false)
		time.Sleep(failureTTL)
		if got, err := r.Lookup(t.Context(), "north.test"); err != nil || got.Stale {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// A domain that gives its record up is not served from memory.
func TestAbsenceReplacesWhatWasKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(txt("north.test", 60, good))
		r := z.resolver(t, Config{})
		if _, err := r.Lookup(t.Context(), "north.test"); err != nil {
			t.Fatal(err)
		}
		z.set("_amtp.north.test")
		time.Sleep(time.Minute)
		if _, err := r.Lookup(t.Context(), "north.test"); !errors.Is(err, ErrNoRecord) {
			t.Error(err)
		}
	})
}

func TestOneQuestionServesAllWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(txt("north.test", 60, good))
		z.hold = make(chan struct{})
		r := z.resolver(t, Config{})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := r.Lookup(t.Context(), "north.test"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(z.hold)
		wg.Wait()
		if z.count() != 1 {
			t.Errorf("asked %d times", z.count())
		}
	})
}

func TestMemoryIsBoundedAndForgetsWhatWasUsedLongestAgo(t *testing.T) {
	t.Parallel()
	z := newZone()
	r := z.resolver(t, Config{Entries: 3})
	for _, domain := range []string{"a.test", "b.test", "c.test", "a.test", "d.test", "a.test", "b.test"} {
		_, _ = r.Lookup(t.Context(), domain)
	}
	if s := r.Stats(); s.Entries != 3 || s.Lookups != 5 || s.Hits != 2 || s.Absent != 5 {
		t.Errorf("%+v", s)
	}
}

func TestAliasesAreFollowedAsFarAsTheyMay(t *testing.T) {
	t.Parallel()
	z := newZone("_amtp.a.test. 30 IN CNAME _amtp.b.test.", "_amtp.b.test. 40 IN CNAME _amtp.host.example.", txt("host.example", 60, good),
		"_amtp.loop.test. 30 IN CNAME _amtp.loop.test.")
	r := z.resolver(t, Config{})
	got, err := r.Lookup(t.Context(), "a.test")
	if err != nil || got.Gateway != "https://gw.north.test" || got.TTL != 30*time.Second {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.Lookup(t.Context(), "loop.test"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("a loop: %v", err)
	}
}

func TestLongTextsComeInOnePiece(t *testing.T) {
	t.Parallel()
	key := "v=amtpkey1;alg=RS256;p=" + strings.Repeat("A", 392)
	z := newZone(chunked("k1._amtpkey.north.test", 60, key), `k2._amtpkey.north.test. 60 IN TXT "a\"b\\c\195\188"`)
	r := z.resolver(t, Config{})
	texts, ttl, err := r.TXT(t.Context(), "K1._amtpkey.north.test.")
	if err != nil || len(texts) != 1 || texts[0] != key || ttl <= 0 || ttl > time.Minute {
		t.Errorf("%q, %s, %v", texts, ttl, err)
	}
	if texts, _, err = r.TXT(t.Context(), "k2._amtpkey.north.test"); err != nil || texts[0] != `a"b\cü` {
		t.Errorf("%q, %v", texts, err)
	}
}

func TestErrorsSayWhatHelps(t *testing.T) {
	t.Parallel()
	r := newZone().resolver(t, Config{})
	_, err := r.Lookup(t.Context(), "north.test")
	if want := "north.test: no AMTP gateway: there is no such record; its owner publishes one as TXT record _amtp.north.test"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, _, err = r.TXT(t.Context(), "k1._amtpkey.north.test"); err == nil || err.Error() != "k1._amtpkey.north.test: there is no such TXT record" {
		t.Error(err)
	}
}

func TestOwnDomainNeedsNoDNS(t *testing.T) {
	t.Parallel()
	z := newZone()
	r := z.resolver(t, Config{Domain: "north.test", Own: amtp.Record{Version: "1.0", Gateway: "https://gw.north.test"}})
	got, known, err := r.Known("NORTH.test")
	if err != nil || !known || got.Gateway != "https://gw.north.test" || got.TTL != 5*time.Minute || z.count() != 0 {
		t.Errorf("%+v, %v, %v", got, known, err)
	}
}

func TestWaitingEndsWithTheCallersContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		z := newZone(txt("north.test", 60, good))
		z.hold = make(chan struct{})
		r := z.resolver(t, Config{Timeout: 3 * time.Second})
		began := time.Now()
		if _, err := r.Lookup(t.Context(), "north.test"); !errors.Is(err, ErrNoAnswer) || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
