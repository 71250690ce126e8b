package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"amesh/internal/nearest"

	"github.com/knadh/koanf/parsers/yaml"
)

// Sources is where a configuration comes from, the weakest first.
type Sources struct {
	// File is the content of the YAML file, and FileName how it is called in errors.
	File     []byte
	FileName string
	// Getenv is the environment. Variables are the names of all its variables, so that
	// an AMTP_ one that nobody knows can be told of; nil: nobody asks.
	Getenv    func(name string) string
	Variables []string
	// Settings are what the command line says.
	Settings []Setting
}

// Setting is one key of the command line.
type Setting struct {
	Key, Value string
	Flag       string // as it was typed, for errors: --domain
}

// ErrConfig reports a configuration that cannot be right. Its text has a line for each
// thing that is wrong, and shows no secrets.
var ErrConfig = errors.New("configuration")

// Load makes a configuration. The warnings are lines for who started the gateway:
// keys that nobody knows, and what works otherwise than it may look. Any error is
// ErrConfig.
func Load(s Sources) (c Config, warnings []string, err error) {
	l := loader{sources: s}
	if l.tree, err = readFile(s); err != nil {
		return Config{}, nil, err
	}
	// The mode comes first, since it changes what everything else defaults to.
	mode := l.read(Defaults("")).Compat.Mode
	if mode == modeNone {
		mode = ""
	}
	l.warnings, l.errs = nil, nil
	c = l.read(Defaults(mode))
	c.Compat.Mode = mode
	l.settle(&c)
	l.check(&c)
	if len(l.errs) > 0 {
		return Config{}, nil, fmt.Errorf("%w: %w", ErrConfig, errors.Join(l.errs...))
	}
	return c, l.warnings, nil
}

// loader is one run of Load.
type loader struct {
	sources  Sources
	tree     map[string]any
	given    given
	set      map[string]bool // keys that some source has set
	warnings []string
	errs     []error
}

func readFile(s Sources) (map[string]any, error) {
	if len(s.File) == 0 {
		return nil, nil
	}
	tree, err := yaml.Parser().Unmarshal(s.File)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, s.FileName, err)
	}
	return tree, nil
}

// read puts every source on top of the defaults.
func (l *loader) read(c Config) Config {
	l.given, l.set = given{}, make(map[string]bool)
	all := keys(&c, &l.given)
	l.walk("", l.tree, all)
	l.environment(all)
	for _, s := range l.sources.Settings {
		i := slices.IndexFunc(all, func(k key) bool { return k.name == s.Key })
		if i < 0 {
			panic("config: no such key: " + s.Key)
		}
		l.put(all[i], s.Flag, func() error { return all[i].parse(s.Value) })
	}
	return c
}

func (l *loader) put(k key, source string, set func() error) {
	if err := set(); err != nil {
		l.errs = append(l.errs, fmt.Errorf("%s: %w", source, err))
		return
	}
	l.set[k.name] = true
}

// walk takes what stands in a section of the file.
func (l *loader) walk(section string, tree map[string]any, all []key) {
	for _, word := range sortedKeys(tree) {
		value, name := tree[word], section+word
		source := l.sources.FileName + ": " + name
		if i := slices.IndexFunc(all, func(k key) bool { return k.name == name }); i >= 0 {
			if value != nil { // nothing stands for the default
				l.put(all[i], source, func() error { return all[i].take(value) })
			}
			continue
		}
		if !slices.ContainsFunc(all, func(k key) bool { return strings.HasPrefix(k.name, name+".") }) {
			l.warn("%s: unknown key, ignored%s", source, didYouMean(word, wordsOf(section, all)))
			continue
		}
		if inner, ok := value.(map[string]any); ok {
			l.walk(name+".", inner, all)
		} else if value != nil {
			l.errs = append(l.errs, fmt.Errorf("%s: want a section with keys in it", source))
		}
	}
}

func (l *loader) environment(all []key) {
	if l.sources.Getenv == nil {
		return
	}
	known := make(map[string]bool)
	for _, k := range all {
		names := k.variables()
		for _, name := range names {
			known[name] = true
		}
		for _, name := range names {
			if text := l.sources.Getenv(name); text != "" {
				l.put(k, fmt.Sprintf("%s (%s)", name, k.name), func() error { return k.parse(text) })
				break
			}
		}
	}
	for _, name := range l.sources.Variables {
		ours := strings.HasPrefix(name, OwnPrefix) || strings.HasPrefix(name, AgentryPrefix)
		if ours && !known[name] && !otherVariables[name] {
			l.warn("%s: unknown variable, ignored%s", name, didYouMean(name, sortedKeys(known)))
		}
	}
}

// otherVariables are those of the verbs that talk to a gateway.
var otherVariables = map[string]bool{"AMTP_GATEWAY_URL": true, "AMESH_GATEWAY_URL": true, "AMESH_GATEWAY_KEY_FILE": true, "AMTP_AGENT_KEY": true}

func (l *loader) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

func (l *loader) wrong(format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf(format, args...))
}

// wordsOf are the words that may stand in a section.
func wordsOf(section string, all []key) []string {
	var words []string
	for _, k := range all {
		if rest, ok := strings.CutPrefix(k.name, section); ok {
			word, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(words, word) {
				words = append(words, word)
			}
		}
	}
	return words
}

func didYouMean(word string, known []string) string {
	if best := nearest.Word(word, known); best != "" {
		return ", did you mean " + best + "?"
	}
	return ""
}

func sortedKeys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
