package scenario

import (
	"context"
	"fmt"

	"amesh/node/api"
)

// everything is more messages than a node of a testnet has.
const everything = 1_000_000

// audit asks every node what it sent and what it has, and compares. A message that its
// sender calls handled is in the receiver's inbox, once and handled; nothing is in an
// inbox that nobody sent.
func (s *scene) audit(ctx context.Context) (Counts, []string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limits.Audit, fmt.Errorf("the count takes longer than %s", s.limits.Audit))
	defer cancel()
	var total Counts
	has := make(map[string]api.InboxState) // by id, over all inboxes
	for _, name := range s.nodes {
		if err := s.inbox(ctx, name, has); err != nil {
			return total, nil, err
		}
	}
	known := make(map[string]bool)
	for _, name := range s.nodes {
		node, err := s.stage.Node(name)
		if err != nil {
			return total, nil, err
		}
		sent, err := node.Messages(ctx, "", everything)
		if err != nil {
			return total, nil, fmt.Errorf("messages of %s: %w", name, err)
		}
		for _, m := range sent {
			if s.before[m.ID] {
				continue
			}
			total.tally(m.State)
			known[m.ID] = true
			if m.State == api.StateHandled && has[m.ID] != api.InboxHandled {
				return total, nil, fmt.Errorf("%s says that message %s is handled, its receiver that it is %q", name, m.ID, has[m.ID])
			}
		}
	}
	for id := range has {
		if !known[id] {
			return total, nil, fmt.Errorf("message %s is in an inbox, and nobody sent it", id)
		}
	}
	all := s.ledger.since(0)
	total.Twice = s.ledger.count(all).Twice
	if total.Sent != len(all) {
		return total, nil, fmt.Errorf("nodes accepted %d messages and list %d", len(all), total.Sent)
	}
	if !total.Balanced() {
		return total, nil, fmt.Errorf("%d messages were handed out twice", total.Twice)
	}
	return total, []string{fmt.Sprintf("%d = %d handled + %d queued + %d dead", total.Sent, total.Handled, total.Queued, total.Dead)}, nil
}

// inbox adds what a node received since the run began.
func (s *scene) inbox(ctx context.Context, name string, has map[string]api.InboxState) error {
	node, err := s.stage.Node(name)
	if err != nil {
		return err
	}
	for cursor := ""; ; {
		page, err := node.Inbox(ctx, "", api.InboxQuery{All: true, Limit: 500, Cursor: cursor})
		if err != nil {
			return fmt.Errorf("inbox of %s: %w", name, err)
		}
		for _, m := range page.Items {
			if s.before[m.ID] {
				continue
			}
			if _, twice := has[m.ID]; twice {
				return fmt.Errorf("message %s is in two places", m.ID)
			}
			has[m.ID] = m.State
		}
		if cursor = page.Next; cursor == "" {
			return nil
		}
	}
}
