package scenario

import "time"

// Limits are the numbers of a run.
type Limits struct {
	// Scenario is how long one scenario may take, with the waiting for its messages.
	Scenario time.Duration
	// Audit is how long the count at the end may take.
	Audit time.Duration
	// Repair is how long starting or healing what a scenario broke may take.
	Repair time.Duration
	// Poll is the pause between two looks at something that cannot be waited for.
	Poll time.Duration
	// Questions is how many everybody asks everybody else.
	Questions int
	// Away is how many messages are written to a node that is off.
	Away int
	// Relayed is how many go through relays while one of them is killed.
	Relayed int
	// Cut is how many each side writes during a partition, and CutFor how long that lasts.
	Cut    int
	CutFor time.Duration
	// Tries is how often two nodes without a direct path may try to make one, and Try how
	// long one of them may take.
	Tries int
	Try   time.Duration
	// Lease is for how long an agent takes a message. Shorter ones come back sooner from an
	// agent whose node was killed.
	Lease time.Duration
	// Waiting bounds one question to a node that waits for something.
	Waiting time.Duration
}

// DefaultLimits fit a run of six nodes on a laptop into about a minute.
func DefaultLimits() Limits {
	return Limits{
		Scenario:  90 * time.Second,
		Audit:     30 * time.Second,
		Repair:    90 * time.Second,
		Poll:      100 * time.Millisecond,
		Questions: 2,
		Away:      20,
		Relayed:   200,
		Cut:       10,
		CutFor:    5 * time.Second,
		Tries:     3,
		Try:       10 * time.Second,
		Lease:     10 * time.Second,
		Waiting:   10 * time.Second,
	}
}
