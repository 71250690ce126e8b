package relay

import (
	"errors"
	"time"

	"amesh/relay/longpoll"
)

// PollLimits are the numbers of the long poll, the way for clients whose network lets no
// WebSocket through. What bounds connections bounds its sessions, too.
type PollLimits struct {
	// Bytes is how much waits in each direction of a session, and the longest body of a
	// request or an answer. Default 256 KiB.
	Bytes int
	// Wait is how long a request waits for something to come, in whole seconds. Default
	// 25 s: many proxies give up after 30 s.
	Wait time.Duration
	// Idle is how long a session lives without a request. Default 60 s.
	Idle time.Duration
	// Linger is how long what was written can be fetched when the connection is over.
	// Default 10 s.
	Linger time.Duration
	// Rate and Burst are the requests of one session, per second and at once; beyond
	// them they are held back. Default 50 and 200.
	Rate  float64
	Burst int

	// Gap is how long a client repeats a request that does not reach the relay; then
	// the session is over. Default 20 s.
	Gap time.Duration
	// UpgradeAgain is the time after which a client that polls tries a WebSocket again.
	// Default 10 min.
	UpgradeAgain time.Duration
	// Ping and Pong are ClientPing and ClientPong of a client that polls. Default 25 s
	// and 20 s.
	Ping, Pong time.Duration
}

func defaultPoll() PollLimits {
	return PollLimits{
		Bytes: 256 << 10, Wait: 25 * time.Second, Idle: time.Minute, Linger: 10 * time.Second, Rate: 50, Burst: 200,
		Gap: 20 * time.Second, UpgradeAgain: 10 * time.Minute, Ping: 25 * time.Second, Pong: 20 * time.Second,
	}
}

func (l PollLimits) check() error {
	err := errors.Join(
		positive("Bytes", int64(l.Bytes)), positive("Wait", l.Wait), positive("Idle", l.Idle), positive("Linger", l.Linger),
		positive("Rate", l.Rate), positive("Burst", int64(l.Burst)),
		positive("Gap", l.Gap), positive("UpgradeAgain", l.UpgradeAgain), positive("Ping", l.Ping), positive("Pong", l.Pong),
	)
	if l.Wait < time.Second {
		err = errors.Join(err, errors.New("limit Wait must be a second at least"))
	}
	return err
}

func (l PollLimits) conn() longpoll.Limits {
	return longpoll.Limits{Bytes: l.Bytes, Wait: l.Wait, Idle: l.Idle, Linger: l.Linger}
}
