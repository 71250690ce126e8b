package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"amesh/internal/nearest"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// withUsage adds the verb's one usage line and where the rest is.
func withUsage(cmd *cobra.Command, f *failure) *failure {
	f.usage = cmd.UseLine()
	if f.hint == "" {
		f.hint = cmd.CommandPath() + " --help"
	}
	return f
}

// atMost refuses a text of more than most letters, by the name under which it was given.
func atMost(what, text string, most int) *failure {
	if n := utf8.RuneCountInString(text); n > most {
		return usagef("%s has %d letters, want at most %d", what, n, most)
	}
	return nil
}

// words accepts between min and max arguments.
func words(least, most int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return withUsage(cmd, usagef("missing argument: want %s", want))
		case len(args) > most && most == 0:
			return withUsage(cmd, usagef("unexpected argument %q", args[0]))
		case len(args) > most:
			return withUsage(cmd, usagef("unexpected argument %q: want %s (text with spaces needs quotes)", args[most], want))
		}
		return nil
	}
}

// withID accepts what inner does, when the first word is not empty: an ID comes out
// of a command in a script as nothing when that command found nothing.
func withID(want string, inner cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := inner(cmd, args); err != nil {
			return err
		}
		if strings.TrimSpace(args[0]) == "" {
			return withUsage(cmd, usagef("empty argument: want %s", want))
		}
		return nil
	}
}

// oneID accepts an ID and nothing else.
func oneID(want string) cobra.PositionalArgs { return withID(want, words(1, 1, want)) }

// verbs accepts no arguments, because a word that is still there when the verbs
// were matched is a verb that does not exist.
func verbs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownVerb(cmd, args[0])
}

// helpCommand is cobra's, but for the exit code of a verb that there is not.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:                   "help [VERB]",
		Short:                 "Show the help of a verb",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			verb, rest, err := cmd.Root().Find(args)
			if err != nil || verb == nil {
				return unknownVerb(cmd.Root(), args[0])
			}
			if len(rest) > 0 {
				return unknownVerb(verb, rest[0])
			}
			return verb.Help()
		},
	}
}

func unknownVerb(cmd *cobra.Command, word string) *failure {
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	return withUsage(cmd, usagef("unknown verb %q%s", word, didYouMean("", word, known)))
}

// flagError makes a usage error of a flag that could not be parsed.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if f, ok := longFlag(cmd, text); ok {
		return withUsage(cmd, usagef("%s: flags have two dashes, want --%s", text, f))
	}
	// "amesh sned X --wait handled" is a mistyped verb, although what the parser
	// stumbles over is the flag.
	if cmd.HasAvailableSubCommands() && !nearFlag(cmd, text) {
		if _, rest, findErr := cmd.Root().Find(a.args); findErr == nil {
			if word := firstWord(cmd, rest); word != "" {
				return unknownVerb(cmd, word)
			}
		}
	}
	if name, ok := strings.CutPrefix(text, unknownFlag); ok {
		text = fmt.Sprintf("unknown flag --%s%s", name, didYouMean("--", name, flagNames(cmd)))
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return withUsage(cmd, wrongValue(e.GetFlag(), "--"+e.GetFlag().Name, e.GetValue(), e.Unwrap()))
	}
	return withUsage(cmd, usagef("%s", text))
}

// unknownFlag begins what the parser says of a flag that there is not.
const unknownFlag = "unknown flag: --"

func flagNames(cmd *cobra.Command) []string {
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	return known
}

// nearFlag reports whether the parser stumbled over a flag that is nearly one of the verb's.
func nearFlag(cmd *cobra.Command, text string) bool {
	name, ok := strings.CutPrefix(text, unknownFlag)
	return ok && nearest.Word(name, flagNames(cmd)) != ""
}

// longFlag is the flag that was written with one dash, if the parser stumbled over one.
func longFlag(cmd *cobra.Command, text string) (string, bool) {
	_, arg, ok := strings.Cut(text, "' in -")
	name, _, _ := strings.Cut(arg, "=")
	return name, ok && len(name) > 1 && cmd.Flag(name) != nil
}

// firstWord is the first argument that is neither a flag nor a flag's value.
func firstWord(cmd *cobra.Command, args []string) string {
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "--")
		if !isFlag {
			if strings.HasPrefix(args[i], "-") {
				continue
			}
			return args[i]
		}
		f := cmd.Flag(name)
		if f != nil && f.NoOptDefVal == "" {
			i++
		}
	}
	return ""
}

// didYouMean is a question that names the nearest of the known words, or nothing
// if none is near.
func didYouMean(prefix, word string, known []string) string {
	best := nearest.Word(word, known)
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %s%s?", prefix, best)
}
