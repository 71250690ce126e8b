package relay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay/longpoll"
	"amesh/relay/socket"

	"github.com/google/go-cmp/cmp"
)

// strip is a reverse proxy in front of a house that lets no upgrade through, as long as
// on says so.
type strip struct {
	*httptest.Server
	on       atomic.Bool
	upgrades atomic.Int64 // that were asked for
}

func newStrip(t *testing.T, h *house, edit func(http.ResponseWriter, *http.Request) bool) *strip {
	t.Helper()
	to, err := url.Parse(h.web.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := &strip{}
	s.on.Store(true)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			s.upgrades.Add(1)
		}
		if s.on.Load() {
			if edit != nil && edit(w, r) {
				return
			}
			r.Header.Del("Upgrade")
			r.Header.Del("Connection")
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *strip) url() string { return strings.Replace(s.URL, "http://", "ws://", 1) }

// polled waits for a connection by long poll.
func (a *agent) polled() State {
	a.t.Helper()
	return a.state("connected by long poll", func(s State) bool { return s.Connected && s.LongPoll })
}

func TestClientPollsWhereNoWebSocketGetsThrough(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"the header is taken away": nil,
		"refused by somebody in between": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.RawQuery == "" {
				http.Error(w, "<h1>Blocked</h1>", http.StatusForbidden)
			}
			return r.URL.RawQuery == ""
		},
		"upgraded, and then nothing": func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.RawQuery != "" {
				return false
			}
			w.Header().Set(challengeHeader, base64.StdEncoding.EncodeToString(make([]byte, challengeSize)))
			if ws, err := socket.Upgrade(w, r, 1000); err == nil {
				_ = ws.Close()
			}
			return true
		},
		"cut off": func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.RawQuery == "" {
				panic(http.ErrAbortHandler)
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := startRelay(t, Limits{})
			between := newStrip(t, h, edit)
			ann, bob := startAgent(t, 1, between.url(), quick()), startAgent(t, 2, h.url(), quick())
			bob.connected()
			// The name that was dialled is signed, and it is not this relay's: it goes by
			// loopback addresses with any port.
			s := ann.polled()
			if want := []Extension{ExtensionChallenge, ExtensionAck, ExtensionBinary, ExtensionAllow}; !s.Speaks(want[0]) || !s.Speaks(want[1]) || !s.Speaks(want[2]) || !s.Speaks(want[3]) {
				t.Errorf("speaks %v, want %v at least", s.Extensions, want)
			}
			if n := h.server.Stats(); n.Polling != 1 || n.Ack != 2 {
				t.Errorf("%d poll, of %d", n.Polling, n.Ack)
			}
			if r := ann.send(Outgoing{To: bob.who, Kind: KindMessage, Payload: envelope("up")}); r.Err != nil || r.Unconfirmed {
				t.Errorf("sent: %+v", r)
			}
			if d := bob.receive(); string(d.Payload) != string(envelope("up")) {
				t.Errorf("got %q", d.Payload)
			}
			r := bob.send(Outgoing{To: ann.who, Kind: KindMessage, Payload: envelope("down")})
			if d := ann.receive(); string(d.Payload) != string(envelope("down")) {
				t.Errorf("got %q", d.Payload)
			}
			h.holds(ann.who, 1)
			ann.Ack(r.ID)
			h.holds(ann.who, 0)
		})
	}
}

// What the relay itself refuses is refused, and not tried another way.
func TestRelaysOwnNoIsNoReasonToPoll(t *testing.T) {
	t.Parallel()
	h, _ := startRelay(t, Limits{})
	h.server.mu.Lock()
	h.server.draining = true
	h.server.mu.Unlock()
	polls := atomic.Int64{}
	between := newStrip(t, h, nil)
	between.on.Store(false)
	between.Config.Handler = counting(between.Config.Handler, &polls)
	a := startAgent(t, 1, between.url(), quick())
	s := a.state("refused", func(s State) bool { return s.Err != nil })
	if !strings.Contains(s.Err.Error(), "503") || polls.Load() > 0 {
		t.Errorf("%v, and %d polls", s.Err, polls.Load())
	}
}

func counting(h http.Handler, n *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if polling(r) {
			n.Add(1)
		}
		h.ServeHTTP(w, r)
	})
}

