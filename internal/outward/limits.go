package outward

import "time"

// Limits are the bounds of a Client. Zero values are the defaults.
type Limits struct {
	// Timeout ends one exchange, from the look at its URL to the last byte of the
	// answer's body. Default 30 s.
	Timeout time.Duration
	// Connect ends the opening of a connection, TLS apart. Default 10 s.
	Connect time.Duration
	// Handshake ends that of TLS. Default 10 s.
	Handshake time.Duration
	// Body is how much of an answer's body may be read. Default 64 KiB.
	Body int64
	// Idle is how many connections wait for further use, IdlePerHost how many of them
	// for one host, and IdleTime how long. Defaults 100, 25 and 90 s.
	Idle, IdlePerHost int
	IdleTime          time.Duration
	// PerHost is how many connections one host may have at a time; further exchanges
	// wait. Default 64.
	PerHost int
}

// DefaultLimits are those of a gateway.
func DefaultLimits() Limits {
	return Limits{
		Timeout: 30 * time.Second, Connect: 10 * time.Second, Handshake: 10 * time.Second,
		Body: 64 << 10, Idle: 100, IdlePerHost: 25, IdleTime: 90 * time.Second, PerHost: 64,
	}
}

const (
	// headBytes is the longest head of an answer.
	headBytes = 64 << 10
	// maxURL is the longest URL that is looked at, in bytes.
	maxURL = 8 << 10
	// pingAfter is how long an HTTP/2 connection may be silent while an answer is
	// awaited, before the other side is asked whether it is there; pingWait is the
	// time for its answer.
	pingAfter = 15 * time.Second
	pingWait  = 10 * time.Second
)

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	for _, p := range []struct{ at, or *time.Duration }{
		{&l.Timeout, &d.Timeout}, {&l.Connect, &d.Connect}, {&l.Handshake, &d.Handshake}, {&l.IdleTime, &d.IdleTime},
	} {
		if *p.at <= 0 {
			*p.at = *p.or
		}
	}
	for _, p := range []struct{ at, or *int }{{&l.Idle, &d.Idle}, {&l.IdlePerHost, &d.IdlePerHost}, {&l.PerHost, &d.PerHost}} {
		if *p.at <= 0 {
			*p.at = *p.or
		}
	}
	if l.Body <= 0 {
		l.Body = d.Body
	}
	return l
}
