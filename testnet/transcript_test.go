package testnet

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tell runs the same story through a transcript.
func tell(t *transcript) {
	t.abbreviate("2wCNe4X9egd7iKnC1T9XBee63MLc", "2wCN…3MLc")
	t.abbreviate("/tmp/amesh-demo-1/", "")
	t.begin("knock", "alice asks")
	t.command("alice", []string{"send", "2wCNe4X9egd7iKnC1T9XBee63MLc", "it's late", "--file", "/tmp/amesh-demo-1/files/a"})
	t.output("01973c1e  accepted  none\nnext: \x1b[31mwait\n")
	t.exit(8)
	t.exit(0)
	t.note("%d of %d", 1, 2)
	t.passed("knock", 1234*time.Millisecond, map[string]int{"n": 1})
	t.begin("search", "what was seen")
	t.failed("search", 50*time.Millisecond, errors.New("2 words were seen"), []logTail{{"relay", []string{"a", "b"}}})
}

func TestTranscriptForPeople(t *testing.T) {
	var b bytes.Buffer
	tell(&transcript{out: &b, steps: 2})
	want := `
1/2  knock: alice asks
   alice$ amesh send 2wCN…3MLc 'it'\''s late' --file files/a
      01973c1e  accepted  none
      next: ` + "\uFFFD" + `[31mwait
      (exit 8)
     1 of 2
     ok, 1.2 s

2/2  search: what was seen
     FAILED after 0.1 s: 2 words were seen

     log of relay, the end:
       a
       b
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTranscriptForPrograms(t *testing.T) {
	var b bytes.Buffer
	tell(&transcript{out: &b, json: true, steps: 2})
	want := `{"schema":"amesh.demo/1","step":"knock","ok":true,"took_ms":1234,"data":{"n":1}}
{"schema":"amesh.demo/1","step":"search","ok":false,"took_ms":50,"error":{"code":"step_failed","message":"2 words were seen"},"logs":{"relay":["a","b"]}}
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// brokenPipe fails after some writes.
type brokenPipe struct{ left int }

var errPipe = errors.New("broken pipe")

func (p *brokenPipe) Write(b []byte) (int, error) {
	if p.left--; p.left < 0 {
		return 0, errPipe
	}
	return len(b), nil
}

func TestFirstErrorOfTheWriterStays(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		tr := &transcript{out: &brokenPipe{left: 1}, json: asJSON, steps: 2}
		tell(tr)
		if !errors.Is(tr.err, errPipe) {
			t.Errorf("json %v: error is %v", asJSON, tr.err)
		}
	}
}

func TestQuotedWords(t *testing.T) {
	for word, want := range map[string]string{
		"send":                   "send",
		"":                       "''",
		"two words":              "'two words'",
		"--timeout":              "--timeout",
		"ws://127.0.0.1:1/v1":    "ws://127.0.0.1:1/v1",
		"$HOME":                  "'$HOME'",
		"it's":                   `'it'\''s'`,
		"Zürich":                 "'Zürich'",
		"travel/*":               "'travel/*'",
		"/ip4/127.0.0.1/tcp/123": "/ip4/127.0.0.1/tcp/123",
	} {
		if got := quoted(word); got != want {
			t.Errorf("%q is shown as %s, want %s", word, got, want)
		}
	}
}
