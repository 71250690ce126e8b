// Package stage is where a testnet runs: in containers, in network namespaces, or as
// plain processes on loopback. A scenario sees a Stage and cannot tell which.
//
// Messages and what becomes of them are asked of the nodes themselves, through their own
// local API; a stage only starts, kills, cuts and heals.
package stage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"amesh/node/api"
	"amesh/testnet/plan"
)

// Stage is where a testnet runs. Its methods may be called from any goroutine, but not
// two of them about the same relay or node at a time. They return ErrUnknown for a name
// that is not in the plan, and an error with ErrCannot in it for what this kind of stage
// cannot do.
type Stage interface {
	// Plan is what runs here.
	Plan() *plan.Plan
	// URL is where nodes connect to a relay; empty before its first start.
	URL(relay string) string
	// Up starts all that does not run, and returns when every node answers.
	Up(ctx context.Context) error
	// Down ends all of it. What the relays and nodes have on disk stays.
	Down(ctx context.Context) error
	// Close gives back what this Stage uses. A testnet that runs by itself, as one in
	// containers does, goes on.
	Close() error

	// Node is a node's own API. The client stays good when the node is killed and started.
	Node(name string) (api.Backend, error)

	// Kill ends a relay or node as a power cut does. Killing a dead one is no error.
	Kill(ctx context.Context, name string) error
	// Start starts a relay or node again, and returns when it answers.
	Start(ctx context.Context, name string) error
	// Cut takes a relay or node off the network. It goes on running.
	Cut(ctx context.Context, name string) error
	// Impair has a node's line lose packets or delay them, which replaces what was asked
	// for before.
	Impair(ctx context.Context, name string, line Line) error
	// Heal undoes Cut and Impair.
	Heal(ctx context.Context, name string) error
}

// Line is how bad a line is. The zero Line is a good one.
type Line struct {
	Loss  float64       // percent of the packets, each way
	Delay time.Duration // each way
}

var (
	// ErrUnknown reports a name that is not in the plan.
	ErrUnknown = errors.New("no such relay or node")
	// ErrCannot reports what a kind of stage cannot do.
	ErrCannot = errors.New("not possible here")
)

// Limits are how long a stage waits.
type Limits struct {
	// Ready is how long a relay or node may take from its start to its first answer.
	Ready time.Duration
	// Stop is how long one may take to end when it is asked to.
	Stop time.Duration
	// Poll is the pause between two looks at something that cannot be waited for.
	Poll time.Duration
	// LogLines is how much of a log stands in an error.
	LogLines int
}

// DefaultLimits suit a laptop that does other things as well.
func DefaultLimits() Limits {
	return Limits{Ready: 60 * time.Second, Stop: 10 * time.Second, Poll: 50 * time.Millisecond, LogLines: 12}
}

// known returns ErrUnknown unless the plan has name.
func known(p *plan.Plan, name string) error {
	if _, ok := p.Node(name); ok {
		return nil
	}
	if _, ok := p.Relay(name); ok {
		return nil
	}
	return unknown(p, name)
}

func unknown(p *plan.Plan, name string) error {
	return fmt.Errorf("%w: %s; there are %s", ErrUnknown, name, p.Names())
}
