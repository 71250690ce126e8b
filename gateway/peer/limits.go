package peer

import "time"

// Limits are the bounds of what a peer may cost. Zero values are the defaults.
type Limits struct {
	// Timeout ends one exchange, with the reading of its answer. Default 10 s.
	Timeout time.Duration
	// Group is how many recipients go in one request, so that the answer to it fits
	// into answer.MaxBody. Default 100.
	Group int
}

func (l Limits) withDefaults() Limits {
	if l.Timeout <= 0 {
		l.Timeout = 10 * time.Second
	}
	if l.Group <= 0 {
		l.Group = 100
	}
	return l
}
