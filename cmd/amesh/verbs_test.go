package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"amesh/node/api"

	"github.com/google/go-cmp/cmp"
)

// outcomeOf is what a run of the program leaves behind.
type outcomeOf struct {
	exit     int
	out, err string
}

// runFake runs the program against a node in memory.
func runFake(t *testing.T, n *fakeNode, change func(*app), args ...string) outcomeOf {
	t.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"AMESH_HOME": t.TempDir()}
	a := &app{in: strings.NewReader(""), out: &out, err: &errs, args: args, backend: n,
		getenv: func(k string) string { return env[k] }}
	if n == nil {
		a.backend = nil
	}
	if change != nil {
		change(a)
	}
	exit := a.main(context.Background())
	return outcomeOf{exit, out.String(), errs.String()}
}

func message(id, body string) api.InboxMessage {
	return api.InboxMessage{Body: []byte(body), InboxItem: api.InboxItem{ID: id, From: peer(2), State: api.InboxNew,
		Intent: "travel/flights", Size: int64(len(body)), Path: api.PathDirect}}
}

func TestSendPassesOnWhatWasAsked(t *testing.T) {
	n := newFakeNode()
	r := runFake(t, n, nil, "send", peer(2).DID(), "hello", "--intent", "travel/flights", "--thread", "t1",
		"--wait", "handled", "--timeout", "3s", "--ttl", "2d", "--via", "direct", "--type", "stream", "--idempotency-key", "k1")
	if r.exit != exitUndelivered { // delivered is not handled
		t.Fatalf("exit %d, %s", r.exit, r.err)
	}
	want := []api.SendRequest{{To: peer(2).String(), Intent: "travel/flights", Body: []byte("hello"),
		ContentType: "text/plain; charset=utf-8", Thread: "t1", TTLSeconds: 2 * 24 * 3600, Via: "direct", Type: "stream",
		Wait: api.StateHandled, TimeoutMS: 3000}}
	if d := cmp.Diff(want, n.sent); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"k1"}, n.keys); d != "" {
		t.Error(d)
	}
}

func TestSendFromStandardInputAndFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "notes.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newFakeNode()
	feed := func(a *app) { a.in = strings.NewReader("from a pipe\n") }
	for _, args := range [][]string{{"send", peer(2).String(), "-"}, {"send", peer(2).String(), "--file", file}} {
		if r := runFake(t, n, feed, args...); r.exit != exitOK {
			t.Fatalf("%v: exit %d, %s", args, r.exit, r.err)
		}
	}
	if got := string(n.sent[0].Body); got != "from a pipe\n" {
		t.Errorf("standard input arrived as %q", got)
	}
	if got := n.sent[1]; got.FileName != "notes.json" || string(got.Body) != "{}" || got.ContentType != "application/json" {
		t.Errorf("file arrived as %q, %q, %q", got.FileName, got.Body, got.ContentType)
	}
}

// What is accepted but not there yet has to show everything a script needs.
func TestSendNotThereYet(t *testing.T) {
	n := newFakeNode()
	n.state = api.StateRelayed
	r := runFake(t, n, nil, "send", peer(2).String(), "hello")
	want := outcomeOf{exitUndelivered, "m1  relayed  relayed\n",
		"amesh send: accepted, not delivered yet: waits at ws://relay.example/v1/connect until 2026-11-23T09:14:00Z; peer " +
			peer(2).Short() + " (a relay keeps it, the peer has not come for it)\n" +
			"next: nothing to do, it goes out by itself; see how far it is with: amesh status m1\n"}
	if d := cmp.Diff(want, r, cmp.AllowUnexported(outcomeOf{})); d != "" {
		t.Error(d)
	}
	r = runFake(t, n, nil, "send", peer(2).String(), "hello", "--json")
	var got struct {
		Schema string
		OK     bool
		Data   struct{ ID, State, Path string }
		Error  struct{ Code string }
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v in %q", err, r.out)
	}
	if got.Schema != "amesh.send/1" || got.OK || got.Data.ID != "m1" || got.Data.State != "relayed" || got.Error.Code != "not_there_yet" {
		t.Errorf("%+v", got)
	}
}

