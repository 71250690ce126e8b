package mailbox

import "slices"

// Kind is a frame's message_type.
type Kind string

// The kinds of AgentMesh §2.2.
const (
	KindKnock      Kind = "knock"
	KindAccept     Kind = "accept"
	KindReject     Kind = "reject"
	KindMessage    Kind = "message"
	KindClose      Kind = "close"
	KindStatus     Kind = "status"
	KindOptimistic Kind = "optimistic_message"
)

// kinds is also the order in which mailbox rows number them: append only.
var kinds = []Kind{KindKnock, KindAccept, KindReject, KindMessage, KindClose, KindStatus, KindOptimistic}

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return slices.Contains(kinds, k) }
