package amesh_test

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const goodComment = "// Package p does one thing, and this sentence says which.\n"

// samples are small files that keep or break one rule; want is empty where the
// file is right.
var samples = []struct {
	name, path, text, want string
}{
	{"relay on the ground", "relay/a.go", `import "amesh/identity"; import "amesh/internal/wire"`, ""},
	{"relay reaches for dht", "relay/a.go", `import "amesh/dht"`, "import map"},
	{"dht reaches for relay", "dht/a.go", `import "amesh/relay"`, "import map"},
	{"registry reaches for relay", "registry/a.go", `import "amesh/relay"`, "import map"},
	{"identity reaches up", "identity/a.go", `import "amesh/knock"`, "import map"},
	{"internal reaches up", "internal/store/a.go", `import "amesh/identity"`, "import map"},
	{"ratchet takes raw keys", "ratchet/a.go", `import "amesh/identity"`, "import map"},
	{"ratchet takes only wire", "ratchet/a.go", `import "amesh/internal/store"`, "import map"},
	{"knock stands on ratchet", "knock/a.go", `import "amesh/ratchet"`, ""},
	{"knock reaches for relay", "knock/a.go", `import "amesh/relay"`, "import map"},
	{"node composes", "node/a.go", `import "amesh/relay"; import "amesh/knock"; import "amesh/node/direct"`, ""},
	{"node reaches for cmd", "node/a.go", `import "amesh/cmd/amesh"`, "import map"},
	{"client sees the node's insides", "node/api/a.go", `import "amesh/node"`, "import map"},
	{"client sees internal", "node/api/a.go", `import "amesh/internal/wire"`, "import map"},
	{"MCP sees the node's insides", "node/mcp/a.go", `import "amesh/node"`, "import map"},
	{"MCP over the client", "node/mcp/a.go", `import "amesh/node/api"`, ""},
	{"dashboard sees the node's insides", "dashboard/a.go", `import "amesh/node"`, "import map"},
	{"local API server sees the node's insides", "node/httpapi/a.go", `import "amesh/node"`, "import map"},
	{"agent sends for itself", "node/agent/a.go", `import "amesh/relay"`, "import map"},
	{"agent knows libp2p", "node/agent/a.go", `import "github.com/libp2p/go-libp2p/core/peer"`, "libp2p stays in its rooms"},
	{"direct streams see the node", "node/direct/a.go", `import "amesh/node"`, "import map"},
	{"testnet sees the node's insides", "testnet/a.go", `import "amesh/node"`, "import map"},
	{"testnet sees the simulation", "testnet/a.go", `import "amesh/testnet/sim"`, "import map"},
	{"cmd composes", "cmd/amesh/a.go", `import "amesh/relay"; import "amesh/dht"`, ""},
	{"renamed import", "relay/a.go", `import quiet "amesh/dht"`, "import map"},
	{"blank import", "relay/a.go", `import _ "amesh/dht"`, "import map"},
	{"root is for tests", "a.go", `import "amesh/identity"`, "import map"},
	{"package off the map", "util/a.go", ``, "import map"},
	{"subpackage off the map", "relay/client/a.go", ``, "import map"},
	{"test uses the ground", "ratchet/a_test.go", `import "amesh/identity"; import "amesh/ratchet"`, ""},
	{"test leaves the map", "relay/a_test.go", `import "amesh/dht"`, "import map"},

	{"libp2p in dht", "dht/a.go", `import "github.com/libp2p/go-libp2p/core/peer"`, ""},
	{"libp2p in identity", "identity/a.go", `import "github.com/libp2p/go-libp2p/core/peer"`, "libp2p stays in its rooms"},
	{"libp2p in the client", "node/api/a.go", `import "github.com/libp2p/go-libp2p/core/peer"`, "libp2p stays in its rooms"},
	{"libp2p in knock", "knock/a.go", `import p "github.com/libp2p/go-libp2p-kad-dht"`, "libp2p stays in its rooms"},
	{"libp2p in a test of identity", "identity/a_test.go", `import "github.com/libp2p/go-libp2p/core/peer"`, ""},

	{"pion in its room", "internal/ice/a.go", `import "github.com/pion/ice/v3"`, ""},
	{"pion in node", "node/a.go", `import "github.com/pion/ice/v3"`, "pion stays in its room"},
	{"pion in a test of node", "node/a_test.go", `import "github.com/pion/stun/v2"`, "pion stays in its room"},

	{"identity signs", "identity/a.go", `import "crypto/ed25519"; var _ = ed25519.Sign(nil, nil)`, ""},
	{"relay verifies", "relay/a.go", `import "crypto/ed25519"; var _ = ed25519.Verify(nil, nil, nil)`, ""},
	{"relay signs", "relay/a.go", `import "crypto/ed25519"; var _ = ed25519.Sign(nil, nil)`, "one signer"},
	{"relay signs under an alias", "relay/a.go", `import e "crypto/ed25519"; var _ = e.Sign(nil, nil)`, "one signer"},
	{"relay hands the signer on", "relay/a.go", `import "crypto/ed25519"; var sign = ed25519.Sign`, "one signer"},
	{"relay hides the signer", "relay/a.go", `import . "crypto/ed25519"; var _ = Sign(nil, nil)`, "one signer"},
	{"relay signs with x/crypto", "relay/a.go", `import "golang.org/x/crypto/ed25519"; var _ = ed25519.Sign(nil, nil)`, "one signer"},

	{"ratchet counts in seconds", "ratchet/a.go", `import "time"; const day = 24 * time.Hour`, ""},
	{"ratchet reads the clock", "ratchet/a.go", `import "time"; var _ = time.Now()`, "no clock, no dice"},
	{"knock waits", "knock/a.go", `import "time"; var _ = time.After(1)`, "no clock, no dice"},
	{"knock hands the clock on", "knock/a.go", `import "time"; var clock = time.Now`, "no clock, no dice"},
	{"ratchet throws dice", "ratchet/a.go", `import "math/rand"`, "no clock, no dice"},
	{"knock throws new dice", "knock/a.go", `import "math/rand/v2"`, "no clock, no dice"},
	{"node reads the clock", "node/a.go", `import "time"; var _ = time.Now()`, ""},

	{"testing in relay", "relay/a.go", `import "testing"`, "testing stays in tests"},
	{"synctest in node", "node/a.go", `import "testing/synctest"`, "testing stays in tests"},
	{"testing in the simulation", "testnet/sim/a.go", `import "testing"`, ""},
	{"testing in testnet", "testnet/a.go", `import "testing"`, "testing stays in tests"},
}