func TestTypedWrong(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, make([]byte, maxBody+1), 0o600); err != nil {
		t.Fatal(err)
	}
	to := peer(2).String()
	for _, c := range []struct {
		name string
		args []string
		exit int
		says []string
	}{
		{"unknown verb", []string{"sned", to, "--wait", "handled"}, 2, []string{`unknown verb "sned", did you mean send?`, "usage: amesh VERB", "next: amesh --help"}},
		{"unknown second verb", []string{"knocks", "aprove", "x", "--for", "1h"}, 2, []string{"did you mean approve?"}},
		{"unknown flag", []string{"send", "--wiat", "handled"}, 2, []string{"unknown flag --wiat, did you mean --wait?", "usage: amesh send AMID [TEXT|-] [flags]"}},
		{"unknown flag before a word", []string{"gateway", "--domian", "example.com"}, 2, []string{"unknown flag --domian, did you mean --domain?", "next: amesh gateway --help"}},
		{"flag with one dash", []string{"gateway", "-domain", "example.com"}, 2, []string{"flags have two dashes, want --domain"}},
		{"port that is none", []string{"gateway", "--tls", "off", "--listen", "127.0.0.1:99999"}, 2, []string{"invalid port", "next: give HOST:PORT"}},
		{"inbox of a bare name", []string{"gateway", "inbox", "get", "sales", "--key", "k"}, 2, []string{`"sales" is no address: want NAME@DOMAIN`}},
		{"wait too long", []string{"gateway", "message", "send", "a@b.example", "--key", "k", "--from", "c@b.example", "--payload", "{}", "--wait", "60s"}, 2, []string{"--wait 1m0s: want at most 25s"}},
		{"flag of nothing", []string{"--quux"}, 2, []string{"unknown flag --quux\n"}},
		{"no text", []string{"send", to}, 2, []string{"nothing to send"}},
		{"no argument", []string{"send"}, 2, []string{"amesh send: missing argument"}},
		{"unquoted text", []string{"send", to, "hello", "world"}, 2, []string{"needs quotes"}},
		{"text and file", []string{"send", to, "x", "--file", big}, 2, []string{"want one of them"}},
		{"file too big", []string{"send", to, "--file", big}, 2, []string{"longer than 1 MiB", "next: compress it"}},
		{"no such file", []string{"send", to, "--file", big + "ger"}, 4, []string{"no such file"}},
		{"no contact", []string{"send", "Bob", "x"}, 4, []string{"nobody goes by the name \"Bob\" here", "next:"}},
		{"mistyped AMID", []string{"send", to[:len(to)-1] + "0", "x"}, 2, []string{"not an AMID", "next:"}},
		{"wait for what", []string{"send", to, "x", "--wait", "forever"}, 2, []string{"--wait forever"}},
		{"path of what kind", []string{"send", to, "x", "--via", "pigeon"}, 2, []string{"--via pigeon"}},
		{"session of what kind", []string{"send", to, "x", "--type", "chat"}, 2, []string{`--type "chat": want request_response`}},
		{"time of what kind", []string{"send", to, "x", "--timeout", "soon"}, 2, []string{"soon"}},
		{"no life at all", []string{"send", to, "x", "--ttl", "0s"}, 2, []string{"--ttl 0s"}},
		{"done both ways", []string{"done", "m1", "--failed", "--refused"}, 2, []string{"want one of them"}},
		{"page too big", []string{"inbox", "--limit", "9999"}, 2, []string{"--limit 9999"}},
		{"grant of no time", []string{"knocks", "approve", "k1", "--for", "0s"}, 2, []string{"--for 0s"}},
		{"word too many", []string{"id", "me"}, 2, []string{`unexpected argument "me"`}},
		{"no such message", []string{"read", "m9"}, 4, []string{"no message m9", "next: amesh inbox --all"}},
		{"no such knock", []string{"knocks", "refuse", "k9"}, 4, []string{"no knock k9"}},
		{"no such policy key", []string{"policy", "set", "color", "red"}, 2, []string{`unknown key "color"`}},
		{"intent in capitals", []string{"send", to, "x", "--intent", "Travel/Flights"}, 2, []string{`--intent "Travel/Flights": want lower-case letters`, "next: write it like travel/flights"}},
		{"intent too long", []string{"reply", "m1", "x", "--intent", strings.Repeat("a", 129)}, 2, []string{"at most 128 bytes"}},
		{"thread too long", []string{"send", to, "x", "--thread", strings.Repeat("t", 65)}, 2, []string{"at most 64 bytes"}},
		{"type of two lines", []string{"send", to, "x", "--content-type", "text/plain\nx"}, 2, []string{"--content-type"}},
		{"key too long", []string{"send", to, "x", "--idempotency-key", strings.Repeat("k", 129)}, 2, []string{"--idempotency-key", "at most 128"}},
		{"key with spaces", []string{"send", to, "x", "--idempotency-key", "my key"}, 2, []string{"without spaces"}},
		{"word too long", []string{"done", "m1", "--text", strings.Repeat("w", 201)}, 2, []string{"--text has 201 bytes, want at most 200", "next: answer with amesh reply"}},
		{"label too long", []string{"invite", "--label", strings.Repeat("l", 3000)}, 2, []string{"--label has 3000 letters, want at most 100", "next: amesh invite --help"}},
		{"card's name too long", []string{"agent", "card", "set", "--name", strings.Repeat("l", 300)}, 2, []string{"--name has 300 bytes, want at most 64", "next: amesh agent card set --help"}},
		{"card's text too long", []string{"agent", "card", "set", "--description", strings.Repeat("l", 1025)}, 2, []string{"--description has 1025 bytes", "next:"}},
		{"lookup of too long a name", []string{"lookup", strings.Repeat("l", 5000)}, 2, []string{"the name has 5000 letters, want at most 128", "next: amesh lookup --help"}},
		{"contact's name too long", []string{"join", "amesh1q", "--name", strings.Repeat("l", 65)}, 2, []string{"--name has 65 letters"}},
		{"words too long", []string{"search", strings.Repeat("l", 201)}, 2, []string{"the search has 201"}},
		{"name with a space that is no AMID", []string{"send", "Travel bot", "x"}, 4, []string{"nobody goes by the name", "next: "}},
		{"approve nothing", []string{"knocks", "approve", ""}, 2, []string{"empty argument: want the knock's ID"}},
		{"refuse nothing", []string{"knocks", "refuse", " "}, 2, []string{"empty argument"}},
		{"read nothing", []string{"read", ""}, 2, []string{"empty argument: want the message's ID"}},
		{"done with nothing", []string{"done", ""}, 2, []string{"empty argument"}},
		{"reply to nothing", []string{"reply", "", "x"}, 2, []string{"empty argument"}},
		{"cancel nothing", []string{"cancel", ""}, 2, []string{"empty argument"}},
		{"cancel what nobody sent", []string{"cancel", "m9"}, 4, []string{"no message m9"}},
		{"first agent with a path for a name", []string{"up", "--name", "../evil"}, 2, []string{"a folder's", "next: give a name"}},
		{"first agent with a backslash", []string{"up", "--name", `a\b`}, 2, []string{"a folder's"}},
		{"first agent with a colour", []string{"up", "--agent", "a\x1b[1m"}, 2, []string{"a folder's"}},
		{"first agent with a long name", []string{"up", "--name", strings.Repeat("n", 65)}, 2, []string{"at most 64 bytes"}},
		{"relay by HTTP", []string{"up", "--relay", "http://127.0.0.1:1"}, 2, []string{"--relay", "next: write it like wss://"}},
		{"bootstrap without a peer", []string{"up", "--bootstrap", "/ip4/127.0.0.1/tcp/1"}, 2, []string{"--bootstrap", "next: write it like /ip4/"}},
		{"API without a port", []string{"up", "--api", "127.0.0.1"}, 2, []string{"--api 127.0.0.1: want HOST:PORT", "next: write it like 127.0.0.1:7777"}},
		{"API with too high a port", []string{"up", "--api", "127.0.0.1:77777"}, 2, []string{"want a port", "next:"}},
		{"API for everybody", []string{"up", "--api", "0.0.0.0:0"}, 2, []string{"next: use 127.0.0.1"}},
		{"relay on a word", []string{"relay", "--listen", "bogus"}, 2, []string{"--listen bogus: want HOST:PORT", "next: write it like 127.0.0.1:8765"}},
		{"relay on no port", []string{"relay", "--listen", "127.0.0.1:"}, 2, []string{"want a port"}},
		{"relay named without a port", []string{"relay", "--name", "relay.example"}, 2, []string{"--name relay.example: want HOST:PORT", "next: write it like relay.example:443"}},
		{"relay named by a port", []string{"relay", "--name", ":443"}, 2, []string{"want a host and the port"}},
		{"announce what", []string{"up", "--announce", "loudly"}, 2, []string{"want none or public", "next: amesh up --help"}},
		{"punch what", []string{"up", "--punch", "maybe"}, 2, []string{"want auto or off", "next: amesh up --help"}},
		{"what part in the DHT", []string{"up", "--dht", "maybe"}, 2, []string{"want auto, client or server", "next: amesh up --help"}},
		{"level of what", []string{"relay", "--log-level", "loud"}, 2, []string{`log level "loud"`, "next: name one of these"}},
		{"addresses to nowhere", []string{"up", "--print-addrs", big + "ger/addrs.json"}, 4, []string{"no such file", "next: look at the path"}},
		{"relay's addresses to nowhere", []string{"relay", "--print-addrs", big + "ger/addrs.json"}, 4, []string{"no such file", "next: look at the path"}},
		{"relay's data on top of a file", []string{"relay", "--listen", "127.0.0.1:0", "--data", big + "/data"}, 2, []string{"not a directory", "next: give another folder"}},
		{"places for how many", []string{"relay", "--per-address", "x"}, 2, []string{`--per-address: want a number, not "x"` + "\n", "next: amesh relay --help"}},
		{"places for nobody", []string{"relay", "--per-address", "0"}, 2, []string{"above 0", "next: leave it out for 512"}},
		{"agent with a path for a name", []string{"agent", "import", big, "--name", "../x"}, 2, []string{"a folder's"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := runFake(t, newFakeNode(), nil, c.args...)
			if r.exit != c.exit {
				t.Errorf("exit %d, want %d: %s", r.exit, c.exit, r.err)
			}
			for _, s := range c.says {
				if !strings.Contains(r.err, s) {
					t.Errorf("standard error lacks %q:\n%s", s, r.err)
				}
			}
			if r.out != "" {
				t.Errorf("standard output has %q", r.out)
			}
			r = runFake(t, newFakeNode(), nil, append([]string{"--json"}, c.args...)...)
			var got answer
			if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.OK || got.Error == nil || r.exit != c.exit {
				t.Errorf("with --json: exit %d, %v, %s", r.exit, err, r.out)
			}
		})
	}
}

