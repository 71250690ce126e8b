package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"amesh/node/api"
)

// ready waits until every node is at a relay and its record was read back from a DHT
// server.
func (s *scene) ready(ctx context.Context) ([]string, error) {
	for _, name := range s.nodes {
		err := s.until(ctx, func(ctx context.Context) error {
			node, err := s.stage.Node(name)
			if err != nil {
				return err
			}
			status, err := node.Status(ctx, "")
			if err != nil {
				return fmt.Errorf("status of %s: %w", name, err)
			}
			if connected(status) == 0 {
				return fmt.Errorf("%s is at no relay: %+v", name, status.Relays)
			}
			if !status.DHT.Published {
				return fmt.Errorf("the record of %s cannot be found yet", name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func connected(s api.Status) int {
	n := 0
	for _, r := range s.Relays {
		if r.State == "connected" {
			n++
		}
	}
	return n
}

// until looks again and again until there is no error.
func (s *scene) until(ctx context.Context, look func(context.Context) error) error {
	for {
		err := look(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		rest(ctx, s.limits.Poll)
	}
}

// knock lets the first node in at the last one's, and refuses the second. Afterwards
// everybody lets everybody in.
func (s *scene) knock(ctx context.Context) ([]string, error) {
	owner, guest, stranger := s.nodes[len(s.nodes)-1], s.nodes[0], s.nodes[1]
	if err := s.policy(ctx, owner, "strangers", "reject", "allow", s.amid[guest]); err != nil {
		return nil, err
	}
	welcome, err := s.send(ctx, guest, owner, "may I?", "")
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, welcome, api.StateHandled); err != nil {
		return nil, err
	}
	notes := []string{fmt.Sprintf("%s let %s in", owner, guest)}
	if stranger != owner {
		refused, err := s.send(ctx, stranger, owner, "buy now", "")
		if err != nil {
			return nil, err
		}
		if err := s.await(ctx, refused, api.StateHandled); err == nil || refused.state != api.StateRefused {
			return nil, fmt.Errorf("the stranger's message is %s, want refused", refused.state)
		}
		notes = append(notes, fmt.Sprintf("%s refused %s", owner, stranger))
	}
	for _, name := range s.nodes {
		if err := s.policy(ctx, name, "strangers", "accept", "allow", ""); err != nil {
			return nil, err
		}
	}
	return notes, nil
}

// policy sets keys of a node's policy.
func (s *scene) policy(ctx context.Context, name string, keysAndValues ...string) error {
	node, err := s.stage.Node(name)
	if err != nil {
		return err
	}
	for i := 0; i < len(keysAndValues); i += 2 {
		change := api.PolicyChange{Key: keysAndValues[i], Value: keysAndValues[i+1]}
		if _, err := node.SetPolicy(ctx, "", change); err != nil {
			return fmt.Errorf("policy of %s: %w", name, err)
		}
	}
	return nil
}

// ask has everybody ask everybody else, and waits for the replies.
func (s *scene) ask(ctx context.Context) ([]string, error) {
	began := time.Now()
	var questions []string
	for i := range s.limits.Questions {
		for _, from := range s.nodes {
			for _, to := range s.nodes {
				if from == to {
					continue
				}
				l, err := s.send(ctx, from, to, fmt.Sprintf("%snumber %d of %s", question, i+1, from), "")
				if err != nil {
					return nil, err
				}
				questions = append(questions, l.id)
			}
		}
	}
	for {
		n, changed := s.ledger.answered(questions)
		if n == len(questions) {
			return []string{fmt.Sprintf("%d questions answered in %.1f s", n, time.Since(began).Seconds())}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d questions have an answer: %w", n, len(questions), context.Cause(ctx))
		}
	}
}

// offline kills a node, writes to it, and starts it again.
func (s *scene) offline(ctx context.Context) ([]string, error) {
	from, to := s.nodes[0], s.nodes[1]
	if err := s.stage.Kill(ctx, to); err != nil {
		return nil, err
	}
	var letters []*letter
	err := func() error {
		for i := range s.limits.Away {
			l, err := s.send(ctx, from, to, fmt.Sprintf("while you were out, %d", i+1), "")
			if err != nil {
				return err
			}
			letters = append(letters, l)
		}
		// One of them is out of the sender's hands before the node is back.
		return errors.Join(s.await(ctx, letters[0], api.StateRelayed), s.look(ctx, letters))
	}()
	waiting := s.ledger.count(letters).Queued
	if err := errors.Join(err, s.repair(ctx, to, s.stage.Start)); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("%d waited for %s", waiting, to)}, nil
}

// relayKill kills the first relay in the middle of messages that may only go through
// relays, and starts it again after the last.
func (s *scene) relayKill(ctx context.Context) ([]string, error) {
	from, to, relay := s.nodes[0], s.nodes[1], s.stage.Plan().Relays[0].Name
	var err error
	for i := range s.limits.Relayed {
		if i == s.limits.Relayed/2 {
			if err = s.stage.Kill(ctx, relay); err != nil {
				break
			}
		}
		if _, err = s.send(ctx, from, to, fmt.Sprintf("through a relay, %d", i+1), "relayed"); err != nil {
			break
		}
	}
	if err := errors.Join(err, s.repair(ctx, relay, s.stage.Start)); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("%s was killed after message %d of %d", relay, s.limits.Relayed/2, s.limits.Relayed)}, nil
}

// repair puts right what a scenario broke, also when the run was interrupted meanwhile: a
// testnet may go on after it.
func (s *scene) repair(ctx context.Context, name string, with func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.Repair)
	defer cancel()
	return with(ctx, name)
}

// partition cuts the last node off, has both sides write, and heals.
func (s *scene) partition(ctx context.Context) ([]string, error) {
	near, far := s.nodes[0], s.nodes[len(s.nodes)-1]
	if err := s.stage.Cut(ctx, far); err != nil {
		return nil, err
	}
	began := time.Now()
	var letters []*letter
	err := func() error {
		for i := range s.limits.Cut {
			for _, pair := range [][2]string{{near, far}, {far, near}} {
				l, err := s.send(ctx, pair[0], pair[1], fmt.Sprintf("over the gap, %d", i+1), "")
				if err != nil {
					return err
				}
				letters = append(letters, l)
			}
		}
		rest(ctx, s.limits.CutFor-time.Since(began))
		return s.look(ctx, letters)
	}()
	passed := 0
	for _, l := range letters {
		if l.state.Reached(api.StateDelivered) {
			passed++
		}
	}
	if err := errors.Join(err, s.repair(ctx, far, s.stage.Heal)); err != nil {
		return nil, err
	}
	if passed > 0 {
		return nil, fmt.Errorf("%d messages passed although %s was cut off", passed, far)
	}
	return []string{fmt.Sprintf("%s was cut off for %.1f s", far, time.Since(began).Seconds())}, nil
}
