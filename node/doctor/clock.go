package doctor

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"amesh/node/api"
)

// Dialer opens connections to the server at a URL, such as through a proxy.
type Dialer = func(url string) func(ctx context.Context, network, addr string) (net.Conn, error)

// Clock compares the clock with that of servers, whose URLs are http, https, ws or wss.
// The median counts, so that one wrong server makes no alarm. A nil dialer is the network.
func Clock(ctx context.Context, d Dialer, urls []string, now func() time.Time) api.Check {
	if len(urls) == 0 {
		return skip("clock", "there is no relay and no registry to compare it with")
	}
	urls = urls[:min(len(urls), clockAsked)]
	ctx, cancel := context.WithTimeout(ctx, clockAnswer)
	defer cancel()
	var mu sync.Mutex
	var off []time.Duration
	var wg sync.WaitGroup
	for _, url := range urls {
		wg.Go(func() {
			if d, known := ahead(ctx, d, url, now); known {
				mu.Lock()
				off = append(off, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return judgeClock(off, len(urls))
}

func judgeClock(off []time.Duration, asked int) api.Check {
	const next = "let the system keep the time, such as with: timedatectl set-ntp true"
	if len(off) == 0 {
		return skip("clock", "none of %d servers told the time", asked)
	}
	slices.Sort(off)
	d := off[len(off)/2]
	side := "ahead"
	if d < 0 {
		side = "behind"
	}
	switch far := d.Abs(); {
	case far >= clockFail:
		return fail("clock", next, "%s %s: what is signed is refused", far.Round(time.Second), side)
	case far >= clockWarn:
		return warn("clock", next, "%s %s", far.Round(time.Second), side)
	}
	return ok("clock", "agrees with %d of %d servers asked", len(off), asked)
}

// ahead is how far our clock is ahead of a server's. Its time has no fractions.
func ahead(ctx context.Context, d Dialer, url string, now func() time.Time) (time.Duration, bool) {
	transport := &http.Transport{DisableKeepAlives: true}
	if d != nil {
		transport.DialContext = d(url)
	}
	c := &http.Client{Transport: transport, // it follows nobody elsewhere
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if rest, isWS := strings.CutPrefix(url, "ws"); isWS {
		url = "http" + rest
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return 0, false
	}
	before := now()
	resp, err := c.Do(req)
	if err != nil {
		return 0, false
	}
	_ = resp.Body.Close()
	there, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, false
	}
	after := now()
	return before.Add(after.Sub(before) / 2).Sub(there.Add(time.Second / 2)), true
}
