// Package scenario tries a testnet: agents that write to each other while relays die,
// nodes are away and lines are cut, and a count at the end. What it promises is
// conservation: whatever happens, every message that a node accepted was handled by the
// other agent, is still queued, or ended in a state that says why not; nothing is handed
// out twice and nothing vanishes.
//
// What is counted comes from the nodes' own APIs. The agents are here: each of them takes
// what its node has for it, answers questions and acknowledges.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"amesh/testnet/stage"
)

// Outcome is how a scenario ended.
type Outcome string

// The outcomes. A scenario is skipped where its stage cannot do what it needs.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Counts are messages of one scenario. Sent = Handled + Queued + Dead, or some are lost.
type Counts struct {
	Sent    int `json:"sent"`    // accepted by the sender's node
	Handled int `json:"handled"` // the peer's agent took responsibility, and the sender knows
	Queued  int `json:"queued"`  // not there yet, and not given up
	Dead    int `json:"dead"`    // ended in another way: refused, failed, expired, cancelled, given up
	Refused int `json:"refused"` // of the dead, those that were refused
	Twice   int `json:"twice"`   // handed to an agent again after it had acknowledged
}

// Balanced reports whether no message is lost or doubled.
func (c Counts) Balanced() bool { return c.Sent == c.Handled+c.Queued+c.Dead && c.Twice == 0 }

// Result is one scenario.
type Result struct {
	Name    string   `json:"name"`
	Says    string   `json:"says"` // what it is about, in a line
	Outcome Outcome  `json:"outcome"`
	Why     string   `json:"why,omitempty"` // it failed or was skipped
	TookMS  int64    `json:"took_ms"`
	Counts  Counts   `json:"counts"`
	Notes   []string `json:"notes,omitempty"`
}

// Run is a whole run.
type Run struct {
	Began   time.Time `json:"began"`
	TookMS  int64     `json:"took_ms"`
	Passed  bool      `json:"passed"`
	Results []Result  `json:"results"`
	Total   Counts    `json:"total"` // by the nodes' own lists
	// Picture is the mesh at the end.
	Picture Picture `json:"picture"`
}

// Config says what to try and where.
type Config struct {
	Stage  stage.Stage
	Limits Limits
	// Tell is told of every scenario when it begins, with an empty Outcome, and when it
	// has ended.
	Tell func(Result)
}

// scene is a run under way.
type scene struct {
	cfg    Config
	limits Limits
	stage  stage.Stage
	nodes  []string
	amid   map[string]string // of each node's agent
	ledger *ledger
	before map[string]bool // messages that were there when the run began
	began  time.Time
}

// script is one scenario. run says what it noticed; what was sent is in the ledger.
type script struct {
	name, says string
	run        func(ctx context.Context) (notes []string, err error)
}

// Smoke runs every scenario on a stage that is up. The error is about what keeps it from
// trying at all; a scenario that failed is in the Run.
func Smoke(ctx context.Context, cfg Config) (Run, error) {
	s, err := newScene(ctx, cfg)
	if err != nil {
		return Run{}, err
	}
	run := Run{Began: s.began, Passed: true}
	stop := s.serve(ctx)
	defer stop()
	for _, script := range []script{
		{"ready", "every node is at a relay, and its record can be found", s.ready},
		{"knock", "one is let in, a stranger is refused", s.knock},
		{"ask", "everybody asks everybody, and is answered", s.ask},
		{"offline", "messages wait for a node that is off", s.offline},
		{"relay-kill", "a relay is killed under traffic through it", s.relayKill},
		{"partition", "a node is cut off for a while, both sides go on writing", s.partition},
		{"again", "everybody asks everybody once more, on the best path there is by now", s.ask},
		{"paths", "every two nodes that can have a direct path have one", s.paths},
		{"audit", "what the nodes say they sent is what the others say they have", nil},
	} {
		r := Result{Name: script.name, Says: script.says}
		s.tell(r)
		began := time.Now()
		if script.run == nil {
			run.Total, r.Notes, err = s.audit(ctx)
			r.Counts = run.Total
		} else {
			r.Counts, r.Notes, err = s.play(ctx, script)
		}
		r.TookMS = time.Since(began).Milliseconds()
		r.Outcome, r.Why = outcome(err)
		run.Passed = run.Passed && r.Outcome != Failed
		run.Results = append(run.Results, r)
		s.tell(r)
		if ctx.Err() != nil {
			return run, ctx.Err()
		}
	}
	run.Picture = Look(ctx, s.stage)
	run.TookMS = time.Since(s.began).Milliseconds()
	return run, nil
}

func (s *scene) tell(r Result) {
	if s.cfg.Tell != nil {
		s.cfg.Tell(r)
	}
}

func newScene(ctx context.Context, cfg Config) (*scene, error) {
	s := &scene{cfg: cfg, limits: cfg.Limits, stage: cfg.Stage, amid: make(map[string]string),
		ledger: newLedger(), before: make(map[string]bool), began: time.Now()}
	for _, n := range cfg.Stage.Plan().Nodes {
		s.nodes = append(s.nodes, n.Name)
		s.amid[n.Name] = n.AMID
		node, err := cfg.Stage.Node(n.Name)
		if err != nil {
			return nil, err
		}
		id, err := node.Identity(ctx, "")
		if err != nil {
			return nil, fmt.Errorf("%s does not answer: %w", n.Name, err)
		}
		if id.AMID.String() != n.AMID {
			return nil, fmt.Errorf("%s is %s, its plan says %s", n.Name, id.AMID, n.AMID)
		}
		old, err := node.Messages(ctx, "", everything)
		if err != nil {
			return nil, fmt.Errorf("messages of %s: %w", n.Name, err)
		}
		for _, m := range old {
			s.before[m.ID] = true
		}
	}
	return s, nil
}

// play runs a scenario, waits for its messages to end, and counts them.
func (s *scene) play(ctx context.Context, script script) (Counts, []string, error) {
	first := s.ledger.len()
	playing, cancel := context.WithTimeoutCause(ctx, s.limits.Scenario, fmt.Errorf("takes longer than %s", s.limits.Scenario))
	defer cancel()
	notes, err := script.run(playing)
	if err != nil && playing.Err() != nil {
		err = fmt.Errorf("%w (%w)", err, context.Cause(playing))
	}
	settled, errSettle := s.settle(playing, s.ledger.since(first))
	counts := s.ledger.count(settled)
	if errors.Is(err, stage.ErrCannot) {
		return counts, notes, err
	}
	if errSettle != nil && err == nil {
		err = errSettle
	}
	if err == nil && !counts.Balanced() {
		err = fmt.Errorf("%d sent, but %d handled, %d queued and %d dead, %d handed out twice",
			counts.Sent, counts.Handled, counts.Queued, counts.Dead, counts.Twice)
	}
	return counts, notes, err
}

func outcome(err error) (Outcome, string) {
	switch {
	case err == nil:
		return Passed, ""
	case errors.Is(err, stage.ErrCannot):
		return Skipped, err.Error()
	}
	return Failed, err.Error()
}
