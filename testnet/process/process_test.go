package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	soon = 10 * time.Second // more than enough for anything here to happen
	poll = time.Millisecond
)

// printed is what the children write when they are ready.
type printed struct {
	API string `json:"api"`
}

// child starts this binary in the given mode. It is gone when the test is.
func child(t *testing.T, mode string) (p *Process, file string) {
	t.Helper()
	dir := t.TempDir()
	file = filepath.Join(dir, "addrs.json")
	p, err := Start(Config{Name: mode, Binary: os.Args[0], Args: []string{file},
		Env: append(os.Environ(), childMode+"="+mode), Dir: dir, Log: filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p, file
}

func ready(t *testing.T, p *Process, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	var addrs printed
	if err := p.Ready(ctx, file, poll, &addrs); err != nil {
		t.Fatal(err)
	}
	if addrs.API != "http://here" {
		t.Errorf("addresses are %+v", addrs)
	}
}

func TestPoliteChildEndsOnSIGTERM(t *testing.T) {
	p, file := child(t, "polite")
	ready(t, p, file)
	if err := p.Stop(soon); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(soon); err != nil {
		t.Errorf("stopped twice: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("killed when dead: %v", err)
	}
}

func TestChildThatIgnoresSIGTERMIsKilled(t *testing.T) {
	p, file := child(t, "stubborn")
	ready(t, p, file)
	err := p.Stop(50 * time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "SIGTERM, killed") {
		t.Errorf("error is %v", err)
	}
	select {
	case <-p.done:
	default:
		t.Fatal("it is still there")
	}
	exit, ok := errors.AsType[*exec.ExitError](p.err)
	if !ok {
		t.Fatalf("it ended with %v", p.err)
	}
	if ws := exit.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
		t.Errorf("it ended by %v", ws.Signal())
	}
}

func TestChildThatEndsBadlyOnSIGTERMIsTold(t *testing.T) {
	p, file := child(t, "grumpy")
	ready(t, p, file)
	if err := p.Stop(soon); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error is %v", err)
	}
}

func TestWaitForReadyEndsWhenTheChildDies(t *testing.T) {
	p, file := child(t, "dies")
	var addrs printed
	err := p.Ready(t.Context(), file, poll, &addrs) // no deadline: death must end it
	if err == nil || !strings.Contains(err.Error(), "dies ended before it was ready (exit status 7)") {
		t.Errorf("error is %v", err)
	}
	want := []string{"line one", "cannot go on\uFFFD[2J: the disk is full"}
	if diff := cmp.Diff(want, p.Tail(5)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[1:], p.Tail(1)); diff != "" {
		t.Error(diff)
	}
}

func TestWaitForReadyEndsWithItsContext(t *testing.T) {
	p, file := child(t, "silent")
	why := errors.New("out of patience")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, why)
	defer cancel()
	var addrs printed
	if err := p.Ready(ctx, file, poll, &addrs); !errors.Is(err, why) {
		t.Errorf("error is %v", err)
	}
}

func TestAddressesThatAreNoJSON(t *testing.T) {
	p, file := child(t, "silent")
	if err := os.WriteFile(file, []byte("soon"), 0o600); err != nil {
		t.Fatal(err)
	}
	var addrs printed
	if err := p.Ready(t.Context(), file, poll, &addrs); err == nil || !strings.Contains(err.Error(), "addresses of silent") {
		t.Errorf("error is %v", err)
	}
}

func TestExecutableThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	_, err := Start(Config{Name: "nobody", Binary: filepath.Join(dir, "none"), Log: filepath.Join(dir, "log")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestEnvironmentOfChildren(t *testing.T) {
	for _, v := range []string{"AMESH_RELAY", "AMESH_HOME", "AMESH_TOKEN", "HOST", "PORT", "HOME"} {
		t.Setenv(v, "the owner's own")
	}
	t.Setenv("TESTNET_KEEP", "kept")
	env := Environment("/the/home")
	for _, v := range env {
		if strings.Contains(v, "the owner's own") {
			t.Errorf("%s is handed on", v)
		}
	}
	for _, want := range []string{"TESTNET_KEEP=kept", "HOME=/the/home", "AMESH_HOME=/the/home"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing", want)
		}
	}
}
