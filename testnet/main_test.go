package testnet

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const soon = 10 * time.Second // more than enough for anything here to happen

// childMode makes this test binary play a child of the demo.
const childMode = "TESTNET_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		os.Exit(playChild(mode))
	}
	goleak.VerifyTestMain(m)
}

// playChild is what the children of these tests do. None outlives its test: it dies
// with the thread that started it, or is asked to end.
func playChild(mode string) int {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	switch mode {
	case "dies":
		fmt.Fprintln(os.Stderr, "line one")
		fmt.Fprintln(os.Stderr, "cannot go on\x1b[2J: the disk is full")
		return 7
	case "silent":
		<-ended
		return 0
	}
	fmt.Fprintln(os.Stderr, "no such mode:", mode)
	return 1
}
