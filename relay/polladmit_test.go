package relay

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/internal/prefix"
	"amesh/relay/ban"
	"amesh/relay/longpoll"
)

// noted keeps the requests that it makes.
type noted struct {
	http.RoundTripper
	headers http.Header // added to each

	mu  sync.Mutex
	all []*http.Request // their bodies can be read again
}

func (n *noted) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range n.headers {
		r.Header[name] = values
	}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	n.mu.Lock()
	n.all = append(n.all, r)
	n.mu.Unlock()
	return n.RoundTripper.RoundTrip(r)
}

// poll connects an agent from an address by long poll.
func (d *door) poll(n byte, from string, headers ...string) (*raw, *noted) {
	d.t.Helper()
	c, requests, err := d.pollNameless(n, from, headers...)
	if err != nil {
		d.t.Fatalf("agent %d from %s: %v", n, from, err)
	}
	c.hello(n)
	c.want(object{"type": typeConnected})
	return c, requests
}

func (d *door) pollNameless(n byte, from string, headers ...string) (*raw, *noted, error) {
	d.t.Helper()
	w := newWays(newAgent(d.t, ClientConfig{URL: "ws://" + d.addr, Key: testKey(d.t, n), Dial: dialFrom(from)}).Client)
	requests := &noted{RoundTripper: w.http.Transport, headers: http.Header{}}
	for i := 0; i < len(headers); i += 2 {
		requests.headers.Add(headers[i], headers[i+1])
	}
	w.http = &http.Client{Transport: requests}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	track, err := w.longPoll(ctx)
	if err != nil {
		return nil, requests, err
	}
	d.t.Cleanup(func() {
		track.close()
		requests.RoundTripper.(*http.Transport).CloseIdleConnections()
	})
	return &raw{t: d.t, ws: track.Conn, header: track.header}, requests, nil
}

func (d *door) sessions() int {
	d.server.polls.mu.Lock()
	defer d.server.polls.mu.Unlock()
	return len(d.server.polls.open)
}

// T49: sessions without a name have the places that connections have.
func TestT49SessionsOfOneAddress(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	first, _ := d.poll(1, "127.0.0.1")
	var oldest *raw
	for range 40 {
		c, _, err := d.pollNameless(2, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if oldest == nil {
			oldest = c
		}
	}
	oldest.closed()
	until(t, "those too many are gone", func() bool { return d.sessions() <= 17 })
	first.quiet()
	d.join(3, "127.0.0.1").quiet()
}

// T49: who has a name polls on through a flood, on connections that have none at first.
func TestT49FloodBesideAPoll(t *testing.T) {
	l := DefaultLimits()
	l.Unauthenticated = 32
	d := openDoor(t, ServerConfig{Limits: l})
	ann, _ := d.poll(1, "127.0.0.1")
	bob := d.join(2, "127.0.0.2")
	for i := range 500 {
		d.tcp(host(i % 20))
		d.tcp("127.0.0.1")
		if i%50 == 0 {
			ann.quiet()
			bob.send(ann.who, "beside a flood", "")
			ann.want(object{"type": typeReceive, "encrypted_payload": "beside a flood"})
		}
	}
	ann.quiet()
}

// T49, T50: opening sessions is counted like connect frames are.
func TestT50SessionsHaveARate(t *testing.T) {
	l := DefaultLimits()
	l.Admission.AuthRate, l.Admission.AuthBurst = 0.001, 6
	d := openDoor(t, ServerConfig{Limits: l})
	d.poll(1, "127.0.0.1")
	var err error
	for range 8 {
		if _, _, err = d.pollNameless(2, "127.0.0.1"); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("the last session: %v", err)
	}
	d.poll(3, "127.0.0.2")
}

// T05: a request that somebody saw is of no use to him, from wherever he sends it.
func TestT05CapturedPollIsWorthless(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	ann, requests := d.poll(1, "127.0.0.1")
	bob := d.join(2, "127.0.0.2")
	for range 20 {
		bob.send(ann.who, "mail", "")
		ann.want(object{"type": typeReceive})
		ann.quiet()
	}
	requests.mu.Lock()
	seen := append([]*http.Request(nil), requests.all...)
	requests.mu.Unlock()
	thief := &http.Client{Transport: &http.Transport{DialContext: dialFrom("127.0.0.3")}}
	defer thief.CloseIdleConnections()
	for _, r := range seen {
		if r.URL.Query().Get(longpoll.Query) == longpoll.OpenQuery {
			continue
		}
		again := r.Clone(context.Background())
		if r.GetBody != nil {
			again.Body, _ = r.GetBody()
		}
		resp, err := thief.Do(again)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Errorf("%s is answered a second time", r.URL.RawQuery)
		}
	}
	ann.quiet()
}

