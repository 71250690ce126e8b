package api

import (
	"time"

	"amesh/identity"
)

// WhyReason says why messages reach a peer the way they do. The list only grows.
type WhyReason string

// The reasons of a path: the first when nothing better is wanted, the second group when
// it is relayed and could be better, the third when there is none.
const (
	WhyConnected WhyReason = "connected" // the path is as good as it gets

	WhyTrying       WhyReason = "trying"           // an attempt is under way
	WhyNotTried     WhyReason = "not_tried"        // nothing called for a direct path yet
	WhyNoSession    WhyReason = "no_session"       // addresses are told after an accept only
	WhyNoAddress    WhyReason = "no_address"       // the peer tells no address, and punching is not possible
	WhyNoAnswer     WhyReason = "no_answer"        // its addresses do not answer, and nothing else could be tried
	WhyPeerSilent   WhyReason = "peer_silent"      // the offer to punch got no answer
	WhyPeerDeclined WhyReason = "peer_declined"    // the peer does not want to punch
	WhyNATs         WhyReason = "nats"             // both NATs together let nothing through
	WhyUDPBlocked   WhyReason = "udp_blocked"      // no UDP leaves this network
	WhyPeerUDP      WhyReason = "peer_udp_blocked" // no UDP leaves the peer's network
	WhyPunchFailed  WhyReason = "punch_failed"     // no pair of candidates answered, for no reason that shows
	WhyUnproved     WhyReason = "unproved"         // a connection came about, but no echo came back over it
	WhyOff          WhyReason = "off"              // the owner wants relays only
	WhyPeerOff      WhyReason = "peer_off"         // the peer's owner does
	WhySingle       WhyReason = "single_exchange"  // no second message yet
	WhyUnsteady     WhyReason = "unsteady"         // the connection broke again and again, and is watched before it carries
	WhyNoSTUN       WhyReason = "no_stun"          // no address of ours as seen from outside is known
	WhyCircuit      WhyReason = "circuit_failed"   // punching by way of a circuit relay failed
	WhyPaused       WhyReason = "paused"           // attempts failed, and the next one waits

	WhyOffline WhyReason = "offline"  // this node reaches no relay
	WhyNoRelay WhyReason = "no_relay" // no relay of the peer's is known or reached
	WhyUnknown WhyReason = "unknown"  // nothing at all is known of where the peer is
	WhyBlocked WhyReason = "blocked"  // our policy blocks the peer
)

// Why is how messages reach a peer, what was tried, and what would make it better.
type Why struct {
	Peer  identity.AMID `json:"peer"`
	Agent string        `json:"agent" doc:"our agent's name"`
	Name  string        `json:"name,omitempty" doc:"what we call the peer"`

	Path   PathKind  `json:"path" enum:"open,direct,punched,relayed,none" doc:"open: there was a connection before anything was tried, and what made it is not known"`
	Reason WhyReason `json:"reason"`
	Text   string    `json:"text" doc:"the reason in a sentence"`
	Next   string    `json:"next,omitempty" doc:"what would make it direct, or what to do"`

	PeerID  string     `json:"peer_id,omitempty" doc:"of the node at the other end of the connection"`
	Remote  string     `json:"remote,omitempty" doc:"multiaddr of the other end of the connection in use"`
	Limited bool       `json:"limited" doc:"the connection goes through a circuit relay"`
	Relay   string     `json:"relay,omitempty" doc:"URL of the relay that messages are left at, where relayed"`
	Since   *time.Time `json:"since,omitempty" doc:"when the path was taken"`
	RTTMS   float64    `json:"rtt_ms,omitempty" doc:"round trip of the last echo on it; absent when there was none"`
	Session string     `json:"session" enum:"none,knocking,accepted,rejected"`

	Own    *NAT `json:"own,omitempty" doc:"what is in front of this node"`
	Theirs *NAT `json:"theirs,omitempty" doc:"what is in front of the peer's node, as far as its candidates show"`

	Attempts []Attempt  `json:"attempts" nullable:"false" doc:"the last tries, newest first"`
	NextTry  *time.Time `json:"next_try,omitempty" doc:"no attempt before; absent when one may begin at any moment"`
}

// NATType is how a node's UDP packets are seen from outside.
type NATType string

// The kinds of NAT, the easiest first.
const (
	NATNone      NATType = "none"      // the address is our own; a firewall may still be there
	NATEndpoint  NATType = "endpoint"  // one outside address for all destinations: punching works
	NATSymmetric NATType = "symmetric" // another outside address for each destination
	NATBlocked   NATType = "blocked"   // no UDP gets out, or no answer gets in
	NATUnknown   NATType = "unknown"   // it was not found out
)

// NAT is what is between a node and the world.
type NAT struct {
	Type   NATType  `json:"type" enum:"none,endpoint,symmetric,blocked,unknown"`
	Public []string `json:"public,omitempty" doc:"addresses with port as seen from outside"`
	IPv6   bool     `json:"ipv6" doc:"there is a public IPv6 address"`
	Mapped bool     `json:"mapped,omitempty" doc:"the router forwards a port to this node"`
}

// AttemptKind is one way of making a path.
type AttemptKind string

// The ways, in the order in which they are tried.
const (
	AttemptDial    AttemptKind = "dial"    // of an address that the peer told or that was met in the local network
	AttemptICE     AttemptKind = "ice"     // hole punching with candidates told inside the session
	AttemptCircuit AttemptKind = "circuit" // a circuit relay, and punching through it
	AttemptRelay   AttemptKind = "relay"   // a message left at a relay
)

// Outcome is how an attempt ended.
type Outcome string

// The outcomes of an attempt.
const (
	OutcomeRunning  Outcome = "running"
	OutcomeOK       Outcome = "ok"
	OutcomeFailed   Outcome = "failed"
	OutcomeDeclined Outcome = "declined" // the peer said no
	OutcomeGivenUp  Outcome = "given_up" // another way was faster, or nobody wanted it any more
)

// Attempt is one try to make a path.
type Attempt struct {
	Kind    AttemptKind `json:"kind" enum:"dial,ice,circuit,relay"`
	Started time.Time   `json:"started"`
	TookMS  float64     `json:"took_ms" doc:"so far, while it runs"`
	Outcome Outcome     `json:"outcome" enum:"running,ok,failed,declined,given_up"`
	Error   string      `json:"error,omitempty"`
	Target  string      `json:"target,omitempty" doc:"the relay, or the addresses tried, where there are no pairs"`
	Pairs   []Pair      `json:"pairs,omitempty" doc:"of candidates, the one chosen first"`
}

// Pair is a candidate of ours with one of theirs, tried together.
type Pair struct {
	Local      string  `json:"local" doc:"IP address and port"`
	LocalType  string  `json:"local_type" enum:"host,srflx,prflx,relay" doc:"srflx: as a STUN server saw it; prflx: as the peer saw it"`
	Remote     string  `json:"remote"`
	RemoteType string  `json:"remote_type" enum:"host,srflx,prflx,relay"`
	State      string  `json:"state" enum:"waiting,running,succeeded,failed,chosen"`
	Requests   int     `json:"requests" doc:"questions sent"`
	Responses  int     `json:"responses" doc:"answers that came"`
	RTTMS      float64 `json:"rtt_ms,omitempty"`
}
