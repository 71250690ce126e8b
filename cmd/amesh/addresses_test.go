package main

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTakenPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	var told []string
	tell := func(line string) { told = append(told, line) }

	if _, err := listenTCP(addr, false, tell); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port that was asked for: %v", err)
	}
	if len(told) > 0 {
		t.Errorf("told %q", told)
	}
	l, err := listenTCP(addr, true, tell)
	if err != nil {
		t.Fatalf("a default port: %v", err)
	}
	defer l.Close()
	if len(told) != 1 || !strings.Contains(told[0], l.Addr().String()) {
		t.Errorf("told %q, listening on %s", told, l.Addr())
	}
}

func TestWhereARelayListens(t *testing.T) {
	for _, c := range []struct {
		name, flag string
		env        map[string]string
		addr       string
		isDefault  bool
		domains    []string
	}{
		{"told nothing", "", nil, ":8765", true, nil},
		{"PORT of the environment", "", map[string]string{"PORT": "9000"}, ":9000", false, nil},
		{"HOST and PORT", "", map[string]string{"PORT": "9000", "HOST": "127.0.0.1"}, "127.0.0.1:9000", false, nil},
		{"HOST alone", "", map[string]string{"HOST": "127.0.0.1"}, "127.0.0.1:8765", true, nil},
		{"a flag beats both", "[::1]:1", map[string]string{"PORT": "9000", "HOST": "127.0.0.1"}, "[::1]:1", false, nil},
		{"with a domain", "", nil, ":443", false, []string{"relay.example"}},
		{"with a domain and PORT", "", map[string]string{"PORT": "9000"}, ":9000", false, []string{"relay.example"}},
	} {
		a := &app{getenv: func(k string) string { return c.env[k] }}
		addr, isDefault := a.serverListen(c.flag, relayDefault, tlsOptions{domains: c.domains})
		if addr != c.addr || isDefault != c.isDefault {
			t.Errorf("%s: %s, default %t; want %s, %t", c.name, addr, isDefault, c.addr, c.isDefault)
		}
	}
}

func TestAddressesToPaste(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := reachable(l); !onLoopback(l) || len(got) != 1 || got[0] != l.Addr().String() {
		t.Errorf("on loopback: %q", got)
	}
	all, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	if got := reachable(all); onLoopback(all) || !strings.HasPrefix(got[0], "127.0.0.1:") {
		t.Errorf("on all interfaces: %q", got)
	}

	libp2p := []string{"/ip4/127.0.0.1/tcp/1/p2p/P", "/ip4/192.0.2.7/tcp/1/p2p/P"}
	for host, want := range map[string]string{
		"127.0.0.1:8765":    "amesh up --relay ws://127.0.0.1:8765/v1/connect --bootstrap /ip4/127.0.0.1/tcp/1/p2p/P",
		"192.0.2.7:8765":    "amesh up --relay ws://192.0.2.7:8765/v1/connect --bootstrap /ip4/192.0.2.7/tcp/1/p2p/P",
		"relay.example:443": "amesh up --relay wss://relay.example:443/v1/connect --bootstrap /dns/relay.example/tcp/1/p2p/P",
	} {
		if d := cmp.Diff(want, upLine(host, false, libp2p)); d != "" {
			t.Error(d)
		}
	}
}

func TestHostsThatAreNot(t *testing.T) {
	_, err := listenTCP("host.invalid:0", false, nil)
	if err == nil || explain(err).exit != exitUsage || explain(err).hint == "" {
		t.Errorf("got %v, want a usage error with a next step", err)
	}
	for _, addr := range []string{":0", ":8765", "127.0.0.1:0", "[::1]:8765", "relay.example:443"} {
		if err := checkHostPort("--listen", addr, ""); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestListenAddressesAreMultiaddrs(t *testing.T) {
	if err := checkListen("--listen", []string{"/ip4/127.0.0.1/tcp/0", "/ip4/0.0.0.0/udp/47777/quic-v1"}); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"127.0.0.1:0", "", "/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1/sctp/1", "/dns4/relay.example/tcp/1", "/ip4/127.0.0.1/tcp/1/ws"} {
		if err := checkListen("--listen", []string{wrong}); err == nil || explain(err).exit != exitUsage || explain(err).hint == "" {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