func TestBansHoldForSessions(t *testing.T) {
	d := openDoor(t, ServerConfig{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.8/32")}})
	const header = "X-Forwarded-For"
	ann, _ := d.poll(1, "127.0.0.8", header, "192.0.2.1")
	bob, _ := d.poll(2, "127.0.0.8", header, "192.0.2.2")
	cyd, _ := d.poll(3, "127.0.0.8", header, "192.0.2.3")
	d.ban(ban.Ban{Target: targetOf(t, "192.0.2.1"), Until: time.Now().Add(time.Hour)})
	d.ban(ban.Ban{Target: ban.Agent(bob.who), Until: time.Now().Add(time.Hour)})
	for _, c := range []*raw{ann, bob} {
		c.closed()
	}
	cyd.quiet()
	if _, _, err := d.pollNameless(4, "127.0.0.8", header, "192.0.2.1"); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a banned address: %v", err)
	}
	again, _, err := d.pollNameless(2, "127.0.0.8", header, "192.0.2.2")
	if err != nil {
		t.Fatal(err)
	}
	again.hello(2)
	again.expelled()
}

// A connection on which an agent has polled leaves the room, and can be upgraded like
// any other.
func TestConnectionOfAPollCanBeUpgraded(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	a := d.server.admission
	g := a.arrive(&fakeConn{from: "127.0.0.1"})
	a.vouch(g)
	if d.room(0); a.named[prefix.Of(g.from)] != 1 {
		t.Error("it is not counted as one with a name")
	}
	if status := a.introduce(g, nil); status != 0 {
		t.Errorf("upgrade refused with %d", status)
	}
	if d.room(1); !a.name(g) {
		t.Error("it gets no name")
	}
	_ = g.Close()
	if len(a.named) != 0 || a.size != 0 {
		t.Errorf("%v and %d are left", a.named, a.size)
	}
}

// T47: who does not fetch what is there is cut, and its mail stays.
func TestT47SlowPoller(t *testing.T) {
	l := DefaultLimits()
	l.Poll.Bytes, l.WriteWait, l.CloseWait = 4<<10, 50*time.Millisecond, 50*time.Millisecond
	l.Poll.Linger = 50 * time.Millisecond
	h := newHouse(t)
	h.polled = true
	h.start(newMemory(), l)
	bob, _ := h.join(2, ExtensionAck)
	ann, _ := h.join(1, ExtensionAck)
	for range 40 { // and bob reads none of it
		ann.send(bob.who, strings.Repeat("x", 1000)+jsStamp(), "1")
		ann.want(object{"type": typeRelayed})
	}
	h.until("the slow one is cut", func(s *Server) bool { return s.find(bob.who) == nil })
	if n := h.server.counts.slow.Load(); n != 1 {
		t.Errorf("%d were cut for being slow", n)
	}
	h.holds(bob.who, 40)
	h.until("its session is forgotten", func(s *Server) bool {
		s.polls.mu.Lock()
		defer s.polls.mu.Unlock()
		return len(s.polls.open) == 1
	})
	ann.quiet()
}

// stuck is a body of which nothing comes until it is let go.
type stuck struct{ read, let chan struct{} }

func (s stuck) Read([]byte) (int, error) {
	s.read <- struct{}{}
	<-s.let
	return 0, io.EOF
}

func TestT49BodiesOfOneSessionAreFew(t *testing.T) {
	t.Parallel()
	h, _ := startRelay(t, Limits{})
	o, _ := h.session(1)
	token, err := longpoll.ParseToken(o.Session)
	if err != nil {
		t.Fatal(err)
	}
	post := func(number uint64, body io.Reader) int {
		r := httptest.NewRequest(http.MethodPost, "/v1/connect?poll=up", body)
		r.Header.Set(longpoll.Header, longpoll.Request{Session: token, Number: number, Signature: make([]byte, 64)}.Text())
		w := httptest.NewRecorder()
		h.web.Config.Handler.ServeHTTP(w, r)
		return w.Code
	}
	hold := stuck{make(chan struct{}), make(chan struct{})}
	var posts sync.WaitGroup
	for i := range pollRequests {
		posts.Go(func() { post(uint64(i+1), hold) })
		<-hold.read
	}
	if got := post(100, strings.NewReader("x")); got != http.StatusConflict {
		t.Errorf("one more is answered %d, want 409", got)
	}
	close(hold.let)
	posts.Wait()
	if status, _, err := h.request(context.Background(), 1, o.Session, longpoll.Up, 200, 0, ""); status != http.StatusOK {
		t.Errorf("later: %d, %v", status, err)
	}
}
