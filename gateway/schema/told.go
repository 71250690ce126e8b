package schema

import "sync"

// told remembers what the operator was told of schemas, so that each message which names
// a bad one is no line of the log. It is safe for concurrent use.
type told struct {
	mu   sync.Mutex
	what *recent[ID, string]
}

// mostTold is of how many schemas that is remembered.
const mostTold = 1024

func newTold() *told { return &told{what: newRecent[ID, string](mostTold)} }

// first reports whether text was not the last that was told of a schema.
func (t *told) first(id ID, text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if before, ok := t.what.get(id); ok && before == text {
		return false
	}
	t.what.put(id, text)
	return true
}

// complain tells the operator of a registered schema that cannot be used, once while the
// reason is the same.
func (s *Service) complain(id ID, err error) {
	if s.told.first(id, err.Error()) {
		s.log.Warn("registered schema cannot be used", "schema", id.String(), "err", err)
	}
}
