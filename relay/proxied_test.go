package relay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"amesh/internal/proxy"
	"amesh/internal/proxy/proxytest"
	"amesh/internal/store"
)

// farName is a relay that nobody reaches but through a proxy.
const farName = "relay.test:443"

// farRelay is a relay in a house that goes by farName.
func farRelay(t *testing.T) (*house, map[string]string) {
	t.Helper()
	h := newHouse(t)
	h.cfg.Names = []string{farName, h.addr()}
	h.start(store.NewMemory(), Limits{})
	return h, map[string]string{farName: h.addr()}
}

func mustProxy(t *testing.T, cfg proxy.Config) *proxy.Proxy {
	t.Helper()
	cfg.Getenv = func(string) string { return "" }
	p, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// behind is a client that reaches farName through p.
func behind(t *testing.T, n byte, p *proxy.Proxy) *agent {
	t.Helper()
	url := "ws://" + farName
	return startAgentWith(t, ClientConfig{URL: url, Key: testKey(t, n), Dial: p.Dialer(url, nil), Limits: quick()})
}

// sendSurely sends until the relay has it, as a mailroom does.
func (a *agent) sendSurely(o Outgoing) {
	a.t.Helper()
	for {
		res := a.send(o)
		if res.Err == nil {
			return
		}
		if !errors.Is(res.Err, ErrDisconnected) {
			a.t.Fatal(res.Err)
		}
		if !a.Connected() {
			a.connected()
		}
	}
}

// A password that changes ends connections and keeps new ones out, until what gives the
// password is asked again.
func TestMessagesGoOnWhenAProxyChangesItsPassword(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind   string
		start  func(testing.TB, map[string]string) *proxytest.Proxy
		polled bool
	}{{"http", proxytest.HTTP, false}, {"socks5", proxytest.SOCKS, false}, {"http", proxytest.HTTP, true}} {
		t.Run(fmt.Sprintf("%s, polled %v", c.kind, c.polled), func(t *testing.T) {
			h, names := farRelay(t)
			if c.polled {
				names[farName] = newStrip(t, h, nil).Listener.Addr().String()
			}
			between := c.start(t, names)
			file := filepath.Join(t.TempDir(), "secret")
			change := func(secret string) {
				if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
					t.Fatal(err)
				}
				between.Require(secret)
			}
			change("ann:0")
			ann := behind(t, 1, mustProxy(t, proxy.Config{Setting: c.kind + "://" + between.Addr, Credentials: "file:" + file}))
			bob := startAgent(t, 2, h.url(), quick())
			bob.connected()
			ann.connected()
			const most = 60
			for i := range most {
				if i%20 == 10 {
					change(fmt.Sprint("ann:", i))
					between.Cut()
				}
				ann.sendSurely(Outgoing{To: bob.who, Kind: KindMessage, Payload: envelope(fmt.Sprint(i))})
			}
			next := 0
			for next < most {
				d := bob.receive()
				bob.Ack(d.ID)
				switch string(d.Payload) {
				case string(envelope(fmt.Sprint(next))):
					next++
				case string(envelope(fmt.Sprint(next - 1))): // the relay's answer was lost
				default:
					t.Fatalf("got %q, want message %d", d.Payload, next)
				}
			}
		})
	}
}

func TestProxyThatAllowsPort443OnlySaysSo(t *testing.T) {
	t.Parallel()
	_, names := farRelay(t)
	between := proxytest.HTTP(t, names)
	p := mustProxy(t, proxy.Config{Setting: "http://" + between.Addr})
	behind(t, 1, p).connected()
	url := "ws://relay.test:8765"
	other := startAgentWith(t, ClientConfig{URL: url, Key: testKey(t, 2), Dial: p.Dialer(url, nil), Limits: quick()})
	s := other.state("an error", func(s State) bool { return s.Err != nil })
	var e *proxy.Error
	if !errors.As(s.Err, &e) || e.Status != 403 || !strings.Contains(s.Err.Error(), "port 443 only") {
		t.Errorf("the state says %v", s.Err)
	}
}