func TestClientGoesBackToWebSocketsWhenTheyGetThrough(t *testing.T) {
	t.Parallel()
	for _, why := range []string{"after a while", "when the network changes"} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			h, _ := startRelay(t, Limits{})
			between := newStrip(t, h, nil)
			l := quick()
			if why == "after a while" {
				l.Poll.UpgradeAgain = 20 * time.Millisecond
			}
			a := startAgent(t, 1, between.url(), l)
			a.polled()
			between.on.Store(false)
			if why != "after a while" {
				a.Retry()
			}
			if s := a.state("the end of the poll", func(s State) bool { return !s.Connected }); !errors.Is(s.Err, errUpgradeAgain) {
				t.Errorf("it ends with %v", s.Err)
			}
			if s := a.connected(); s.LongPoll {
				t.Error("it polls")
			}
		})
	}
}

// Requests and answers are lost all the time: everything comes, once and in order.
func TestThousandMessagesInOrderByLongPoll(t *testing.T) {
	t.Parallel()
	h, _ := startRelay(t, Limits{})
	n := atomic.Int64{}
	between := newStrip(t, h, func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.RawQuery, "poll=open") && n.Add(1)%17 == 0 {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	l := quick()
	l.InFlight.Messages = 1000
	ann, bob := startAgent(t, 1, between.url(), l), startAgent(t, 2, between.url(), l)
	ann.polled()
	bob.polled()
	const most = 1000
	window := make(chan struct{}, 200) // what one sender may leave in a mailbox is bounded
	go func() {
		for i := range most {
			window <- struct{}{}
			ann.Send(Outgoing{To: bob.who, Kind: KindMessage, Payload: envelope(fmt.Sprint(i))}, func(r Result) {
				if r.Err != nil {
					t.Errorf("message %d: %v", i, r.Err)
				}
			})
		}
	}()
	for i := range most {
		d := bob.receive()
		if string(d.Payload) != string(envelope(fmt.Sprint(i))) {
			t.Fatalf("message %d is %q", i, d.Payload)
		}
		bob.Ack(d.ID)
		<-window
	}
	h.holds(bob.who, 0)
}

// CP 3: a relay that dies while it is polled has lost nothing that it promised.
func TestRelayThatDiesDuringALongPollLosesNothing(t *testing.T) {
	t.Parallel()
	disk := store.NewMemory()
	h := newHouse(t)
	h.start(disk, Limits{})
	between := newStrip(t, h, nil)
	ann, bob := startAgent(t, 1, between.url(), quick()), startAgent(t, 2, between.url(), quick())
	ann.polled()
	bob.polled()
	const most = 50
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range most {
			ann.sendSurely(Outgoing{To: bob.who, Kind: KindMessage, Payload: envelope(fmt.Sprint(i))})
		}
	}()
	seen := map[string]int{}
	for last := ""; last != string(envelope(fmt.Sprint(most-1))); {
		d := bob.receive()
		last = string(d.Payload)
		if seen[last]++; seen[last] == 1 && len(seen)%20 == 10 {
			// Not acknowledged when the relay goes.
			crashNext(disk, store.BeforeCommit) // and nothing after it is kept
			h.shut()
			disk = disk.Reopen()
			h.start(disk, Limits{})
			continue
		}
		bob.Ack(d.ID)
	}
	<-sent
	if len(seen) != most {
		t.Errorf("%d of %d messages came", len(seen), most)
	}
}

