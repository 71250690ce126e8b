package knock

import (
	"testing"

	"amesh/identity"
	"amesh/internal/content"
)

// An invite stands behind all that the owner forbids and all that lets in without it,
// and in front of what he says of strangers.
func TestInviteAmongTheRules(t *testing.T) {
	peer := identity.AMID{0: 1}
	for _, c := range []struct {
		name    string
		change  func(p *Policy, f *Facts)
		verdict Verdict
		rule    string
	}{
		{"a stranger, asked about", func(*Policy, *Facts) {}, Accept, "invite/7f3a2b1c"},
		{"a stranger, rejected", func(p *Policy, _ *Facts) { p.Strangers = StrangersReject }, Accept, "invite/7f3a2b1c"},
		{"a stranger, let in", func(p *Policy, _ *Facts) { p.Strangers = StrangersAccept }, Accept, "invite/7f3a2b1c"},
		{"blocked", func(p *Policy, _ *Facts) { p.Block = []identity.AMID{peer} }, Reject, "block"},
		{"another mode", func(p *Policy, _ *Facts) { p.AcceptModes = []content.Mode{content.Accountable} }, Reject, "accept_modes"},
		{"rejected intent", func(p *Policy, _ *Facts) { p.RejectedIntents = []string{"travel"} }, Reject, "rejected_intents: travel"},
		{"other intents", func(p *Policy, _ *Facts) { p.AcceptedIntents = []string{"weather"} }, Reject, "accepted_intents"},
		{"holds a grant", func(_ *Policy, f *Facts) { f.Granted = true }, Accept, "grant"},
		{"on the allow list", func(p *Policy, _ *Facts) { p.Allow = []identity.AMID{peer} }, Accept, "allow"},
		{"without it", func(_ *Policy, f *Facts) { f.Invite = "" }, Ask, "strangers-ask"},
	} {
		p, f := DefaultPolicy(), Facts{Peer: peer, Intent: "travel/flights", Invite: "7f3a2b1c", Mode: content.Private}
		c.change(&p, &f)
		if d := p.Evaluate(f); d.Verdict != c.verdict || d.Rule != c.rule {
			t.Errorf("%s: %s by %q", c.name, d.Verdict, d.Rule)
		}
	}
}
