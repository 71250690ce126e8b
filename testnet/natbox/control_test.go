package natbox

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// controlled serves a control socket until the test ends.
func controlled(t *testing.T, apply func(Faults) error) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nb") // short: a socket is in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "c")
	l, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- serveControl(ctx, l, apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("control socket: %v", err)
		}
	})
	return path
}

func TestFaultsAreInForceWhenSetReturns(t *testing.T) {
	var have Faults
	path := controlled(t, func(f Faults) error { have = f; return nil })
	for _, want := range []Faults{{Loss: 12.5}, {Delay: time.Second, Partition: true}, {}} {
		if err := Set(t.Context(), path, want); err != nil || have != want {
			t.Errorf("have %v, %v; want %v", have, err, want)
		}
	}
}

func TestSetSaysWhyFaultsAreNotInForce(t *testing.T) {
	path := controlled(t, func(Faults) error { return errors.New("no tun here") })
	if err := Set(t.Context(), path, Faults{Delay: 1}); err == nil || err.Error() != "no tun here" {
		t.Errorf("got %v", err)
	}
	if err := Set(t.Context(), path, Faults{Loss: 101}); !errors.Is(err, ErrFaults) {
		t.Errorf("got %v", err)
	}
	if err := Set(t.Context(), path+"x", Faults{}); err == nil || !strings.Contains(err.Error(), "no box answers") {
		t.Errorf("got %v", err)
	}
}

// Whoever may connect is the box's own user; still, a line that is not a question
// changes nothing.
func TestControlSocketRefusesOtherLines(t *testing.T) {
	path := controlled(t, func(f Faults) error { t.Errorf("applied %v", f); return nil })
	for _, line := range []string{"\n", "{", `{"loss_percent":-1}`, `{"delay_ns":99999999999999}`, strings.Repeat(" ", maxControlLine) + "{}"} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		var answer verdict
		if _, err := conn.Write([]byte(line + "\n")); err != nil {
			t.Fatal(err)
		}
		if err := readLine(conn, &answer); err != nil || answer.Error == "" {
			t.Errorf("%.20q: %v, %v", line, answer, err)
		}
		conn.Close()
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket is %v, %v", info.Mode(), err)
	}
}
