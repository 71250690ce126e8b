package knock

import "bytes"

// Contender is an accepted session that competes for sending, because both
// sides knocked at once. Its responder accepted it; others do not compete.
type Contender struct {
	Hash [32]byte // knock hash
	Prev [32]byte // prev of its request
}

// Beats says whether a, not b, is the session to send on (session.md §8.4). Both
// sides come to the same answer: exactly one of two different sessions beats the
// other. The loser only receives.
func (a Contender) Beats(b Contender) bool {
	switch {
	case a.Prev == b.Hash && b.Prev != a.Hash:
		return true
	case b.Prev == a.Hash && a.Prev != b.Hash:
		return false
	}
	return bytes.Compare(a.Hash[:], b.Hash[:]) < 0
}
