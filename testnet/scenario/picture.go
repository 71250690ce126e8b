package scenario

import (
	"context"
	"sync"
	"time"

	"amesh/node/api"
	"amesh/testnet/plan"
	"amesh/testnet/stage"
)

// Picture is a testnet at one moment, by what its nodes say.
type Picture struct {
	At     time.Time  `json:"at"`
	Relays []string   `json:"relays"`
	Nodes  []Standing `json:"nodes"`
	Paths  []Path     `json:"paths"`
}

// Standing is how a node is.
type Standing struct {
	Name     string    `json:"name"`
	Kind     plan.Kind `json:"nat"`
	AMID     string    `json:"amid"`
	Down     bool      `json:"down,omitempty"` // it does not answer
	Relays   []string  `json:"relays"`         // that it is connected to
	Queued   int       `json:"queued"`         // messages that the peer's node does not have yet
	Unread   int       `json:"unread"`
	Degraded []string  `json:"degraded,omitempty"`
}

// Path is how a node reaches another one.
type Path struct {
	From    string        `json:"from"`
	To      string        `json:"to"`
	Kind    api.PathKind  `json:"path"`
	Down    bool          `json:"down,omitempty"` // From does not answer
	Remote  string        `json:"remote,omitempty"`
	Limited bool          `json:"limited,omitempty"` // through a circuit relay
	Reason  api.WhyReason `json:"reason,omitempty"`
	Text    string        `json:"text,omitempty"`
	Waiting int           `json:"waiting,omitempty"`
}

// lookIn is how long a node may take to say how it is.
const lookIn = 10 * time.Second

// Look asks every node how it is and how it reaches the others. One that does not answer
// is down.
func Look(ctx context.Context, on stage.Stage) Picture {
	p := on.Plan()
	picture := Picture{At: time.Now(), Nodes: make([]Standing, len(p.Nodes))}
	for _, r := range p.Relays {
		picture.Relays = append(picture.Relays, r.Name)
	}
	paths := make([][]Path, len(p.Nodes))
	var wg sync.WaitGroup
	for i, n := range p.Nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, lookIn)
			defer cancel()
			picture.Nodes[i], paths[i] = lookAt(ctx, on, n)
		})
	}
	wg.Wait()
	for _, list := range paths {
		picture.Paths = append(picture.Paths, list...)
	}
	return picture
}

func lookAt(ctx context.Context, on stage.Stage, n plan.Node) (Standing, []Path) {
	s := Standing{Name: n.Name, Kind: n.Kind, AMID: n.AMID, Relays: []string{}}
	var status api.Status
	node, err := on.Node(n.Name)
	if err == nil {
		status, err = node.Status(ctx, "")
	}
	s.Down = err != nil
	s.Queued, s.Unread, s.Degraded = status.Queued, status.Unread, status.Degraded
	for _, r := range status.Relays {
		if r.State == "connected" {
			s.Relays = append(s.Relays, relayName(on, r.URL))
		}
	}
	var paths []Path
	for _, to := range on.Plan().Nodes {
		if to.Name == n.Name {
			continue
		}
		path := Path{From: n.Name, To: to.Name, Kind: api.PathNone, Down: s.Down}
		if !s.Down {
			path.ask(ctx, node, status, to.AMID)
		}
		paths = append(paths, path)
	}
	return s, paths
}

// ask fills in what a node says of its way to a peer.
func (p *Path) ask(ctx context.Context, node api.Backend, status api.Status, amid string) {
	met := false
	for _, peer := range status.Peers {
		if peer.AMID.String() == amid {
			met = true
			p.Kind, p.Remote, p.Waiting = peer.Path, peer.Addr, peer.Waiting
		}
	}
	if !met {
		return
	}
	why, err := node.Why(ctx, "", amid)
	if err != nil {
		return // the peer list has said what it knows
	}
	p.Kind, p.Remote, p.Limited, p.Reason, p.Text = why.Path, why.Remote, why.Limited, why.Reason, why.Text
}

// relayName is what a relay is called here, else its URL.
func relayName(on stage.Stage, url string) string {
	for _, r := range on.Plan().Relays {
		if on.URL(r.Name) == url {
			return r.Name
		}
	}
	return url
}
