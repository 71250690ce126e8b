package knock

import "amesh/internal/content"

// Terms are what a session is for, how it is signed, and what each side may send in
// it. They are fixed with the accept (session.md §10.2).
type Terms struct {
	Type   content.SessionType
	Mode   content.Mode
	Limits content.Limits
}

// Used is what one side has sent in a session: messages, in parts or not, and the
// bytes of their bodies.
type Used struct {
	Messages uint32 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// Plus counts one more message.
func (u Used) Plus(size int) Used { return Used{u.Messages + 1, u.Bytes + uint64(size)} }

// AnsweredBy says whether an accept answers a request for these terms. One with another
// type or mode, or that allows more than was asked for, does not (session.md §7.2).
func (t Terms) AnsweredBy(a *content.Accept) bool {
	return a.SessionType == t.Type && a.Mode == t.Mode && a.Limits.Within(t.Limits)
}

// Allows says whether one side may have sent this much. asker says which side.
func (t Terms) Allows(u Used, asker bool) bool {
	most := t.Limits.Messages
	switch {
	case t.Type == content.RequestResponse:
		most = 1
	case t.Type == content.Stream && !asker:
		return u.Messages == 0
	}
	return (most == 0 || u.Messages <= most) && (t.Limits.Bytes == 0 || u.Bytes <= t.Limits.Bytes)
}