func TestReadOnATerminalAndElsewhere(t *testing.T) {
	n := newFakeNode()
	n.inbox = []api.InboxMessage{message("m1", "red \x1b[31malert\u202e")}
	n.inbox[0].FileName = "\u200bbill\x1b[2J.pdf"
	body := func(r outcomeOf) string {
		_, b, _ := strings.Cut(r.out, "\n\n")
		return b
	}
	r := runFake(t, n, nil, "read", "m1")
	if got := body(r); got != "red \x1b[31malert\u202e" {
		t.Errorf("into a pipe the body went as %q", got)
	}
	if !strings.Contains(r.out, `file: \u{200b}bill\x1b[2J.pdf`) {
		t.Errorf("headers are not escaped: %q", r.out)
	}
	r = runFake(t, n, func(a *app) { a.tty = true }, "read", "m1")
	if got := body(r); got != `red \x1b[31malert\u{202e}`+"\n" {
		t.Errorf("on a terminal the body was shown as %q", got)
	}
	r = runFake(t, n, func(a *app) { a.tty = true }, "read", "m1", "--raw")
	if r.out != "red \x1b[31malert\u202e" {
		t.Errorf("raw: %q", r.out)
	}
	if n.leases["m1"] != time.Minute {
		t.Errorf("leased for %s, want a minute", n.leases["m1"])
	}
	file := filepath.Join(t.TempDir(), "out")
	r = runFake(t, n, nil, "read", "m1", "--output", file, "--lease", "0s")
	if b, err := os.ReadFile(file); err != nil || string(b) != string(n.inbox[0].Body) || strings.Contains(r.out, "alert") {
		t.Errorf("%v, file %q, output %q", err, b, r.out)
	}
	if n.leases["m1"] != 0 {
		t.Errorf("leased for %s although told not to", n.leases["m1"])
	}
}

