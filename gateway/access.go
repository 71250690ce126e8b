package gateway

import (
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// agentBytes is as much of a User-Agent as the access log keeps.
const agentBytes = 200

// accessLine is a request's line in the access log.
func accessLine(o *observed, hr *http.Request, from netip.Addr, now time.Time) []slog.Attr {
	agent := hr.UserAgent()
	if len(agent) > agentBytes {
		agent = agent[:agentBytes]
	}
	line := make([]slog.Attr, 0, 9)
	line = append(line,
		slog.String("method", hr.Method), slog.String("path", hr.URL.Path), slog.Int("status", o.status),
		slog.Int64("bytes", o.bytes), slog.Duration("took", now.Sub(o.begun)), slog.String("addr", from.String()),
		slog.String("agent", agent), slog.String("request_id", o.id))
	if o.code != "" {
		line = append(line, slog.String("code", string(o.code)))
	}
	return line
}
