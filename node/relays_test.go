package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/node/homing"
	"amesh/relay"
)

// lines are an agent's relays that run, with the URLs that came within reach.
type lines struct {
	*relays
	t   *testing.T
	ups chan string
	end func()
}

func startLines(t *testing.T, own ...string) *lines {
	t.Helper()
	return startLinesWith(t, relaysConfig{own: own})
}

func startLinesWith(t *testing.T, cfg relaysConfig) *lines {
	t.Helper()
	key, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := &lines{t: t, ups: make(chan string, 1000)}
	cfg.key, cfg.log = key, slog.New(slog.DiscardHandler)
	if cfg.limits == (homing.Limits{}) {
		cfg.limits = homing.DefaultLimits()
	}
	if cfg.deliver == nil {
		cfg.deliver = func(relay.Delivery, *relay.Client) {}
	}
	cfg.expired = func(relay.Expired, *relay.Client) {}
	cfg.up = func(url string, _ bool) { l.ups <- url }
	if cfg.moved == nil {
		cfg.moved = func() {}
	}
	if l.relays, err = newRelays(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l.begin(ctx)
	done := make(chan error, 1)
	go func() { done <- l.serve(ctx, stop) }()
	ended := false
	l.end = func() {
		if stop(); !ended {
			ended = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(l.end)
	return l
}

// home is the line to one of our relays, nil before there is one.
func (l *lines) home(url string) *relayLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[url]
}

// wait returns when a relay came within reach.
func (l *lines) wait() string {
	l.t.Helper()
	select {
	case url := <-l.ups:
		return url
	case <-time.After(30 * time.Second):
		l.t.Fatal("no relay came within reach")
		return ""
	}
}

// chosen waits for a line to a relay of a peer.
func (l *lines) chosen(theirs ...string) string {
	l.t.Helper()
	for {
		if c := l.choose(theirs); c != nil {
			return c.URL()
		}
		l.wait()
	}
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// noRelay is the URL of something that is none.
func noRelay(t *testing.T) string {
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/v1/connect"
}

func TestPeersRelayIsFoundAgain(t *testing.T) {
	s := newStation(t)
	l := startLines(t)
	short := "ws://" + s.listen // as people write it
	for range 20 {
		l.choose([]string{short})
	}
	if got := l.chosen(short); got != s.url {
		t.Errorf("chosen: %s", got)
	}
	if got := l.count(); got != 1 {
		t.Errorf("%d lines to one relay", got)
	}
	if !l.uses(s.url, []string{short}) || l.uses(s.url, []string{"ws://other"}) {
		t.Error("nobody would be kicked, or everybody")
	}
	l.closeIdle(time.Now().Add(2 * foreignIdle))
	if got := l.count(); got != 0 {
		t.Errorf("%d lines after a long time", got)
	}
}

// T63: only our own relays say whom we ask where we are seen.
func TestPeersRelayNamesNoSTUNServer(t *testing.T) {
	ours, theirs := newStation(t), newStation(t)
	l := startLines(t, ours.url)
	for l.wait() != ours.url {
	}
	l.chosen(theirs.url)
	l.mu.Lock()
	l.lines[ours.url].state.STUN = "stun.example:3478"
	l.lines[theirs.url].state.STUN = "10.0.0.1:53"
	l.mu.Unlock()
	if got := l.stun(); !slices.Equal(got, []string{"stun.example:3478"}) {
		t.Errorf("asked: %v", got)
	}
	m := &mesh{node: &Node{cfg: Config{STUN: []string{"own.example:3478"}}}, rooms: []*room{{relays: l.relays}, {relays: l.relays}}}
	want := []string{"own.example:3478", "stun.example:3478"}
	if got := m.stunServers(); !slices.Equal(got, want) {
		t.Errorf("two agents at one relay ask %v, want %v", got, want)
	}
}

// A peer names our own home in other words; the line to the home stays the one.
func TestPeerNamesOurHome(t *testing.T) {
	for name, other := range map[string]func(*station) string{
		"without the path": func(s *station) string { return "ws://" + s.listen },
		"by another path":  func(s *station) string { return "ws://" + s.listen + "/elsewhere" },
		"by a name":        func(s *station) string { return strings.Replace(s.url, "127.0.0.1", "localhost", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStation(t)
			l := startLines(t, s.url)
			l.wait()
			home, url := l.home(s.url), other(s)
			for l.choose([]string{url}) != home.client {
				l.wait()
			}
			if got := l.count(); got != 1 {
				t.Errorf("%d lines to one relay", got)
			}
			l.closeIdle(time.Now().Add(2 * foreignIdle))
			status := l.status()
			if len(status) != 1 || status[0].URL != s.url || status[0].State != "connected" {
				t.Errorf("status %+v", status)
			}
			if !l.reach(nil) {
				t.Error("the home is not connected")
			}
		})
	}
}

func TestSecondRelayOfAPeer(t *testing.T) {
	s, dead := newStation(t), noRelay(t)
	l := startLines(t)
	if got := l.chosen("not a relay", dead, s.url); got != s.url {
		t.Errorf("chosen: %s", got)
	}
}

func TestSharedHomeComesFirst(t *testing.T) {
	theirs, shared := newStation(t), newStation(t)
	l := startLines(t, shared.url)
	if got := l.chosen(theirs.url); got != theirs.url {
		t.Errorf("homed elsewhere: %s", got)
	}
	for !l.reach([]string{shared.url}) {
		l.wait()
	}
	if got := l.chosen(theirs.url, shared.url); got != shared.url {
		t.Errorf("a home of both is there, chosen: %s", got)
	}
	if got := l.chosen(); got != shared.url {
		t.Errorf("homed nobody knows where: %s", got)
	}
	l.end()
	if l.choose([]string{theirs.url}) != nil || l.reach(nil) {
		t.Error("a line after the end")
	}
}

// Peers name as many relays as they like, and none of them is there.
func TestForeignLinesAreBounded(t *testing.T) {
	home, dead := noRelay(t), noRelay(t)
	l := startLines(t, home)
	for i := range 2 * foreignMost {
		var theirs []string
		for j := range 2 * identity.MaxRelays {
			theirs = append(theirs, fmt.Sprintf("%s/%d/%d", dead, i, j))
		}
		l.choose(theirs)
		if i == 0 && l.count() != 1+identity.MaxRelays {
			t.Errorf("one peer has %d lines", l.count())
		}
	}
	if got := l.count(); got != 1+foreignMost {
		t.Errorf("%d lines", got)
	}
	l.mu.Lock()
	now, later := l.room(time.Now()), l.room(time.Now().Add(foreignTry))
	kept := l.lines[home] != nil
	l.mu.Unlock()
	if now || !later || !kept || l.count() != foreignMost {
		t.Errorf("room at once: %t; when they had their time: %t; the home is kept: %t", now, later, kept)
	}
}
