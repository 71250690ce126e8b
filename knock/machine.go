package knock

import (
	"errors"
	"fmt"
)

// ErrForbidden reports an event that cannot happen in a state. The state stays
// what it was. What a peer can cause that way is dropped; the rest is a mistake
// of the caller.
var ErrForbidden = errors.New("event does not fit the state")

// Action is what the caller does after a step, in the order given and in one
// transaction where it writes.
type Action uint8

// The actions.
const (
	// MakeKnock: ask with the newest bundle, commit knock and session, then send.
	MakeKnock Action = iota + 1
	// StopResending: the bytes need not be sent again.
	StopResending
	// ShowDeciding: the rows wait for the peer's owner.
	ShowDeciding
	// SendReceipt: answer the accept with a receipt at once.
	SendReceipt
	// KeepGrant: store the grant.
	KeepGrant
	// ReleaseRows: the rows that waited may be sealed.
	ReleaseRows
	// RefuseRows: the rows that waited end as refused(rejected).
	RefuseRows
	// SealAccept, SealReject and SealPending: seal the answer, store its bytes,
	// send them and go on sending them.
	SealAccept
	SealReject
	SealPending
	// AskOwner: show the knock to the owner.
	AskOwner
	// EraseRequest: forget what was asked and the tail; the answer stays.
	EraseRequest
	// SendAnswer: send the stored bytes of the answer again.
	SendAnswer
)

// AskState is where A stands with a knock.
//
//	         ┌────────┐ bundle ┌─────────┐ pending ┌──────────┐
//	rows ───►│ wanted ├───────►│ knocked ├────────►│ deciding │
//	         └─┬──▲───┘        └─┬─┬─┬─┬─┘         └─┬─┬─┬─┬──┘
//	           │  └──────────────┘ │ │ └── accept ───┘ │ │ │
//	           │   too old, expired│ │       │         │ │ └─► wanted (expired)
//	           │                   │ │       ▼         │ │
//	           │ no rows           │ │  ┌──────────┐   │ │
//	           ▼                   │ │  │ accepted │   │ │
//	      ┌───────┐     no rows    │ │  └──────────┘   │ │
//	      │ ended │◄───────────────┘ └──── reject ─────┘ │
//	      └───▲───┘                          ▼           │
//	          │                        ┌──────────┐      │
//	          │                        │ rejected │      │
//	          │                        └──────────┘      │
//	          └──────────────────────────────────────────┘
//
// A renew (of a knock that nothing answered yet) and a reject for now (busy) end the
// knock like missing rows: another one is made.
//
// Of pending and the final answer the final one counts, in whatever order they
// come. A late accept of a knock that was given up still counts: the session is
// there, and asking again would only bother the owner twice.
type AskState uint8

// A's states. Deciding is "knocked, and the peer's owner is being asked".
const (
	AskWanted AskState = iota
	AskKnocked
	AskDeciding
	AskAccepted
	AskRejected
	AskEnded
)

// AskEvent is what happens to A's knock.
type AskEvent uint8

// A's events.
const (
	GotBundle  AskEvent = iota // a usable bundle of the peer is known
	GotAccept                  // an accept naming the knock was opened
	GotReject                  // a reject naming the knock was opened
	GotPending                 // a pending naming the knock was opened
	GotRenew                   // the keys that the knock named are gone, newer ones came
	GotBusy                    // a reject that says to come again later was opened
	TooOld                     // RelayWindow is over without any answer
	AskExpired                 // expires + 600 s is over, or an invite's knock is to take its place
	NoRows                     // no row waits for the answer any more
)

// Next gives the state after an event and what to do, or ErrForbidden.
func (s AskState) Next(e AskEvent) (AskState, []Action, error) {
	switch s {
	case AskWanted:
		return s.wanted(e)
	case AskKnocked, AskDeciding:
		return s.waiting(e)
	case AskAccepted:
		switch e {
		case GotAccept, GotPending, TooOld, AskExpired, NoRows:
			return s, nil, nil
		}
	case AskRejected:
		switch e {
		case GotReject, GotPending, TooOld, AskExpired, NoRows:
			return s, nil, nil
		}
	case AskEnded:
		switch e {
		case GotAccept:
			return AskAccepted, []Action{SendReceipt, KeepGrant}, nil
		case GotReject, GotPending, TooOld, AskExpired, NoRows:
			return s, nil, nil
		}
	}
	return s, nil, fmt.Errorf("%w: %v in %v", ErrForbidden, e, s)
}

func (s AskState) wanted(e AskEvent) (AskState, []Action, error) {
	switch e {
	case GotBundle:
		return AskKnocked, []Action{MakeKnock}, nil
	case GotAccept:
		return AskAccepted, []Action{SendReceipt, KeepGrant, ReleaseRows}, nil
	case GotReject:
		return AskRejected, []Action{RefuseRows}, nil
	case NoRows:
		return AskEnded, nil, nil
	case GotPending, TooOld, AskExpired:
		return s, nil, nil
	}
	return s, nil, fmt.Errorf("%w: %v in %v", ErrForbidden, e, s)
}

