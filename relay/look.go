package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"amesh/internal/proxy"
)

// maxInfo bounds the document of a relay that is read, in bytes.
const maxInfo = 64 << 10

// Look reads what the relay at a URL tells everybody of itself (relay.md §1.2), without
// saying who asks. Its STUN server, if it has one, is complete: HOST:PORT. dial opens the
// connection, nil means what it means for a Client.
func Look(ctx context.Context, at string, dial proxy.DialFunc) (Info, error) {
	u, err := parseURL(at)
	if err != nil {
		return Info{}, err
	}
	id, err := RelayID(at)
	if err != nil {
		return Info{}, err
	}
	if dial, err = dialerOr(dial, u.String()); err != nil {
		return Info{}, err
	}
	plain := newPlainHTTP(dial)
	defer plain.CloseIdleConnections()
	info, err := readInfo(ctx, plain, httpURL(*u))
	if err != nil {
		return Info{}, err
	}
	info.STUN = stunAt(info.STUN, id)
	return info, nil
}

// httpURL is where requests to a relay go that are no upgrade.
func httpURL(u url.URL) string {
	u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	return u.String()
}

// readInfo asks for a relay's document. Nothing of it is checked.
func readInfo(ctx context.Context, c *http.Client, url string) (info Info, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Info{}, err
	}
	req.Header.Set("Accept", typeJSON)
	resp, err := c.Do(req)
	if err != nil {
		return Info{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxInfo))
	if err != nil {
		return Info{}, err
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return Info{}, fmt.Errorf("relay document: %w", err)
	}
	return info, nil
}
