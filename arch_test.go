// Package amesh_test keeps the map of the house: which package may import which,
// and which rules hold in which room.
package amesh_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the path in go.mod; our own packages start with it.
const module = "amesh"

// room is one line of the map: what the packages of a folder may do.
type room struct {
	dir     string   // a folder; with /... it and all below
	may     []string // our packages that it may import, written the same way
	libp2p  bool     // may import libp2p
	pion    bool     // may import pion
	testing bool     // may import testing outside of _test files, and is never linked
	pure    bool     // may neither read a clock nor throw dice
}

// rooms is the map. The first line that fits a folder counts, so the narrow
// lines stand above the wide ones. What the lines say, in words: identity and
// internal are the ground; dht, relay and registry never meet; node and gateway
// compose them; everything that faces a person or an agent goes through
// node/api; cmd/amesh is where the servers are put together.
var rooms = []room{
	{dir: "."},

	{dir: "internal/ice", may: []string{"internal/..."}, libp2p: true, pion: true},
	{dir: "internal/store/storetest", may: []string{"internal/..."}, testing: true},
	{dir: "internal/wycheproof", testing: true},
	{dir: "internal/https/acmetest", testing: true},
	{dir: "internal/proxy/proxytest", testing: true},
	// What is sealed names envelopes by their id, which is ratchet's type.
	{dir: "internal/content", may: []string{"ratchet", "internal/..."}},
	{dir: "internal/sqldb/sqltest", may: []string{"internal/sqldb"}, testing: true},
	{dir: "internal/...", may: []string{"internal/..."}},
	{dir: "identity", may: []string{"internal/..."}},

	{dir: "ratchet", may: []string{"internal/wire"}, pure: true},
	{dir: "knock", may: []string{"ratchet", "identity", "internal/..."}, pure: true},

	// Apart from dht, so that a relay does not carry it.
	{dir: "dht/lan", may: []string{"identity", "dht", "internal/..."}, libp2p: true},
	{dir: "dht", may: []string{"identity", "internal/..."}, libp2p: true},
	{dir: "relay", may: []string{"identity", "relay/mailbox", "relay/socket", "relay/longpoll", "relay/ban", "internal/..."}, libp2p: true},
	{dir: "relay/longpoll", may: []string{"internal/..."}},
	{dir: "relay/socket"},
	{dir: "relay/ban", may: []string{"identity"}},
	{dir: "relay/marks", may: []string{"identity", "relay/mailbox", "internal/..."}},
	{dir: "relay/admin", may: []string{"identity", "relay/...", "internal/..."}},
	{dir: "relay/mailbox", may: []string{"identity", "internal/..."}},
	// Apart from relay, so that a node, which uses relay's client, does not carry it.
	{dir: "relay/metrics", may: []string{"relay", "relay/mailbox", "internal/..."}},
	{dir: "relay/mailbox/boxtest", may: []string{"identity", "relay/mailbox", "internal/..."}, testing: true},
	{dir: "registry/reputation", pure: true},
	{dir: "registry/db/dbtest", may: []string{"registry/db", "internal/..."}, testing: true},
	{dir: "registry/wire", may: []string{"identity", "internal/..."}},
	// Apart from the server, so that a node does not carry its database.
	{dir: "registry/client", may: []string{"identity", "registry/wire", "internal/..."}},
	{dir: "registry/...", may: []string{"identity", "registry/...", "internal/..."}},

	{dir: "node/api", may: []string{"identity"}},
	// The format of a backup, which knows nothing of what is in it.
	{dir: "node/backup"},
	{dir: "node/homing", pure: true},
	{dir: "node/path", pure: true},
	{dir: "node/redact", may: []string{"identity"}},
	{dir: "node/doctor", may: []string{"identity", "knock", "node/api", "internal/..."}},
	{dir: "node/mcp", may: []string{"node/api", "identity"}},
	{dir: "node/httpapi", may: []string{"node/api", "identity", "internal/..."}},
	{dir: "node/agent", may: []string{"identity", "ratchet", "knock", "node/api", "internal/..."}},
	// dht owns the host, its address rules and its dial back-off.
	{dir: "node/direct", may: []string{"identity", "dht", "internal/..."}, libp2p: true},
	{dir: "node", libp2p: true, may: []string{
		"identity", "ratchet", "knock", "dht/...", "relay/...", "registry/client", "registry/wire", "registry/certificate", "internal/...", "node/..."}},
	// The words of AMTP, which everything else of the gateway speaks.
	{dir: "gateway/amtp", may: []string{"internal/..."}},
	{dir: "gateway/signature", may: []string{"gateway/amtp", "identity", "internal/..."}},
	{dir: "gateway/schema", may: []string{"gateway/amtp", "internal/..."}},
	{dir: "gateway/discovery", may: []string{"gateway/amtp", "internal/..."}},
	{dir: "gateway/store", may: []string{"gateway/amtp", "internal/..."}},
	{dir: "gateway/gatewaytest", may: []string{"gateway/...", "internal/..."}, testing: true},
	{dir: "gateway/...", may: []string{
		"identity", "dht", "relay", "registry/client", "registry/wire", "internal/...", "gateway/..."}},

	{dir: "dashboard", may: []string{"node/api", "identity"}},
	{dir: "testnet/sim", may: []string{"..."}, libp2p: true, testing: true},
	{dir: "testnet/lab/session1", may: []string{"identity", "ratchet", "knock", "internal/..."}},
	{dir: "testnet/lab/...", may: []string{"..."}, libp2p: true, testing: true},
	{dir: "testnet/natbox"},
	{dir: "testnet/netns", may: []string{"testnet/natbox", "testnet/process"}},
	{dir: "testnet/process"},
	{dir: "testnet/plan", may: []string{"identity"}, libp2p: true},
	{dir: "testnet/compose", may: []string{"testnet/plan"}},
	{dir: "testnet/wiring"},
	{dir: "testnet/stage", may: []string{"node/api", "testnet/..."}},
	{dir: "testnet/scenario", may: []string{"node/api", "testnet/plan", "testnet/stage"}},
	{dir: "testnet/report", may: []string{"node/api", "testnet/plan", "testnet/scenario"}},
	{dir: "testnet", may: []string{"node/api", "identity", "testnet/process"}, libp2p: true},

	{dir: "cmd/amesh", may: []string{"..."}, libp2p: true},
}

