package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/knock"
	"amesh/node/api"
)

func TestPolicyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), policyName)
	p, err := openPolicy(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.get().Strangers; got != knock.StrangersAsk {
		t.Fatalf("without a file strangers are %s", got)
	}
	if err := p.set("strangers", "reject"); err != nil {
		t.Fatal(err)
	}
	if got := p.get().Strangers; got != knock.StrangersReject {
		t.Fatalf("after set: %s", got)
	}
	if err := p.set("strangres", "accept"); problemCode(err) != api.CodeInvalid {
		t.Errorf("misspelt key: %v", err)
	}

	// The owner edits the file by hand.
	edit := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Duration(len(text)) * time.Second)
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
	}
	edit(`{"strangers": "accept"}`)
	if got := p.get().Strangers; got != knock.StrangersAccept {
		t.Errorf("after an edit: %s", got)
	}
	edit(`{"strangers": "acc`)
	if got := p.get().Strangers; got != knock.StrangersAccept || p.trouble() == nil {
		t.Errorf("after an edit that makes no sense: %s, %v", got, p.trouble())
	}
	if err := p.set("strangers", "ask"); problemCode(err) != api.CodeConflict {
		t.Errorf("set over a file that makes no sense: %v", err)
	}
	edit(`{}`)
	if got := p.get().Strangers; got != knock.StrangersAsk || p.trouble() != nil {
		t.Errorf("after a reset: %s, %v", got, p.trouble())
	}
}

// T36: an edit of the file is noticed within a second although nobody asks for the policy,
// a change through the API at once, and each once.
func TestPolicyChangeIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), policyName)
	synctest.Test(t, func(t *testing.T) {
		p, err := openPolicy(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		noticed := 0
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.watch(ctx, func() { noticed++ }) }()
		synctest.Wait()
		if noticed != 1 {
			t.Fatalf("%d rulings at the start", noticed)
		}
		if err := os.WriteFile(path, []byte(`{"block":["`+blockedName+`"]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if noticed != 2 {
			t.Errorf("%d rulings a second after an edit", noticed)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if noticed != 2 {
			t.Errorf("%d rulings with nothing changed", noticed)
		}
		peer, err := identity.ParseAMID(blockedName)
		if err != nil {
			t.Fatal(err)
		}
		for i, blocked := range []bool{false, true} {
			if err := p.block(peer, blocked); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if noticed != 3+i || p.get().Blocked(peer) != blocked {
				t.Errorf("blocked %t: %d rulings", blocked, noticed)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	again, err := openPolicy(path, slog.New(slog.DiscardHandler))
	if err != nil || len(again.get().Block) != 1 {
		t.Errorf("on disk: %+v, %v", again, err)
	}
}

const blockedName = "2wCNe4X9egd7iKnC1T9XBee63MLc"

// An editor replaces the file: for an instant there is none, or an empty one. Whoever
// is blocked stays blocked.
func TestPolicyFileIsGoneForAnInstant(t *testing.T) {
	const blocking = `{"strangers": "reject"}`
	for name, vanish := range map[string]func(path string) error{
		"renamed away": os.Remove,
		"truncated":    func(path string) error { return os.Truncate(path, 0) },
	} {
		path := filepath.Join(t.TempDir(), policyName)
		write := func() {
			t.Helper()
			if err := os.WriteFile(path, []byte(blocking), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write()
		p, err := openPolicy(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if err := vanish(path); err != nil {
			t.Fatal(err)
		}
		if got := p.get().Strangers; got != knock.StrangersReject || !errors.Is(p.trouble(), errPolicyGone) {
			t.Errorf("%s: strangers are %s, %v", name, got, p.trouble())
		}
		open := knock.Policy{Strangers: knock.StrangersAccept, Allow: []identity.AMID{{1}}, Block: []identity.AMID{{2}}}
		p.current, p.seen = &open, stamp{modified: 1}
		got := p.get()
		if got.Strangers != knock.StrangersAsk || len(got.Allow) != 0 || !got.Blocked(identity.AMID{2}) {
			t.Errorf("%s from an open policy: %+v", name, got)
		}
		write()
		if got := p.get().Strangers; got != knock.StrangersReject || p.trouble() != nil {
			t.Errorf("%s and back: strangers are %s, %v", name, got, p.trouble())
		}
		if err := vanish(path); err != nil {
			t.Fatal(err)
		}
		if again, err := openPolicy(path, slog.New(slog.DiscardHandler)); err != nil || again.get().Strangers != knock.StrangersAsk {
			t.Errorf("%s: the next start does not take it as the default: %v", name, err)
		}
		if err := p.set("knocks_per_minute", "3"); err != nil || p.trouble() != nil {
			t.Errorf("%s, then set: %v, %v", name, err, p.trouble())
		}
		again, err := openPolicy(path, slog.New(slog.DiscardHandler))
		if err != nil || again.get().Strangers != knock.StrangersReject || again.get().KnocksPerMinute != 3 {
			t.Errorf("%s: set did not put the rest back: %v", name, err)
		}
	}
}

// An empty file at the start is the default, and the owner is told so.
func TestEmptyPolicyIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		file        *string
		warns, none bool
	}{
		"no file":       {nil, false, true},
		"an empty file": {ptr(""), true, true},
		"blanks":        {ptr(" \n"), true, true},
		"rules":         {ptr(`{"strangers":"reject"}`), false, false},
	} {
		path := filepath.Join(t.TempDir(), policyName)
		if c.file != nil {
			if err := os.WriteFile(path, []byte(*c.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var said strings.Builder
		p, err := openPolicy(path, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(said.String(), "the policy file is empty"); got != c.warns {
			t.Errorf("%s: said %q", name, &said)
		}
		if v, err := p.view("ann"); err != nil || v.Default != c.none {
			t.Errorf("%s: shown %+v, %v", name, v, err)
		}
	}
}

func ptr(s string) *string { return &s }
