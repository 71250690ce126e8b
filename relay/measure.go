package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"amesh/relay/longpoll"

	"github.com/coder/websocket"
)

// measurePings is of how many round trips Measure returns the median.
const measurePings = 3

// Measure is the round trip time to a relay: the median of a few pings on a
// connection of its own, after the upgrade, or of a few requests where no WebSocket gets
// through and the relay can be polled. It does not say who we are. ctx bounds
// all of it; dial opens the connection, nil means what it means for a Client.
func Measure(ctx context.Context, url string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (time.Duration, error) {
	u, err := parseURL(url)
	if err != nil {
		return 0, err
	}
	if dial, err = dialerOr(dial, u.String()); err != nil {
		return 0, err
	}
	plain := newPlainHTTP(dial)
	defer plain.CloseIdleConnections()
	ws, answer, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: plain, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		err = fmt.Errorf("dial: %w", inner(err))
		if answer == nil || answer.Header.Get(refusedHeader) != "" {
			return 0, err
		}
		took, err2 := median(func() error { return askInfo(ctx, plain, httpURL(*u)) })
		if err2 != nil {
			return 0, err // which is more to the point
		}
		return took, nil
	}
	defer func() { _ = ws.CloseNow() }()
	ctx = ws.CloseRead(ctx) // somebody must read the pongs
	took, err := median(func() error { return ws.Ping(ctx) })
	if err != nil {
		return 0, fmt.Errorf("ping: %w", err)
	}
	return took, nil
}

// median is how long the middle one of a few goes takes.
func median(try func() error) (time.Duration, error) {
	var took []time.Duration
	for range measurePings {
		began := time.Now()
		if err := try(); err != nil {
			return 0, err
		}
		took = append(took, max(time.Since(began), 1))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// askInfo is an error when no relay answers that can be polled.
func askInfo(ctx context.Context, c *http.Client, url string) error {
	info, err := readInfo(ctx, c, url)
	if err == nil && !slices.Contains(info.Transports, transportLongPoll) {
		err = longpoll.ErrNoRelay
	}
	return err
}

// Draining reports whether a relay ended a connection because it is going for good:
// with 1001 and a reason that says so. Without that word it will be back in a moment.
func Draining(err error) bool {
	var ended websocket.CloseError
	return errors.As(err, &ended) && ended.Code == websocket.StatusGoingAway && strings.Contains(ended.Reason, "drain")
}