func (s AskState) waiting(e AskEvent) (AskState, []Action, error) {
	switch e {
	case GotAccept:
		return AskAccepted, []Action{StopResending, SendReceipt, KeepGrant, ReleaseRows}, nil
	case GotReject:
		return AskRejected, []Action{StopResending, RefuseRows}, nil
	case GotPending:
		if s == AskDeciding {
			return s, nil, nil
		}
		return AskDeciding, []Action{StopResending, ShowDeciding}, nil
	case GotBusy:
		return AskEnded, []Action{StopResending}, nil
	case GotRenew:
		if s == AskDeciding {
			break // the peer has opened the knock: its keys were good
		}
		return AskEnded, []Action{StopResending}, nil
	case TooOld:
		if s == AskDeciding {
			return s, nil, nil // the peer has the knock; another would ask twice
		}
		return AskWanted, []Action{StopResending}, nil
	case AskExpired:
		return AskWanted, []Action{StopResending}, nil
	case NoRows:
		return AskEnded, []Action{StopResending}, nil
	}
	return s, nil, fmt.Errorf("%w: %v in %v", ErrForbidden, e, s)
}

// AnswerState is where B stands with a knock whose message 0 it opened.
//
//	            accept                 ┌──────────┐
//	  ┌────────────────────────────────► accepted │
//	  │                                └────▲─────┘
//	┌─┴─────────┐  ask   ┌───────┐ approve  │
//	│ evaluated ├───────►│ asked ├──────────┘
//	└─┬─────────┘        └───┬───┘
//	  │ reject, full         │ refuse, expired
//	  │                      ▼
//	  │                ┌──────────┐
//	  └───────────────►│ rejected │
//	                   └──────────┘
//
// At most one pending, then one final answer, are ever sealed.
type AnswerState uint8

// B's states.
const (
	AnswerEvaluated AnswerState = iota
	AnswerAsked
	AnswerAccepted
	AnswerRejected
)

// AnswerEvent is what happens to a knock at B.
type AnswerEvent uint8

// B's events.
const (
	PolicyAccepts AnswerEvent = iota
	PolicyAsks
	PolicyRejects
	PendingFull // the policy says ask, and too many wait already
	OwnerApproves
	OwnerRefuses
	AnswerExpired  // the knock expired
	KnockAgain     // the same knock came again
	PeerMovedChain // a message of A under a new ratchet key was opened
)

// Next gives the state after an event and what to do, or ErrForbidden.
func (s AnswerState) Next(e AnswerEvent) (AnswerState, []Action, error) {
	switch s {
	case AnswerEvaluated:
		return s.evaluated(e)
	case AnswerAsked:
		return s.asked(e)
	case AnswerAccepted, AnswerRejected:
		switch e {
		case KnockAgain:
			return s, []Action{SendAnswer}, nil
		case AnswerExpired, PeerMovedChain:
			return s, []Action{StopResending}, nil
		}
	}
	return s, nil, fmt.Errorf("%w: %v in %v", ErrForbidden, e, s)
}

func (s AnswerState) evaluated(e AnswerEvent) (AnswerState, []Action, error) {
	switch e {
	case PolicyAccepts:
		return AnswerAccepted, []Action{KeepGrant, SealAccept}, nil
	case PolicyAsks:
		return AnswerAsked, []Action{AskOwner, SealPending}, nil
	case PolicyRejects, PendingFull:
		return AnswerRejected, []Action{EraseRequest, SealReject}, nil
	}
	return s, nil, fmt.Errorf("%w: %v in %v", ErrForbidden, e, s)
}

func (s AnswerState) asked(e AnswerEvent) (AnswerState, []Action, error) {
	switch e {
	case OwnerApproves:
		return AnswerAccepted, []Action{KeepGrant, SealAccept}, nil
	case OwnerRefuses, AnswerExpired:
		return AnswerRejected, []Action{EraseRequest, SealReject}, nil
	case KnockAgain:
		return s, []Action{SendAnswer}, nil
	case PeerMovedChain:
		return s, []Action{StopResending}, nil
	}
	return s, nil, fmt.Errorf("%w: %v in %v", ErrForbidden, e, s)
}

// String is the word for logs.
func (s AskState) String() string {
	return word(int(s), "wanted", "knocked", "deciding", "accepted", "rejected", "ended")
}

// String is the word for logs.
func (s AnswerState) String() string {
	return word(int(s), "evaluated", "asked", "accepted", "rejected")
}

// String names the event.
func (e AskEvent) String() string {
	return word(int(e), "bundle", "accept", "reject", "pending", "renew", "busy", "too old", "expired", "no rows")
}

// String names the event.
func (e AnswerEvent) String() string {
	return word(int(e), "policy accepts", "policy asks", "policy rejects", "pending full",
		"owner approves", "owner refuses", "expired", "knock again", "peer moved on")
}

// String names the action.
func (a Action) String() string {
	return word(int(a), "nothing", "make knock", "stop resending", "show deciding", "send receipt", "keep grant",
		"release rows", "refuse rows", "seal accept", "seal reject", "seal pending", "ask owner",
		"erase request", "send answer")
}

func word(i int, words ...string) string {
	if i >= len(words) {
		return fmt.Sprintf("(%d)", i)
	}
	return words[i]
}
