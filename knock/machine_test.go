package knock

import (
	"errors"
	"slices"
	"testing"
	"time"

	"amesh/identity"
)

// Every state of A times every event. A state missing in a row means forbidden.
func TestAskMachine(t *testing.T) {
	type step struct {
		next    AskState
		actions []Action
	}
	stay := func(s AskState) step { return step{s, nil} }
	table := map[AskState]map[AskEvent]step{
		AskWanted: {
			GotBundle:  {AskKnocked, []Action{MakeKnock}},
			GotAccept:  {AskAccepted, []Action{SendReceipt, KeepGrant, ReleaseRows}}, // late accept
			GotReject:  {AskRejected, []Action{RefuseRows}},                          // late reject
			GotPending: stay(AskWanted), TooOld: stay(AskWanted), AskExpired: stay(AskWanted),
			NoRows: stay(AskEnded),
		},
		AskKnocked: {
			GotAccept:  {AskAccepted, []Action{StopResending, SendReceipt, KeepGrant, ReleaseRows}},
			GotReject:  {AskRejected, []Action{StopResending, RefuseRows}},
			GotPending: {AskDeciding, []Action{StopResending, ShowDeciding}},
			GotRenew:   {AskEnded, []Action{StopResending}}, GotBusy: {AskEnded, []Action{StopResending}},
			TooOld:     {AskWanted, []Action{StopResending}},
			AskExpired: {AskWanted, []Action{StopResending}},
			NoRows:     {AskEnded, []Action{StopResending}},
		},
		AskDeciding: {
			GotAccept:  {AskAccepted, []Action{StopResending, SendReceipt, KeepGrant, ReleaseRows}},
			GotReject:  {AskRejected, []Action{StopResending, RefuseRows}},
			GotPending: stay(AskDeciding), TooOld: stay(AskDeciding),
			GotBusy:    {AskEnded, []Action{StopResending}}, // a renew comes only before anything was opened
			AskExpired: {AskWanted, []Action{StopResending}},
			NoRows:     {AskEnded, []Action{StopResending}},
		},
		AskAccepted: {
			GotAccept: stay(AskAccepted), GotPending: stay(AskAccepted), // pending after the final answer
			TooOld: stay(AskAccepted), AskExpired: stay(AskAccepted), NoRows: stay(AskAccepted),
		},
		AskRejected: {
			GotReject: stay(AskRejected), GotPending: stay(AskRejected),
			TooOld: stay(AskRejected), AskExpired: stay(AskRejected), NoRows: stay(AskRejected),
		},
		AskEnded: {
			GotAccept: {AskAccepted, []Action{SendReceipt, KeepGrant}},
			GotReject: stay(AskEnded), GotPending: stay(AskEnded),
			TooOld: stay(AskEnded), AskExpired: stay(AskEnded), NoRows: stay(AskEnded),
		},
	}
	for s := AskWanted; s <= AskEnded+1; s++ {
		for e := GotBundle; e <= NoRows+1; e++ {
			want, allowed := table[s][e]
			next, actions, err := s.Next(e)
			if !allowed {
				if !errors.Is(err, ErrForbidden) || next != s || actions != nil {
					t.Errorf("%v, %v: got %v, %v, %v, want ErrForbidden", s, e, next, actions, err)
				}
				continue
			}
			if err != nil || next != want.next || !slices.Equal(actions, want.actions) {
				t.Errorf("%v, %v: got %v, %v, %v, want %v, %v", s, e, next, actions, err, want.next, want.actions)
			}
		}
	}
}

