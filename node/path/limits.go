package path

import (
	"errors"
	"time"
)

// Backoff is how long a rung waits after it failed.
type Backoff struct {
	// First is the pause after the first failure in a row. Each one more makes it
	// Factor times as long, up to Most.
	First  time.Duration
	Factor int
	Most   time.Duration
	// Tries is how many failures in a row are answered like that; from then on the
	// pause is Rest. 0: there is no rest.
	Tries int
	Rest  time.Duration
}

// pause is how long to wait after so many failures in a row.
func (b Backoff) pause(failures int) time.Duration {
	if b.Tries > 0 && failures >= b.Tries {
		return b.Rest
	}
	p := b.First
	for range failures - 1 {
		if p = min(p*time.Duration(b.Factor), b.Most); p == b.Most {
			break
		}
	}
	return p
}

// Limits are the numbers of the machine. Start from DefaultLimits.
type Limits struct {
	// Dial, Punch and Circuit are the pauses of the rungs. Default for Dial 2 s,
	// doubling to 2 min; for the others 5 s, 15 s, and after three failures 30 min.
	Dial, Punch, Circuit Backoff
	// Spacing is the least time between the beginnings of two attempts to punch, or to
	// go through a circuit, whatever ended their rest: a peer that tells new places
	// all the time shall not keep us at it. Two offers of its own are taken no closer than
	// half of that. Default 5 s.
	Spacing time.Duration
	// Interest is how long after the last traffic a direct path is looked for.
	// Default 10 min.
	Interest time.Duration
	// Steady is how long a path must have carried for its death to count as the first.
	// Default 1 min.
	Steady time.Duration
	// Hold is how long a path that died twice within Steady is watched before it
	// carries again. It doubles with each death more, up to HoldMost. Defaults 10 s
	// and 2 min.
	Hold, HoldMost time.Duration
	// Memory is how many attempts are remembered. Default 8.
	Memory int
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits {
	punch := Backoff{First: 5 * time.Second, Factor: 3, Most: time.Minute, Tries: 3, Rest: 30 * time.Minute}
	return Limits{
		Dial:  Backoff{First: 2 * time.Second, Factor: 2, Most: 2 * time.Minute},
		Punch: punch, Circuit: punch, Spacing: 5 * time.Second,
		Interest: 10 * time.Minute, Steady: time.Minute, Hold: 10 * time.Second, HoldMost: 2 * time.Minute,
		Memory: 8,
	}
}

// Check reports numbers with which the machine would spin.
func (l Limits) Check() error {
	for _, b := range []Backoff{l.Dial, l.Punch, l.Circuit} {
		if b.First <= 0 || b.Factor < 1 || b.Most < b.First || b.Tries < 0 || b.Tries > 0 && b.Rest <= 0 {
			return errors.New("path: a pause is too short")
		}
	}
	if l.Spacing <= 0 || l.Interest <= 0 || l.Steady <= 0 || l.Hold <= 0 || l.HoldMost < l.Hold || l.Memory < 1 {
		return errors.New("path: a limit is too small")
	}
	return nil
}
