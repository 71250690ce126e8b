package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFile is the owner's configuration in the home.
const configFile = "config.yaml"

// valueKind is what the value of a key may be.
type valueKind int

const (
	oneText     valueKind = iota
	texts                 // one, or a list of them
	wholeNumber           // also as text
	truth                 // also as text
)

// fileKeys are the keys of config.yaml: the verb each is about, empty for every
// verb, what its value may be, and what it wants. A key is named like its flag, with
// "_" for "-", or as keyOf says.
var fileKeys = map[string]struct {
	verb string
	kind valueKind
	want string
}{
	"relay":                 {"up", texts, "a ws:// or wss:// URL, or a list of texts"},
	"relay.homes":           {"up", wholeNumber, "a number, 1 to 8"},
	"relay.allow_legacy":    {"up", truth, "true or false"},
	"registry":              {"up", texts, "an http:// or https:// URL, or a list of texts"},
	"registry.allow_legacy": {"up", truth, "true or false"},
	"bootstrap":             {"up", texts, "a multiaddr with /p2p/, or a list of texts"},
	"api":                   {"up", oneText, "one text, HOST:PORT"},
	"dht":                   {"up", oneText, "auto, client or server"},
	"lan":                   {"up", truth, "true or false"},
	"echo":                  {"up", truth, "true or false"},
	"listen":                {"up", texts, "a multiaddr, or a list of texts"},
	"proxy":                 {"up", oneText, "auto, none, or the URL of a proxy"},
	"proxy_credentials":     {"up", oneText, "file:PATH or command:TEXT"},
	"map_ports":             {"up", truth, "true or false"},
	"announce":              {"up", oneText, "none or public"},
	"punch":                 {"up", oneText, "auto or off"},
	"stun":                  {"up", texts, "HOST:PORT of a STUN server, or a list of texts"},
	"agent":                 {"", oneText, "one text, the name of an agent"},
	"log_level":             {"", oneText, "debug, info, warn or error"},
}

// keyOf are the keys of flags that are named otherwise.
var keyOf = map[string]string{"relays-kept": "relay.homes", "allow-legacy-relay": "relay.allow_legacy", "allow-legacy-registry": "registry.allow_legacy"}

// fromEnvironment are the flags that AMESH_… variables can set. What only makes
// sense for one call of a verb, such as a text or a file, is not among them.
var fromEnvironment = []string{
	"agent", "log-level", "relay", "relays-kept", "allow-legacy-relay", "registry", "allow-legacy-registry", "bootstrap", "dht", "lan", "echo", "api", "listen",
	"announce", "map-ports", "punch", "proxy", "proxy-credentials", "name", "print-addrs",
	"data", "libp2p", "stun", "trusted-proxy", "exempt", "per-address", "metrics", "operator", "contact",
	"domain", "http", "acme-email", "acme-directory", "tls-cert", "tls-key",
	"acme", "compat", "config", "admin-key-file", "tls", "public-url",
	"database", "prefixed-keys", "key", "agents-per-person", "resolver", "known-domain",
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
	key, ok := keyOf[f.Name]
	if !ok {
		key = strings.ReplaceAll(f.Name, "-", "_")
	}
	about, known := fileKeys[key]
	if values := given[key]; known && len(values) > 0 && (about.verb == "" || about.verb == a.verb) {
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
		return wrongValue(f, source, values[0], err).next("set it to something else, or leave it out")
	}
	return nil
}

// wrongValue says what a flag wants, where the parser's words are not for people.
func wrongValue(f *pflag.Flag, source, value string, err error) *failure {
	switch f.Value.Type() {
	case "int":
		return usagef("%s: want a number, not %q", source, value)
	case "bool":
		return usagef("%s: want true or false, not %q", source, value)
	}
	return usagef("%s: %v", source, err)
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
		return nil, configError(path, err)
	}
	given := make(map[string][]string)
	for key, value := range k.Raw() {
		about, ok := fileKeys[key]
		if !ok {
			return nil, usagef("%s: unknown key %q%s", path, key, didYouMean("", key, knownKeys())).
				next("the keys are %s", strings.Join(knownKeys(), ", "))
		}
		values, ok := textValues(value, about.kind)
		if !ok {
			return nil, usagef("%s: %s: want %s; found %v", path, key, about.want, value)
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

// configError tells a file that is not ours to read from one that is wrong.
func configError(path string, err error) *failure {
	if errors.Is(err, syscall.ENOTDIR) {
		return usagef("%s is no folder", filepath.Dir(path)).next("give another --home")
	}
	if errors.Is(err, fs.ErrPermission) {
		return &failure{exit: exitUnauthorized, code: "permission", message: err.Error(),
			hint: "work as the user whose home it is, or give another --home"}
	}
	return usagef("%s: %v", path, err).next("mend %s", path)
}

// textValues are the texts of a value; nothing stands for the default.
func textValues(v any, k valueKind) (values []string, ok bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case int:
		return []string{strconv.Itoa(v)}, k == wholeNumber
	case bool:
		return []string{strconv.FormatBool(v)}, k == truth
	case string:
		return []string{v}, true
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			values = append(values, s)
		}
		return values, k == texts
	}
	return nil, false
}
