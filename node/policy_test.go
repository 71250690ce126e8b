package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

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
	edit(``)
	if got := p.get().Strangers; got != knock.StrangersAsk || p.trouble() != nil {
		t.Errorf("after emptying it: %s, %v", got, p.trouble())
	}
}
