package direct

import (
	"context"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
	"amesh/internal/wire"
)

// OneTimeKeys are the keys of an agent that its node hands out for one knock, each
// as the agent signed it; nil for none. Nothing of them is verified here.
type OneTimeKeys struct {
	X25519 []byte // 144 bytes
	KEM    []byte // 1,296 bytes
}

// Keys asks the node at the end of an open path for one-time keys of one of its
// agents. No keys are no error. It returns ErrNotOpen, ErrBusy, or why no answer came:
// the end of ctx or of the path.
func (t *Transport) Keys(ctx context.Context, peerID string, of identity.AMID) (OneTimeKeys, error) {
	id, err := peer.Decode(peerID)
	if err != nil {
		return OneTimeKeys{}, fmt.Errorf("keys from %q: %w", peerID, ErrNotOpen)
	}
	s := t.sending(id)
	if s == nil {
		return OneTimeKeys{}, fmt.Errorf("keys from %s: %w", peerID, ErrNotOpen)
	}
	keys, err := s.inquire(ctx, of)
	if err != nil {
		return OneTimeKeys{}, fmt.Errorf("keys from %s: %w", peerID, err)
	}
	return keys, nil
}

// question is one of ours. There is one at a time on the wire, so the answer needs no
// number.
type question struct {
	of     identity.AMID
	taken  bool
	answer chan OneTimeKeys // with room for it: whoever asked may be gone
}

// reply is our answer to the peer's question.
type reply struct {
	of   identity.AMID
	keys OneTimeKeys
}

// inquire asks and waits for the answer.
func (s *stream) inquire(ctx context.Context, of identity.AMID) (OneTimeKeys, error) {
	q := &question{of: of, answer: make(chan OneTimeKeys, 1)}
	s.mu.Lock()
	switch {
	case s.err != nil:
		s.mu.Unlock()
		return OneTimeKeys{}, ErrNotOpen
	case len(s.questions) >= s.limits.Questions:
		s.mu.Unlock()
		return OneTimeKeys{}, fmt.Errorf("%w: %d questions", ErrBusy, s.limits.Questions)
	}
	s.questions = append(s.questions, q)
	s.mu.Unlock()
	s.nudge()
	select {
	case keys := <-q.answer:
		return keys, nil
	case <-s.gone:
		return OneTimeKeys{}, s.cause()
	case <-ctx.Done():
		s.withdraw(q)
		return OneTimeKeys{}, ctx.Err()
	}
}

// withdraw forgets a question, unless it was written: then its answer is still to come,
// and the next question waits for that.
func (s *stream) withdraw(q *question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !q.taken {
		s.questions = slices.DeleteFunc(s.questions, func(o *question) bool { return o == q })
	}
}

// told takes the peer's answer.
func (s *stream) told(of identity.AMID, keys OneTimeKeys) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.questions) == 0 || !s.questions[0].taken || s.questions[0].of != of {
		return fmt.Errorf("%w: keys that nobody asked for", wire.ErrMalformed)
	}
	s.questions[0].answer <- keys
	s.questions[0] = nil
	s.questions = s.questions[1:]
	s.nudge() // the next one may go
	return nil
}

// wanted takes the peer's question. The reader does not wait for the answer, which
// costs a commit.
func (s *stream) wanted(of identity.AMID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked {
		return fmt.Errorf("%w: a second question before the answer", wire.ErrMalformed)
	}
	s.asked = true
	s.replies.Go(func() {
		keys := s.hooks.keys(of)
		s.mu.Lock()
		if s.err == nil {
			s.reply = &reply{of, keys}
		}
		s.mu.Unlock()
		s.nudge()
	})
	return nil
}

// takeKeys appends what there is to say about keys; s.mu is held.
func (s *stream) takeKeys(b []byte) []byte {
	if s.reply != nil {
		b = appendKeys(b, s.reply.of, s.reply.keys)
		s.reply, s.asked = nil, false
	}
	if len(s.questions) > 0 && !s.questions[0].taken {
		s.questions[0].taken = true
		b = appendWanted(b, s.questions[0].of)
	}
	return b
}
