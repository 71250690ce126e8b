package registry

import (
	"errors"
	"fmt"
	"time"
)

// Limits are the numbers of a registry. Start from DefaultLimits and change what
// differs. The zero Limits stands for the defaults.
type Limits struct {
	// BodyBytes is the longest body of a request in JSON. Default 64 KiB.
	BodyBytes int64
	// BodiesBytes is how much all bodies that are being read or answered may take, and
	// BodiesPerAddress those of one address. Default 64 MiB and 8 MiB.
	BodiesBytes      int64
	BodiesPerAddress int64
	// AnswerWait is the time in which the database must have answered; then the
	// client gets 503. Default 8 s.
	AnswerWait time.Duration
	// RetryAfter is what a client is told to wait when the database does not answer,
	// and the pause in which the registry itself tries again. Default 2 s.
	RetryAfter time.Duration

	// Connections is how many may be open, and ConnectionsPerAddress how many of them from
	// one address; exempt addresses and proxies have no such limit. Default 4,096 and 64.
	Connections           int
	ConnectionsPerAddress int
	// HeaderWait, BodyWait and IdleWait are the times for a request's headers, for all
	// of it, and between two on one connection. Default 5 s, 20 s and 60 s.
	HeaderWait time.Duration
	BodyWait   time.Duration
	IdleWait   time.Duration
	// HeaderBytes is the size of a request's headers. Default 16 KiB.
	HeaderBytes int
	// FinishWait is the time for requests to end when the registry stops. Default 5 s.
	FinishWait time.Duration

	// AddressRate and AddressBurst bound the requests from one address, in requests a
	// second. Default 20 and 200.
	AddressRate  float64
	AddressBurst int
	// AgentRate and AgentBurst bound the changes of one agent. Default 2 a second and 60.
	AgentRate  float64
	AgentBurst int

	// NewAgentsPerHour is how many agents that the registry does not know may register from
	// one address, in an hour and at once. Default 60.
	NewAgentsPerHour int
	// AbsenceLife is how long an anonymous agent is kept that gives no sign of life and on
	// which nothing rests. Default 180 days.
	AbsenceLife time.Duration

	// NameBytes is the longest display name. Default 255.
	NameBytes int
	// EndpointBytes is the longest endpoint. Default 512.
	EndpointBytes int
	// Capabilities and CapabilityBytes bound what an agent says it can do. Default 64
	// of 128 bytes.
	Capabilities    int
	CapabilityBytes int

	// PrekeysPerUpload and PrekeysStored bound the one-time prekeys of an agent. Default
	// 200 and 1,000.
	PrekeysPerUpload int
	PrekeysStored    int
	// PrekeyEvery and PrekeyBurst bound how many one-time prekeys one address, or one
	// agent that says who it is, is given: after a burst one in that time. Then
	// bundles come without. Default 10 s and 20.
	PrekeyEvery time.Duration
	PrekeyBurst int
	// DrainEvery and DrainBurst are the same for all that are taken from one agent.
	// Default 10 s and 100.
	DrainEvery time.Duration
	DrainBurst int
	// PrekeyMemory is how long it is remembered which prekeys were handed out: so long
	// an agent must not upload one again. Default 90 days.
	PrekeyMemory time.Duration

	// StatsLife is how old the numbers of all agents, and the leaderboard, may be. Default
	// 10 s.
	StatsLife time.Duration

	// SearchRate and SearchBurst bound the searches, and the looks at the leaderboard, cards,
	// schemas and records, of one agent or, unsigned, of one address. Default 2 a second and 60.
	SearchRate  float64
	SearchBurst int
	// KeysPerRequester and KeysPerAgent are how many times in an hour one agent's one-time
	// keys are handed out, to the same requester and in all (session.md §2.5). Default 5
	// and 60.
	KeysPerRequester int
	KeysPerAgent     int
	// WordsPerDay is how many ratings and reports of sessions one agent may make in 24
	// hours. Default 1000.
	WordsPerDay int

	// PresenceLife is how long an agent is shown as it last said that it is; then it is
	// offline. Default 24 h.
	PresenceLife time.Duration
	// SweepEvery is the time between searches for what has expired. Default 5 min.
	SweepEvery time.Duration
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits {
	return Limits{
		BodyBytes: 64 << 10, BodiesBytes: 64 << 20, BodiesPerAddress: 8 << 20,
		AnswerWait: 8 * time.Second, RetryAfter: 2 * time.Second,
		Connections: 4096, ConnectionsPerAddress: 64, HeaderWait: 5 * time.Second, BodyWait: 20 * time.Second, IdleWait: time.Minute,
		HeaderBytes: 16 << 10, FinishWait: 5 * time.Second,
		AddressRate: 20, AddressBurst: 200, AgentRate: 2, AgentBurst: 60,
		NewAgentsPerHour: 60, AbsenceLife: 180 * 24 * time.Hour,
		NameBytes: 255, EndpointBytes: 512, Capabilities: 64, CapabilityBytes: 128,
		PrekeysPerUpload: 200, PrekeysStored: 1000, PrekeyEvery: 10 * time.Second, PrekeyBurst: 20,
		DrainEvery: 10 * time.Second, DrainBurst: 100, PrekeyMemory: 90 * 24 * time.Hour,
		SearchRate: 2, SearchBurst: 60, KeysPerRequester: 5, KeysPerAgent: 60,
		StatsLife: 10 * time.Second, WordsPerDay: 1000, PresenceLife: 24 * time.Hour, SweepEvery: 5 * time.Minute,
	}
}

// orDefault replaces the zero Limits and refuses those that cannot work.
func (l Limits) orDefault() (Limits, error) {
	if l == (Limits{}) {
		return DefaultLimits(), nil
	}
	return l, errors.Join(
		positive("BodyBytes", l.BodyBytes), positive("BodiesBytes", l.BodiesBytes), positive("BodiesPerAddress", l.BodiesPerAddress),
		positive("AnswerWait", l.AnswerWait), positive("RetryAfter", l.RetryAfter),
		positive("Connections", int64(l.Connections)), positive("HeaderWait", l.HeaderWait), positive("BodyWait", l.BodyWait),
		positive("ConnectionsPerAddress", int64(l.ConnectionsPerAddress)),
		positive("IdleWait", l.IdleWait), positive("HeaderBytes", int64(l.HeaderBytes)), positive("FinishWait", l.FinishWait),
		positive("AddressRate", l.AddressRate), positive("AddressBurst", int64(l.AddressBurst)),
		positive("AgentRate", l.AgentRate), positive("AgentBurst", int64(l.AgentBurst)),
		positive("NewAgentsPerHour", int64(l.NewAgentsPerHour)), positive("AbsenceLife", l.AbsenceLife),
		positive("NameBytes", int64(l.NameBytes)), positive("EndpointBytes", int64(l.EndpointBytes)),
		positive("Capabilities", int64(l.Capabilities)), positive("CapabilityBytes", int64(l.CapabilityBytes)),
		positive("PrekeysPerUpload", int64(l.PrekeysPerUpload)), positive("PrekeysStored", int64(l.PrekeysStored)),
		positive("PrekeyEvery", l.PrekeyEvery), positive("PrekeyBurst", int64(l.PrekeyBurst)),
		positive("DrainEvery", l.DrainEvery), positive("DrainBurst", int64(l.DrainBurst)),
		positive("PrekeyMemory", l.PrekeyMemory), positive("StatsLife", l.StatsLife),
		positive("SearchRate", l.SearchRate), positive("SearchBurst", int64(l.SearchBurst)),
		positive("KeysPerRequester", int64(l.KeysPerRequester)), positive("KeysPerAgent", int64(l.KeysPerAgent)),
		positive("WordsPerDay", int64(l.WordsPerDay)), positive("PresenceLife", l.PresenceLife), positive("SweepEvery", l.SweepEvery),
	)
}

func positive[N int64 | float64 | time.Duration](name string, n N) error {
	if n <= 0 {
		return fmt.Errorf("limit %s must be positive", name)
	}
	return nil
}
