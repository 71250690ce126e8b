package scenario

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"amesh/node/api"
)

// question begins what is to be answered.
const question = "question: "

// serve has every agent work until the returned function is called: it takes what its
// node has for it, answers questions and acknowledges. A node that is dead is asked again
// until it is back.
func (s *scene) serve(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, name := range s.nodes {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := s.work(ctx, name); err != nil {
					rest(ctx, s.limits.Poll)
				}
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// work is one turn of an agent.
func (s *scene) work(ctx context.Context, name string) error {
	node, err := s.stage.Node(name)
	if err != nil {
		return err
	}
	list, err := node.Lease(ctx, "", api.LeaseRequest{Max: 50, LeaseSeconds: int(s.limits.Lease / time.Second), WaitSeconds: int(s.limits.Waiting / time.Second)})
	if err != nil {
		return err
	}
	for _, m := range list {
		if s.before[m.ID] { // of an earlier run, which has counted it
			if _, err := node.Ack(ctx, "", m.ID, api.AckRequest{}); err != nil {
				return err
			}
			continue
		}
		if err := s.handle(ctx, name, node, m); err != nil {
			return err
		}
	}
	return nil
}

// handle answers a question, remembers a reply, and acknowledges.
func (s *scene) handle(ctx context.Context, name string, node api.Backend, m api.InboxMessage) error {
	if !s.ledger.taken(m.ID) {
		_, err := node.Ack(ctx, "", m.ID, api.AckRequest{})
		return err
	}
	if text, ok := strings.CutPrefix(string(m.Body), question); ok {
		// The key makes one reply of it when the node dies between this and the next line.
		sent, err := node.Send(ctx, "", api.SendRequest{To: m.From.String(), Body: []byte("answer to " + text), ReplyTo: m.ID}, "reply-"+m.ID)
		if err != nil {
			return err
		}
		s.ledger.add(name, s.stage.Plan().NameOf(m.From.String()), sent)
	}
	if m.ReplyTo != "" {
		s.ledger.replied(m.ReplyTo, m.ID)
	}
	if _, err := node.Ack(ctx, "", m.ID, api.AckRequest{}); err != nil {
		return err
	}
	s.ledger.acknowledged(m.ID)
	return nil
}

// send hands a message to the sender's node.
func (s *scene) send(ctx context.Context, from, to, text, via string) (*letter, error) {
	node, err := s.stage.Node(from)
	if err != nil {
		return nil, err
	}
	m, err := node.Send(ctx, "", api.SendRequest{To: s.amid[to], Body: []byte(text), Via: via}, "")
	if err != nil {
		return nil, fmt.Errorf("%s writes to %s: %w", from, to, err)
	}
	return s.ledger.add(from, to, m), nil
}

// await waits until a letter is in a state, or has ended in another one.
func (s *scene) await(ctx context.Context, l *letter, want api.State) error {
	node, err := s.stage.Node(l.from)
	if err != nil {
		return err
	}
	for {
		m, err := node.Message(ctx, "", l.id, want, s.limits.Waiting)
		if err == nil {
			s.ledger.set(l, m.State, m.Reason)
		}
		switch {
		case err == nil && m.State.Reached(want):
			return nil
		case err == nil && m.State.Terminal():
			return fmt.Errorf("message %s of %s to %s is %s (%s), want %s", l.id, l.from, l.to, m.State, m.Reason, want)
		case ctx.Err() != nil:
			return fmt.Errorf("message %s of %s to %s is still %s: %w", l.id, l.from, l.to, l.state, context.Cause(ctx))
		case err != nil:
			rest(ctx, s.limits.Poll)
		}
	}
}

// look asks the senders how far letters are, without waiting.
func (s *scene) look(ctx context.Context, letters []*letter) error {
	for _, l := range letters {
		node, err := s.stage.Node(l.from)
		if err != nil {
			return err
		}
		m, err := node.Message(ctx, "", l.id, "", 0)
		if err != nil {
			return fmt.Errorf("message %s of %s: %w", l.id, l.from, err)
		}
		s.ledger.set(l, m.State, m.Reason)
	}
	return nil
}

// settle waits until every letter has ended, or ctx does, and returns them.
func (s *scene) settle(ctx context.Context, letters []*letter) ([]*letter, error) {
	var first error
	for _, l := range letters {
		if err := s.await(ctx, l, api.StateHandled); err != nil && first == nil && ctx.Err() != nil {
			first = err
		}
	}
	return letters, first
}

// rest waits for d or the end of ctx.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
