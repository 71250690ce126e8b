package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/foxcpp/go-mockdns"
	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run the real program: testscript calls main again in a process of
// its own for every "amesh" it meets.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"amesh": main})
}

func TestScripts(t *testing.T) {
	runScripts(t, testscript.Params{Dir: filepath.Join("testdata", "script")})
}

// Under the race detector every process sleeps a second before it exits, unless it
// is told not to. The scripts run hundreds.
const raceOptions, quickExit = "GORACE", "atexit_sleep_ms=0"

// runScripts runs scripts in folders whose names are short, because the path of a
// unix socket may not have more than 107 bytes.
func runScripts(t *testing.T, p testscript.Params) {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "am")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	p.WorkdirRoot = root
	p.RequireExplicitExec = true
	p.RequireUniqueNames = true
	p.Setup = func(e *testscript.Env) error {
		e.Setenv("HOME", e.WorkDir)
		e.Setenv("XDG_RUNTIME_DIR", "")
		e.Setenv(raceOptions, quickExit)
		return nil
	}
	p.Cmds = map[string]func(*testscript.TestScript, bool, []string){
		"exits":    exitsWith,
		"waitfile": waitFile,
		"field":    field,
		"until":    until,
		"port":     portOf,
		"fetch":    fetchURL,
		"http":     askHTTP,
		"dns":      serveDNS,
		"expand":   expandFile,
	}
	testscript.Run(t, p)
}

// exitsWith runs a command and compares its exit code: exits 8 amesh send …
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command...")
	}
	if got := exitOf(ts, args[1:]); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit %d, want %s", got, args[0])
	}
}

func exitOf(ts *testscript.TestScript, command []string) int {
	err := ts.Exec(command[0], command[1:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

// patience bounds every wait of a script.
const patience = 30 * time.Second

// poll calls ok until it is true. What it looks at is another process's doing,
// of which there is no event to wait for.
func poll(ts *testscript.TestScript, what string, ok func() bool) {
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// fetchURL gets a URL and puts what is there on standard output.
func fetchURL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fetch URL")
	}
	resp, err := http.Get(args[0])
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, err = ts.Stdout().Write(b)
	ts.Check(err)
}

// askHTTP makes a request, compares the status of the answer and puts the body on
// standard output: http 202 POST URL 'Authorization: Bearer K' @message.json
func askHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: http STATUS METHOD URL [HEADER: VALUE]... [@FILE]")
	}
	var body io.Reader
	headers := args[3:]
	if n := len(headers); n > 0 && strings.HasPrefix(headers[n-1], "@") {
		body = strings.NewReader(os.Expand(ts.ReadFile(headers[n-1][1:]), ts.Getenv))
		headers = headers[:n-1]
	}
	req, err := http.NewRequest(args[1], args[2], body)
	ts.Check(err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, err = ts.Stdout().Write(b)
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[0] {
		ts.Fatalf("%s %s: status %d, want %s: %s", args[1], args[2], resp.StatusCode, args[0], b)
	}
}

// expandFile writes a file anew with the variables in it replaced: expand FILE
func expandFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

// serveDNS answers with the TXT records of a file, JSON of name to text, and puts the
// server's address into a variable: dns ADDR records.json
func serveDNS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: dns VARIABLE FILE")
	}
	var texts map[string]string
	ts.Check(json.Unmarshal([]byte(os.Expand(ts.ReadFile(args[1]), ts.Getenv)), &texts))
	zones := make(map[string]mockdns.Zone)
	for name, text := range texts {
		zones[name] = mockdns.Zone{TXT: []string{text}}
	}
	s, err := mockdns.NewServerWithLogger(zones, log.New(io.Discard, "", 0), false)
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() })
	ts.Setenv(args[0], s.LocalAddr().String())
}

// waitFile waits until files are there; they are written whole or not at all.
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: waitfile file...")
	}
	for _, name := range args {
		poll(ts, name, func() bool {
			_, err := os.Stat(ts.MkAbs(name))
			return err == nil
		})
	}
}

// field takes a value out of JSON into a variable: field AMID stdout data.amid.
// With one more argument it compares: field - stdout ok true.
func field(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: field VARIABLE|- file path [want]")
	}
	got, err := lookUp(ts.ReadFile(args[1]), args[2])
	ts.Check(err)
	if len(args) == 4 && got != args[3] {
		ts.Fatalf("%s is %q, want %q", args[2], got, args[3])
	}
	if args[0] != "-" {
		ts.Setenv(args[0], got)
	}
}

func lookUp(text, path string) (string, error) {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return "", fmt.Errorf("%w in %q", err, text)
	}
	for name := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[name]
		case []any:
			if name == "len" {
				return strconv.Itoa(len(at)), nil
			}
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(at) {
				return "", fmt.Errorf("%s: no element %q in %q", path, name, text)
			}
			v = at[i]
		default:
			return "", fmt.Errorf("%s: nothing at %q in %q", path, name, text)
		}
	}
	if v == nil {
		return "", fmt.Errorf("%s: not in %q", path, text)
	}
	return fmt.Sprint(v), nil
}

// until runs a command again and again until a field of its JSON has a value:
// until data.items.len 3 amesh --home b inbox --json
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: until path value command...")
	}
	var out []byte
	defer func() { ts.Logf("%s", out) }() // the last one only
	poll(ts, strings.Join(args, " "), func() bool {
		cmd := exec.Command(args[2], args[3:]...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), raceOptions + "=" + quickExit}
		// A failure shows in the output, and may be over the next time.
		out, _ = cmd.Output()
		got, err := lookUp(string(out), args[0])
		return err == nil && got == args[1]
	})
	ts.Check(ts.Exec(args[2], args[3:]...))
}

// portOf takes the port out of a URL into a variable: port PORT $API
func portOf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: port VARIABLE url")
	}
	u, err := url.Parse(args[1])
	ts.Check(err)
	ts.Setenv(args[0], u.Port())
}
