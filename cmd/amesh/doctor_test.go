package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"amesh/node/api"
)

func checked(states ...api.CheckState) api.Doctor {
	d := api.Doctor{Version: version, Home: "/h", Daemon: true}
	for i, s := range states {
		d.Checks = append(d.Checks, api.Check{Name: "c" + string(rune('0'+i)), State: s, Text: "says\x1b[2J", Next: "do this"})
	}
	return d
}

func TestDoctorExitsByTheWorstCheck(t *testing.T) {
	for name, c := range map[string]struct {
		states []api.CheckState
		args   []string
		exit   int
	}{
		"well":             {[]api.CheckState{api.CheckOK, api.CheckSkip}, nil, exitOK},
		"warned":           {[]api.CheckState{api.CheckOK, api.CheckWarn}, nil, exitOK},
		"warned, strictly": {[]api.CheckState{api.CheckOK, api.CheckWarn}, []string{"--strict"}, exitDegraded},
		"failed":           {[]api.CheckState{api.CheckWarn, api.CheckFail, api.CheckOK}, nil, exitDegraded},
	} {
		n := newFakeNode()
		n.doctor = checked(c.states...)
		r := runFake(t, n, nil, append([]string{"doctor"}, c.args...)...)
		if r.exit != c.exit || !strings.Contains(r.out, `says\x1b[2J`) || !strings.Contains(r.out, "next: do this") || !strings.Contains(r.out, "ok    daemon ") {
			t.Errorf("%s: exit %d, %s", name, r.exit, r.out)
		}
		r = runFake(t, n, nil, append([]string{"doctor", "--json"}, c.args...)...)
		if schema, err := lookUp(r.out, "schema"); r.exit != c.exit || err != nil || schema != "amesh.doctor/1" {
			t.Errorf("%s: exit %d, %s", name, r.exit, r.out)
		}
		if got, err := lookUp(r.out, "data.checks.2.state"); err != nil || got != string(c.states[0]) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	n := newFakeNode()
	n.doctorErr = api.Problemf(403, api.CodeForbidden, "for the owner only")
	if r := runFake(t, n, nil, "doctor"); r.exit != exitUnauthorized {
		t.Errorf("as an agent: exit %d", r.exit)
	}
}

func TestDoctorWithoutANodeLooksAtTheHome(t *testing.T) {
	home := t.TempDir()
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("rellay: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "node.key"), []byte("k"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := runFake(t, nil, nil, "--home", home, "doctor", "--json")
	if r.exit != exitDegraded {
		t.Fatalf("exit %d, %s", r.exit, r.out)
	}
	for _, want := range []string{
		`{"name":"daemon","state":"fail"`, `{"name":"config","state":"fail"`, `did you mean relay?`, `{"name":"home","state":"fail"`, "chmod 700", `{"name":"keys","state":"fail"`,
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%s is not in %s", want, r.out)
		}
	}
}
