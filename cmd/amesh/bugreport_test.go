package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"amesh/node/api"
)

func TestBugreportWritesOneFileForItsOwner(t *testing.T) {
	n := newFakeNode()
	n.report = api.Bugreport{Text: "all of it", Sections: []string{"version", "log"}, Replaced: 7, Daemon: true}
	file := filepath.Join(t.TempDir(), "report.txt")
	r := runFake(t, n, nil, "bugreport", "--out", file)
	got, err := os.ReadFile(file)
	if r.exit != exitOK || err != nil || string(got) != "all of it" {
		t.Fatalf("exit %d, %s, %q, %v", r.exit, r.err, got, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, want := range []string{"wrote    " + file, "has      version, log", "names    7 agents", "nothing was sent"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in %q", want, r.out)
		}
	}
	if r := runFake(t, n, nil, "bugreport", "--out", file); r.exit != exitConflict || len(n.reported) != 1 {
		t.Errorf("a file that is there: exit %d, asked %d times", r.exit, len(n.reported))
	}
	r = runFake(t, n, nil, "bugreport", "--out", file+"2", "--names", "--json")
	if schema, err := lookUp(r.out, "schema"); r.exit != exitOK || err != nil || schema != "amesh.bugreport/1" || !n.reported[1].Names {
		t.Errorf("exit %d, %s, asked %+v", r.exit, r.out, n.reported)
	}
	if r := runFake(t, n, nil, "bugreport", "--out", filepath.Join(file, "no", "such")); r.exit == exitOK {
		t.Errorf("no folder: exit %d", r.exit)
	}
}

func TestBugreportWithoutANode(t *testing.T) {
	home := t.TempDir()
	const token = "tokentokentokentokentokentoken0123456789abc"
	for name, text := range map[string]string{"owner.token": token + "\n", "config.yaml": "proxy: http://ann:pass@127.0.0.1:3128\nproxy_credentials: command:echo me:hunter2\nlisten: /ip4/203.0.113.9/tcp/1\n"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "report.txt")
	r := runFake(t, nil, nil, "--home", home, "bugreport", "--out", file)
	got, err := os.ReadFile(file)
	if r.exit != exitOK || err != nil {
		t.Fatalf("exit %d, %s, %v", r.exit, r.err, err)
	}
	for _, bad := range []string{token, "ann:pass", "hunter2", "203.0.113.9", home} {
		if strings.Contains(string(got), bad) {
			t.Errorf("%q is in\n%s", bad, got)
		}
	}
	if !strings.Contains(string(got), "== doctor") || !strings.Contains(string(got), "ip-1: IPv4") {
		t.Errorf("report:\n%s", got)
	}
}