// Every state of B times every event.
func TestAnswerMachine(t *testing.T) {
	type step struct {
		next    AnswerState
		actions []Action
	}
	final := func(s AnswerState) map[AnswerEvent]step {
		return map[AnswerEvent]step{
			KnockAgain:     {s, []Action{SendAnswer}},
			AnswerExpired:  {s, []Action{StopResending}},
			PeerMovedChain: {s, []Action{StopResending}},
		}
	}
	table := map[AnswerState]map[AnswerEvent]step{
		AnswerEvaluated: {
			PolicyAccepts: {AnswerAccepted, []Action{KeepGrant, SealAccept}},
			PolicyAsks:    {AnswerAsked, []Action{AskOwner, SealPending}},
			PolicyRejects: {AnswerRejected, []Action{EraseRequest, SealReject}},
			PendingFull:   {AnswerRejected, []Action{EraseRequest, SealReject}},
		},
		AnswerAsked: {
			OwnerApproves:  {AnswerAccepted, []Action{KeepGrant, SealAccept}},
			OwnerRefuses:   {AnswerRejected, []Action{EraseRequest, SealReject}},
			AnswerExpired:  {AnswerRejected, []Action{EraseRequest, SealReject}},
			KnockAgain:     {AnswerAsked, []Action{SendAnswer}},
			PeerMovedChain: {AnswerAsked, []Action{StopResending}},
		},
		AnswerAccepted: final(AnswerAccepted),
		AnswerRejected: final(AnswerRejected),
	}
	for s := AnswerEvaluated; s <= AnswerRejected+1; s++ {
		for e := PolicyAccepts; e <= PeerMovedChain+1; e++ {
			want, allowed := table[s][e]
			next, actions, err := s.Next(e)
			if !allowed {
				if !errors.Is(err, ErrForbidden) || next != s || actions != nil {
					t.Errorf("%v, %v: got %v, %v, %v, want ErrForbidden", s, e, next, actions, err)
				}
				continue
			}
			if err != nil || next != want.next || !slices.Equal(actions, want.actions) {
				t.Errorf("%v, %v: got %v, %v, %v, want %v, %v", s, e, next, actions, err, want.next, want.actions)
			}
		}
	}
}

// Every name in logs is its own.
func TestNames(t *testing.T) {
	seen := make(map[string]bool)
	for a := MakeKnock; a <= SendAnswer; a++ {
		if seen[a.String()] || a.String() == "nothing" {
			t.Errorf("action %d is called %q", a, a)
		}
		seen[a.String()] = true
	}
	if SendAnswer.String() != "send answer" || AskEnded.String() != "ended" || AnswerRejected.String() != "rejected" ||
		NoRows.String() != "no rows" || PeerMovedChain.String() != "peer moved on" {
		t.Error("a word too many or too few")
	}
}

func TestWinner(t *testing.T) {
	h := func(b byte) [32]byte { return [32]byte{b} }
	for name, c := range map[string]struct{ winner, loser Contender }{
		"smaller hash":                  {Contender{Hash: h(1)}, Contender{Hash: h(2)}},
		"successor with greater hash":   {Contender{Hash: h(2), Prev: h(1)}, Contender{Hash: h(1)}},
		"successor with smaller hash":   {Contender{Hash: h(1), Prev: h(2)}, Contender{Hash: h(2)}},
		"prev of a third":               {Contender{Hash: h(1), Prev: h(9)}, Contender{Hash: h(2), Prev: h(8)}},
		"both name the other, absurdly": {Contender{Hash: h(1), Prev: h(2)}, Contender{Hash: h(2), Prev: h(1)}},
	} {
		if !c.winner.Beats(c.loser) || c.loser.Beats(c.winner) {
			t.Errorf("%s: %v, %v", name, c.winner.Beats(c.loser), c.loser.Beats(c.winner))
		}
	}
}

func TestLimiter(t *testing.T) {
	l := NewLimiter(Limits{PerSender: 3, Total: 5, Window: time.Minute})
	a, b, c := identity.AMID{1}, identity.AMID{2}, identity.AMID{3}
	steps := []struct {
		name string
		peer identity.AMID
		at   time.Duration
		want bool
	}{
		{"first", a, 0, true},
		{"second", a, time.Second, true},
		{"third", a, 2 * time.Second, true},
		{"fourth of one sender", a, 3 * time.Second, false},
		{"another sender", b, 3 * time.Second, true},
		{"fills the total", b, 4 * time.Second, true},
		{"over the total", c, 5 * time.Second, false},
		{"just before the first leaves", c, time.Minute - 1, false},
		{"the first has left", c, time.Minute, true},
		{"but only the first", a, time.Minute, false},
		{"all have left", a, 3 * time.Minute, true},
	}
	for _, s := range steps {
		if got := l.Allow(s.peer, noon.Add(s.at)); got != s.want {
			t.Errorf("%s: got %v, want %v", s.name, got, s.want)
		}
	}
	if len(l.counts) != 1 || len(l.events) != 1 {
		t.Errorf("keeps %d senders and %d events", len(l.counts), len(l.events))
	}
}

// A flood under ever new names keeps no more than the limit.
func TestLimiterMemory(t *testing.T) {
	l := NewLimiter(DefaultLimits())
	taken := 0
	for i := range 100_000 {
		if l.Allow(identity.AMID{byte(i), byte(i >> 8), byte(i >> 16)}, noon.Add(time.Duration(i)*time.Microsecond)) {
			taken++
		}
	}
	if taken != 600 || len(l.events) != 600 || len(l.counts) != 600 {
		t.Errorf("took %d, keeps %d events of %d senders", taken, len(l.events), len(l.counts))
	}
}
