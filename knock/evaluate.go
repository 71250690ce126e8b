package knock

import (
	"slices"
	"strings"

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
	// Invite is the id of an invite of ours that the knock brings and that covers the
	// intent; empty for none.
	Invite string
	// Tier is what the knock's certificate proved.
	Tier Tier
	// NoOneTimeKey says that the knock was made without a one-time KEM key. No
	// rule weighs it; it is a remark for the owner.
	NoOneTimeKey bool
	// Mode is the mode asked for; 0 for a message, whose session has its mode.
	Mode content.Mode
}

// Decision is a verdict with the rule it comes from. The rule is for the owner:
// strangers are told the verdict only.
type Decision struct {
	Verdict Verdict
	Rule    string
	Remarks []string // "no_otk"
}

// InviteRule is the rule under which the invite with an id lets in.
func InviteRule(id string) string { return "invite/" + id }

// Blocked says whether the owner blocked the peer.
func (p Policy) Blocked(peer identity.AMID) bool { return slices.Contains(p.Block, peer) }

// WithBlock is the policy with a peer on the block list, or off it.
func (p Policy) WithBlock(peer identity.AMID, blocked bool) Policy {
	p.Block = slices.DeleteFunc(slices.Clone(p.Block), func(a identity.AMID) bool { return a == peer })
	if blocked {
		p.Block = append(p.Block, peer)
	}
	return p
}

// Evaluate judges a knock. The first of these rules that applies decides: the
// block list; the modes; the intents; a grant; the allow list; an invite; the tier; what
// the owner says of strangers.
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
	if f.Mode != 0 && len(p.AcceptModes) > 0 && !slices.Contains(p.AcceptModes, f.Mode) {
		return Decision{Verdict: Reject, Rule: keyModes}
	}
	if rule := p.bars(f.Intent); rule != "" {
		return Decision{Verdict: Reject, Rule: rule}
	}
	switch {
	case f.Granted:
		return Decision{Verdict: Accept, Rule: "grant"}
	case slices.Contains(p.Allow, f.Peer):
		return Decision{Verdict: Accept, Rule: "allow"}
	case f.Invite != "":
		return Decision{Verdict: Accept, Rule: InviteRule(f.Invite)}
	case f.Tier < p.MinTier:
		return Decision{Verdict: Reject, Rule: keyMinTier + ": " + p.MinTier.String()}
	case p.Strangers == StrangersAccept:
		return Decision{Verdict: Accept, Rule: "strangers-accept"}
	case p.Strangers == StrangersReject:
		return Decision{Verdict: Reject, Rule: "strangers-reject"}
	}
	return Decision{Verdict: Ask, Rule: "strangers-ask"}
}

// bars is the rule that lets nobody in with an intent, empty when there is none.
func (p Policy) bars(intent string) string {
	for _, pattern := range p.RejectedIntents {
		if matches(pattern, intent) {
			return keyRejected + ": " + pattern
		}
	}
	if len(p.AcceptedIntents) > 0 && !slices.ContainsFunc(p.AcceptedIntents, func(s string) bool { return matches(s, intent) }) {
		return keyAccepted
	}
	return ""
}

// Welcomes says whether the peer is let in without a grant and without asking the
// owner, with some intent and whatever it can prove.
func (p Policy) Welcomes(peer identity.AMID) bool {
	return (slices.Contains(p.Allow, peer) || p.Strangers == StrangersAccept && p.MinTier == Anonymous) && p.Leaves(peer, nil)
}

// Leaves says whether the policy lets the peer in with at least one of the intents of
// a grant; none are every intent.
func (p Policy) Leaves(peer identity.AMID, intents []string) bool {
	if p.Blocked(peer) {
		return false
	}
	if len(intents) > 0 {
		return slices.ContainsFunc(intents, func(s string) bool { return p.bars(s) == "" })
	}
	accepted := p.AcceptedIntents
	if len(accepted) == 0 {
		accepted = []string{"*"}
	}
	return slices.ContainsFunc(accepted, func(s string) bool { return !p.rejectsAll(s) })
}

// rejectsAll says whether every intent that a pattern covers is rejected. One rule must
// do it alone: below an intent there are always more, and a rule that rejects the
// intent itself rejects those too.
func (p Policy) rejectsAll(pattern string) bool {
	return slices.ContainsFunc(p.RejectedIntents, func(r string) bool {
		stem, below := strings.CutSuffix(pattern, "/*")
		switch {
		case r == "*":
			return true
		case pattern == "*":
			return false
		case below && r == pattern:
			return true
		}
		return matches(r, stem)
	})
}
