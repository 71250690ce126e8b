package dht

import (
	"fmt"

	"amesh/identity"
)

// seen remembers the newest record that was found of each of a number of agents. Whom
// it has known for longest it forgets first.
type seen struct {
	most    int
	records map[identity.AMID]*identity.AgentRecord
	order   []identity.AMID // as they came
}

func newSeen(most int) *seen {
	return &seen{most: most, records: make(map[identity.AMID]*identity.AgentRecord)}
}

// see returns the newest of rec and what was seen before.
func (s *seen) see(rec *identity.AgentRecord) *identity.AgentRecord {
	old := s.records[rec.AMID]
	if old != nil && identity.Newer(old.Raw(), rec.Raw()) > 0 {
		return old
	}
	if old == nil {
		s.order = append(s.order, rec.AMID)
	}
	s.records[rec.AMID] = rec
	if len(s.order) > s.most {
		delete(s.records, s.order[0])
		s.order = s.order[1:]
	}
	return rec
}

// newest verifies a record that was found. One that is older than what was found
// before is not believed: somebody kept it, and hides the one that is true.
func (n *Node) newest(raw []byte, amid identity.AMID) (*identity.AgentRecord, error) {
	now := n.cfg.Clock()
	rec, err := checkRecord(raw, amid, now)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	best := n.seen.see(rec)
	n.mu.Unlock()
	if best == rec {
		return rec, nil
	}
	n.log.Debug("stale record served", "agent", amid.String(), "sequence", rec.Sequence, "known", best.Sequence)
	if best.Valid(now) != nil {
		return nil, fmt.Errorf("%w: sequence %d after %d", ErrOlder, rec.Sequence, best.Sequence)
	}
	return best, nil
}

// remembered is the record of an agent that was found before, nil for none that holds.
func (n *Node) remembered(amid identity.AMID) *identity.AgentRecord {
	n.mu.Lock()
	rec := n.seen.records[amid]
	n.mu.Unlock()
	if rec == nil || rec.Valid(n.cfg.Clock()) != nil {
		return nil
	}
	return rec
}
