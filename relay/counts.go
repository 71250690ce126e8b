package relay

import "sync/atomic"

// counts are what a Server has done since it was made.
type counts struct {
	shed    atomic.Uint64 // connections that gave way to newer ones
	crowded atomic.Uint64 // upgrades refused because their address had too many
}
