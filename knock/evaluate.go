package knock

import (
	"slices"

	"amesh/identity"
	"amesh/internal/content"
)

// Verdict is what a policy says to a knock.
type Verdict string

// The verdicts.
const (
	Accept Verdict = "accept"
	Reject Verdict = "reject"
	Ask    Verdict = "ask"
)

// Facts are what a policy may judge by: things that were verified, never what
// the knocker says about itself.
type Facts struct {
	Peer   identity.AMID
	Intent string
	// Granted says that the peer holds a living grant that covers the intent.
	Granted bool
	// NoOneTimeKey says that the knock was made without a one-time KEM key. No
	// rule weighs it; it is a remark for the owner.
	NoOneTimeKey bool
	// Mode is the mode asked for. Accountable is reserved and refused.
	Mode content.Mode
}

// Decision is a verdict with the rule it comes from. The rule is for the owner:
// strangers are told the verdict only.
type Decision struct {
	Verdict Verdict
	Rule    string
	Remarks []string // "no_otk"
}

// Blocked says whether the owner blocked the peer.
func (p Policy) Blocked(peer identity.AMID) bool { return slices.Contains(p.Block, peer) }

// Evaluate judges a knock. The first of these rules that applies decides: the
// block list; a reserved mode; the intents; a grant; the allow list; what the
// owner says of strangers.
func (p Policy) Evaluate(f Facts) Decision {
	d := p.judge(f)
	if f.NoOneTimeKey {
		d.Remarks = append(d.Remarks, "no_otk")
	}
	return d
}

func (p Policy) judge(f Facts) Decision {
	if p.Blocked(f.Peer) {
		return Decision{Verdict: Reject, Rule: "block"}
	}
	if f.Mode == content.Accountable {
		return Decision{Verdict: Reject, Rule: "mode: accountable is not supported"}
	}
	for _, pattern := range p.RejectedIntents {
		if matches(pattern, f.Intent) {
			return Decision{Verdict: Reject, Rule: "rejected_intents: " + pattern}
		}
	}
	if len(p.AcceptedIntents) > 0 && !slices.ContainsFunc(p.AcceptedIntents, func(s string) bool { return matches(s, f.Intent) }) {
		return Decision{Verdict: Reject, Rule: "accepted_intents"}
	}
	switch {
	case f.Granted:
		return Decision{Verdict: Accept, Rule: "grant"}
	case slices.Contains(p.Allow, f.Peer):
		return Decision{Verdict: Accept, Rule: "allow"}
	case p.Strangers == StrangersAccept:
		return Decision{Verdict: Accept, Rule: "strangers-accept"}
	case p.Strangers == StrangersReject:
		return Decision{Verdict: Reject, Rule: "strangers-reject"}
	}
	return Decision{Verdict: Ask, Rule: "strangers-ask"}
}