// The answer is on disk before the message leaves the inbox, and only then is its
// delivery waited for.
func TestReplyOrder(t *testing.T) {
	n := newFakeNode()
	n.inbox = []api.InboxMessage{message("m7", "question")}
	r := runFake(t, n, nil, "reply", "m7", "answer", "--wait", "handled", "--timeout", "5s")
	if r.exit != exitUndelivered {
		t.Fatalf("exit %d: %s", r.exit, r.err)
	}
	if d := cmp.Diff([]string{"send accepted", "ack m7", "message m1 handled 5s"}, n.calls); d != "" {
		t.Error(d)
	}
	want := api.SendRequest{To: peer(2).String(), Intent: "travel/flights", Body: []byte("answer"),
		ContentType: "text/plain; charset=utf-8", Thread: "m7", ReplyTo: "m7", Wait: api.StateAccepted}
	if d := cmp.Diff(want, n.sent[0]); d != "" {
		t.Error(d)
	}
	// A second answer neither fails nor changes what was said first.
	n.inbox[0].State, n.inbox[0].Thread = api.InboxFailed, "t3"
	if r := runFake(t, n, nil, "reply", "m7", "once more"); r.exit != exitOK {
		t.Errorf("second answer: exit %d: %s", r.exit, r.err)
	}
	if n.sent[1].Thread != "t3" || n.inbox[0].State != api.InboxFailed {
		t.Errorf("thread %q, state %s", n.sent[1].Thread, n.inbox[0].State)
	}
}

