package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"amesh/node/api"
	"amesh/node/doctor"
)

// Everything that a home keeps secret, and whom it has to do with and where, is looked for
// in a report of a node that is in the middle of things.
func TestReportHasNoSecretAndNobodysName(t *testing.T) {
	s := newStation(t)
	a := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Agent: "ann-the-agent", Announce: AnnouncePublic, Proxy: "ann:swordf1sh@127.0.0.1:9", ProxyCredentials: "command:echo ann:hunter2hunter2"})
	b := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}})
	b.set("strangers", "accept")
	eventually(t, "record", func() bool { _, err := s.find(b.amid); return err == nil })
	a.send(b, "the words of a message", api.SendRequest{Intent: "private/intent"})
	if _, err := a.api.AddContact(t.Context(), "", api.ContactRequest{AMID: b.amid.String(), Name: "bobby-the-friend"}); err != nil {
		t.Fatal(err)
	}
	invite, err := a.api.Invite(t.Context(), "", api.InviteRequest{Label: "for carol"})
	if err != nil {
		t.Fatal(err)
	}
	// A slip that nobody means to make: every secret in the log.
	for file, secrets := range secretsOf(t, a.cfg.Home) {
		a.node.cfg.Logger.Info("slip", "file", file, "says", secrets)
	}
	a.node.cfg.Logger.Info("slip", "invite", invite.Text, "of", b.amid)
	r, err := a.api.Bugreport(t.Context(), api.BugreportRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"own AMID": a.amid.String(), "its short form": a.amid.Short(), "peer's AMID": b.amid.String(), "peer's short form": b.amid.Short(), "address": "127.0.0.1",
		"home": a.cfg.Home, "agent's name": "ann-the-agent", "contact's name": "bobby-the-friend", "body": "the words of a message", "invite": invite.Text,
		"peer id": "12D3KooW", "credentials": "hunter2hunter2", "password of the proxy": "swordf1sh",
	} {
		if strings.Contains(r.Text, bad) {
			t.Errorf("%s %q is in the report:\n%s", name, bad, around(r.Text, bad))
		}
	}
	for file, secrets := range secretsOf(t, a.cfg.Home) {
		for _, secret := range secrets {
			if strings.Contains(r.Text, secret) {
				t.Errorf("a secret of %s is in the report", file)
			}
		}
	}
	for _, want := range []string{"== version", "== configuration", "== status", "== policy", "== netcheck", "== doctor", "== log", "== goroutines", "own-1", "peer-1", "node-1",
		"ip-1: IPv4, loopback", `"state": "connected"`, "slip", "goroutine profile"} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("%q is not in the report", want)
		}
	}
	if !r.Daemon || r.Replaced < 4 || len(r.Sections) != 8 {
		t.Errorf("%+v", r.Sections)
	}

	named, err := a.api.Bugreport(t.Context(), api.BugreportRequest{Names: true})
	if err != nil || !strings.Contains(named.Text, a.amid.String()) || !strings.Contains(named.Text, "127.0.0.1") {
		t.Errorf("with names: %v", err)
	}
	for file, secrets := range secretsOf(t, a.cfg.Home) {
		for _, secret := range secrets {
			if strings.Contains(named.Text, secret) {
				t.Errorf("a secret of %s is in the report with names", file)
			}
		}
	}
}

func around(text, what string) string {
	i := strings.Index(text, what)
	return text[max(0, i-200):min(len(text), i+200)]
}

// secretsOf are the private values in the files of a home, read in another way than the
// report does.
func secretsOf(t *testing.T, home string) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for _, pattern := range doctor.SecretFiles {
		found, err := filepath.Glob(filepath.Join(home, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var object map[string]any
			if json.Unmarshal(raw, &object) != nil {
				all[path] = append(all[path], strings.TrimSpace(string(raw)))
				continue
			}
			for key, v := range object {
				if text, ok := v.(string); ok && strings.Contains(key, "private") {
					all[path] = append(all[path], text[strings.Index(text, ":")+1:])
				}
			}
		}
	}
	if len(all) < 4 {
		t.Fatalf("only %d files with secrets", len(all))
	}
	return all
}
