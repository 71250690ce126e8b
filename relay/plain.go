package relay

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
)

// servePlain answers what is no upgrade: how the relay is, and what it is.
func (s *Server) servePlain(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		switch r.URL.Path {
		case "/health", "/livez":
			writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
			return
		case "/readyz":
			s.serveReady(w)
			return
		}
		h.Set("Vary", "Accept")
		switch wants(r.Header.Values("Accept")) {
		case typeJSON:
			// Anybody may know, also a page on another site.
			h.Set("Access-Control-Allow-Origin", "*")
			writeJSON(w, http.StatusOK, s.Info())
			return
		case typeHTML:
			s.servePage(w)
			return
		}
	}
	h.Set("Upgrade", "websocket")
	http.Error(w, "this is an AgentMesh relay: connect with a WebSocket", http.StatusUpgradeRequired)
}

func (s *Server) serveReady(w http.ResponseWriter) {
	if why := s.notReady(); why != "" {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": why})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// refusedHeader tells a client that this no is the relay's own, and not of somebody in
// between (relay.md §13).
const refusedHeader = "AgentMesh-Relay"

// refusedUpgrade is the answer to an upgrade that is not to be.
func refusedUpgrade(status int) *http.Response {
	why := "this address is banned by the operator of this relay\n"
	h := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}
	h.Set(refusedHeader, "refused")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
		why = "relay is full or stopping, or has enough connections from this address\n"
	}
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: h, Close: true,
		ContentLength: int64(len(why)), Body: io.NopCloser(strings.NewReader(why)),
	}
}

// refuseUpgrade answers so through net/http.
func refuseUpgrade(w http.ResponseWriter, status int) {
	answer := refusedUpgrade(status)
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(status)
	// The client may be gone.
	_, _ = io.Copy(w, answer.Body)
}

const (
	typeJSON = "application/json"
	typeHTML = "text/html"
)

// wants is the first of our types that the Accept headers name. Weights are ignored:
// a browser names HTML first, and a program names one.
func wants(accept []string) string {
	for item := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, _, _ := strings.Cut(item, ";")
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case typeJSON, typeHTML:
			return name
		}
	}
	return ""
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The client may be gone, and everything we have encodes.
	_ = json.NewEncoder(w).Encode(v)
}