// session opens a session by hand.
func (h *house) session(n byte) (longpoll.Opened, http.Header) {
	h.t.Helper()
	req, _ := http.NewRequest(http.MethodPost, h.web.URL+"/v1/connect?poll=open", nil)
	req.Header.Set(longpoll.KeyHeader, testKey(h.t, n).Public().Text())
	resp, err := h.web.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	var o longpoll.Opened
	if err := json.NewDecoder(resp.Body).Decode(&o); err != nil || resp.StatusCode != http.StatusOK {
		h.t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	return o, resp.Header
}

// request makes a request of a session, signed by n.
func (h *house) request(ctx context.Context, n byte, session string, k longpoll.Kind, number, at uint64, body string) (status int, answer string, err error) {
	token, err := longpoll.ParseToken(session)
	if err != nil {
		return 0, "", err
	}
	r := longpoll.Request{Session: token, Number: number, At: at}
	r.Signature = testKey(h.t, n).Sign(identity.TagRelayPoll, r.Signed(k, []byte(body)))
	method := http.MethodPost
	if k == longpoll.Down {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, h.web.URL+"/v1/connect?poll="+k.String(), strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set(longpoll.Header, r.Text())
	resp, err := h.web.Client().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func TestPollRequestsAreTheAgentsOnly(t *testing.T) {
	t.Parallel()
	h, _ := startRelay(t, Limits{})
	o, header := h.session(1)
	if header.Get(challengeHeader) == "" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", header)
	}
	ctx := context.Background()
	for _, c := range []struct {
		name    string
		signer  byte
		session string
		kind    longpoll.Kind
		number  uint64
		at      uint64
		body    string
		want    int
	}{
		{"another key", 2, o.Session, longpoll.Up, 1, 0, "x", 403},
		{"another session", 1, longpoll.Token{}.Text(), longpoll.Up, 1, 0, "x", 404},
		{"ahead of the stream", 1, o.Session, longpoll.Up, 1, 5, "x", 416},
		{"a body", 1, o.Session, longpoll.Up, 2, 0, "\x88", 200},
		{"once more", 1, o.Session, longpoll.Up, 2, 0, "\x88", 409},
		{"an older one", 1, o.Session, longpoll.Up, 1, 0, "\x88", 409},
		{"too long", 1, o.Session, longpoll.Up, 3, 1, strings.Repeat("x", o.Bytes+1), 413},
		{"what was never there", 1, o.Session, longpoll.Down, 1, 1, "", 416},
		{"the end", 1, o.Session, longpoll.End, 1, 0, "", 200},
		{"behind the end", 1, o.Session, longpoll.Up, 4, 1, "x", 404},
	} {
		status, _, err := h.request(ctx, c.signer, c.session, c.kind, c.number, c.at, c.body)
		if err != nil || status != c.want {
			t.Errorf("%s: %d, %v, want %d", c.name, status, err, c.want)
		}
	}
	for path, want := range map[string]int{"?poll=open": 400, "?poll=up": 400, "?poll=else": 400, "?poll=down": 405} {
		resp, err := h.web.Client().Post(h.web.URL+"/"+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want || resp.Header.Get(longpoll.Header) != "-" {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, resp.Header)
		}
	}
}

// A token is of no use without the key, so who has seen one can neither read, nor
// acknowledge, nor send; nor can who connects as another agent in a session.
func TestSessionBelongsToOneAgent(t *testing.T) {
	t.Parallel()
	h, _ := startRelay(t, Limits{})
	between := newStrip(t, h, nil)
	mallory := &http.Client{Transport: swapped{h.t, between}}
	w := newWays(newAgent(t, ClientConfig{URL: between.url(), Key: testKey(t, 1), Limits: quick()}).Client)
	w.http = mallory
	track, err := w.longPoll(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer track.close()
	if _, err := w.c.introduce(context.Background(), track.Conn, track.header); err == nil {
		t.Error("an agent is let in with another one's session")
	}
}

// swapped opens sessions under another key, and signs with that.
type swapped struct {
	t *testing.T
	*strip
}

func (s swapped) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if r.Header.Get(longpoll.KeyHeader) != "" {
		r.Header.Set(longpoll.KeyHeader, testKey(s.t, 9).Public().Text())
	} else if req, err := longpoll.ParseRequest(r.Header.Get(longpoll.Header)); err == nil {
		var body []byte
		if r.Body != nil {
			body, _ = io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
		}
		req.Signature = testKey(s.t, 9).Sign(identity.TagRelayPoll, req.Signed(longpoll.ParseKind(r.URL.Query().Get("poll")), body))
		r.Header.Set(longpoll.Header, req.Text())
	}
	return http.DefaultTransport.RoundTrip(r)
}

func TestRelayIsMeasuredWhereNoWebSocketGetsThrough(t *testing.T) {
	t.Parallel()
	h, _ := startRelay(t, Limits{})
	if took, err := Measure(context.Background(), newStrip(t, h, nil).url(), nil); err != nil || took <= 0 {
		t.Errorf("%v, %v", took, err)
	}
	portal := newStrip(t, h, func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = io.WriteString(w, "<html>please log in</html>")
		return true
	})
	if _, err := Measure(context.Background(), portal.url(), nil); err == nil {
		t.Error("a captive portal is measured as a relay")
	}
}

func TestInfoNamesLongPoll(t *testing.T) {
	t.Parallel()
	h, _ := startRelay(t, Limits{})
	if diff := cmp.Diff([]string{"websocket", "longpoll"}, h.server.Info().Transports); diff != "" {
		t.Error(diff)
	}
}
