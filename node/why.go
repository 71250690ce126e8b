package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/dht"
	"amesh/identity"
	"amesh/internal/reach"
	"amesh/node/api"
	"amesh/node/path"
)

// wayTo is what is known of the way to one peer: what the paths say, and what a reason is
// made of besides.
type wayTo struct {
	api.Why
	addressed bool     // an address of the peer's node is known
	relays    []string // where mail for the peer is left; none: at a home of ours
	unknown   bool     // it was never written to or heard of
	homeless  bool     // no home relay of ours is connected
}

// Why implements api.Diagnosis.
func (m *mesh) Why(_ context.Context, agent, who string) (api.Why, error) {
	r, amid, err := m.about(agent, who)
	if err != nil {
		return api.Why{}, err
	}
	return m.why(r, amid)
}

// TryDirect implements api.Diagnosis.
func (m *mesh) TryDirect(_ context.Context, agent, who string) (api.Why, error) {
	r, amid, err := m.about(agent, who)
	if err != nil {
		return api.Why{}, err
	}
	r.paths.try(amid)
	return m.why(r, amid)
}

// about finds the agent and the peer that a question is about.
func (m *mesh) about(agent, who string) (*room, identity.AMID, error) {
	r, err := m.room(agent)
	if err != nil {
		return nil, identity.AMID{}, err
	}
	amid, err := r.agent.Resolve(who)
	return r, amid, err
}

func (m *mesh) why(r *room, amid identity.AMID) (api.Why, error) {
	p, name, err := r.known(amid)
	if err != nil {
		return api.Why{}, err
	}
	own := m.ownNAT()
	w := r.paths.way(amid, path.Facts{Session: p.Session == "accepted", Symmetric: typeOf(own) == api.NATSymmetric})
	w.Peer, w.Agent, w.Name, w.Session = amid, r.agent.Name, name, p.Session
	w.Own, w.Theirs = own, theirNAT(w.Attempts)
	w.homeless = !r.relays.reach(nil)
	if w.Path == api.PathNone && !w.unknown {
		if w.Relay = r.relays.nearest(w.relays); w.Relay != "" {
			w.Path = api.PathRelayed
		}
	}
	m.addConnection(&w.Why)
	if w.Attempts == nil {
		w.Attempts = []api.Attempt{}
	}
	if reason := reasonOf(w, p.Blocked); reason != "" {
		w.Reason = reason
		w.Text, w.Next = sentences(reason, amid)
	}
	if w.Reason == api.WhyNoSession {
		next, err := r.towards(p)
		if err != nil {
			return api.Why{}, err
		}
		w.Next = next
	}
	return w.Why, nil
}

// towards is the owner's next step to a session with a peer that there is none with.
func (r *room) towards(p api.Peer) (next string, err error) {
	if p.Session == "none" {
		return fmt.Sprintf("send it a message first: amesh send %s hello", p.AMID), nil
	}
	knocks, err := r.agent.Knocks()
	if err != nil {
		return "", err
	}
	asks := func(k api.Knock) bool { return k.Peer == p.AMID && k.Direction == "in" && k.State == "pending" }
	if i := slices.IndexFunc(knocks, asks); i >= 0 {
		return "it waits for your answer: amesh knocks approve " + knocks[i].ID, nil
	}
	return "wait for its owner's answer to the knock, or ask for an invite", nil
}

func typeOf(n *api.NAT) api.NATType {
	if n == nil {
		return api.NATUnknown
	}
	return n.Type
}

