package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/node/api"
)

func relayedWhy(now time.Time) api.Why {
	return api.Why{
		Peer: peer(2), Agent: "default", Name: "bob", Path: api.PathRelayed, Reason: api.WhyNATs, Session: "accepted",
		Text: "the NATs let nothing through", Next: "forward a port", Relay: "wss://r.example/v1/connect",
		Own:    &api.NAT{Type: api.NATSymmetric, Public: []string{"192.0.2.1:4711"}},
		Theirs: &api.NAT{Type: api.NATEndpoint, IPv6: true},
		Attempts: []api.Attempt{{
			Kind: api.AttemptICE, Started: now.Add(-3 * time.Second), TookMS: 10000, Outcome: api.OutcomeFailed, Error: "evil\x1b[2J",
			Pairs: []api.Pair{{Local: "192.0.2.1:4711", LocalType: "srflx", Remote: "198.51.100.2:\u202e33", RemoteType: "host", State: "failed", Requests: 7}},
		}, {Kind: api.AttemptDial, Started: now.Add(-9 * time.Second), TookMS: 12.5, Outcome: api.OutcomeFailed, Error: "no answer", Target: "/ip4/198.51.100.2/tcp/1/p2p/12D3KooWJSsmxf5NWZGzogNuMimRMC4ZTgkcfcYzUSjUqiiYjAPW"}},
	}
}

func TestWhyFitsOnAScreenAndEscapesWhatAPeerChose(t *testing.T) {
	n := newFakeNode()
	n.why = []api.Why{relayedWhy(time.Now())}
	r := runFake(t, n, nil, "why", "bob")
	if r.exit != exitOK || n.tries != 0 {
		t.Fatalf("exit %d, %d tries, %s", r.exit, n.tries, r.err)
	}
	for _, want := range []string{
		peer(2).String() + " (bob)  session accepted", "path     relayed by wss://r.example/v1/connect", "why      the NATs let nothing through",
		"next     forward a port", "our nat  symmetric, 192.0.2.1:4711", "its nat  endpoint, IPv6", `ice     failed after 10s: evil\x1b[2J`,
		`192.0.2.1:4711 srflx → 198.51.100.2:\u{202e}33 host  failed, 7 asked, 0 answered`, "dial    failed after 12.5 ms: no answer\n           to /ip4/198.51.100.2/tcp/1\n",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in\n%s", want, r.out)
		}
	}
	many := relayedWhy(time.Now())
	for range 40 {
		many.Attempts = append(many.Attempts, many.Attempts[1])
		many.Attempts[0].Pairs = append(many.Attempts[0].Pairs, many.Attempts[0].Pairs[0])
	}
	n.why = []api.Why{many}
	if r := runFake(t, n, nil, "why", "bob"); strings.Count(r.out, "\n") > 24 {
		t.Errorf("%d lines do not fit on a screen:\n%s", strings.Count(r.out, "\n"), r.out)
	}
}

func TestWhyForPrograms(t *testing.T) {
	n := newFakeNode()
	n.why = []api.Why{relayedWhy(time.Now())}
	r := runFake(t, n, nil, "why", "bob", "--json")
	for path, want := range map[string]string{"schema": "amesh.why/1", "data.path": "relayed", "data.reason": "nats", "data.limited": "false",
		"data.attempts.0.pairs.0.requests": "7", "data.own.type": "symmetric"} {
		if got, err := lookUp(r.out, path); err != nil || got != want {
			t.Errorf("%s is %q, %v", path, got, err)
		}
	}
	if r := runFake(t, newFakeNode(), nil, "why", "nobody"); r.exit != exitNotFound {
		t.Errorf("exit %d for a peer that is not known", r.exit)
	}
}

func TestWhyFollowsAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, done := relayedWhy(time.Now()), relayedWhy(time.Now())
		running.Reason = api.WhyTrying
		running.Attempts[0].Outcome, running.Attempts[0].Started = api.OutcomeRunning, time.Now()
		done.Reason, done.Path = api.WhyConnected, api.PathPunched
		done.Attempts[0].Outcome, done.Attempts[0].TookMS, done.Attempts[0].Started = api.OutcomeOK, 420, time.Now()
		n := newFakeNode()
		n.why = []api.Why{running, running, done}
		r := runFake(t, n, nil, "why", "bob", "--try")
		if r.exit != exitOK || n.tries != 1 || r.err != "ice: under way, 1 pair of addresses\nice: ok after 420 ms\n" || !strings.Contains(r.out, "path     punched") {
			t.Errorf("exit %d, %d tries, said %q and %q", r.exit, n.tries, r.err, r.out)
		}

		n.why = []api.Why{running} // for ever
		begun := time.Now()
		if r := runFake(t, n, nil, "why", "bob", "--try", "--timeout", "5s"); r.exit != exitOK || time.Since(begun) > 6*time.Second {
			t.Errorf("exit %d after %s", r.exit, time.Since(begun))
		}
		old := relayedWhy(time.Now())
		n.why = []api.Why{old}
		if r := runFake(t, n, nil, "why", "bob", "--try"); r.err != "nothing to try: the NATs let nothing through\n" {
			t.Errorf("said %q", r.err)
		}
	})
}
