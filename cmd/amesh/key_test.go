package main

import (
	"crypto/rand"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/node/api"
)

// home makes a home with agents and gives their identities.
func home(t *testing.T, names ...string) (string, []*identity.Identity) {
	t.Helper()
	dir := t.TempDir()
	var all []*identity.Identity
	for _, name := range names {
		id, err := identity.CreateIdentity(filepath.Join(dir, "agents", name), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	return dir, all
}

func TestKeysAreShownAndRotated(t *testing.T) {
	n := newFakeNode()
	n.own = api.Keys{Agent: "travel-bot", AMID: peer(1), Fingerprint: "00ff", ExchangeFingerprint: "11ee", BundleID: "22dd",
		Epoch: 1, Sequence: 3, Expires: expires, Sets: 2}
	r := runFake(t, n, nil, "key")
	for _, want := range []string{"agent     travel-bot  " + peer(1).String(), "SHA-256 00ff", "SHA-256 11ee", "22dd, number 3 of epoch 1",
		"in use until 2026-11-23T09:14:00Z", "2 sets of exchange keys"} {
		if r.exit != exitOK || !strings.Contains(r.out, want) || strings.Contains(r.out, "revoked") {
			t.Errorf("%q is not in %q, exit %d", want, r.out, r.exit)
		}
	}
	r = runFake(t, n, nil, "key", "rotate", "travel-bot", "--json")
	var got struct {
		Schema string
		Data   api.Keys
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Schema != "amesh.key/1" || got.Data.Sequence != 4 {
		t.Errorf("%v in %s", err, r.out)
	}
	if r := runFake(t, n, nil, "key", "show", "nobody"); r.exit != exitNotFound {
		t.Error(r)
	}
	heir := peer(2)
	n.own.Revoked = &api.Revocation{Reason: "superseded", Issued: expires, Successor: &heir}
	r = runFake(t, n, nil, "key", "show")
	if want := "revoked   superseded since 2026-11-23T09:14:00Z, names " + heir.String() + " as its successor\n"; !strings.Contains(r.out, want) {
		t.Errorf("%q is not in %q", want, r.out)
	}
}

func TestRevokeAsksTwice(t *testing.T) {
	n := newFakeNode()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--yes"}, "want superseded, compromised or retired"},
		{[]string{"--reason", "bored", "--yes"}, "want superseded, compromised or retired"},
		{[]string{"--reason", "retired"}, "next: add --yes"},
	} {
		r := runFake(t, n, nil, append([]string{"key", "revoke"}, c.args...)...)
		if r.exit != exitUsage || !strings.Contains(r.err, c.says) || len(n.revoked) != 0 {
			t.Errorf("%v: exit %d, %s", c.args, r.exit, r.err)
		}
	}
	r := runFake(t, n, nil, "key", "revoke", "--reason", "retired", "--yes")
	if r.exit != exitOK || len(n.revoked) != 1 || n.revoked[0].Reason != "retired" || n.revoked[0].Successor != "" {
		t.Errorf("%+v: %+v", n.revoked, r)
	}
}

// The successor's consent is made here, and is one that the leaving key can use.
func TestSuccessorConsents(t *testing.T) {
	one, heirs := home(t, "default")
	_, own := home(t, "default")
	n := newFakeNode()
	n.own = api.Keys{Agent: "default", AMID: own[0].AMID(), SigningKey: own[0].Key.Public().Text()}
	for i, path := range []string{one, filepath.Join(one, "agents", "default", identity.IdentityFile)} {
		r := runFake(t, n, nil, "key", "revoke", "--reason", "superseded", "--successor", path, "--yes")
		if r.exit != exitOK {
			t.Fatalf("%s: exit %d, %s", path, r.exit, r.err)
		}
		asked := n.revoked[i]
		key, err := identity.ParsePublicKeyText(asked.Successor)
		if err != nil || key != heirs[0].Key.Public() {
			t.Fatalf("successor %s, %v", asked.Successor, err)
		}
		v := identity.Revocation{Issued: *asked.Issued, Reason: identity.Superseded, Successor: key}
		if _, err := identity.SignRevocation(own[0].Key, v, asked.Consent); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if seed := string(heirs[0].Key.Seed()); strings.Contains(string(asked.Consent)+asked.Successor, seed) {
			t.Error("the successor's private key went to the node")
		}
	}

	two, _ := home(t, "a", "b")
	n.own.SigningKey = heirs[0].Key.Public().Text()
	asked := len(n.revoked)
	for path, want := range map[string]struct {
		exit int
		says string
	}{
		two:                             {exitUsage, "2 agents are there"},
		one:                             {exitUsage, "name another agent than the one whose key leaves"},
		t.TempDir():                     {exitNotFound, "no agent in "},
		filepath.Join(one, "elsewhere"): {exitNotFound, "--successor"},
	} {
		r := runFake(t, n, nil, "key", "revoke", "--reason", "superseded", "--successor", path, "--yes")
		if r.exit != want.exit || !strings.Contains(r.err, want.says) || len(n.revoked) != asked {
			t.Errorf("%s: exit %d, %s", path, r.exit, r.err)
		}
	}
}

func TestRevokedPeerIsShown(t *testing.T) {
	n := newFakeNode()
	gone := &api.Revocation{AMID: peer(2), Reason: "compromised", Issued: expires}
	n.contacts = []api.Contact{{AMID: peer(2), Revoked: gone}}
	n.status.Peers = []api.Peer{{AMID: peer(2), Path: api.PathNone, Session: "none", Revoked: gone}}
	for _, verb := range []string{"contacts", "peers", "status"} {
		if r := runFake(t, n, nil, verb); !strings.Contains(r.out, "revoked: compromised since 2026-11-23T09:14:00Z") {
			t.Errorf("%s: %q", verb, r.out)
		}
	}
	n.state, n.reason = api.StateDead, api.ReasonRevoked
	if r := runFake(t, n, nil, "send", peer(2).String(), "hello"); r.exit != exitRefused || !strings.Contains(r.err, "key of one side was revoked") {
		t.Errorf("exit %d, %s", r.exit, r.err)
	}
}
