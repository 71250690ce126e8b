package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"amesh/node/api"
	"amesh/testnet/natbox"
	"amesh/testnet/stage"
)

// Who has no Docker, no right or no program is told what to get.
func TestTestnetFailuresHaveANextStep(t *testing.T) {
	_, missing := exec.LookPath("no-such-program-of-amesh")
	for name, c := range map[string]struct {
		err  error
		exit int
		hint string
	}{
		"a dead node":  {testnetFailure(fmt.Errorf("n1: %w", &api.Problem{Code: api.CodeUnreachable})), exitDaemon, "testnet up"},
		"no program":   {testnetFailure(fmt.Errorf("netns: %w", missing)), exitFailed, "no-such-program-of-amesh"},
		"no right":     {natboxFailure(fmt.Errorf("rules: %w", syscall.EPERM)), exitUnauthorized, "NET_ADMIN"},
		"no interface": {natboxFailure(fmt.Errorf("natbox: %w x here", natbox.ErrNoInterface)), exitNotFound, "ip address"},
	} {
		f, ok := errors.AsType[*failure](c.err)
		if !ok || f.exit != c.exit || !strings.Contains(f.hint, c.hint) {
			t.Errorf("%s: %+v", name, c.err)
		}
	}
}

// Why a node that was started never answered is in its log, whatever the last question to
// it ended with.
func TestNodeThatNeverAnswersShowsItsLog(t *testing.T) {
	silent := &stage.LogError{Err: &api.Problem{Code: api.CodeUnreachable}, Name: "n1", Lines: []string{"the disk is full"}}
	if f := explain(testnetFailure(silent)); !strings.Contains(f.message, "the disk is full") || strings.Contains(f.hint, "testnet up") {
		t.Errorf("%+v", f)
	}
}
