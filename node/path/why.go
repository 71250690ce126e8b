package path

import "time"

// Code says why mail goes the way it does. The list only grows.
type Code string

// The codes.
const (
	Connected    Code = "connected"
	Trying       Code = "trying"
	Unsteady     Code = "unsteady"
	NotTried     Code = "not_tried"
	Single       Code = "single_exchange"
	NoSession    Code = "no_session"
	Off          Code = "off"
	NoSTUN       Code = "no_stun"
	NoAddress    Code = "no_address"
	NoAnswer     Code = "no_answer"
	PeerSilent   Code = "peer_silent"
	PeerOff      Code = "peer_off"
	PeerBusy     Code = "peer_declined"
	NATs         Code = "nats"
	UDPBlocked   Code = "udp_blocked"
	PeerUDP      Code = "peer_udp_blocked"
	PunchFailed  Code = "punch_failed"
	Unproved     Code = "unproved"
	CircuitError Code = "circuit_failed"
	Paused       Code = "paused"
)

// final reports that another try soon cannot end otherwise.
func (c Code) final() bool { return c == PeerOff }

// story is a code in a sentence, and what would make the path direct.
type story struct{ text, next string }

// stories has one for every code.
var stories = map[Code]story{
	Connected: {"there is a proven connection between the two nodes", ""},
	Trying:    {"a direct path is being tried right now", "wait a few seconds and ask again"},
	Unsteady: {"the direct connection broke again soon after it was made, so it is watched before it carries",
		"nothing to do: it carries again when it has held for a while"},
	NotTried: {"nothing was sent to this peer lately, so no direct path was looked for", "send it a message, or: amesh ping PEER"},
	Single: {"no second message yet: a single exchange does not punch",
		"nothing to do: the second message within 10 minutes punches, and so does amesh ping PEER"},
	NoSession: {"there is no accepted session: addresses are told after an accept only", "wait for the peer's answer to the knock"},
	Off:       {"punching is switched off at this node", "set punch: auto, or give this node an address that the peer can dial"},
	NoSTUN: {"no address of this node as seen from outside is known: no STUN server answered",
		"amesh netcheck says which were asked; name one with stun:"},
	NoAddress: {"the peer tells no address that may be dialled from here, and punching is not possible",
		"let one of the two nodes be reached: forward its UDP port, or put both into one network"},
	NoAnswer: {"the addresses that the peer told do not answer",
		"let one of the two nodes be reached: forward its UDP port, or allow punching on both sides"},
	PeerSilent: {"the peer did not answer the offer to punch: its node is away, or older than this and does not know ICE",
		"see whether it answers at all: amesh ping PEER"},
	PeerOff:  {"the peer has switched punching off", "ask its owner to set punch: auto, or to announce an address"},
	PeerBusy: {"the peer does not punch right now", "nothing to do: it is tried again"},
	NATs: {"the two NATs together let nothing through",
		"forward a UDP port at one of the two routers, allow UPnP or NAT-PMP there, or use IPv6"},
	UDPBlocked: {"UDP is blocked here: no STUN server answered, although a relay does", "allow outgoing UDP in the firewall of this network"},
	PeerUDP:    {"UDP is blocked at the peer: it offered no address as seen from outside", "its owner may allow outgoing UDP in the firewall of that network"},
	PunchFailed: {"no pair of candidates let anything through",
		"see the pairs in the attempts; forward a UDP port at one of the two routers, or use IPv6"},
	Unproved:     {"a connection came about, but no echo came back over it", "nothing to do: it is tried again"},
	CircuitError: {"the circuit through a relay could not be made, or punching through it failed", "nothing to do: it is tried again"},
	Paused:       {"attempts failed, and the next one waits", "amesh ping PEER tries at once"},
}

// symmetric is what NATs says when we know our own.
var symmetric = story{"your NAT gives every destination another port (symmetric), and theirs does not let such packets in",
	"forward a UDP port at one of the two routers, allow UPnP or NAT-PMP there, or use IPv6"}

// Facts are what the machine cannot know of the node that it serves.
type Facts struct {
	Session   bool // one is accepted
	Off       bool // the owner switched punching off
	Symmetric bool // our NAT gives every destination another port
}

// Reason is a code, in words, with a next step and the time of the next try.
type Reason struct {
	Code    Code
	Text    string
	Next    string
	NextTry time.Time // zero: one may begin at any moment, or none will by itself
}

// Why says why mail goes the way it does.
func (m *Machine) Why(f Facts, now time.Time) Reason {
	code := m.code(f)
	s := stories[code]
	if code == NATs && f.Symmetric {
		s = symmetric
	}
	return Reason{Code: code, Text: s.text, Next: s.next, NextTry: m.Next(now)}
}

func (m *Machine) code(f Facts) Code {
	switch m.state {
	case Open:
		return Connected
	case Holding:
		return Unsteady
	case Dialling, Punching, Circling, Proving:
		return Trying
	}
	punch, dial := m.newest(Punching), m.newest(Dialling)
	switch {
	case !f.Session:
		return NoSession
	case punch != nil && punch.Code != "":
		return punch.Code
	case f.Off:
		return Off
	case m.used.IsZero():
		return NotTried
	case m.Means.Punch && !m.wanted:
		return Single
	case m.newest(Circling) != nil:
		return CircuitError
	case !m.Means.Punch && !m.Means.Dial:
		return NoAddress
	case !m.Means.Punch && dial != nil:
		return NoAnswer
	}
	return Paused
}