// theirNAT is what the candidates of the last punch show of the NAT in front of a peer, nil
// when there was none.
func theirNAT(attempts []api.Attempt) *api.NAT {
	i := slices.IndexFunc(attempts, func(a api.Attempt) bool { return a.Kind == api.AttemptICE && len(a.Pairs) > 0 })
	if i < 0 {
		return nil
	}
	n := &api.NAT{Type: api.NATUnknown}
	seen := make(map[netip.Addr]uint16) // where STUN servers saw the peer
	for _, p := range attempts[i].Pairs {
		at, err := netip.ParseAddrPort(p.Remote)
		if err != nil {
			continue
		}
		switch p.RemoteType {
		case "host":
			n.IPv6 = n.IPv6 || at.Addr().Is6() && reach.Public(at.Addr())
			if at.Addr().Is4() && reach.Public(at.Addr()) {
				n.Type = api.NATNone
			}
		case "srflx":
			if seen[at.Addr()] = at.Port(); !slices.Contains(n.Public, p.Remote) {
				n.Public = append(n.Public, p.Remote)
			}
		}
	}
	for _, p := range attempts[i].Pairs {
		at, err := netip.ParseAddrPort(p.Remote)
		port, known := seen[at.Addr()]
		switch {
		case err != nil || !known || p.Responses == 0:
		case p.RemoteType == "srflx":
			n.Type = api.NATEndpoint // the address that others saw holds for us, too
		case p.RemoteType == "prflx" && at.Port() != port:
			n.Type = api.NATSymmetric
		}
	}
	return n
}

// known is what our agent has to do with a peer; with one that it never met, nothing.
func (r *room) known(amid identity.AMID) (api.Peer, string, error) {
	peers, err := r.agent.Peers()
	if err != nil {
		return api.Peer{}, "", err
	}
	p := api.Peer{AMID: amid, Session: "none", Blocked: r.agent.Policy().Blocked(amid)}
	if i := slices.IndexFunc(peers, func(p api.Peer) bool { return p.AMID == amid }); i >= 0 {
		p = peers[i]
	}
	contacts, err := r.agent.Contacts()
	if err != nil {
		return p, "", err
	}
	if i := slices.IndexFunc(contacts, func(c api.Contact) bool { return c.AMID == amid }); i >= 0 {
		return p, contacts[i].Name, nil
	}
	return p, "", nil
}

// addConnection fills in what the host knows of the connection that a path goes over,
// where the path itself did not say.
func (m *mesh) addConnection(w *api.Why) {
	id, err := peer.Decode(w.PeerID)
	if err != nil || w.Remote != "" {
		return
	}
	conns := m.host.Network().ConnsToPeer(id)
	// One that goes through a circuit relay carries no messages while there is another.
	i := max(slices.IndexFunc(conns, func(c network.Conn) bool { return !c.Stat().Limited }), 0)
	if len(conns) == 0 {
		return
	}
	stat := conns[i].Stat()
	w.Remote, w.Limited = dht.RemoteNow(conns[i]).String(), stat.Limited
	if w.Since == nil {
		w.Since = &stat.Opened
	}
}

// reasonOf is what stands in the way of any path, empty where there is one: then the
// machine of node/path knows the reason.
func reasonOf(w wayTo, blocked bool) api.WhyReason {
	switch {
	case blocked:
		return api.WhyBlocked
	case w.Path == api.PathNone:
		return nowhere(w)
	}
	return ""
}

// nowhere is the reason of a peer that no message can be left for.
func nowhere(w wayTo) api.WhyReason {
	switch {
	case w.unknown:
		return api.WhyUnknown
	case w.homeless && !w.addressed:
		return api.WhyOffline
	}
	return api.WhyNoRelay
}

// sentences say such a reason in words, and the next step.
func sentences(r api.WhyReason, peer identity.AMID) (text, next string) {
	switch r {
	case api.WhyOffline:
		return "this node reaches none of its relays", "see what is wrong with: amesh netcheck"
	case api.WhyNoRelay:
		return "no relay of the peer's is within reach, and no address of it answers", "messages wait here and go out by themselves; amesh netcheck shows whether it is this network"
	case api.WhyUnknown:
		return "nothing is known of where the peer is", "find out whether anybody knows it: amesh lookup " + peer.String()
	case api.WhyBlocked:
		return "our policy blocks the peer", "let it in again with: amesh unblock " + peer.String()
	}
	return string(r), ""
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// nearest is the URL of the relay that mail would be left at; theirs are the peer's
// relays. One that we have no line to is taken to be there: a line is made when something
// is to be left. Empty: those that there are lines to are not connected.
func (r *relays) nearest(theirs []string) string {
	urls := r.read(theirs)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		return ""
	}
	if line := r.first(urls); line != nil {
		return line.client.URL()
	}
	if i := slices.IndexFunc(urls, func(url string) bool { return r.at(url) == nil }); i >= 0 {
		return urls[i]
	}
	return ""
}
