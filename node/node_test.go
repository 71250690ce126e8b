package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"amesh/identity"
	"amesh/node/api"
	"amesh/node/direct"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Badger and libp2p keep process-wide helpers that have no end.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
	)
}

// pair is two nodes at one station, b letting strangers in.
func pair(t *testing.T, announce string) (*station, *running, *running) {
	t.Helper()
	s := newStation(t)
	cfg := Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Announce: announce}
	a, b := startNode(t, cfg), startNode(t, cfg)
	b.set("strangers", "accept")
	return s, a, b
}

func TestDirectWhenAnnounced(t *testing.T) {
	_, a, b := pair(t, AnnouncePublic)
	m := a.send(b, "hello", api.SendRequest{})
	if m.State != api.StateDelivered || m.Path != api.PathDirect {
		t.Fatalf("%s by %s (%s)", m.State, m.Path, m.Reason)
	}
}

// Without announced addresses the knock goes by relay; addresses are told sealed,
// after the accept, and the way becomes direct.
func TestDirectAfterAccept(t *testing.T) {
	_, a, b := pair(t, AnnounceNone)
	if m := a.send(b, "first", api.SendRequest{}); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	for {
		m := a.send(b, "next", api.SendRequest{})
		if m.State != api.StateDelivered {
			t.Fatalf("%s (%s)", m.State, m.Reason)
		}
		if m.Path == api.PathDirect {
			break
		}
	}
}

func TestByRelayOnRequest(t *testing.T) {
	_, a, b := pair(t, AnnouncePublic)
	body := strings.Repeat("0123456789abcdef", 16<<10)
	m := a.send(b, body, api.SendRequest{Via: string(api.PathRelayed)})
	if m.State != api.StateDelivered || m.Path != api.PathRelayed {
		t.Fatalf("%s by %s (%s)", m.State, m.Path, m.Reason)
	}
	if diff := cmp.Diff([]string{body}, b.bodies()); diff != "" {
		t.Fatal("another body arrived")
	}
}

// The peer's node is away, then the relay too; what was accepted arrives in order
// and once when both are back.
func TestEverybodyRestarts(t *testing.T) {
	s, a, b := pair(t, AnnouncePublic)
	a.send(b, "zero", api.SendRequest{})
	b.end()
	for _, text := range []string{"one", "two", "three"} {
		m := a.send(b, text, api.SendRequest{Wait: api.StateRelayed})
		if m.State != api.StateRelayed || m.Where != s.url {
			t.Fatalf("%s at %s (%s)", m.State, m.Where, m.Reason)
		}
	}
	s.end()
	a.end()
	a.start()
	last := a.send(b, "four", api.SendRequest{Wait: api.StateAccepted})
	s.start()
	b.start()
	m, err := a.api.Message(t.Context(), "", last.ID, api.StateDelivered, 30*time.Second)
	if err != nil || m.State != api.StateDelivered {
		t.Fatalf("%s (%s), %v", m.State, m.Reason, err)
	}
	if diff := cmp.Diff([]string{"zero", "one", "two", "three", "four"}, b.bodies()); diff != "" {
		t.Fatalf("inbox (-want +got)\n%s", diff)
	}
}

