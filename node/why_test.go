package node

import (
	"testing"
	"time"

	"amesh/node/api"
)

// Every reason has a sentence, and a next step unless there is nothing to do.
func TestEveryReasonIsSaidInWords(t *testing.T) {
	for _, reason := range []api.WhyReason{
		api.WhyConnected, api.WhyTrying, api.WhyNotTried, api.WhyNoSession, api.WhyNoAddress, api.WhyNoAnswer, api.WhyPeerSilent,
		api.WhyPeerDeclined, api.WhyNATs, api.WhyUDPBlocked, api.WhyPeerUDP, api.WhyPunchFailed, api.WhyUnproved, api.WhyOff,
		api.WhyOffline, api.WhyNoRelay, api.WhyUnknown, api.WhyBlocked,
	} {
		text, next := sentences(api.Why{Reason: reason})
		if text == string(reason) || text == "" {
			t.Errorf("%s: no sentence", reason)
		}
		if next == "" && reason != api.WhyConnected {
			t.Errorf("%s: no next step", reason)
		}
	}
}

func TestReasonOfAPath(t *testing.T) {
	failed := func(kind api.AttemptKind, pairs int) []api.Attempt {
		return []api.Attempt{{Kind: api.AttemptRelay, Outcome: api.OutcomeOK}, {Kind: kind, Outcome: api.OutcomeFailed, Pairs: make([]api.Pair, pairs)}}
	}
	nat := func(t api.NATType) *api.NAT { return &api.NAT{Type: t} }
	relayed := func(change func(*wayTo)) wayTo {
		w := wayTo{Why: api.Why{Path: api.PathRelayed, Session: "accepted", Relay: "wss://r"}, addressed: true}
		change(&w)
		return w
	}
	for name, c := range map[string]struct {
		way     wayTo
		blocked bool
		want    api.WhyReason
	}{
		"blocked counts first":    {relayed(func(*wayTo) {}), true, api.WhyBlocked},
		"open":                    {wayTo{Why: api.Why{Path: api.PathOpen}}, false, api.WhyConnected},
		"direct":                  {wayTo{Why: api.Why{Path: api.PathDirect}}, false, api.WhyConnected},
		"punched":                 {wayTo{Why: api.Why{Path: api.PathPunched}}, false, api.WhyConnected},
		"a circuit is not direct": {wayTo{Why: api.Why{Path: api.PathDirect, Limited: true, Session: "accepted"}, addressed: true}, false, api.WhyNotTried},
		"trying": {relayed(func(w *wayTo) {
			w.Attempts = []api.Attempt{{Kind: api.AttemptICE, Outcome: api.OutcomeRunning}}
		}), false, api.WhyTrying},
		"not tried":          {relayed(func(*wayTo) {}), false, api.WhyNotTried},
		"no session":         {relayed(func(w *wayTo) { w.Session, w.addressed = "knocking", false }), false, api.WhyNoSession},
		"no address":         {relayed(func(w *wayTo) { w.addressed = false }), false, api.WhyNoAddress},
		"dial in vain":       {relayed(func(w *wayTo) { w.Attempts = failed(api.AttemptDial, 0) }), false, api.WhyNoAnswer},
		"declined":           {relayed(func(w *wayTo) { w.Attempts = []api.Attempt{{Kind: api.AttemptICE, Outcome: api.OutcomeDeclined}} }), false, api.WhyPeerDeclined},
		"silent":             {relayed(func(w *wayTo) { w.Attempts = failed(api.AttemptICE, 0) }), false, api.WhyPeerSilent},
		"punch failed":       {relayed(func(w *wayTo) { w.Attempts = failed(api.AttemptICE, 3) }), false, api.WhyPunchFailed},
		"ours is symmetric":  {relayed(func(w *wayTo) { w.Attempts, w.Own = failed(api.AttemptICE, 3), nat(api.NATSymmetric) }), false, api.WhyNATs},
		"their UDP":          {relayed(func(w *wayTo) { w.Attempts, w.Theirs = failed(api.AttemptICE, 3), nat(api.NATBlocked) }), false, api.WhyPeerUDP},
		"our UDP":            {relayed(func(w *wayTo) { w.Attempts, w.Own = failed(api.AttemptDial, 0), nat(api.NATBlocked) }), false, api.WhyUDPBlocked},
		"a stranger":         {wayTo{Why: api.Why{Path: api.PathNone}, unknown: true, homeless: true}, false, api.WhyUnknown},
		"offline":            {wayTo{Why: api.Why{Path: api.PathNone}, homeless: true}, false, api.WhyOffline},
		"its relays are off": {wayTo{Why: api.Why{Path: api.PathNone}, relays: []string{"wss://x"}}, false, api.WhyNoRelay},
	} {
		if got := reasonOf(c.way, c.blocked); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Relayed, then direct when the other side can be dialled: the test tells the two by the
// address of the connection.
func TestWhyTellsTheRelayFromAConnection(t *testing.T) {
	s := newStation(t)
	a := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}})
	b := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}})
	w, err := a.api.Why(t.Context(), "", b.amid.String())
	if err != nil || w.Path != api.PathNone || w.Reason != api.WhyUnknown {
		t.Fatalf("before anything: %+v, %v", w, err)
	}
	b.set("strangers", "accept")
	eventually(t, "record", func() bool { _, err := s.find(b.amid); return err == nil })
	a.send(b, "by relay", api.SendRequest{Via: "relayed"})
	// The accept told the addresses; before a dial there is the relay only.
	eventually(t, "a direct path", func() bool {
		w, err = a.api.TryDirect(t.Context(), "", b.amid.String())
		return err == nil && w.Path == api.PathDirect
	})
	if w.Remote == "" || w.Limited || w.PeerID == "" || w.Since == nil || w.Session != "accepted" || w.Next != "" {
		t.Errorf("direct: %+v", w)
	}
	if since := time.Since(*w.Since); since < 0 || since > time.Minute {
		t.Errorf("since %s", since)
	}
	b.end()
	eventually(t, "the relay again", func() bool {
		w, err = a.api.Why(t.Context(), "", b.amid.String())
		return err == nil && w.Path == api.PathRelayed
	})
	if w.Relay != s.url || w.Remote != "" {
		t.Errorf("relayed: %+v", w)
	}
	if _, err := a.api.TryDirect(t.Context(), "", b.amid.String()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an attempt in vain", func() bool {
		w, err = a.api.Why(t.Context(), "", b.amid.String())
		return err == nil && w.Reason == api.WhyNoAnswer
	})
	if w.Attempts[0].Kind != api.AttemptDial || w.Attempts[0].Error == "" || w.NextTry == nil {
		t.Errorf("in vain: %+v", w)
	}
	s.end()
	eventually(t, "no path", func() bool {
		w, err = a.api.Why(t.Context(), "", b.amid.String())
		return err == nil && w.Path == api.PathNone && w.Reason != api.WhyConnected
	})
}
