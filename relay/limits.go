package relay

import (
	"errors"
	"fmt"
	"time"

	"amesh/relay/mailbox"
)

// Limits are the numbers of the relay's server, mailbox and client. Start from
// DefaultLimits and change what differs. The zero Limits stands for the defaults.
type Limits struct {
	// PayloadBytes is the longest encrypted_payload, in bytes of UTF-8. An
	// envelope of 45,184 bytes is 60,248 in base64. Default 65,536.
	PayloadBytes int
	// FrameBytes is the longest frame that is read at all; a longer one closes
	// the connection with 1009. It leaves room for escapes. Default 512 KiB.
	FrameBytes int64
	// Extensions is how many names of a connect frame are looked at. Default 16.
	Extensions int
	// ClientIDBytes is the longest client_id. Default 64.
	ClientIDBytes int

	// Connections is how many connections may be open. Default 20,000.
	Connections int
	// Unauthenticated is how many of them may still owe a connect frame.
	// Default 1,000.
	Unauthenticated int
	// Admission bounds what one address may hold and cost before that.
	Admission AdmissionLimits
	// Poll bounds the long poll.
	Poll PollLimits
	// AuthWait is the time for the connect frame. Default 10 s.
	AuthWait time.Duration
	// StampPast is how old a connect timestamp may be, inclusive. Default 5 min.
	StampPast time.Duration
	// StampFuture is how far ahead it may be, inclusive. Default 1 min.
	StampFuture time.Duration
	// WriteWait is the time for one frame to leave; then the reader is too slow
	// and is cut. Default 10 s.
	WriteWait time.Duration
	// Replacements is how many newer connections of an agent, from one address and in a
	// ReplaceWindow, close the older one; beyond them it is left open and mute for
	// MuteWait. Default 3, 10 s and 30 s.
	Replacements  int
	ReplaceWindow time.Duration
	MuteWait      time.Duration
	// CloseWait is the time a peer has to answer a close frame. Default 2 s.
	CloseWait time.Duration
	// FinishWait is the time for what waits to be written when the relay stops.
	// Default 5 s.
	FinishWait time.Duration
	// QuietFor is how long nothing must have been said for a drain to be over.
	// Default 2 s.
	QuietFor time.Duration
	// PingEvery is the time between WebSocket pings of the server. Default 25 s.
	PingEvery time.Duration
	// PongWait is the time for the answer. Default 20 s.
	PongWait time.Duration
	// QueueFrames and QueueBytes bound what waits to be written to one
	// connection. Default 64 frames and 1 MiB.
	QueueFrames int
	QueueBytes  int
	// BatchFrames is how many frames of one connection share a commit. Default 64.
	BatchFrames int

	// LegacySends and LegacyKnocks are the frames that a client without "ack" may
	// send in a LegacyWindow (AgentMesh §2.5). Default 100 and 30 in 60 s.
	LegacySends  int
	LegacyKnocks int
	LegacyWindow time.Duration
	// SendRate and SendBurst are the token bucket of a client with "ack", in
	// messages a second. Default 1,000 and 1,000.
	SendRate  float64
	SendBurst int
	// QueryRate and QueryBurst bound ping, presence and ICE frames of one agent;
	// beyond them its frames are delayed. Default 50 a second and 200.
	QueryRate  float64
	QueryBurst int
	// MaxDelay is how long a frame is held back before it is refused instead.
	// Default 1 s.
	MaxDelay time.Duration
	// RateMemory is how long counters outlive their last use, so that
	// reconnecting resets nothing. Default 10 min.
	RateMemory time.Duration
	// RateEntries is how many agents are counted at a time. Default 100,000.
	RateEntries int
	// LedgerRows is how many agents and addresses that are not connected are
	// remembered for the operator. Default 4,096.
	LedgerRows int

	// Mailbox are the numbers of the mailbox.
	Mailbox mailbox.Limits
	// FullRetry is the retry_after of a full mailbox. Default 30 s.
	FullRetry time.Duration
	// StorageRetry is the retry_after of a failing disk, and the pause before the
	// server tries again itself. Default 2 s.
	StorageRetry time.Duration
	// SweepEvery is the time between searches for expired messages. Default 5 min.
	SweepEvery time.Duration

	// Credit bounds what is handed to one receiver and not yet acknowledged.
	// Default 256 messages and 1 MiB.
	Credit Size
	// LegacyBatch is how many messages are removed from the mailbox before they
	// are written to a receiver without "ack"; a crash loses at most these.
	// Default 16.
	LegacyBatch int

	// DialWait is the client's time for connecting, upgrade included. Default 10 s.
	DialWait time.Duration
	// BackoffMin and BackoffMax bound the client's pause between attempts, which
	// doubles and is fully jittered. Default 200 ms and 30 s.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// BackoffSoon is the longest pause while the outage is younger than
	// BackoffYoung. Default 2 s and 1 min.
	BackoffSoon  time.Duration
	BackoffYoung time.Duration
	// HealthyAfter is how long a connection must live to reset the back-off.
	// Default 5 s.
	HealthyAfter time.Duration
	// RefusedRetry is the client's pause after the relay refused who we are, or
	// after another process took our place. The first time the pause is one
	// second, because the reason may be a timestamp used twice. Default 30 s.
	RefusedRetry time.Duration
	// ClientPing and ClientPong are the client's time between pings and for their
	// answers: together the time after which a dead peer is noticed. Default 5 s
	// and 4 s.
	ClientPing time.Duration
	ClientPong time.Duration
	// AnswerWait is the time for the answer to a send; then the client takes the
	// connection for broken. Default 30 s.
	AnswerWait time.Duration
	// InFlight bounds what the client has taken from Send and not yet answered.
	// Default 512 messages and 8 MiB.
	InFlight Size
	// Deposits is how many rollback marks the client has on their way. Default 16.
	Deposits int
	// AckBatch is how many acknowledgements share a frame. Default 256.
	AckBatch int
	// Inbox is how many frames the client reads ahead of Deliver. Default 64.
	Inbox int
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits {
	return Limits{
		PayloadBytes: 64 << 10, FrameBytes: 512 << 10, Extensions: 16, ClientIDBytes: 64,

		Connections: 20_000, Unauthenticated: 1_000, Admission: defaultAdmission(), Poll: defaultPoll(),
		AuthWait: 10 * time.Second, StampPast: 5 * time.Minute, StampFuture: time.Minute,
		Replacements: 3, ReplaceWindow: 10 * time.Second, MuteWait: 30 * time.Second,
		WriteWait: 10 * time.Second, CloseWait: 2 * time.Second,
		FinishWait: 5 * time.Second, QuietFor: 2 * time.Second,
		PingEvery: 25 * time.Second, PongWait: 20 * time.Second,
		QueueFrames: 64, QueueBytes: 1 << 20, BatchFrames: 64,

		LegacySends: 100, LegacyKnocks: 30, LegacyWindow: time.Minute,
		SendRate: 1000, SendBurst: 1000, QueryRate: 50, QueryBurst: 200,
		MaxDelay: time.Second, RateMemory: 10 * time.Minute, RateEntries: 100_000, LedgerRows: 4096,

		Mailbox:   mailbox.DefaultLimits(),
		FullRetry: 30 * time.Second, StorageRetry: 2 * time.Second,
		SweepEvery: 5 * time.Minute,

		Credit: Size{Messages: 256, Bytes: 1 << 20}, LegacyBatch: 16,

		DialWait: 10 * time.Second, BackoffMin: 200 * time.Millisecond, BackoffMax: 30 * time.Second,
		BackoffSoon: 2 * time.Second, BackoffYoung: time.Minute,
		HealthyAfter: 5 * time.Second, RefusedRetry: 30 * time.Second,
		ClientPing: 5 * time.Second, ClientPong: 4 * time.Second, AnswerWait: 30 * time.Second,
		InFlight: Size{Messages: 512, Bytes: 8 << 20}, AckBatch: 256, Inbox: 64, Deposits: 16,
	}
}

// orDefault replaces the zero Limits and refuses those that cannot work.
func (l Limits) orDefault() (Limits, error) {
	if l == (Limits{}) {
		return DefaultLimits(), nil
	}
	return l, errors.Join(
		positive("PayloadBytes", int64(l.PayloadBytes)), positive("FrameBytes", l.FrameBytes),
		positive("ClientIDBytes", int64(l.ClientIDBytes)), positive("Connections", int64(l.Connections)),
		positive("Unauthenticated", int64(l.Unauthenticated)), positive("AuthWait", l.AuthWait),
		l.Admission.check(), l.Poll.check(),
		positive("Replacements", int64(l.Replacements)), positive("ReplaceWindow", l.ReplaceWindow), positive("MuteWait", l.MuteWait),
		positive("WriteWait", l.WriteWait), positive("CloseWait", l.CloseWait),
		positive("FinishWait", l.FinishWait), positive("QuietFor", l.QuietFor),
		positive("PingEvery", l.PingEvery), positive("PongWait", l.PongWait),
		positive("QueueFrames", int64(l.QueueFrames)), positive("QueueBytes", int64(l.QueueBytes)),
		positive("BatchFrames", int64(l.BatchFrames)),
		positive("LegacyWindow", l.LegacyWindow),
		positive("SendRate", l.SendRate), positive("SendBurst", int64(l.SendBurst)),
		positive("QueryRate", l.QueryRate), positive("QueryBurst", int64(l.QueryBurst)),
		positive("RateMemory", l.RateMemory), positive("RateEntries", int64(l.RateEntries)), positive("LedgerRows", int64(l.LedgerRows)),
		l.Mailbox.Check(),
		positive("FullRetry", l.FullRetry), positive("StorageRetry", l.StorageRetry),
		positive("SweepEvery", l.SweepEvery),
		l.Credit.Check("Credit"), positive("LegacyBatch", int64(l.LegacyBatch)),
		positive("DialWait", l.DialWait), positive("BackoffMin", l.BackoffMin), positive("BackoffMax", l.BackoffMax),
		positive("BackoffSoon", l.BackoffSoon),
		positive("RefusedRetry", l.RefusedRetry), positive("ClientPing", l.ClientPing),
		positive("ClientPong", l.ClientPong), positive("AnswerWait", l.AnswerWait),
		l.InFlight.Check("InFlight"), positive("AckBatch", int64(l.AckBatch)), positive("Inbox", int64(l.Inbox)),
	)
}

func positive[N int64 | float64 | time.Duration](name string, n N) error {
	if n <= 0 {
		return fmt.Errorf("limit %s must be positive", name)
	}
	return nil
}
