package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"amesh/node/api"
)

func TestContactsAreListed(t *testing.T) {
	n := newFakeNode()
	if r := runFake(t, n, nil, "contacts"); r.exit != exitOK || r.out != "no contacts yet\n" {
		t.Error(r)
	}
	if r := runFake(t, n, nil, "contacts", "list", "--json"); r.out != `{"schema":"amesh.contacts/1","ok":true,"data":{"items":[]}}`+"\n" {
		t.Error(r.out)
	}
	n.contacts = []api.Contact{{AMID: peer(2), Granted: true}, {AMID: peer(3), Verified: &expires}}
	r := runFake(t, n, nil, "contacts")
	for _, want := range []string{peer(2).String() + "  not verified, granted\n", peer(3).String() + "  verified "} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in %q", want, r.out)
		}
	}
}

func TestVerifyShowsWhatToCompare(t *testing.T) {
	n := newFakeNode()
	n.contacts = []api.Contact{{AMID: peer(2)}}
	r := runFake(t, n, nil, "contacts", "verify", peer(2).DID())
	for _, want := range []string{"   1 a ", "  12 l ", "amesh:compare:00ff\n", "█", "--matches", "--differs"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in %q", want, r.out)
		}
	}
	if strings.Contains(r.out, "\x1b") {
		t.Error("colours where no terminal is")
	}
	r = runFake(t, n, func(a *app) { a.tty = true }, "contacts", "verify", peer(2).String())
	if !strings.Contains(r.out, "\x1b[30;107m  ") {
		t.Error("on a terminal the code is not dark on light")
	}
	r = runFake(t, n, nil, "contacts", "verify", peer(2).String(), "--json")
	var got struct{ Data api.Comparison }
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Data.Words) != 12 || got.Data.Value != "00ff" || got.Data.QR != "amesh:compare:00ff" {
		t.Errorf("%v in %s", err, r.out)
	}
	if r := runFake(t, n, nil, "contacts", "verify", peer(4).String()); r.exit != exitNotFound || !strings.Contains(r.err, "next: try again later") {
		t.Error(r)
	}
}

func TestVerifyRemembersTheOwnersWord(t *testing.T) {
	n := newFakeNode()
	n.contacts = []api.Contact{{AMID: peer(2)}}
	if r := runFake(t, n, nil, "contacts", "verify", peer(2).String(), "--matches"); r.exit != exitOK || n.contacts[0].Verified == nil {
		t.Error(r)
	}
	r := runFake(t, n, nil, "contacts", "verify", peer(2).String(), "--differs")
	if r.exit != exitOK || n.contacts[0].Verified != nil {
		t.Error(r)
	}
	for _, want := range []string{"yours  " + peer(1).String(), "his    " + peer(2).String(), "to block it:"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is not in %q", want, r.out)
		}
	}
	n.policy["block"] = []any{peer(3).String()}
	r = runFake(t, n, nil, "contacts", "verify", peer(2).String(), "--differs", "--block", "--json")
	list, _ := n.policy["block"].([]any)
	if r.exit != exitOK || !slices.Contains(list, any(peer(2).String())) || !slices.Contains(list, any(peer(3).String())) {
		t.Errorf("blocked %v: %+v", list, r)
	}
	if !strings.Contains(r.out, `"blocked":true`) {
		t.Error(r.out)
	}
	for _, args := range [][]string{{"--matches", "--differs"}, {"--block"}, {"--matches", "--block"}} {
		if r := runFake(t, n, nil, append([]string{"contacts", "verify", peer(2).String()}, args...)...); r.exit != exitUsage {
			t.Errorf("%v: exit %d", args, r.exit)
		}
	}
	if r := runFake(t, n, nil, "contacts", "verify", "Bob"); r.exit != exitNotFound || !strings.Contains(r.err, "next: amesh contacts shows the names") {
		t.Error(r)
	}
}
