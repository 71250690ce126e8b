package node

import (
	"testing"

	"amesh/node/api"
)

func TestPingProvesThePeerByEitherPath(t *testing.T) {
	s := newStation(t)
	a := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Punch: PunchOff})
	b := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Punch: PunchOff})
	b.set("strangers", "accept")
	eventually(t, "record", func() bool { _, err := s.find(b.amid); return err == nil })

	if _, err := a.api.Ping(t.Context(), "", b.amid.String(), api.PingRequest{}); problemCode(err) != api.CodeNoSession {
		t.Fatalf("before anything: %v", err)
	}
	a.send(b, "hello", api.SendRequest{Via: "relayed"})
	p, err := a.api.Ping(t.Context(), "", b.amid.String(), api.PingRequest{Via: "relayed", TimeoutMS: 20_000})
	if err != nil || p.Path != api.PathRelayed || p.Via != s.url || p.RTTMS <= 0 || p.Peer != b.amid {
		t.Fatalf("by relay: %+v, %v", p, err)
	}
	eventually(t, "a direct path", func() bool {
		w, err := a.api.TryDirect(t.Context(), "", b.amid.String())
		return err == nil && w.Path == api.PathDirect
	})
	p, err = a.api.Ping(t.Context(), "", b.amid.String(), api.PingRequest{TimeoutMS: 20_000})
	if err != nil || p.Path != api.PathDirect || p.Via == "" || p.Via == s.url {
		t.Fatalf("directly: %+v, %v", p, err)
	}
	b.end()
	if _, err = a.api.Ping(t.Context(), "", b.amid.String(), api.PingRequest{TimeoutMS: 100}); problemCode(err) != api.CodeNoAnswer {
		t.Errorf("the peer is off: %v", err)
	}
	if _, err = a.api.Block(t.Context(), "", b.amid.String(), true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the block", func() bool {
		_, err := a.api.Ping(t.Context(), "", b.amid.String(), api.PingRequest{TimeoutMS: 100})
		return problemCode(err) == api.CodePolicy
	})
}
