package relay

import (
	"embed"
	"html/template"
	"net/http"
	"slices"
	"time"
)

// About is what an operator says of a relay to everybody.
type About struct {
	// Name is the HOST:PORT under which agents reach it, Operator who runs it, and
	// Contact where to write to. Each may be empty.
	Name, Operator, Contact string
	// Version is that of the program.
	Version string
	// Libp2p are multiaddrs of the DHT server and circuit relay beside it.
	Libp2p []string
}

// Info is the document that the relay's URL answers a request without upgrade with
// (relay.md §1.2).
type Info struct {
	Schema     string      `json:"schema"`
	Name       string      `json:"name,omitempty"`
	Operator   string      `json:"operator,omitempty"`
	Contact    string      `json:"contact,omitempty"`
	Version    string      `json:"version,omitempty"`
	Wires      []string    `json:"wires"`
	Transports []string    `json:"transports"`
	Extensions []Extension `json:"extensions"`
	Challenge  bool        `json:"challenge"`
	STUN       string      `json:"stun,omitempty"`
	Libp2p     []string    `json:"libp2p,omitempty"`
	Retention  int64       `json:"retention_s"`
	Limits     InfoLimits  `json:"limits"`
}

// The transports of an Info.
const (
	transportWebSocket = "websocket"
	transportLongPoll  = "longpoll"
)

// InfoLimits are the limits that a client runs into.
type InfoLimits struct {
	PayloadBytes   int     `json:"payload_bytes"`
	FrameBytes     int64   `json:"frame_bytes"`
	MailboxSize    Room    `json:"mailbox"`
	LegacyMailbox  Room    `json:"legacy_mailbox"`
	Credit         Room    `json:"credit"`
	SendsPerSecond float64 `json:"sends_per_second"`
	SendBurst      int     `json:"send_burst"`
	LegacySends    int     `json:"legacy_sends_per_minute"`
	LegacyKnocks   int     `json:"legacy_knocks_per_minute"`
	PerAddress     int     `json:"connections_per_address"`
}

// Room is a Size as the document has it.
type Room struct {
	Messages int   `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

// Info describes the relay.
func (s *Server) Info() Info {
	l := s.limits
	perMinute := func(n int) int { return int(float64(n) * float64(time.Minute) / float64(l.LegacyWindow)) }
	return Info{
		Schema: "amesh.relay-info/1",
		Name:   s.about.Name, Operator: s.about.Operator, Contact: s.about.Contact, Version: s.about.Version,
		Wires: []string{protocol02, protocol01}, Transports: []string{transportWebSocket, transportLongPoll}, Extensions: s.extensions(), Challenge: slices.Contains(s.extensions(), ExtensionChallenge),
		STUN: s.stun, Libp2p: s.about.Libp2p, Retention: int64(l.Mailbox.TTL / time.Second),
		Limits: InfoLimits{
			PayloadBytes: l.PayloadBytes, FrameBytes: l.FrameBytes,
			MailboxSize: Room(l.Mailbox.Box), LegacyMailbox: Room(l.Mailbox.LegacyBox), Credit: Room(l.Credit),
			SendsPerSecond: l.SendRate, SendBurst: l.SendBurst,
			LegacySends: perMinute(l.LegacySends), LegacyKnocks: perMinute(l.LegacyKnocks),
			PerAddress: l.Admission.NamedPerAddress,
		},
	}
}

//go:embed page.html
var pageFile embed.FS

// page shows an Info to a person. It loads nothing and runs nothing.
var page = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"hours": func(s int64) int64 { return s / 3600 },
	"mib":   func(n int64) int64 { return n >> 20 },
}).ParseFS(pageFile, "page.html"))

func (s *Server) servePage(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", typeHTML+"; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	// The client may be gone; what is shown has been shown before.
	_ = page.Execute(w, s.Info())
}

// stunFor is what a client is told about the STUN server: nothing if it named no
// extension, because it then knows the frames of 0.2 and may be strict about them.
func (s *Server) stunFor(offered []Extension) string {
	if len(offered) == 0 {
		return ""
	}
	return s.stun
}
