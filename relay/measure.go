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

	"github.com/coder/websocket"
)

// measurePings is of how many round trips Measure returns the median.
const measurePings = 3

// Measure is the round trip time to a relay: the median of a few pings on a
// connection of its own, after the upgrade. It does not say who we are. ctx bounds
// all of it; dial opens the connection, nil means what it means for a Client.
func Measure(ctx context.Context, url string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (time.Duration, error) {
	u, err := parseURL(url)
	if err != nil {
		return 0, err
	}
	if dial, err = dialerOr(dial, u.String()); err != nil {
		return 0, err
	}
	transport := &http.Transport{DialContext: dial, MaxResponseHeaderBytes: maxHeadBytes}
	defer transport.CloseIdleConnections()
	ws, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return 0, fmt.Errorf("dial: %w", err)
	}
	defer func() { _ = ws.CloseNow() }()
	ctx = ws.CloseRead(ctx) // somebody must read the pongs
	var took []time.Duration
	for range measurePings {
		sent := time.Now()
		if err := ws.Ping(ctx); err != nil {
			return 0, fmt.Errorf("ping: %w", err)
		}
		took = append(took, max(time.Since(sent), 1))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// Draining reports whether a relay ended a connection because it is going for good:
// with 1001 and a reason that says so. Without that word it will be back in a moment.
func Draining(err error) bool {
	var ended websocket.CloseError
	return errors.As(err, &ended) && ended.Code == websocket.StatusGoingAway && strings.Contains(ended.Reason, "drain")
}
