package node

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
	"amesh/node/api"
)

// wayTo is what is known of the way to one peer: what the paths say, and what a reason is
// made of besides. The paths leave Reason empty where it follows from the rest.
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
	w := r.paths.way(amid)
	w.Peer, w.Agent, w.Name, w.Session = amid, r.agent.Name, name, p.Session
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
	if w.Reason == "" {
		w.Reason = reasonOf(w, p.Blocked)
	}
	w.Text, w.Next = sentences(w.Why)
	return w.Why, nil
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
	w.Remote, w.Limited = conns[i].RemoteMultiaddr().String(), stat.Limited
	if w.Since == nil {
		w.Since = &stat.Opened
	}
}

// reasonOf finds out why a path is as it is. The first thing that stands in the way of a
// better one counts.
func reasonOf(w wayTo, blocked bool) api.WhyReason {
	last := slices.IndexFunc(w.Attempts, func(a api.Attempt) bool { return a.Kind != api.AttemptRelay })
	switch {
	case blocked:
		return api.WhyBlocked
	case w.Path != api.PathRelayed && w.Path != api.PathNone && !w.Limited:
		return api.WhyConnected
	case last >= 0 && w.Attempts[last].Outcome == api.OutcomeRunning:
		return api.WhyTrying
	case w.Path == api.PathNone:
		return nowhere(w)
	case w.Session != "accepted" && !w.addressed:
		return api.WhyNoSession
	case last < 0 && !w.addressed:
		return api.WhyNoAddress
	case last < 0:
		return api.WhyNotTried
	}
	return failed(w, w.Attempts[last])
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

// failed is the reason behind an attempt that came to nothing.
func failed(w wayTo, a api.Attempt) api.WhyReason {
	own, theirs := typeOf(w.Own), typeOf(w.Theirs)
	switch {
	case a.Outcome == api.OutcomeDeclined:
		return api.WhyPeerDeclined
	case own == api.NATBlocked:
		return api.WhyUDPBlocked
	case a.Kind == api.AttemptDial:
		return api.WhyNoAnswer
	case theirs == api.NATBlocked:
		return api.WhyPeerUDP
	case own == api.NATSymmetric || theirs == api.NATSymmetric:
		return api.WhyNATs
	case len(a.Pairs) == 0:
		return api.WhyPeerSilent
	}
	return api.WhyPunchFailed
}

func typeOf(n *api.NAT) api.NATType {
	if n == nil {
		return api.NATUnknown
	}
	return n.Type
}

// forward is the step that mends most of what keeps two NATs apart.
const forward = "on one of the two sides, turn on UPnP or NAT-PMP at the router or forward UDP port 47777 to the node, or use IPv6 on both"

// sentences say a reason in words, and the next step.
func sentences(w api.Why) (text, next string) {
	switch w.Reason {
	case api.WhyConnected:
		return "a connection of the two nodes is open", ""
	case api.WhyTrying:
		return "an attempt at a direct path is under way", "look again in a few seconds, or follow it: amesh why --try"
	case api.WhyNotTried:
		return "nothing called for a direct path yet: it is tried with the second message within ten minutes, and at once for a conversation",
			"try one now: amesh why --try"
	case api.WhyNoSession:
		return "the peer has not let our agent in: addresses are told to accepted peers only", "write to it, and let its owner approve the knock"
	case api.WhyNoAddress:
		return "the peer tells no address of its node, and does not punch", "its owner can start it with: amesh up --announce public"
	case api.WhyNoAnswer:
		return "the addresses of the peer's node do not answer", "try again: amesh why --try; " + forward
	case api.WhyPeerSilent:
		return "the peer did not answer the offer to punch a hole", "it may be offline, or older than this version: amesh ping shows whether it answers at all"
	case api.WhyPeerDeclined:
		return "the peer does not want a direct path", "ask its owner"
	case api.WhyNATs:
		return "the NATs on both sides let nothing through: " + natWords(w), forward
	case api.WhyUDPBlocked:
		return "no UDP leaves this network", "let UDP out of it, at least to ports 3478 and 47777, then: amesh netcheck"
	case api.WhyPeerUDP:
		return "no UDP leaves the peer's network", "its owner can see what is wrong with: amesh netcheck"
	case api.WhyPunchFailed:
		return "no pair of addresses answered", "try again: amesh why --try; if it stays so, " + forward
	case api.WhyUnproved:
		return "a connection came about, but no echo came back over it", "it is tried again by itself; until then the relay carries everything"
	case api.WhyOff:
		return "the owner of this node wants relays only", "change that in config.yaml, and start the node again"
	}
	return noPathSentences(w)
}

func noPathSentences(w api.Why) (text, next string) {
	switch w.Reason {
	case api.WhyOffline:
		return "this node reaches none of its relays", "see what is wrong with: amesh netcheck"
	case api.WhyNoRelay:
		return "no relay of the peer's is within reach, and no address of it answers", "messages wait here and go out by themselves; amesh netcheck shows whether it is this network"
	case api.WhyUnknown:
		return "nothing is known of where the peer is", "find out whether anybody knows it: amesh lookup"
	case api.WhyBlocked:
		return "our policy blocks the peer", "let it in again with: amesh unblock"
	}
	return string(w.Reason), ""
}

func natWords(w api.Why) string {
	return "ours is " + string(typeOf(w.Own)) + ", theirs " + string(typeOf(w.Theirs))
}

// way is what the paths know of the way to a peer. A path by relay is the relays' to say.
func (p *paths) way(amid identity.AMID) wayTo {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := wayTo{Why: api.Why{Path: api.PathNone}}
	r := p.roads.find(amid)
	if w.unknown = r == nil; w.unknown {
		return w
	}
	if w.PeerID = p.openID(r); w.PeerID != "" {
		w.Path = api.PathDirect
	}
	w.addressed = len(r.addresses()) > 0 && len(r.peerIDs()) > 0
	w.relays, w.Attempts = r.relays(), slices.Clone(r.tried)
	if r.next.After(time.Now()) {
		w.NextTry = new(r.next)
	}
	return w
}

// try dials a peer now, whatever came of it before.
func (p *paths) try(amid identity.AMID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roads.find(amid)
	if r == nil || p.openID(r) != "" {
		return
	}
	r.next, r.pause = time.Time{}, 0
	if p.mayDial(r) {
		p.dial(r)
	}
}

// triesKept is how many attempts are remembered for each peer.
const triesKept = 8

// begin notes an attempt, and returns what notes its end. The paths' mu is held for both.
func (r *road) begin(kind api.AttemptKind, target []string) (end func(error)) {
	a := api.Attempt{Kind: kind, Started: time.Now(), Outcome: api.OutcomeRunning, Target: strings.Join(target[:min(len(target), 4)], " ")}
	r.tried = append([]api.Attempt{a}, r.tried[:min(len(r.tried), triesKept-1)]...)
	return func(err error) {
		i := slices.IndexFunc(r.tried, func(t api.Attempt) bool { return t.Kind == kind && t.Started.Equal(a.Started) })
		if i < 0 {
			return
		}
		t := &r.tried[i]
		t.TookMS, t.Outcome = milliseconds(time.Since(t.Started)), api.OutcomeOK
		if err != nil {
			t.Outcome, t.Error = api.OutcomeFailed, err.Error()
		}
	}
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
