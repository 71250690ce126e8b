package gateway

import (
	"errors"
	"fmt"
	"time"
)

// Limits are the numbers of a gateway's door. Start from DefaultLimits and change what
// differs. The zero Limits stands for the defaults.
type Limits struct {
	// MessageBytes is the longest message, as it is received. Default 10 MiB.
	MessageBytes int64
	// BodyBytes is the longest body of any other request. Default 2 MiB.
	BodyBytes int64
	// BodiesBytes is how much all bodies that are being read or answered may take, and
	// BodiesPerAddress those of one address; both have room for two messages at least.
	// Default 256 MiB and 64 MiB.
	BodiesBytes      int64
	BodiesPerAddress int64

	// AnswerWait is the time in which the database must have answered; then the client
	// gets 503. Default 8 s.
	AnswerWait time.Duration
	// ProbeWait is the time in which each of the things that /ready tests must answer.
	// Default 2 s.
	ProbeWait time.Duration
	// RetryAfter is what a client is told to wait when the database does not answer.
	// Default 2 s.
	RetryAfter time.Duration
	// ReplyWait is the longest that `Prefer: wait` may hold a request. Default 25 s.
	ReplyWait time.Duration
	// Waiters is how many requests may wait so at a time; others are answered at once.
	// Default 1,024.
	Waiters int

	// Lookups is how many domains strangers may have looked up in a minute, and
	// LookupsPerAddress how many of them one address. Default 600 and 30.
	Lookups           int
	LookupsPerAddress int

	// Connections is how many may be open, and ConnectionsPerAddress how many of them from
	// one address; proxies have no such limit. Default 4,096 and 256.
	Connections           int
	ConnectionsPerAddress int
	// HeaderWait, BodyWait and IdleWait are the times for a request's headers, for all
	// of it, and between two on one connection. Default 5 s, 30 s and 120 s.
	HeaderWait time.Duration
	BodyWait   time.Duration
	IdleWait   time.Duration
	// WriteWait is the time for an answer, from the end of the headers. Default 60 s.
	WriteWait time.Duration
	// HeaderBytes is the size of a request's headers. Default 32 KiB.
	HeaderBytes int
	// FinishWait is the time for requests and deliveries under way to end when the gateway
	// stops. Default 10 s.
	FinishWait time.Duration
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits {
	return Limits{
		MessageBytes: 10 << 20, BodyBytes: 2 << 20, BodiesBytes: 256 << 20, BodiesPerAddress: 64 << 20,
		AnswerWait: 8 * time.Second, ProbeWait: 2 * time.Second, RetryAfter: 2 * time.Second,
		ReplyWait: 25 * time.Second, Waiters: 1024,
		Lookups: 600, LookupsPerAddress: 30,
		Connections: 4096, ConnectionsPerAddress: 256,
		HeaderWait: 5 * time.Second, BodyWait: 30 * time.Second, IdleWait: 2 * time.Minute, WriteWait: time.Minute,
		HeaderBytes: 32 << 10, FinishWait: 10 * time.Second,
	}
}

// orDefault replaces the zero Limits and refuses those that cannot work.
func (l Limits) orDefault() (Limits, error) {
	if l == (Limits{}) {
		return DefaultLimits(), nil
	}
	l.BodiesBytes, l.BodiesPerAddress = max(l.BodiesBytes, 2*l.MessageBytes), max(l.BodiesPerAddress, 2*l.MessageBytes)
	return l, errors.Join(
		positive("MessageBytes", l.MessageBytes), positive("BodyBytes", l.BodyBytes),
		positive("BodiesBytes", l.BodiesBytes), positive("BodiesPerAddress", l.BodiesPerAddress),
		positive("AnswerWait", l.AnswerWait), positive("ProbeWait", l.ProbeWait), positive("RetryAfter", l.RetryAfter),
		positive("ReplyWait", l.ReplyWait), positive("Waiters", int64(l.Waiters)),
		positive("Lookups", int64(l.Lookups)), positive("LookupsPerAddress", int64(l.LookupsPerAddress)),
		positive("Connections", int64(l.Connections)), positive("ConnectionsPerAddress", int64(l.ConnectionsPerAddress)),
		positive("HeaderWait", l.HeaderWait), positive("BodyWait", l.BodyWait), positive("IdleWait", l.IdleWait),
		positive("WriteWait", l.WriteWait), positive("HeaderBytes", int64(l.HeaderBytes)), positive("FinishWait", l.FinishWait),
	)
}

func positive[N int64 | time.Duration](name string, n N) error {
	if n <= 0 {
		return fmt.Errorf("limit %s must be positive", name)
	}
	return nil
}
