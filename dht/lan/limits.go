package lan

import (
	"fmt"
	"time"

	"amesh/identity"
)

// Limits are the numbers of the local network. The zero value of Config.Limits means
// DefaultLimits.
type Limits struct {
	// Agents bounds the agents that one node tells of, and is believed to have.
	// Default 16.
	Agents int
	// Neighbours bounds the nodes that are known at a time. Default 64.
	Neighbours int
	// Keep is how long a neighbour is known without being met again. Default 15 min.
	Keep time.Duration
	// Renew is how long after a meeting the next one is sought. Default 5 min.
	Renew time.Duration
	// Retry is the pause after an attempt that failed. Default 10 s.
	Retry time.Duration
	// Meeting bounds one exchange with the dial before it. Default 5 s.
	Meeting time.Duration
	// Meetings bounds the exchanges at one time. Default 8.
	Meetings int
	// Announce is how often the node says by multicast that it is there, and asks who
	// else is; the first times after a second and three. Default 30 s.
	Announce time.Duration
	// Answer is the shortest time between two answers on one network. Default 1 s.
	Answer time.Duration
}

// DefaultLimits returns the defaults written at the fields.
func DefaultLimits() Limits {
	return Limits{
		Agents: 16, Neighbours: 64, Keep: 15 * time.Minute, Renew: 5 * time.Minute, Retry: 10 * time.Second,
		Meeting: 5 * time.Second, Meetings: 8, Announce: 30 * time.Second, Answer: time.Second,
	}
}

func (l Limits) check() error {
	for name, v := range map[string]int64{
		"Agents": int64(l.Agents), "Neighbours": int64(l.Neighbours), "Keep": int64(l.Keep), "Renew": int64(l.Renew),
		"Retry": int64(l.Retry), "Meeting": int64(l.Meeting), "Meetings": int64(l.Meetings), "Announce": int64(l.Announce), "Answer": int64(l.Answer),
	} {
		if v <= 0 {
			return fmt.Errorf("lan limit %s is %d, want more than 0", name, v)
		}
	}
	if l.Agents > maxAgents {
		return fmt.Errorf("lan limit Agents is %d, want at most %d", l.Agents, maxAgents)
	}
	return nil
}

const (
	// maxAgents is how many agents a greeting may have.
	maxAgents = 16
	// maxPresence is the longest presence in bytes.
	maxPresence = 166
	// maxGreeting is the longest greeting in bytes.
	maxGreeting = 1 + maxAgents*(2+identity.MaxRecordSize+2+maxPresence+2+identity.MaxCardSize)
	// maxAddresses bounds the addresses of one neighbour, from multicast or otherwise.
	maxAddresses = 16
)
