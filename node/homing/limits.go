package homing

import "time"

// Limits are the numbers of the choice. Start from DefaultLimits.
type Limits struct {
	// Keep is how many homes an agent has when there are so many relays. Default 2:
	// with one, an agent is out of reach while its relay restarts.
	Keep int
	// Patience is how long a home may be out of reach before another relay takes its
	// place, and before others are told. Default 15 s, longer than a restart.
	Patience time.Duration
	// Back is how long a relay that was given up like that must be connected before
	// others are told of it again, unless there is no other. Default 30 s.
	Back time.Duration
	// Steady is how long a relay must be in reach without a break before it takes the
	// place of a home that works. Default 10 min.
	Steady time.Duration
	// Margin and Share are by how much it must be faster: by a time, and by so many
	// hundredths of the home's. Default 10 ms and 25.
	Margin time.Duration
	Share  int
	// Samples is of how many measurements the median counts, Least how many there
	// must be. Default 5 and 3.
	Samples int
	Least   int
	// Stay is how long the line to a relay is kept that others are not told of any
	// more. Default 48 h: a record lives 24 h, and who fetched it uses it for 24 h.
	Stay time.Duration
	// Most is how long it is tried when it was out of reach then. Default 120 h: what
	// was left there in the last hour of Stay expires 72 h later.
	Most time.Duration
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits {
	return Limits{
		Keep: 2, Patience: 15 * time.Second, Back: 30 * time.Second, Steady: 10 * time.Minute,
		Margin: 10 * time.Millisecond, Share: 25, Samples: 5, Least: 3,
		Stay: 48 * time.Hour, Most: 120 * time.Hour,
	}
}
