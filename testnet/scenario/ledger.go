package scenario

import (
	"sync"

	"amesh/node/api"
)

// letter is a message that was accepted by its sender's node.
type letter struct {
	from, to, id string
	state        api.State // the last one known
	reason       string
}

// ledger has every message of a run. It is safe for concurrent use.
type ledger struct {
	mu      sync.Mutex
	letters []*letter
	done    map[string]bool   // acknowledged by the receiver's agent, by id
	twice   map[string]int    // handed out again after that
	replies map[string]string // the reply to a question, by the question's id
	changed chan struct{}     // closed and made anew with every reply
}

func newLedger() *ledger {
	return &ledger{done: make(map[string]bool), twice: make(map[string]int), replies: make(map[string]string), changed: make(chan struct{})}
}

func (l *ledger) add(from, to string, m api.Message) *letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	new := &letter{from: from, to: to, id: m.ID, state: m.State, reason: m.Reason}
	l.letters = append(l.letters, new)
	return new
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.letters)
}

// since are the letters from number first on.
func (l *ledger) since(first int) []*letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*letter(nil), l.letters[first:]...)
}

// taken notes that an agent was handed a message. It is false when that agent is done
// with it: then it was handed out twice.
func (l *ledger) taken(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done[id] {
		l.twice[id]++
		return false
	}
	return true
}

func (l *ledger) acknowledged(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done[id] = true
}

func (l *ledger) replied(question, reply string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replies[question] = reply
	close(l.changed)
	l.changed = make(chan struct{})
}

// answered counts those of the questions that have a reply. The channel closes when that
// may be another number.
func (l *ledger) answered(questions []string) (n int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range questions {
		if l.replies[q] != "" {
			n++
		}
	}
	return n, l.changed
}

// set notes the state of a letter.
func (l *ledger) set(one *letter, state api.State, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one.state, one.reason = state, reason
}

// count counts letters by what their senders know of them.
func (l *ledger) count(letters []*letter) Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	var c Counts
	for _, one := range letters {
		c.tally(one.state)
		c.Twice += l.twice[one.id]
	}
	return c
}

func (c *Counts) tally(s api.State) {
	c.Sent++
	switch {
	case s == api.StateHandled:
		c.Handled++
	case s == api.StateRefused:
		c.Refused++
		c.Dead++
	case s.Terminal():
		c.Dead++
	default:
		c.Queued++
	}
}
