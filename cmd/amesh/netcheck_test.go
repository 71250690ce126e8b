package main

import (
	"strings"
	"testing"

	"amesh/node/api"

	"github.com/google/go-cmp/cmp"
)

func TestNetcheckEndsWithOneVerdict(t *testing.T) {
	found := api.Netcheck{
		Text: "the verdict\x1b[2J", Next: "do this", NAT: api.NAT{Type: api.NATSymmetric, Public: []string{"192.0.2.1:4711"}}, IPv4: true, Daemon: true, Proxy: "http://proxy:3128",
		STUN:   []api.STUNResult{{Server: "s:3478", Asked: "192.0.2.9:3478", Public: "192.0.2.1:4711", RTTMS: 12}, {Server: "t:3478", Error: "silence"}, {Server: "u:3478", Asked: "192.0.2.8:3478", Error: "ask 192.0.2.8:3478: no answer"}},
		Relays: []api.RelayCheck{{URL: "wss://r", State: "connected", LatencyMS: 23.5, Via: "longpoll", Proxy: "http://proxy:3128"}, {URL: "wss://q", State: "failed", Error: "refused"}},
	}
	for verdict, exit := range map[api.Verdict]int{api.VerdictGood: exitOK, api.VerdictDegraded: exitDegraded, api.VerdictNone: exitFailed} {
		n := newFakeNode()
		n.net = found
		n.net.Verdict = verdict
		r := runFake(t, n, nil, "netcheck", "--stun", "stun.example:3478", "--relay", "wss://r.example/v1/connect")
		if r.exit != exit || !strings.HasPrefix(r.err, "the node looks at the network …\n") {
			t.Errorf("%s: exit %d, %s", verdict, r.exit, r.err)
		}
		if strings.Contains(r.err, "the verdict") || strings.Contains(r.err, "do this") {
			t.Errorf("%s: standard error says again what standard output said: %s", verdict, r.err)
		}
		for _, want := range []string{
			"verdict  " + string(verdict) + `: the verdict\x1b[2J`, "next     do this", "nat      symmetric, 192.0.2.1:4711", "ipv4     yes", "ipv6     no", "udp      gets out",
			"port     none forwarded", "proxy    http://proxy:3128", "stun     s:3478 (192.0.2.9:3478)  sees 192.0.2.1:4711, 12 ms", "stun     t:3478  no answer: silence", "stun     u:3478 (192.0.2.8:3478)  no answer\n",
			"relay    wss://r  connected, 23.5 ms, by plain HTTP requests: no WebSocket gets through, through http://proxy:3128", "relay    wss://q  failed, refused",
		} {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s: %q is not in\n%s", verdict, want, r.out)
			}
		}
		if d := cmp.Diff([]api.NetcheckRequest{{Relays: []string{"wss://r.example/v1/connect"}, STUN: []string{"stun.example:3478"}}}, n.netted); d != "" {
			t.Error(d)
		}
		r = runFake(t, n, nil, "netcheck", "--json")
		for path, want := range map[string]string{"schema": "amesh.netcheck/1", "data.verdict": string(verdict), "data.nat.type": "symmetric", "data.relays.1.state": "failed"} {
			if got, err := lookUp(r.out, path); r.exit != exit || err != nil || got != want {
				t.Errorf("%s: %s is %q, %v", verdict, path, got, err)
			}
		}
	}
	for _, args := range [][]string{{"--stun", "nowhere"}, {"--relay", "http://r"}} {
		if r := runFake(t, newFakeNode(), nil, append([]string{"netcheck"}, args...)...); r.exit != exitUsage {
			t.Errorf("%v: exit %d", args, r.exit)
		}
	}
}
