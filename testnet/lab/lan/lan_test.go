// Package lan_test has two nodes in two network namespaces with one cable between
// them, and nothing else in the world.
package lan_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds each wait for another process.
const patience = 40 * time.Second

// house is one namespace with a node in it.
type house struct {
	t                       *testing.T
	binary, space, home, ip string
}

// TestWithRootTwoNodesWithoutAnyServer: there is no relay, no bootstrap, no route
// anywhere. The two find each other's AMIDs and talk, in both directions.
func TestWithRootTwoNodesWithoutAnyServer(t *testing.T) {
	if os.Getenv("AMESH_WITH_ROOT") == "" {
		t.Skip("SKIP: set AMESH_WITH_ROOT=1, as root, for network namespaces")
	}
	dir, err := os.MkdirTemp("", "am") // short: unix sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary := filepath.Join(dir, "amesh")
	run(t, "go", "build", "-o", binary, "amesh/cmd/amesh")
	ann := &house{t: t, binary: binary, space: "ama" + filepath.Base(dir), home: filepath.Join(dir, "a"), ip: "10.77.0.1/24"}
	bob := &house{t: t, binary: binary, space: "amb" + filepath.Base(dir), home: filepath.Join(dir, "b"), ip: "10.77.0.2/24"}
	cable(t, ann, bob)
	began := time.Now()
	ann.up()
	bob.up()
	a, b := ann.amid(), bob.amid()
	for _, h := range []*house{ann, bob} {
		h.amesh("policy", "set", "strangers", "accept")
	}
	ann.meets(b)
	bob.meets(a)
	t.Logf("both know each other %.1f s after the first was started", time.Since(began).Seconds())
	ann.tells(bob, b, "hello from the other room")
	bob.tells(ann, a, "hello back")
	bob.amesh("agent", "card", "set", "--name", "Travel bot", "--capability", "travel/flight-search")
	ann.finds(b, "travel")
	if out := ann.amesh("status"); !strings.Contains(out, "near     "+b) || !strings.Contains(out, b+"  direct") {
		t.Errorf("status does not show the neighbour:\n%s", out)
	}
}

// cable joins two new namespaces by a pair of interfaces, and by nothing else.
func cable(t *testing.T, a, b *house) {
	t.Helper()
	for _, h := range []*house{a, b} {
		run(t, "ip", "netns", "add", h.space)
		t.Cleanup(func() { run(t, "ip", "netns", "del", h.space) })
	}
	run(t, "ip", "-n", a.space, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b.space)
	for _, h := range []*house{a, b} {
		run(t, "ip", "-n", h.space, "addr", "add", h.ip, "dev", "cable")
		run(t, "ip", "-n", h.space, "link", "set", "lo", "up")
		run(t, "ip", "-n", h.space, "link", "set", "cable", "up")
		if routes := run(t, "ip", "-n", h.space, "route"); strings.Contains(routes, "default") {
			t.Fatalf("a way out: %s", routes)
		}
	}
}

// up starts the node with nothing but its home.
func (h *house) up() {
	h.t.Helper()
	info := h.home + ".json"
	cmd := exec.Command("ip", "netns", "exec", h.space, h.binary, "up", "--home", h.home, "--print-addrs", info)
	log, err := os.Create(h.home + ".log")
	if err != nil {
		h.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if raw, err := os.ReadFile(h.home + ".log"); err == nil && h.t.Failed() {
			h.t.Logf("%s", raw)
		}
	})
	h.await("the node is ready", func() bool { _, err := os.Stat(info); return err == nil })
}

func (h *house) amid() string {
	h.t.Helper()
	var id struct{ Data struct{ AMID string } }
	if err := json.Unmarshal([]byte(h.amesh("id", "--json")), &id); err != nil || id.Data.AMID == "" {
		h.t.Fatalf("id: %+v, %v", id, err)
	}
	return id.Data.AMID
}

func (h *house) meets(amid string) {
	h.t.Helper()
	h.await("the neighbour is known", func() bool { return strings.Contains(h.amesh("peers", "--lan"), amid) })
}

func (h *house) tells(other *house, amid, text string) {
	h.t.Helper()
	h.amesh("send", amid, text, "--timeout", patience.String())
	id, _, _ := strings.Cut(other.amesh("inbox"), " ")
	if out := other.amesh("read", id, "--raw"); out != text {
		h.t.Errorf("%q arrived, want %q", out, text)
	}
}

// finds searches until the neighbour's card is known; until then nobody is found,
// which is an exit status of its own.
func (h *house) finds(amid, capability string) {
	h.t.Helper()
	h.await("the card is found", func() bool {
		out, _ := exec.Command("ip", "netns", "exec", h.space, h.binary, "--home", h.home, "search", "--capability", capability).CombinedOutput()
		return strings.Contains(string(out), amid) && strings.Contains(string(out), "lan")
	})
}

// amesh runs a verb in the house and returns what it prints.
func (h *house) amesh(args ...string) string {
	h.t.Helper()
	return run(h.t, "ip", append([]string{"netns", "exec", h.space, h.binary, "--home", h.home}, args...)...)
}

// await asks again and again: another process's state has no event here.
func (h *house) await(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out))
	}
	return string(out)
}