func TestDoneTellsTheOutcome(t *testing.T) {
	for _, c := range []struct {
		flags []string
		want  api.AckRequest
	}{
		{nil, api.AckRequest{Outcome: api.InboxHandled}},
		{[]string{"--failed", "--text", "no such flight"}, api.AckRequest{Outcome: api.InboxFailed, Text: "no such flight"}},
		{[]string{"--refused"}, api.AckRequest{Outcome: api.InboxRefused}},
	} {
		n := newFakeNode()
		n.inbox = []api.InboxMessage{message("m1", "x")}
		r := runFake(t, n, nil, append([]string{"done", "m1"}, c.flags...)...)
		if d := cmp.Diff(c.want, n.acks["m1"]); d != "" || r.exit != exitOK {
			t.Errorf("exit %d, %s%s", r.exit, r.err, d)
		}
	}
}

func TestCancelTakesBack(t *testing.T) {
	n := newFakeNode()
	if r := runFake(t, n, nil, "send", peer(2).String(), "hello", "--wait", "accepted"); r.exit != exitOK {
		t.Fatalf("exit %d: %s", r.exit, r.err)
	}
	if r := runFake(t, n, nil, "cancel", "m1"); r.exit != exitOK || r.out != "m1  cancelled  relayed\n" {
		t.Errorf("exit %d: %s%s", r.exit, r.out, r.err)
	}
	if r := runFake(t, n, nil, "cancel", "m1", "--json"); r.exit != exitConflict || !strings.HasPrefix(r.out, `{"schema":"amesh.cancel/1","ok":false`) {
		t.Errorf("again: exit %d: %s%s", r.exit, r.out, r.err)
	}
}

func TestInboxListsAndFollows(t *testing.T) {
	n := newFakeNode()
	n.inbox = []api.InboxMessage{message("m1", "a"), message("m2", "b"), message("m3", "c")}
	n.inbox[0].State = api.InboxHandled
	r := runFake(t, n, nil, "inbox", "--json")
	var got struct{ Data api.InboxPage }
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Data.Items) != 2 || got.Data.Items[0].ID != "m2" {
		t.Errorf("%v in %s", err, r.out)
	}
	r = runFake(t, n, nil, "inbox", "--all", "--limit", "1")
	if !strings.HasPrefix(r.out, "m1  "+peer(2).String()+"  handled") || !strings.Contains(r.out, "more: --cursor m1") {
		t.Error(r.out)
	}
	r = runFake(t, newFakeNode(), nil, "inbox")
	if r.out != "no messages\n" {
		t.Error(r.out)
	}
}

