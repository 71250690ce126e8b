package process

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"amesh/identity"
)

// childMode makes this test binary play a child.
const childMode = "PROCESS_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(playChild(mode))
	}
	goleak.VerifyTestMain(m)
}

// playChild is what the children of these tests do. One that lives on ends with
// the pipe that keeps it alive at the latest, so that no failed test leaves it.
func playChild(mode string) int {
	ended := make(chan os.Signal, 1)
	if mode == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
		signal.Notify(ended, os.Interrupt)
	} else {
		signal.Notify(ended, syscall.SIGTERM)
	}
	switch mode {
	case "dies":
		fmt.Fprintln(os.Stderr, "line one")
		fmt.Fprintln(os.Stderr, "cannot go on\x1b[2J: the disk is full")
		return 7
	case "silent":
		<-ended
		return 0
	case "polite", "stubborn", "grumpy":
		if err := identity.ReplaceFile(os.Args[len(os.Args)-1], []byte(`{"api":"http://here"}`)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		<-ended
		if mode == "grumpy" {
			return 3
		}
		return 0
	}
	fmt.Fprintln(os.Stderr, "no such mode:", mode)
	return 1
}
