package httpapi

import "time"

// Limits are the numbers of the local API's server. DefaultLimits has our values.
type Limits struct {
	MaxRequest    int64         // bytes of a request's body; an api.MaxBody in base64 and its envelope fit
	MaxHeader     int           // bytes of a request's headers
	MaxWait       time.Duration // longest time a caller may ask to wait for a message's state
	HeaderTimeout time.Duration // for a request's headers to arrive
	BodyTimeout   time.Duration // for a request's body to arrive
	WriteTimeout  time.Duration // for an answer to be taken
	IdleTimeout   time.Duration // a connection without requests is closed after this
	ReadyTimeout  time.Duration // for the node to say how it is
	ShutdownGrace time.Duration // for requests under way when the server is asked to end
}

// DefaultLimits returns what a node uses.
func DefaultLimits() Limits {
	return Limits{
		MaxRequest: 2 << 20, MaxHeader: 16 << 10, MaxWait: time.Hour,
		HeaderTimeout: 5 * time.Second, BodyTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, ReadyTimeout: 5 * time.Second, ShutdownGrace: 8 * time.Second,
	}
}
