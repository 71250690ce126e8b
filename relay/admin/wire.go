package admin

import (
	"time"

	"amesh/relay"
	"amesh/relay/ban"
)

// Top is who is busy.
type Top struct {
	At        time.Time    `json:"at"`
	By        relay.Order  `json:"by"`
	Relay     Glance       `json:"relay"`
	Agents    []relay.Busy `json:"agents"`
	Addresses []relay.Busy `json:"addresses"`
}

// Glance is the relay in a few numbers.
type Glance struct {
	Ready    bool        `json:"ready"`
	Status   string      `json:"status"`
	Waiting  int         `json:"waiting"`
	Ack      int         `json:"ack"`
	Legacy   int         `json:"legacy"`
	Bans     int         `json:"bans"`
	In       relay.Count `json:"in"`
	Out      relay.Count `json:"out"`
	Refused  uint64      `json:"refused"`
	Cut      uint64      `json:"cut"`
	Expired  uint64      `json:"expired"`
	Messages relay.Room  `json:"stored"`
}

func glanceOf(s relay.Stats) Glance {
	g := Glance{
		Ready: s.Ready, Status: s.NotReady, Waiting: s.Waiting, Ack: s.Ack, Legacy: s.Legacy, Bans: s.Bans,
		In: sum(s.In), Out: sum(s.Out), Refused: sum(s.Refused).N + sum(s.AuthFailed).N,
		Cut: s.Shed + s.Crowded + s.SlowCut + s.BanCut, Expired: s.Mailbox.Expired,
		Messages: relay.Room{Messages: s.Mailbox.Messages, Bytes: s.Mailbox.Bytes},
	}
	if s.Ready {
		g.Status = "ok"
	}
	return g
}

func sum(counts map[string]relay.Count) (all relay.Count) {
	for _, c := range counts {
		all.N += c.N
		all.Bytes += c.Bytes
	}
	return all
}

// BanRequest asks for a ban.
type BanRequest struct {
	Target string `json:"target"`
	// Seconds is how long it lasts; 0 is for good.
	Seconds int64  `json:"for_s"`
	Why     string `json:"why"`
}

// Bans are those in force.
type Bans struct {
	Bans []ban.Line `json:"bans"`
}

// Removed says whether there was a ban to remove.
type Removed struct {
	Removed bool `json:"removed"`
}

// DrainRequest asks for the end of the relay's work.
type DrainRequest struct {
	// Seconds is how long it may take.
	Seconds int64 `json:"within_s"`
}

// Drained is how a drain ended.
type Drained struct {
	// Left is how many agents were still connected.
	Left int `json:"left"`
}

// problem is the body of every answer that is no success.
type problem struct {
	Error string `json:"error"`
}