// writerFunc lets a test see each line as it comes.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestFollowShowsEachMessageOnce(t *testing.T) {
	n := newFakeNode()
	for i := range followPage + 2 { // more than one page
		n.inbox = append(n.inbox, message("m"+string(rune('a'+i/26/26))+string(rune('a'+i/26%26))+string(rune('a'+i%26)), "x"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	a := &app{args: []string{"inbox", "--follow", "--json", "--home", t.TempDir()}, backend: n, err: os.Stderr,
		getenv: func(string) string { return "" }}
	a.out = writerFunc(func(p []byte) (int, error) {
		var got struct{ Data api.InboxItem }
		if err := json.Unmarshal(p, &got); err != nil || got.Data.ID != n.inbox[lines].ID {
			t.Errorf("line %d: %v, %s", lines, err, p)
		}
		if lines++; lines == followPage+2 { // one more comes while it is watching
			n.mu.Lock()
			n.inbox = append(n.inbox, message("mz", "late"))
			n.mu.Unlock()
		}
		if lines == followPage+3 {
			cancel()
		}
		return len(p), nil
	})
	if exit := a.main(ctx); exit != exitOK {
		t.Errorf("exit %d", exit)
	}
	if lines != followPage+3 {
		t.Errorf("%d lines, want %d", lines, followPage+3)
	}
}

func TestStatusCheck(t *testing.T) {
	n := newFakeNode()
	n.status = api.Status{Home: "/h", Agents: []api.Agent{{Name: "default", AMID: peer(1)}}, Peers: []api.Peer{{AMID: peer(2), Path: api.PathDirect}}}
	if r := runFake(t, n, nil, "status", "--check"); r.exit != exitOK || !strings.Contains(r.out, peer(2).String()+"  direct") {
		t.Errorf("exit %d: %s", r.exit, r.out)
	}
	n.status.Degraded = []string{"no relay is connected"}
	if r := runFake(t, n, nil, "status"); r.exit != exitOK || !strings.Contains(r.out, "problem  no relay is connected") {
		t.Errorf("exit %d: %s", r.exit, r.out)
	}
	if r := runFake(t, n, nil, "status", "--check"); r.exit != exitDegraded || !strings.Contains(r.err, "no relay is connected") {
		t.Errorf("exit %d: %s", r.exit, r.err)
	}
}

func TestStatusOfRelays(t *testing.T) {
	n := newFakeNode()
	n.status = api.Status{Home: "/h", Agents: []api.Agent{{Name: "ann", AMID: peer(1), Epoch: 3, OneTime: &api.OneTimeKeys{X25519: 99, KEM: 19}}}, Relays: []api.Relay{
		{URL: "ws://a", State: "connected", Role: "home", Announced: true, LatencyMS: 12.3, Mailbox: 2},
		{URL: "ws://b", State: "connecting", Role: "home", Error: "dial\x1b[1m"},
		{URL: "ws://c", State: "standby", Role: "standby", LatencyMS: 150},
		{URL: "ws://d", State: "connected", Role: "leaving", Mailbox: 1},
	}}
	r := runFake(t, n, nil, "status")
	for _, line := range []string{
		"agent    ann  " + peer(1).String() + "  epoch 3, one-time keys 99 and 19\n",
		"relay    ws://a  home, connected, 12.3 ms, 2 messages there for us\n",
		"relay    ws://b  home, connecting (dial\\x1b[1m)\n",
		"relay    ws://c  standby, 150 ms\n",
		"relay    ws://d  leaving, connected, 1 message there for us\n",
	} {
		if !strings.Contains(r.out, line) {
			t.Errorf("no line %q in\n%s", line, r.out)
		}
	}
	if r := runFake(t, n, nil, "status", "--json"); !strings.Contains(r.out, `"url":"ws://a","state":"connected"`) || !strings.Contains(r.out, `"role":"home","announced":true,"latency_ms":12.3,"mailbox":2}`) {
		t.Error(r.out)
	}
}

func TestKnocksAreDecided(t *testing.T) {
	n := newFakeNode()
	n.knocks = []api.Knock{{ID: "k1", Peer: peer(2), Direction: "in", State: "pending", Rule: "strangers-ask\x1b[1m", Tier: "verified"}}
	if r := runFake(t, n, nil, "knocks"); !strings.Contains(r.out, `tier: verified  rule: strangers-ask\x1b[1m`) {
		t.Error(r.out)
	}
	if r := runFake(t, n, nil, "knocks", "approve", "k1", "--for", "7d"); r.exit != exitOK || !strings.Contains(r.out, "accepted") {
		t.Error(r)
	}
	if want := expires.Add(7 * 24 * time.Hour); !n.knocks[0].Expires.Equal(want) {
		t.Errorf("grant until %s, want %s", n.knocks[0].Expires, want)
	}
	if r := runFake(t, n, nil, "knocks", "refuse", "k1"); r.exit != exitOK || n.knocks[0].State != "rejected" {
		t.Error(r)
	}
	if r := runFake(t, newFakeNode(), nil, "knocks", "--json"); r.out != `{"schema":"amesh.knocks/1","ok":true,"data":{"items":[]}}`+"\n" {
		t.Error(r.out)
	}
}