var commentSamples = []struct {
	name, path, comment, want string
}{
	{"a sentence", "relay/a.go", goodComment, ""},
	{"none", "relay/a.go", "", "package comment"},
	{"too short", "relay/a.go", "// Package p does things.\n", "package comment"},
	{"detached by an empty line", "relay/a.go", goodComment + "\n", "package comment"},
	{"about something else", "relay/a.go", "// This file was written in a hurry and has some functions.\n", "package comment"},
	{"none, but only tests", "relay/a_test.go", "", ""},
}

func TestRulesOnSamples(t *testing.T) {
	caught := make(map[string]bool)
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			got := broken(t, s.path, goodComment+"package p\n"+s.text)
			if want := names(s.want); !slices.Equal(got, want) {
				t.Errorf("%s\n%s\nbreaks %q, want %q", s.path, s.text, got, want)
			}
		})
		caught[s.want] = true
	}
	for _, s := range commentSamples {
		t.Run("comment/"+s.name, func(t *testing.T) {
			got := broken(t, s.path, s.comment+"package p\n")
			if want := names(s.want); !slices.Equal(got, want) {
				t.Errorf("%s breaks %q, want %q", s.path, got, want)
			}
		})
		caught[s.want] = true
	}
	for _, r := range rules {
		if !caught[r.name] {
			t.Errorf("rule %q has no sample that breaks it", r.name)
		}
	}
}

// broken names the rules that a package of one file breaks, each once.
func broken(t *testing.T, name, text string) []string {
	t.Helper()
	s, err := parseSource(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range rules {
		if len(r.check(pkg{dir: path.Dir(name), files: []source{s}})) > 0 {
			list = append(list, r.name)
		}
	}
	return list
}

func names(want string) []string {
	if want == "" {
		return nil
	}
	return []string{want}
}

func TestWronglyLinked(t *testing.T) {
	for _, tc := range []struct {
		name string
		link link
		want []string
	}{
		{"ours", link{"amesh/relay", []string{"net", "amesh/identity"}}, nil},
		{"the standard library", link{"testing/synctest", []string{"testing"}}, nil},
		{"kad-dht, as it is", link{"github.com/libp2p/go-libp2p-kad-dht", []string{"testing"}}, nil},
		{"ours with testing", link{"amesh/relay", []string{"testing"}}, []string{"cmd/amesh links testing through amesh/relay"}},
		{"theirs with testing", link{"example.org/check", []string{"testing"}}, []string{"cmd/amesh links testing through example.org/check"}},
		{"the simulation", link{"amesh/testnet/sim", nil}, []string{"cmd/amesh links amesh/testnet/sim, which is for tests only"}},
		{"the lab", link{"amesh/testnet/lab", nil}, []string{"cmd/amesh links amesh/testnet/lab, which is for tests only"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, wronglyLinked([]link{tc.link})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if wronglyLinked(nil) == nil {
		t.Error("an empty binary passes")
	}
}

func TestWithoutReason(t *testing.T) {
	const gomod = `module m

go 1.26.0

require (
	example.org/named v1.0.0
	example.org/forgotten v1.0.0
)

require example.org/alone v1.0.0

require (
	example.org/theirs v1.0.0 // indirect
)

exclude example.org/old v1.0.0
`
	got := withoutReason(gomod, "| `example.org/named` | for this |")
	want := []string{"example.org/forgotten", "example.org/alone"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// parseTree must leave out what the go command leaves out and nothing else.
func TestParseTree(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a/a.go":          "package a",
		"a/b/b_test.go":   "package b",
		"a/testdata/c.go": "package c",
		"_old/d.go":       "package d",
		".hidden/e.go":    "package e",
		"tools/go.mod":    "module m/tools",
		"tools/f.go":      "package f",
	} {
		writeFile(t, root, name, text)
	}
	pkgs, err := parseTree(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range pkgs {
		got = append(got, relative(t, root, p.dir))
	}
	if want := []string{"a", "a/b"}; !slices.Equal(got, want) {
		t.Errorf("walked %q, want %q", got, want)
	}

	writeFile(t, root, "a/broken.go", "package a\nfunc {")
	if _, err := parseTree(root); err == nil {
		t.Error("a file that does not parse was passed over")
	}
}

func writeFile(t *testing.T, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func relative(t *testing.T, root, name string) string {
	t.Helper()
	rel, err := filepath.Rel(root, name)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(rel)
}
