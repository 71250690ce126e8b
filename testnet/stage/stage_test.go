package stage

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"amesh/testnet/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func planOf(t *testing.T, nat string) *plan.Plan {
	t.Helper()
	p, err := plan.New(plan.Wish{Name: "tn", Nodes: 3, Relays: 2, NAT: nat,
		Public: netip.MustParsePrefix("11.77.0.0/24"), Inside: netip.MustParsePrefix("10.77.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlainProcessesHaveNoBoxesAndNoLines(t *testing.T) {
	if _, err := NewLocal(LocalConfig{Plan: planOf(t, "mixed")}); !errors.Is(err, ErrCannot) {
		t.Errorf("boxes: %v", err)
	}
	l, err := NewLocal(LocalConfig{Plan: planOf(t, "none"), Dir: t.TempDir(), Limits: DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Cut(t.Context(), "n1"); !errors.Is(err, ErrCannot) {
		t.Errorf("cut: %v", err)
	}
	if err := l.Impair(t.Context(), "n1", Line{Loss: 1}); !errors.Is(err, ErrCannot) {
		t.Errorf("impair: %v", err)
	}
	if err := l.Kill(t.Context(), "n1"); err != nil {
		t.Errorf("killing what does not run: %v", err)
	}
	if _, err := l.Node("r1"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a relay as a node: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// A program that ends at once shows the end of its log.
func TestProgramThatDoesNotStartShowsItsLog(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "amesh")
	script(t, broken, "echo the disk is full >&2; exit 11")
	l, err := NewLocal(LocalConfig{Plan: planOf(t, "none"), Dir: dir, Binary: broken, Limits: DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Up(t.Context())
	if log, ok := errors.AsType[*LogError](err); !ok || log.Name != "r1" || !slices.Equal(log.Lines, []string{"the disk is full"}) {
		t.Errorf("error is %#v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func script(t *testing.T, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// fakeDocker puts a program into the place of docker that writes down what it is told.
func fakeDocker(t *testing.T, body string) (d *Docker, told func() []string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	script(t, filepath.Join(dir, "docker"), `echo "$*" >> `+log+"\n"+body)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	limits := DefaultLimits()
	limits.Ready, limits.Poll = 50*time.Millisecond, time.Millisecond
	d = NewDocker(DockerConfig{Plan: planOf(t, "mixed"), Dir: dir, Limits: limits})
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, func() []string {
		raw, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(string(raw)), "\n")
	}
}

const networksOfN2 = `case "$1" in inspect) echo "tn-n2-net ";; esac`

func TestCutPullsTheCable(t *testing.T) {
	d, told := fakeDocker(t, networksOfN2)
	if err := d.Cut(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	if got := told(); got[len(got)-1] != "network disconnect tn-n2-net tn-n2" {
		t.Errorf("docker was told %q", got)
	}
}

func TestHealPutsTheCableBackWhereItWas(t *testing.T) {
	d, told := fakeDocker(t, "")
	if err := d.Heal(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"network connect --ip 10.77.0.100 tn-n2-net tn-n2",
		"exec tn-n2-box /amesh testnet natbox set --control /run/box.sock --loss 0 --delay 0s",
	}
	if got := told(); !slices.Equal(got[1:], want) {
		t.Errorf("docker was told %q, want %q", got[1:], want)
	}
}

func TestLinesOfContainers(t *testing.T) {
	d, told := fakeDocker(t, "")
	if err := d.Impair(t.Context(), "n2", Line{Loss: 2.5, Delay: 40 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if got := told(); !strings.HasSuffix(got[0], "--loss 2.5 --delay 40ms") {
		t.Errorf("docker was told %q", got)
	}
	if err := d.Impair(t.Context(), "n1", Line{Loss: 1}); !errors.Is(err, ErrCannot) {
		t.Errorf("an open node: %v", err)
	}
	if err := d.Impair(t.Context(), "r1", Line{Loss: 1}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a relay: %v", err)
	}
}

func TestKillOfADeadContainerIsNoError(t *testing.T) {
	d, told := fakeDocker(t, `[ "$1" != inspect ] || echo false`)
	if err := d.Kill(t.Context(), "r1"); err != nil {
		t.Fatal(err)
	}
	if got := told(); len(got) != 1 {
		t.Errorf("docker was told %q", got)
	}
}

func TestEngineThatIsOff(t *testing.T) {
	d, _ := fakeDocker(t, "echo 'Cannot connect to the Docker daemon at unix:///x' >&2; exit 1")
	for what, err := range map[string]error{
		"check": d.Check(t.Context()), "engine": d.Engine(t.Context()),
		"kill": d.Kill(t.Context(), "n1"), "down": d.Down(t.Context()), "cut": d.Cut(t.Context(), "n1"),
	} {
		if !errors.Is(err, ErrNoDocker) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestNodeThatDoesNotRun(t *testing.T) {
	for script, want := range map[string]error{"echo false": ErrDown, "echo no such object >&2; exit 1": ErrDown, "echo true": nil} {
		d, _ := fakeDocker(t, script)
		if err := d.Running(t.Context(), "n1"); !errors.Is(err, want) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestTestnetThatIsNotUp(t *testing.T) {
	d, _ := fakeDocker(t, "echo tn-n22 other-n1")
	if err := d.Check(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("containers of others: %v", err)
	}
	d, _ = fakeDocker(t, "echo other-n1; echo tn-n2")
	if err := d.Check(t.Context()); err != nil {
		t.Errorf("one of ours: %v", err)
	}
}

func TestEngineThatIsForOthers(t *testing.T) {
	d, _ := fakeDocker(t, "echo 'permission denied while trying to connect to the Docker daemon socket at unix:///x' >&2; exit 1")
	if err := d.Engine(t.Context()); !errors.Is(err, ErrNoDocker) || !strings.Contains(err.Error(), "group docker") {
		t.Error(err)
	}
}

// A node whose container does not run does not answer; the caller is not left waiting.
func TestDoorToADeadContainer(t *testing.T) {
	d, _ := fakeDocker(t, `[ "$1" != exec ] || exit 1; echo "the last words"`)
	node, err := d.Node("n1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Status(t.Context(), ""); err == nil {
		t.Error("a dead node answers")
	}
	err = d.Start(t.Context(), "n1")
	if log, ok := errors.AsType[*LogError](err); !ok || !slices.Equal(log.Lines, []string{"the last words"}) {
		t.Errorf("start: %v", err)
	}
}