// forTests is what any _test file may import on top of its room's line.
var forTests = []string{"identity", "internal/...", "relay/mailbox/boxtest", "relay/marks", "registry/db/dbtest", "gateway/gatewaytest", "testnet/..."}

// neverLinked are the rooms that the binary must not contain.
var neverLinked = []string{"testnet/sim", "testnet/lab/...", "internal/store/storetest", "internal/wycheproof", "internal/https/acmetest", "internal/proxy/proxytest", "relay/mailbox/boxtest", "registry/db/dbtest", "internal/sqldb/sqltest", "gateway/gatewaytest"}

// linksTesting are modules of others that import testing in the code they ship.
// kad-dht has two options that take a *testing.T; nothing of it runs unless
// testing.Init is called, and nobody calls it.
var linksTesting = []string{"github.com/libp2p/go-libp2p-kad-dht"}

func TestTreeKeepsTheMap(t *testing.T) {
	pkgs, err := parseTree(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pkgs {
		for _, r := range rules {
			for _, c := range r.check(p) {
				t.Errorf("%s: %s: %s", r.name, c.path, c.why)
			}
		}
	}
}

// The walk over the tree must see what the go command sees, or the map would be
// kept by looking away.
func TestWalkSeesEveryPackage(t *testing.T) {
	pkgs, err := parseTree(".")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, p := range pkgs {
		seen[p.dir] = true
	}
	listed := goList(t, "-e", "-f", "{{.ImportPath}}", "./...")
	if len(listed) < 3 {
		t.Fatalf("go list names %d packages, this tree has more", len(listed))
	}
	for _, line := range listed {
		if dir, ours := ourDir(line); ours && !seen[dir] {
			t.Errorf("%s was not looked at", dir)
		}
	}
}

func TestBinaryLinksNoTests(t *testing.T) {
	var links []link
	for _, line := range goList(t, "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./cmd/amesh") {
		words := strings.Fields(line)
		links = append(links, link{path: words[0], imports: words[1:]})
	}
	for _, why := range wronglyLinked(links) {
		t.Error(why)
	}
}

func TestEveryDependencyHasAReason(t *testing.T) {
	for _, m := range withoutReason(readFile(t, "go.mod"), readFile(t, "docs/adr/0002-dependencies.md")) {
		t.Errorf("docs/adr/0002-dependencies.md: no line says what %s is for", m)
	}
}

func TestEveryDecisionIsInTheIndex(t *testing.T) {
	index := readFile(t, "docs/adr/README.md")
	files, err := filepath.Glob("docs/adr/[0-9]*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no decisions found: %v", err)
	}
	for _, f := range files {
		if !strings.Contains(index, "("+path.Base(filepath.ToSlash(f))+")") {
			t.Errorf("docs/adr/README.md: no link to %s", f)
		}
	}
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", slices.Concat([]string{"list", "-buildvcs=false"}, args)...)
	// The map speaks of the binary as it is shipped, and that is without cgo.
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
