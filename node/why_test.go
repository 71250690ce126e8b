package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/node/api"
	"amesh/node/path"
)

// What stands in the way of any path counts first, and is said with a next step.
func TestReasonOfNoPath(t *testing.T) {
	for name, c := range map[string]struct {
		way     wayTo
		blocked bool
		want    api.WhyReason
	}{
		"blocked counts first": {wayTo{Why: api.Why{Path: api.PathRelayed}}, true, api.WhyBlocked},
		"direct":               {wayTo{Why: api.Why{Path: api.PathDirect}}, false, ""},
		"relayed":              {wayTo{Why: api.Why{Path: api.PathRelayed}}, false, ""},
		"a stranger":           {wayTo{Why: api.Why{Path: api.PathNone}, unknown: true, homeless: true}, false, api.WhyUnknown},
		"offline":              {wayTo{Why: api.Why{Path: api.PathNone}, homeless: true}, false, api.WhyOffline},
		"its relays are off":   {wayTo{Why: api.Why{Path: api.PathNone}, relays: []string{"wss://x"}}, false, api.WhyNoRelay},
	} {
		got := reasonOf(c.way, c.blocked)
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if text, next := sentences(got, identity.AMID{}); got != "" && (text == "" || text == string(got) || next == "") {
			t.Errorf("%s: %q, %q", got, text, next)
		}
	}
}

// A dial that succeeded at its second address is no failure to who reads of it.
func TestAttemptThatWonHasNoError(t *testing.T) {
	now := time.Now()
	for outcome, want := range map[path.Outcome]string{path.Won: "", path.Lost: "silence"} {
		a := path.Attempt{Rung: path.Dialling, Started: now, Outcome: outcome, Result: path.Result{Detail: "silence"}}
		if got := shownAttempt(a, now).Error; got != want {
			t.Errorf("outcome %d: error %q, want %q", outcome, got, want)
		}
	}
}

// Relayed, then direct when the other side can be dialled: the test tells the two by the
// address of the connection.
func TestWhyTellsTheRelayFromAConnection(t *testing.T) {
	s := newStation(t)
	a := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Punch: PunchOff})
	b := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Punch: PunchOff})
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
		return err == nil && w.Reason == api.WhyOff
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

// A knock is answered by one side's owner; the other side's waits.
func TestWhyNamesWhoHasToAnswerAKnock(t *testing.T) {
	s := newStation(t)
	a := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Punch: PunchOff})
	b := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Punch: PunchOff})
	b.set("strangers", "ask")
	eventually(t, "record", func() bool { _, err := s.find(b.amid); return err == nil })
	if _, err := a.api.Send(t.Context(), "", api.SendRequest{To: b.amid.String(), Body: []byte("hello")}, ""); err != nil {
		t.Fatal(err)
	}
	var knocks []api.Knock
	eventually(t, "the knock", func() (there bool) {
		knocks, _ = b.api.Knocks(t.Context(), "")
		return len(knocks) == 1
	})
	next := func(from, to *running) string {
		w, err := from.api.Why(t.Context(), "", to.amid.String())
		if err != nil || w.Reason != api.WhyNoSession {
			return string(w.Reason)
		}
		return w.Next
	}
	eventually(t, "the asked owner's turn", func() bool { return strings.HasSuffix(next(b, a), "approve "+knocks[0].ID) })
	eventually(t, "the other owner's patience", func() bool { return strings.Contains(next(a, b), "its owner's answer") })
	for from, to := range map[*running]*running{a: b, b: a} {
		_, err := from.api.Ping(t.Context(), "", to.amid.String(), api.PingRequest{})
		if p, ok := errors.AsType[*api.Problem](err); !ok || p.Code != api.CodeNoSession || p.Hint != next(from, to) {
			t.Errorf("ping: %+v", err)
		}
	}
}

func TestTheirNATAsCandidatesShowIt(t *testing.T) {
	ice := func(pairs ...api.Pair) []api.Attempt {
		return []api.Attempt{{Kind: api.AttemptDial}, {Kind: api.AttemptICE, Pairs: pairs}, {Kind: api.AttemptICE, Pairs: []api.Pair{{}}}}
	}
	private := api.Pair{Remote: "192.168.1.7:1", RemoteType: "host"}
	seen := api.Pair{Remote: "203.0.113.9:2", RemoteType: "srflx"}
	answered := seen
	answered.Responses = 1
	for name, c := range map[string]struct {
		attempts []api.Attempt
		want     *api.NAT
	}{
		"no punch":              {[]api.Attempt{{Kind: api.AttemptDial}}, nil},
		"nothing answered":      {ice(private, seen), &api.NAT{Type: api.NATUnknown, Public: []string{"203.0.113.9:2"}}},
		"what was seen holds":   {ice(private, answered), &api.NAT{Type: api.NATEndpoint, Public: []string{"203.0.113.9:2"}}},
		"from another port":     {ice(seen, api.Pair{Remote: "203.0.113.9:7", RemoteType: "prflx", Responses: 1}), &api.NAT{Type: api.NATSymmetric, Public: []string{"203.0.113.9:2"}}},
		"an address of its own": {ice(api.Pair{Remote: "203.0.113.9:2", RemoteType: "host"}), &api.NAT{Type: api.NATNone}},
		"IPv6":                  {ice(api.Pair{Remote: "[2a00::7]:2", RemoteType: "host"}, api.Pair{Remote: "strange"}), &api.NAT{Type: api.NATUnknown, IPv6: true}},
	} {
		if d := cmp.Diff(c.want, theirNAT(c.attempts)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
