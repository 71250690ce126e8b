package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every verb says what it does and shows an example, and every example is one
// that the program understands.
func TestHelpsAndExamples(t *testing.T) {
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		if cmd.Name() == "help" {
			return
		}
		for _, c := range cmd.Commands() {
			check(c)
		}
		if cmd.Short == "" || len(cmd.Long) < 40 || cmd.Example == "" {
			t.Errorf("%s: short %q, long %q, example %q", cmd.CommandPath(), cmd.Short, cmd.Long, cmd.Example)
		}
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			checkExample(t, line)
		}
		for line := range strings.SplitSeq(cmd.Long, "\n") {
			if len(line) > 100 {
				t.Errorf("%s: help line of %d characters: %s", cmd.CommandPath(), len(line), line)
			}
		}
	}
	a := &app{out: io.Discard, err: io.Discard}
	root := a.root()
	root.InitDefaultHelpCmd()
	check(root)
}

func checkExample(t *testing.T, line string) {
	t.Helper()
	command := strings.TrimPrefix(strings.TrimSpace(line), "date | ")
	args := shellWords(command)
	if len(args) < 2 || args[0] != "amesh" {
		t.Errorf("example %q is no command of ours", line)
		return
	}
	a := &app{args: args[1:], out: io.Discard, err: io.Discard}
	root := a.root()
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(a.args)
	if err != nil {
		t.Errorf("example %q: %v", line, err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("example %q: %v", line, err)
		return
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Errorf("example %q: %v", line, err)
	}
}

// shellWords splits at spaces outside of quotes.
func shellWords(line string) []string {
	var words []string
	var word strings.Builder
	var quote rune
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote = r
		case quote == 0 && r == ' ':
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(r)
		}
	}
	return words
}
