package testnet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/node/api"
)

// The whole demo needs the amesh binary and runs as `make demo`. Here it meets
// binaries that do not do what they should.

// failing runs a demo whose every process is this binary in the given mode.
func failing(t *testing.T, ctx context.Context, mode string, asJSON bool, change func(*limits)) (out string, dir string, err error) {
	t.Helper()
	t.Setenv(childMode, mode)
	t.Setenv("TMPDIR", shortFolder(t))
	t.Chdir(t.TempDir())
	l := defaultLimits()
	if change != nil {
		change(&l)
	}
	var b bytes.Buffer
	d, err := newDemo(DemoConfig{Binary: os.Args[0], JSON: asJSON, Out: &b}, l)
	if err != nil {
		t.Fatal(err)
	}
	err = d.run(ctx)
	if closeErr := d.close(); closeErr != nil {
		t.Error(closeErr)
	}
	for _, p := range d.processes {
		select {
		case <-p.Done():
		default:
			t.Errorf("%s still runs", p.Name())
		}
	}
	if _, err := os.Stat(d.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	return b.String(), d.dir, err
}

// shortFolder is a temporary folder whose path leaves room for sockets.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestFailedStepIsNamedWithTheLog(t *testing.T) {
	out, dir, err := failing(t, t.Context(), "dies", false, nil)
	step, ok := errors.AsType[*StepError](err)
	if !ok || step.Step != "start" {
		t.Fatalf("error is %v", err)
	}
	for _, want := range []string{
		"three agents and a relay on this machine, in " + dir,
		"1/7  start: a relay",
		"relay$ amesh relay --listen 127.0.0.1:0 --data relay --print-addrs relay.json",
		"FAILED after ",
		"relay ended before it was ready (exit status 7)",
		"log of relay, the end:",
		"cannot go on\uFFFD[2J: the disk is full",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("transcript lacks %q:\n%s", want, out)
		}
	}
}

func TestFailedStepForPrograms(t *testing.T) {
	out, _, err := failing(t, t.Context(), "dies", true, nil)
	if _, ok := errors.AsType[*StepError](err); !ok {
		t.Fatalf("error is %v", err)
	}
	var got stepLine
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("not one object: %v\n%s", err, out)
	}
	got.TookMS = 0
	want := stepLine{Schema: "amesh.demo/1", Step: "start",
		Error: &stepFault{"step_failed", "relay ended before it was ready (exit status 7)"},
		Logs:  map[string][]string{"relay": {"line one", "cannot go on\uFFFD[2J: the disk is full"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProcessThatIsNeverReady(t *testing.T) {
	_, _, err := failing(t, t.Context(), "silent", false, func(l *limits) { l.Ready = 50 * time.Millisecond })
	if step, ok := errors.AsType[*StepError](err); !ok || !strings.Contains(step.Error(), "not ready after 50ms") {
		t.Errorf("error is %v", err)
	}
}

func TestDemoThatTakesTooLong(t *testing.T) {
	_, _, err := failing(t, t.Context(), "silent", false, func(l *limits) { l.Total = 50 * time.Millisecond })
	if step, ok := errors.AsType[*StepError](err); !ok || !strings.Contains(step.Error(), "the demo takes longer than 50ms") {
		t.Errorf("error is %v", err)
	}
}

// Ctrl-C while a process starts: nobody stays behind, and no step is blamed.
func TestInterruptedDemo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	out, _, err := failing(t, ctx, "silent", false, nil)
	if _, ok := errors.AsType[*StepError](err); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if !strings.Contains(out, "interrupted") || strings.Contains(out, "FAILED") {
		t.Errorf("transcript is\n%s", out)
	}
}

func TestDemoThatCannotBegin(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.bin")
	if err := os.WriteFile(big, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		cfg  DemoConfig
		want string
	}{
		{"no executable", DemoConfig{Out: new(bytes.Buffer)}, "no executable"},
		{"no output", DemoConfig{Binary: "amesh"}, "no output"},
		{"file over 1 MiB", DemoConfig{Binary: "amesh", Out: new(bytes.Buffer), File: big}, "longer than 1048576 bytes"},
		{"no such file", DemoConfig{Binary: "amesh", Out: new(bytes.Buffer), File: filepath.Join(dir, "none")}, "no such file"},
		{"a folder", DemoConfig{Binary: "amesh", Out: new(bytes.Buffer), File: dir}, "is a directory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := Demo(t.Context(), c.cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v", err)
			}
			if _, ok := errors.AsType[*StepError](err); ok {
				t.Error("a step is blamed")
			}
		})
	}
}

func TestLetter(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := readLetter("", 1<<20)
	if err != nil || string(l.body) != builtin || !strings.Contains(l.note, "no README.md here") {
		t.Errorf("without README.md: %+v, %v", l, err)
	}
	if err := os.WriteFile("README.md", []byte("# amesh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err = readLetter("", 1<<20); err != nil || string(l.body) != "# amesh\n" {
		t.Errorf("with README.md: %+v, %v", l, err)
	}
	dir := t.TempDir()
	if err := l.copyTo(filepath.Join(dir, "files")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "files", "README.md"))
	if err != nil || string(got) != "# amesh\n" || l.path != filepath.Join(dir, "files", "README.md") {
		t.Errorf("the copy at %s is %q, %v", l.path, got, err)
	}
}

func TestOrderOfTheInbox(t *testing.T) {
	items := func(ids ...string) []api.InboxItem {
		var all []api.InboxItem
		for _, id := range ids {
			all = append(all, api.InboxItem{ID: id})
		}
		return all
	}
	sent := []string{"a", "b", "c"}
	cases := []struct {
		name string
		got  []api.InboxItem
		ok   bool
	}{
		{"as sent", items("a", "b", "c"), true},
		{"swapped", items("a", "c", "b"), false},
		{"one missing", items("a", "c"), false},
		{"one twice", items("a", "a", "b", "c"), false},
		{"another one", items("a", "b", "x"), false},
	}
	for _, c := range cases {
		if got := sameOrder(c.got, sent) == nil; got != c.ok {
			t.Errorf("%s: accepted is %v", c.name, got)
		}
	}
}

func TestUntil(t *testing.T) {
	l := defaultLimits()
	l.Poll, l.Deliver = time.Millisecond, 50*time.Millisecond
	d := &demo{limits: l}
	looks := 0
	err := d.until(t.Context(), func(context.Context) (string, error) {
		if looks++; looks < 3 {
			return "not yet", nil
		}
		return "", nil
	})
	if err != nil || looks != 3 {
		t.Errorf("%d looks, %v", looks, err)
	}
	broken := errors.New("no node")
	if err := d.until(t.Context(), func(context.Context) (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	err = d.until(t.Context(), func(context.Context) (string, error) { return "bob has 2 of 3", nil })
	if err == nil || err.Error() != "bob has 2 of 3: still so after 50ms" {
		t.Errorf("error is %v", err)
	}
}
