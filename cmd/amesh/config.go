package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFile is the owner's configuration in the home.
const configFile = "config.yaml"

// fileKeys are the keys of config.yaml and the verb they are about; empty is
// every verb. A key is named like its flag, with "_" for "-".
var fileKeys = map[string]string{
	"relay":     "up",
	"bootstrap": "up",
	"api":       "up",
	"listen":    "up",
	"announce":  "up",
	"agent":     "",
	"log_level": "",
}

// fromEnvironment are the flags that AMESH_… variables can set. What only makes
// sense for one call of a verb, such as a text or a file, is not among them.
var fromEnvironment = []string{
	"agent", "log-level", "relay", "bootstrap", "api", "listen", "announce", "name", "print-addrs",
	"data", "libp2p",
}

// configure fills in the flags that were not given: from the environment first,
// then from config.yaml.
func (a *app) configure(cmd *cobra.Command) error {
	given, err := readConfig(filepath.Join(a.home, configFile))
	if err != nil {
		return err
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err == nil && !f.Changed {
			err = a.fill(f, given)
		}
	})
	return err
}

func (a *app) fill(f *pflag.Flag, given map[string][]string) error {
	if slices.Contains(fromEnvironment, f.Name) {
		name := "AMESH_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if text := a.getenv(name); text != "" {
			return setFlag(f, name, splitList(text))
		}
	}
	key := strings.ReplaceAll(f.Name, "-", "_")
	verb, known := fileKeys[key]
	if values := given[key]; known && len(values) > 0 && (verb == "" || verb == a.verb) {
		return setFlag(f, configFile+": "+key, values)
	}
	return nil
}

func setFlag(f *pflag.Flag, source string, values []string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		if err := list.Replace(values); err != nil {
			return usagef("%s: %v", source, err)
		}
		return nil
	}
	if len(values) != 1 {
		return usagef("%s: want one value, not a list", source)
	}
	if err := f.Value.Set(values[0]); err != nil {
		return usagef("%s: %v", source, err)
	}
	return nil
}

func splitList(s string) []string {
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// readConfig reads config.yaml; no file is no configuration. Each value is a list,
// of one element where a single value stands.
func readConfig(path string) (map[string][]string, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	k := koanf.New("/")
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		return nil, usagef("%s: %v", path, err)
	}
	given := make(map[string][]string)
	for key, value := range k.Raw() {
		if _, ok := fileKeys[key]; !ok {
			return nil, usagef("%s: unknown key %q%s", path, key, didYouMean("", key, knownKeys())).
				next("the keys are %s", strings.Join(knownKeys(), ", "))
		}
		values, err := textValues(value)
		if err != nil {
			return nil, usagef("%s: %s: %v", path, key, err)
		}
		given[key] = values
	}
	return given, nil
}

func knownKeys() []string {
	var keys []string
	for k := range fileKeys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func textValues(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var list []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("want a list of texts, found %v", e)
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, fmt.Errorf("want a text or a list of texts, found %v", v)
}
