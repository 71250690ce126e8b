package relay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"amesh/identity"
	"amesh/internal/proxy"
	"amesh/relay/longpoll"
	"amesh/relay/socket"

	"github.com/coder/websocket"
)

// errUpgradeAgain ends a long poll because WebSockets get through now.
var errUpgradeAgain = errors.New("WebSockets get through again")

// ways are how a client reaches its relay: by WebSocket, and by long poll where somebody
// in between lets none through. They belong to Run's goroutine, and while that waits for a link to better's.
//
//	dial ──101──> WebSocket <──────────────────────────────────┐
//	  └──an answer of somebody else, or none──> long poll ──tried again──┘
type ways struct {
	c    *Client
	http *http.Client
	// polled is when a long poll was begun because a WebSocket did not get through; zero:
	// it did, or nobody knows.
	polled time.Time
}

func newWays(c *Client) *ways {
	return &ways{c: c, http: newPlainHTTP(c.dial)}
}

// maxHeadBytes is how much of an answer's headers a client reads.
const maxHeadBytes = 16 << 10

// newPlainHTTP is a client that goes nowhere else.
func newPlainHTTP(dial proxy.DialFunc) *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: dial, MaxResponseHeaderBytes: maxHeadBytes},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (w *ways) close() { w.http.CloseIdleConnections() }

// track is a connection to the relay, not yet introduced.
type track struct {
	*websocket.Conn
	header http.Header      // of the relay's answer
	poll   *longpoll.Stream // nil for a WebSocket
}

// close ends the connection and waits for what works for it.
func (l *track) close() {
	_ = l.CloseNow()
	if l.poll != nil {
		l.poll.Wait()
	}
}

// dial opens a connection. Each way has DialWait.
func (w *ways) dial(ctx context.Context) (*track, error) {
	if !w.polled.IsZero() && time.Since(w.polled) < w.c.limits.Poll.UpgradeAgain {
		l, err := w.longPoll(ctx)
		if err != nil {
			w.polled = time.Time{}
		}
		return l, err
	}
	l, blocked, err := w.webSocket(ctx)
	if !blocked {
		w.polled = time.Time{}
		return l, err
	}
	l, err2 := w.longPoll(ctx)
	if err2 != nil {
		return nil, fmt.Errorf("%w; %w", err, err2)
	}
	w.c.log.Debug("no WebSocket gets through, polling", "err", err)
	w.polled = time.Now()
	return l, nil
}

// notIntroduced hears why a connection came to nothing. A relay of ours answers every
// connect frame, so on a WebSocket where it does not somebody in between lets the
// upgrade through and nothing else.
func (w *ways) notIntroduced(t *track, err error) {
	if t.poll == nil && errors.Is(err, errMute) && t.header.Get(challengeHeader) != "" {
		w.polled = time.Now()
	}
}

// webSocket is the first way. It is blocked when the relay, or somebody who speaks for
// it, was reached and did not upgrade.
func (w *ways) webSocket(ctx context.Context) (l *track, blocked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.c.limits.DialWait)
	defer cancel()
	var asked atomic.Bool
	trace := &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) { asked.Store(info.Err == nil) }}
	ws, answer, err := websocket.Dial(httptrace.WithClientTrace(ctx, trace), w.c.url, &websocket.DialOptions{
		HTTPClient: w.http, CompressionMode: websocket.CompressionDisabled,
	})
	if err == nil {
		return &track{Conn: ws, header: answer.Header}, false, nil
	}
	// A relay's own no is a no for every way.
	own := answer != nil && answer.Header.Get(refusedHeader) != ""
	return nil, asked.Load() && !own && !errors.Is(ctx.Err(), context.Canceled), fmt.Errorf("dial: %w", inner(err))
}

// inner is an error of the WebSocket library without what HTTP says around it: the URL is
// known, and what follows it is what people want to know.
func inner(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// longPoll is the second way. The WebSocket library speaks over it: what would go over
// the socket goes over requests.
func (w *ways) longPoll(ctx context.Context) (*track, error) {
	ctx, cancel := context.WithTimeout(ctx, w.c.limits.DialWait)
	defer cancel()
	l := &track{}
	ws, answer, err := websocket.Dial(ctx, w.c.url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: upgrader{w, l}}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, fmt.Errorf("long poll: %w", inner(err))
	}
	l.Conn, l.header = ws, answer.Header
	return l, nil
}

// upgrader answers the upgrade in the relay's place, with a session of long poll.
type upgrader struct {
	*ways
	track *track
}

// RoundTrip implements http.RoundTripper.
func (u upgrader) RoundTrip(r *http.Request) (*http.Response, error) {
	key := u.c.key
	s, header, err := longpoll.Open(r.Context(), longpoll.Config{
		HTTP: u.http, URL: r.URL.String(), Key: key.Public().Text(),
		Sign:  func(body []byte) []byte { return key.Sign(identity.TagRelayPoll, body) },
		Bytes: u.c.limits.Poll.Bytes, Gap: u.c.limits.Poll.Gap,
	})
	if err != nil {
		return nil, err
	}
	u.track.poll = s
	h := http.Header{}
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Accept", socket.AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
	for _, challenge := range header.Values(challengeHeader) {
		h.Add(challengeHeader, challenge)
	}
	return &http.Response{
		Status: "101 Switching Protocols", StatusCode: http.StatusSwitchingProtocols, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: s, Request: r,
	}, nil
}

// better waits until WebSockets get through, which it tries now and then and when the
// network has changed. It returns when they do, or ctx ends.
func (w *ways) better(ctx context.Context) error {
	again := time.NewTicker(w.c.limits.Poll.UpgradeAgain)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-w.c.retry:
		case <-ctx.Done():
			return ctx.Err()
		}
		if w.getsThrough(ctx) {
			w.polled = time.Time{}
			return errUpgradeAgain
		}
	}
}

// getsThrough tries whether a WebSocket is opened and carries something.
func (w *ways) getsThrough(ctx context.Context) bool {
	t, _, err := w.webSocket(ctx)
	if err != nil {
		return false
	}
	defer t.close()
	ctx, cancel := context.WithTimeout(ctx, w.c.limits.DialWait)
	defer cancel()
	return t.Ping(t.CloseRead(ctx)) == nil
}