func TestRefusedStranger(t *testing.T) {
	_, a, b := pair(t, AnnouncePublic)
	b.set("strangers", "reject")
	m := a.send(b, "let me in", api.SendRequest{})
	if m.State != api.StateRefused || m.Reason != api.ReasonRejected {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	knocks, err := b.api.Knocks(t.Context(), "")
	if err != nil || len(knocks) != 1 || knocks[0].Rule != "strangers-reject" || knocks[0].Peer != a.amid {
		t.Fatalf("the owner sees %+v, %v", knocks, err)
	}
}

// A block ends what a grant allowed, with the next message.
func TestBlockEndsAGrant(t *testing.T) {
	_, a, b := pair(t, AnnouncePublic)
	a.send(b, "before", api.SendRequest{})
	b.set("block", a.amid.String())
	m := a.send(b, "after", api.SendRequest{TimeoutMS: 500})
	if m.State == api.StateDelivered || m.State == api.StateHandled {
		t.Fatalf("a blocked peer's message is %s", m.State)
	}
	if diff := cmp.Diff([]string{"before"}, b.bodies()); diff != "" {
		t.Fatalf("inbox (-want +got)\n%s", diff)
	}
}

func TestSecondNodeOnTheSameHome(t *testing.T) {
	first := startNode(t, Config{})
	n, err := New(first.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, ErrHomeInUse) {
		t.Fatalf("second node: %v", err)
	}
	if _, err := first.api.Status(t.Context(), ""); err != nil {
		t.Fatalf("the first one was harmed: %v", err)
	}
}

func TestTakenPorts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for name, cfg := range map[string]Config{
		"api":    {API: l.Addr().String(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}},
		"libp2p": {API: "127.0.0.1:0", Listen: []string{"/ip4/127.0.0.1/tcp/" + port}},
	} {
		cfg.Home = homeFolder(t)
		n, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Run(t.Context()); !errors.Is(err, ErrAddrInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSDKIdentityIsNotTouched(t *testing.T) {
	home := homeFolder(t)
	if err := os.MkdirAll(filepath.Join(home, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	sdk := filepath.Join(home, "keys", identity.IdentityFile)
	if err := os.WriteFile(sdk, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := New(Config{Home: home, API: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, ErrSDKIdentity) {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(home, agentsDir)); !os.IsNotExist(err) {
		t.Error("another identity was made beside it")
	}
}

func TestOpenKeyFileIsRefused(t *testing.T) {
	r := startNode(t, Config{})
	r.end()
	path := filepath.Join(r.cfg.Home, agentsDir, defaultAgent, identity.IdentityFile)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	n, err := New(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, identity.ErrKeyPermissions) {
		t.Fatalf("got %v", err)
	}
}

func TestSocketPath(t *testing.T) {
	long := filepath.Join(homeFolder(t), strings.Repeat("x", maxSocketPath))
	run := func() error {
		n, err := New(Config{Home: long, API: "127.0.0.1:0", Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() {
			<-n.Ready()
			if s := n.Addrs().Socket; !strings.HasPrefix(s, os.Getenv("XDG_RUNTIME_DIR")) {
				t.Errorf("socket at %s", s)
			}
			stop()
		}()
		return n.Run(ctx)
	}
	t.Setenv("XDG_RUNTIME_DIR", homeFolder(t))
	if err := run(); err != nil {
		t.Errorf("with a runtime folder: %v", err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	n, err := New(Config{Home: long, API: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Run(t.Context()); !errors.Is(err, ErrSocketPath) {
		t.Errorf("without one: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	// What would fail later, when the record is signed, is refused at once.
	var many []string
	for i := range maxOwnRelays + 1 {
		many = append(many, fmt.Sprintf("ws://relay%d.example", i))
	}
	for name, cfg := range map[string]Config{
		"no home":             {},
		"announce":            {Home: "x", Announce: "loudly"},
		"api without port":    {Home: "x", API: "localhost"},
		"relay by http":       {Home: "x", Relays: []string{"http://relay.example"}},
		"too many relays":     {Home: "x", Relays: many},
		"no homes":            {Home: "x", Homes: -1},
		"nine homes":          {Home: "x", Homes: 9},
		"a long relay":        {Home: "x", Relays: []string{"ws://" + strings.Repeat("x", maxRelayText)}},
		"relay, not UTF-8":    {Home: "x", Relays: []string{"ws://relay.example/?\xff"}},
		"listen, nonsense":    {Home: "x", Listen: []string{"here"}},
		"listen, nothing":     {Home: "x", Listen: []string{""}},
		"listen, plain UDP":   {Home: "x", Listen: []string{"/ip4/127.0.0.1/udp/1"}},
		"listen on a name":    {Home: "x", Listen: []string{"/dns4/localhost/tcp/1"}},
		"bootstrap, no peer":  {Home: "x", Bootstrap: []string{"/ip4/127.0.0.1/tcp/1"}},
		"bootstrap, nonsense": {Home: "x", Bootstrap: []string{"here"}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, cfg := range map[string]Config{
		"many relays, one written twice": {Home: "x", Homes: 8, Relays: append([]string{many[0] + "/"}, many[:maxOwnRelays]...)},
		"every kind of listen address":   {Home: "x", Listen: []string{"/ip4/0.0.0.0/tcp/0", "/ip6/::1/udp/1/quic-v1"}},
	} {
		if _, err := New(cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An envelope for an agent that is not here is not acknowledged: its sender would
// believe that it arrived.
func TestEnvelopeForNobodyHere(t *testing.T) {
	m := &mesh{node: &Node{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}}
	m.fromDirect(direct.Delivery{To: identity.AMID{1}, Ack: func() { t.Error("acknowledged") }})
}

func TestUnknownAgentAndMessage(t *testing.T) {
	r := startNode(t, Config{})
	if _, err := r.api.Identity(t.Context(), "nobody"); problemCode(err) != api.CodeNotFound {
		t.Errorf("unknown agent: %v", err)
	}
	if _, err := r.api.Message(t.Context(), "", "01890000-0000-7000-8000-000000000000", "", 0); problemCode(err) != api.CodeNotFound {
		t.Errorf("unknown message: %v", err)
	}
}

// T66: before an accept nobody learns where a node is, unless its owner said so.
func TestPublicRecord(t *testing.T) {
	s := newStation(t)
	for _, c := range []struct {
		announce string
		places   bool
	}{{AnnounceNone, false}, {AnnouncePublic, true}} {
		cfg := Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Announce: c.announce}
		a, b := startNode(t, cfg), startNode(t, cfg)
		b.set("strangers", "accept")
		a.send(b, "found", api.SendRequest{})
		rec, err := s.find(b.amid)
		if err != nil {
			t.Fatal(err)
		}
		if len(rec.Relays) != 1 || rec.Relays[0] != s.url {
			t.Errorf("announce %s: relays %q", c.announce, rec.Relays)
		}
		if got := len(rec.PeerIDs)+len(rec.Addresses) > 0; got != c.places {
			t.Errorf("announce %s: peer ids %q, addresses %q", c.announce, rec.PeerIDs, rec.Addresses)
		}
	}
}
