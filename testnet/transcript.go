package testnet

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"amesh/testnet/process"
)

// demoSchema names the lines of the demo's JSON.
const demoSchema = "amesh.demo/1"

// transcript tells what happens: to people as a story with the commands that were
// typed, to programs as one JSON object a step. The first error of the writer
// stays; the demo looks at it after every step. It is for one goroutine.
type transcript struct {
	out   io.Writer
	json  bool
	steps int
	step  int
	err   error
	// short are long words and how they are shown in commands.
	short []string
}

// stepLine is one step for programs.
type stepLine struct {
	Schema string              `json:"schema"`
	Step   string              `json:"step"`
	OK     bool                `json:"ok"`
	TookMS int64               `json:"took_ms"`
	Data   any                 `json:"data,omitempty"`
	Error  *stepFault          `json:"error,omitempty"`
	Logs   map[string][]string `json:"logs,omitempty"`
}

type stepFault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// abbreviate shows word as name in commands from now on.
func (t *transcript) abbreviate(word, name string) { t.short = append(t.short, word, name) }

func (t *transcript) printf(format string, args ...any) {
	if t.json || t.err != nil {
		return
	}
	_, t.err = fmt.Fprintf(t.out, format, args...)
}

// begin opens a step.
func (t *transcript) begin(name, says string) {
	t.step++
	t.printf("\n%d/%d  %s: %s\n", t.step, t.steps, name, says)
}

// note is a sentence of the narrator.
func (t *transcript) note(format string, args ...any) {
	t.printf("     "+format+"\n", args...)
}

// command shows what somebody typed.
func (t *transcript) command(who string, args []string) {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = strings.NewReplacer(t.short...).Replace(quoted(a))
	}
	t.printf("   %s$ amesh %s\n", who, strings.Join(words, " "))
}

// quoted is a word as a shell would need it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r < 0x80 && !strings.ContainsRune(" \t\n\"'\\$`*?!#&;|<>()[]{}~", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// output shows what a command printed.
func (t *transcript) output(text string) {
	for line := range strings.Lines(text) {
		line = "      " + process.Harmless(strings.TrimRight(line, "\n"))
		t.printf("%s\n", strings.TrimRight(line, " "))
	}
}

// exit shows an exit code other than zero.
func (t *transcript) exit(code int) {
	if code != 0 {
		t.printf("      (exit %d)\n", code)
	}
}

// passed closes a step that went well.
func (t *transcript) passed(name string, took time.Duration, data any) {
	t.printf("     ok, %.1f s\n", took.Seconds())
	t.line(stepLine{Step: name, OK: true, TookMS: took.Milliseconds(), Data: data})
}

// failed closes a step that did not, with the ends of the logs.
func (t *transcript) failed(name string, took time.Duration, err error, logs []logTail) {
	t.printf("     FAILED after %.1f s: %v\n", took.Seconds(), err)
	l := stepLine{Step: name, TookMS: took.Milliseconds(),
		Error: &stepFault{Code: "step_failed", Message: err.Error()}, Logs: make(map[string][]string)}
	for _, tail := range logs {
		t.printf("\n     log of %s, the end:\n", tail.name)
		for _, s := range tail.lines {
			t.printf("       %s\n", s)
		}
		l.Logs[tail.name] = tail.lines
	}
	t.line(l)
}

func (t *transcript) line(l stepLine) {
	if !t.json || t.err != nil {
		return
	}
	l.Schema = demoSchema
	raw, err := json.Marshal(l)
	if err == nil {
		_, err = t.out.Write(append(raw, '\n'))
	}
	t.err = err
}

// logTail is the end of a process's log.
type logTail struct {
	name  string
	lines []string
}
