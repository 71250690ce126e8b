package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEveryQuestionIsAnswered(t *testing.T) {
	t.Parallel()
	const agents = 300
	var out bytes.Buffer
	sides, stop, err := startAll(t.Context(), []string{"sqlite://" + filepath.Join(t.TempDir(), "registry.db")}, agents, &out)
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	results, err := ask(t.Context(), sides, options{agents: agents, rounds: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(questions(agents))+1 {
		t.Errorf("%d results of %d questions and a yardstick", len(results), len(questions(agents)))
	}
	for _, r := range results {
		if len(r.times) != 2 {
			t.Errorf("%s: asked %d times", r.name, len(r.times))
		}
	}
}

func TestLateAnswersAreCounted(t *testing.T) {
	times := make([]time.Duration, 20)
	for i := range times {
		times[i] = time.Millisecond
	}
	late := append([]time.Duration{time.Second, time.Second}, times[2:]...)
	once := append([]time.Duration{time.Second}, times[1:]...)
	var out bytes.Buffer
	missed := report(&out, []*result{{question{name: "quick"}, "sqlite", times}, {question{name: "late"}, "sqlite", late}, {question{name: "once"}, "sqlite", once}})
	if missed != 1 || strings.Count(out.String(), "misses") != 1 {
		t.Errorf("%d missed:\n%s", missed, out.String())
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{{"--agents", "5"}, {"--rounds", "1"}, {"what"}, {"--what"}} {
		var out bytes.Buffer
		if code := run(t.Context(), args, &out, &out); code != 2 || out.Len() == 0 {
			t.Errorf("%q: exit %d, %s", args, code, &out)
		}
	}
}
