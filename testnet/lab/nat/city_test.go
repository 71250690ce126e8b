// Package nat_test has real nodes behind real address translators, in network
// namespaces, and looks how they reach each other. It needs root:
//
//	AMESH_WITH_ROOT=1 go test -v ./testnet/lab/nat
//
// AMESH_LAB_PREFIX and AMESH_LAB_PREFIX6 change the public network's addresses,
// AMESH_LAB_PLACES (open,symmetric,…) names the places of the matrix that are wanted,
// AMESH_LAB_TELL=1 shows the attempts of every pair and not only of those that fail, and
// AMESH_LAB_KEEP names a folder in which logs and homes stay.
package nat_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"amesh/testnet/netns"
)

// patience bounds every wait for another process.
const patience = 60 * time.Second

// lookEvery is how often another process is asked for what it has no event.
const lookEvery = 100 * time.Millisecond

// program is amesh, built once for all tests that need it.
var program string

func TestMain(m *testing.M) { os.Exit(withBinary(m)) }

func withBinary(m *testing.M) int {
	if os.Getenv("AMESH_WITH_ROOT") == "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "nl")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "amesh")
	if out, err := exec.Command("go", "build", "-o", program, "amesh/cmd/amesh").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getenv("AMESH_WITH_ROOT") == "" {
		t.Skip("SKIP: set AMESH_WITH_ROOT=1, as root, for network namespaces")
	}
}

// city is a world with two relays and a registry. Two, because what a NAT maps by is
// seen only from two places.
type city struct {
	t *testing.T
	*netns.World
	relays   []*netns.Server
	registry *netns.Server
}

// newCity builds one that is closed with the test.
func newCity(t *testing.T) *city {
	t.Helper()
	dir := os.Getenv("AMESH_LAB_KEEP")
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "nl"); err != nil { // short: sockets are in it
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
	} else {
		dir = filepath.Join(dir, strings.ToLower(t.Name()[len("TestWithRoot"):]))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	w, err := netns.New(netns.Config{Binary: program, Dir: dir, Prefix: prefix(t, "AMESH_LAB_PREFIX"), Prefix6: prefix(t, "AMESH_LAB_PREFIX6")})
	if err != nil {
		t.Fatal(err)
	}
	c := &city{t: t, World: w}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := w.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"relay1", "relay2"} {
		r, err := w.Relay(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		c.relays = append(c.relays, r)
	}
	if c.registry, err = w.Registry(t.Context(), "registry"); err != nil {
		t.Fatal(err)
	}
	return c
}

func prefix(t *testing.T, variable string) netip.Prefix {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return p
}

// await asks again and again: another process's state has no event here.
func await(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s", what, patience)
		case <-tick.C:
		}
	}
}
