package api

import (
	"context"
	"time"

	"amesh/identity"
)

// Diagnosis is the part of Backend that says how things are, and why.
type Diagnosis interface {
	// Why says how messages reach a peer now, what was tried, and what would make it
	// direct. Owner and agent.
	Why(ctx context.Context, agent, peer string) (Why, error)
	// TryDirect begins an attempt at a direct path now, whatever was tried before, and
	// answers at once; Why shows how it goes. With a direct path, and while an attempt is
	// under way, it does nothing. Owner only.
	TryDirect(ctx context.Context, agent, peer string) (Why, error)
	// Ping asks a peer's node for an echo inside the session with it. CodeNoSession when
	// there is none, CodePolicy when the peer said no or is blocked here, CodeNoAnswer when
	// none came in time, CodeBusy after too many in a minute. Owner and agent.
	Ping(ctx context.Context, agent, peer string, r PingRequest) (Ping, error)
	// Netcheck looks at the network from the node's own sockets. Owner only.
	Netcheck(ctx context.Context, r NetcheckRequest) (Netcheck, error)
	// Bugreport puts together what helps to find a fault, without secrets or messages, and
	// sends it nowhere. Owner only.
	Bugreport(ctx context.Context, r BugreportRequest) (Bugreport, error)
	// Doctor looks the node, its home and its machine over. Owner only.
	Doctor(ctx context.Context) (Doctor, error)
}

// PingMost is the longest a ping may be asked to wait for its answer; PingDefault is
// meant by 0.
const (
	PingMost    = 30 * time.Second
	PingDefault = 5 * time.Second
)

// PingRequest asks for one echo, sealed in the session with the peer.
type PingRequest struct {
	Via       string `json:"via,omitempty" enum:"direct,relayed" doc:"use only this path; default the best"`
	TimeoutMS int64  `json:"timeout_ms,omitempty" minimum:"0" maximum:"30000" doc:"default 5000"`
}

// Ping is an echo that came back: the peer's node proved inside the session that it is
// there, whatever carried it.
type Ping struct {
	Peer  identity.AMID `json:"peer"`
	Agent string        `json:"agent" doc:"our agent's name"`
	RTTMS float64       `json:"rtt_ms"`
	Path  PathKind      `json:"path" enum:"direct,punched,relayed" doc:"what the answer came by"`
	Via   string        `json:"via,omitempty" doc:"multiaddr of the connection, or URL of the relay"`
}

// Verdict is what a look at the network comes to.
type Verdict string

// The verdicts, best first.
const (
	VerdictGood     Verdict = "good"
	VerdictDegraded Verdict = "degraded" // it works, by relay only
	VerdictNone     Verdict = "none"     // nobody can be reached
)

// NetcheckRequest says whom to ask beside what the node is configured with.
type NetcheckRequest struct {
	Relays []string `json:"relays,omitempty" maxItems:"8" doc:"URLs of further relays"`
	STUN   []string `json:"stun,omitempty" maxItems:"8" doc:"HOST:PORT of further STUN servers"`
}

// Netcheck is what the network lets this node do.
type Netcheck struct {
	At         time.Time    `json:"at"`
	Verdict    Verdict      `json:"verdict" enum:"good,degraded,none"`
	Text       string       `json:"text" doc:"the verdict in a sentence"`
	Next       string       `json:"next,omitempty" doc:"one next step"`
	NAT        NAT          `json:"nat"`
	UDPBlocked bool         `json:"udp_blocked" doc:"STUN servers were asked, and none answered although a relay does"`
	IPv4       bool         `json:"ipv4" doc:"there is an IPv4 address that is not loopback"`
	IPv6       bool         `json:"ipv6" doc:"there is a public IPv6 address"`
	Proxy      string       `json:"proxy,omitempty" doc:"what relays are reached through, without its password"`
	PortMap    string       `json:"port_map,omitempty" doc:"outside address at which the router forwards a port to this node"`
	STUN       []STUNResult `json:"stun" nullable:"false"`
	Relays     []RelayCheck `json:"relays" nullable:"false"`
	Daemon     bool         `json:"daemon" doc:"found out by the running node, with its own sockets"`
}

// STUNResult is what one STUN server said.
type STUNResult struct {
	Server string  `json:"server"`
	Asked  string  `json:"asked,omitempty" doc:"the address that was asked; a server with two ports is asked at both"`
	Public string  `json:"public,omitempty" doc:"our address as it saw it"`
	RTTMS  float64 `json:"rtt_ms,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// RelayCheck is how one relay can be reached.
type RelayCheck struct {
	URL       string  `json:"url"`
	State     string  `json:"state" enum:"reached,connected,failed"`
	LatencyMS float64 `json:"latency_ms,omitempty"`
	Via       string  `json:"via,omitempty" enum:"websocket,longpoll" doc:"longpoll: somebody in between lets no WebSocket through; absent where not known"`
	Proxy     string  `json:"proxy,omitempty" doc:"the proxy that leads there, without credentials"`
	STUN      string  `json:"stun,omitempty" doc:"its STUN server"`
	Error     string  `json:"error,omitempty"`
}

// CheckState is how a check of the doctor ended.
type CheckState string

// The states of a check.
const (
	CheckOK   CheckState = "ok"
	CheckWarn CheckState = "warn" // it works, but not as it should
	CheckFail CheckState = "fail"
	CheckSkip CheckState = "skip" // it cannot be told, or it does not apply
)

// Check is one thing that was looked at.
type Check struct {
	Name  string     `json:"name" doc:"for programs; the list only grows"`
	State CheckState `json:"state" enum:"ok,warn,fail,skip"`
	Text  string     `json:"text"`
	Next  string     `json:"next,omitempty" doc:"there is one for every warn and fail"`
}

// Doctor is a node looked over.
type Doctor struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Home    string    `json:"home"`
	Daemon  bool      `json:"daemon" doc:"a node runs on the home"`
	Checks  []Check   `json:"checks" nullable:"false"`
}

// Worst is the state of the worst check.
func (d Doctor) Worst() CheckState {
	worst := CheckOK
	for _, c := range d.Checks {
		switch {
		case c.State == CheckFail:
			return CheckFail
		case c.State == CheckWarn:
			worst = CheckWarn
		}
	}
	return worst
}

// BugreportRequest says what is to be in a report.
type BugreportRequest struct {
	Names bool `json:"names,omitempty" doc:"leave agents, nodes, names and IP addresses as they are"`
}

// Bugreport is a report for whoever looks for a fault.
type Bugreport struct {
	Text     string   `json:"text"`
	Sections []string `json:"sections" nullable:"false" doc:"what is in it"`
	Replaced int      `json:"replaced" doc:"agents, nodes, names and addresses that became pseudonyms"`
	Daemon   bool     `json:"daemon" doc:"made by a running node"`
}
