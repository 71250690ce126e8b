package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/node/api"
)

func echoAfter(ms float64, path api.PathKind, via string) func(api.PingRequest) (api.Ping, error) {
	return func(api.PingRequest) (api.Ping, error) {
		return api.Ping{Peer: peer(2), RTTMS: ms, Path: path, Via: via}, nil
	}
}

func noEcho(code api.Code) func(api.PingRequest) (api.Ping, error) {
	return func(r api.PingRequest) (api.Ping, error) {
		time.Sleep(time.Duration(r.TimeoutMS) * time.Millisecond)
		return api.Ping{}, api.Problemf(504, code, "it did not answer").WithHint("amesh why bob")
	}
}

func TestPingCountsAndTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode()
		n.pings = []func(api.PingRequest) (api.Ping, error){
			echoAfter(10, api.PathRelayed, "wss://r.example"), noEcho(api.CodeNoAnswer), echoAfter(40, api.PathPunched, "/ip4/192.0.2.1/udp/1/quic-v1\x1b[2J"),
		}
		begun := time.Now()
		r := runFake(t, n, nil, "ping", "bob", "-c", "3", "-i", "2s", "--timeout", "1s", "--via", "relayed")
		want := "answer 1 from " + peer(2).String() + ": 10 ms, relayed (wss://r.example)\nno answer 2: it did not answer\nanswer 3 from " + peer(2).String() +
			`: 40 ms, punched (/ip4/192.0.2.1/udp/1/quic-v1\x1b[2J)` + "\n3 asked, 2 answered; least 10 ms, average 25 ms, most 40 ms\n"
		if r.exit != exitOK || r.out != want {
			t.Errorf("exit %d, said\n%s", r.exit, r.out)
		}
		if took := time.Since(begun); took != 4*time.Second {
			t.Errorf("took %s", took)
		}
		if len(n.pinged) != 3 || n.pinged[0] != (api.PingRequest{Via: "relayed", TimeoutMS: 1000}) {
			t.Errorf("asked %+v", n.pinged)
		}
	})
}

func TestPingForPrograms(t *testing.T) {
	n := newFakeNode()
	n.pings = []func(api.PingRequest) (api.Ping, error){echoAfter(12.5, api.PathDirect, "/ip4/192.0.2.1/tcp/1")}
	r := runFake(t, n, nil, "ping", "bob", "-c", "1", "--json")
	for path, want := range map[string]string{"schema": "amesh.ping/1", "ok": "true", "data.answered": "1", "data.avg_ms": "12.5", "data.path": "direct",
		"data.answers.0.via": "/ip4/192.0.2.1/tcp/1", "data.peer": peer(2).String()} {
		if got, err := lookUp(r.out, path); err != nil || got != want {
			t.Errorf("%s is %q, %v", path, got, err)
		}
	}
}

func TestPingInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, exit := range map[api.Code]int{api.CodeNoAnswer: exitTimeout, api.CodeNoSession: exitNotFound, api.CodePolicy: exitRefused, api.CodeBusy: exitFailed} {
			n := newFakeNode()
			n.pings = []func(api.PingRequest) (api.Ping, error){noEcho(code)}
			r := runFake(t, n, nil, "ping", "bob", "-c", "2", "--json")
			if got, err := lookUp(r.out, "error.code"); r.exit != exit || err != nil || got != string(code) || !strings.Contains(r.err, "next: amesh why bob") {
				t.Errorf("%s: exit %d, %s", code, r.exit, r.out)
			}
			if asked := map[bool]int{true: 2, false: 1}[code == api.CodeNoAnswer]; len(n.pinged) != asked {
				t.Errorf("%s: asked %d times", code, len(n.pinged))
			}
		}
	})
	for _, args := range [][]string{{"-c", "0"}, {"-i", "100ms"}, {"--timeout", "31s"}, {"--via", "pigeon"}} {
		if r := runFake(t, newFakeNode(), nil, append([]string{"ping", "bob"}, args...)...); r.exit != exitUsage {
			t.Errorf("%v: exit %d", args, r.exit)
		}
	}
}
