package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"amesh/internal/proxy"
)

// maxInfo bounds the document of a relay that is read, in bytes.
const maxInfo = 64 << 10

// Look reads what the relay at a URL tells everybody of itself (relay.md §1.2), without
// saying who asks. Its STUN server, if it has one, is complete: HOST:PORT. dial opens the
// connection, nil means what it means for a Client.
func Look(ctx context.Context, url string, dial proxy.DialFunc) (Info, error) {
	u, err := parseURL(url)
	if err != nil {
		return Info{}, err
	}
	id, err := RelayID(url)
	if err != nil {
		return Info{}, err
	}
	if dial, err = dialerOr(dial, u.String()); err != nil {
		return Info{}, err
	}
	transport := &http.Transport{DialContext: dial, MaxResponseHeaderBytes: maxHeadBytes, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http"+strings.TrimPrefix(u.String(), "ws"), nil)
	if err != nil {
		return Info{}, err
	}
	req.Header.Set("Accept", typeJSON)
	resp, err := client.Do(req)
	if err != nil {
		return Info{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxInfo))
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(raw, &info); err != nil {
		return Info{}, fmt.Errorf("relay document: %w", err)
	}
	info.STUN = stunAt(info.STUN, id)
	return info, nil
}
