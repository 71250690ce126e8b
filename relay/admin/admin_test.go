package admin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay"
	"amesh/relay/ban"
	"amesh/relay/mailbox"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// net/http keeps a connection for half a second after a body that was too long.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// shortDir is a folder whose path leaves room for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "am")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// exits has the folders of relays that were drained.
var exits = make(chan string, 1)

// open runs the door of a relay that nobody else uses.
func open(t *testing.T, data string) (*relay.Server, *Client) {
	t.Helper()
	box, err := mailbox.NewDisk(store.NewMemory(), mailbox.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	bans, err := ban.Open(filepath.Join(data, "bans.json"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := relay.NewServer(relay.ServerConfig{Mailbox: box, Bans: bans})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{Relay: s, Exit: func() { exits <- data }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(data)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return s, NewClient(data)
}

func TestBansThroughTheDoor(t *testing.T) {
	data := shortDir(t)
	s, c := open(t, data)
	who := identity.AMID{1}.String()
	line, err := c.Ban(t.Context(), BanRequest{Target: who, Seconds: 3600, Why: "spam"})
	if err != nil || line.Target != who || line.Why != "spam" || line.Until == nil || line.Until.Sub(line.Since) != time.Hour {
		t.Errorf("ban %+v, %v", line, err)
	}
	if line, err = c.Ban(t.Context(), BanRequest{Target: "192.0.2.7/24"}); err != nil || line.Target != "192.0.2.0/24" || line.Until != nil {
		t.Errorf("ban %+v, %v", line, err)
	}
	if list, err := c.Bans(t.Context()); err != nil || len(list) != 2 || len(s.Bans()) != 2 {
		t.Errorf("bans %+v, %v", list, err)
	}
	for _, want := range []bool{true, false} {
		if there, err := c.Unban(t.Context(), who); err != nil || there != want {
			t.Errorf("unban: %v, %v", there, err)
		}
	}
	for _, bad := range []BanRequest{
		{Target: "everybody"}, {Target: "0.0.0.0/0"}, {Target: who, Seconds: -1}, {Target: who, Seconds: 1 << 62}, {Target: who, Why: strings.Repeat("x", 201)},
		{Target: who, Why: strings.Repeat("x", maxBody)},
	} {
		if _, err := c.Ban(t.Context(), bad); !errors.Is(err, ErrRefused) {
			t.Errorf("%.60v: %v", bad, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(data, "bans.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(data, "bans.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ban(t.Context(), BanRequest{Target: who}); !errors.Is(err, ErrRefused) {
		t.Errorf("a ban that cannot be kept: %v", err)
	}
}

func TestDrainThroughTheDoor(t *testing.T) {
	data := shortDir(t)
	s, c := open(t, data)
	if _, err := c.Drain(t.Context(), maxDrain+time.Hour); !errors.Is(err, ErrRefused) {
		t.Errorf("a drain without end: %v", err)
	}
	if left, err := c.Drain(t.Context(), time.Minute); left != 0 || err != nil {
		t.Errorf("drained: %d left, %v", left, err)
	}
	if s.Stats().Ready {
		t.Error("ready after it was drained")
	}
	if got := <-exits; got != data {
		t.Errorf("%s ended", got)
	}
}

func TestTopThroughTheDoor(t *testing.T) {
	_, c := open(t, shortDir(t))
	top, err := c.Top(t.Context(), 5, relay.ByBytes)
	if err != nil || top.By != relay.ByBytes || top.Relay.Ready || top.Relay.Status != "starting" || top.Agents == nil {
		t.Errorf("top %+v, %v", top, err)
	}
	for _, n := range []int{0, maxRows + 1} {
		if _, err := c.Top(t.Context(), n, relay.ByBytes); !errors.Is(err, ErrRefused) {
			t.Errorf("%d rows: %v", n, err)
		}
	}
	if _, err := c.Top(t.Context(), 5, "beauty"); !errors.Is(err, ErrRefused) {
		t.Errorf("by beauty: %v", err)
	}
}

func TestTheSocketIsItsUsersAlone(t *testing.T) {
	data := shortDir(t)
	// What a process that was killed leaves behind.
	if err := os.WriteFile(filepath.Join(data, SocketFile), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient(data).Bans(t.Context()); !errors.Is(err, ErrNoRelay) {
		t.Errorf("nobody there: %v", err)
	}
	l, err := Listen(data)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Lstat(filepath.Join(data, SocketFile))
	if err != nil || fi.Mode().Perm() != 0o600 || fi.Mode().Type() != os.ModeSocket {
		t.Errorf("socket %v, %v", fi, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(data)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := Listen(filepath.Join(data, strings.Repeat("x", 100))); err == nil {
		t.Error("a socket in a folder that does not exist")
	}
	long := filepath.Join(data, strings.Repeat("x", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(long); !errors.Is(err, ErrPath) {
		t.Errorf("a long path: %v", err)
	}
}

func TestADoorNeedsARelay(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a door to nothing")
	}
	d, err := New(Config{Relay: &relay.Server{}})
	if err != nil || d.mux == nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequest(http.MethodGet, "/v2/top", nil)
	if _, pattern := d.mux.Handler(r); pattern != "" {
		t.Errorf("/v2/top is answered by %s", pattern)
	}
}
