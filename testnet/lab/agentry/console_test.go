package agentry_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// config is a file in the reference's YAML, which both read: schemas are in a folder, and
// payloads are looked at.
const config = `schema:
  registry_type: local
  local_registry: {base_path: %q, auto_save: true, create_dirs: true}
  validation: {enabled: true}
  pipeline: {enabled: true}
`

// console runs the reference's console against a gateway.
type console struct {
	t      *testing.T
	binary string
	g      *gateway
	dir    string
	keys   string            // the file with the console's admin key
	words  map[string]string // what later commands need: {key}, {id}
}

// said is what a command left.
type said struct {
	exit     int
	out, err string
}

func (c *console) run(args ...string) said {
	c.t.Helper()
	for i, a := range args {
		for word, value := range c.words {
			a = strings.ReplaceAll(a, word, value)
		}
		args[i] = a
	}
	cmd := exec.Command(c.binary, append([]string{"--gateway-url", c.g.url, "--admin-key-file", filepath.Join(c.dir, c.keys)}, args...)...)
	var out, err bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, &out, &err
	s := said{}
	if e := cmd.Run(); e != nil {
		exit, ok := errors.AsType[*exec.ExitError](e)
		if !ok {
			c.t.Fatal(e)
		}
		s.exit = exit.ExitCode()
	}
	s.out, s.err = out.String(), err.String()
	if _, key, ok := strings.Cut(s.out, "API Key: "); ok {
		c.words["{key}"] = strings.Fields(key)[0]
	}
	if id := idPattern.FindString(s.out); id != "" {
		c.words["{id}"] = id
	}
	return s
}

var (
	idPattern  = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	strippings = []struct {
		what *regexp.Regexp
		by   string
	}{
		{idPattern, "ID"},
		{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
		{regexp.MustCompile(`(API Key: )\S+`), "${1}KEY"},
	}
)

// moreOfOurs is what ours says of a schema that was replaced, and the reference keeps to
// itself.
const moreOfOurs = `  "updated_at": "TIME"`

// otherWords are commands of which the code alone must be the same: the reference says
// that a payload fails against a schema that is not there, ours that there is none.
var otherWords = []string{"schema validate agntcy:shop.none.v1 -f good.json"}

// lines are the printed lines without what differs in every run. Members of objects have
// no order, so neither have lines.
func (s said) lines() []string {
	text := s.out
	for _, r := range strippings {
		text = r.what.ReplaceAllString(text, r.by)
	}
	var list []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, ", \n")
		if line != moreOfOurs {
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return list
}

// complaint is what an error begins with: what follows are the gateway's own words.
func (s said) complaint() string {
	head, _, _ := strings.Cut(s.err, ":")
	return head
}

// files are those that commands name.
var files = map[string]string{
	"schema.json": `{"type":"object","properties":{"sku":{"type":"string"},"qty":{"type":"integer","minimum":1}},"required":["sku"]}`,
	"next.json":   `{"type":"object","properties":{"sku":{"type":"string"},"qty":{"type":"integer","minimum":1},"note":{"type":"string"}},"required":["sku"]}`,
	"good.json":   `{"sku":"W-1","qty":3}`,
	"bad.json":    `{"qty":0}`,
	"none.json":   `{`,
	"wrong.keys":  "another-key-0123456789abcdef",
}

// Checklist 66: the console says of ours what it says of its own gateway, and ends with
// the same code.
func TestWithAgentryItsConsoleManagesOurs(t *testing.T) {
	binary := program(t, "AMESH_AGENTRY_ADMIN")
	consoles := make([]*console, 2)
	for i, g := range []*gateway{newGateway(t, "north.test").theirs(), newGateway(t, "north.test").ours("--compat", "agentry")} {
		acquaint(t, g)
		path := filepath.Join(g.dir, "config.yaml")
		if err := os.WriteFile(path, fmt.Appendf(nil, config, filepath.Join(g.dir, "schemas")), 0o600); err != nil {
			t.Fatal(err)
		}
		g.args = append(g.args, "-config", path)
		g.start()
		consoles[i] = &console{t: t, binary: binary, g: g, dir: g.dir, keys: "admin.keys", words: map[string]string{}}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, command := range []string{
		"--version",
		"agent list",
		"agent register user --mode pull",
		"agent register user --mode pull",
		"agent register user@north.test",
		"agent register bad/name",
		"agent register .edge",
		"agent register pusher --mode push",
		"agent register pusher --mode sideways",
		"agent register pusher --mode push --target http://127.0.0.1:9/hook --header X-Agent=1",
		"schema register agntcy:shop.order.v1 -f schema.json",
		"schema register agntcy:shop.order.v1 -f schema.json",
		"schema register agntcy:shop.order.v1 -f next.json --force",
		"schema register agntcy:test.v1 -f schema.json",
		"schema register agntcy:shop.other.v1 -f none.json",
		"schema register agntcy:shop.other.v1 -f absent.json",
		"schema list",
		"schema get agntcy:shop.order.v1",
		"schema get agntcy:shop.none.v1",
		"schema get agntcy:test.v1",
		"schema validate agntcy:shop.order.v1 -f good.json",
		"schema validate agntcy:shop.none.v1 -f good.json",
		"schema stats",
		"agent register buyer --schema agntcy:shop.order.v1 --schema agntcy:shop.*",
		"agent register wrong --schema agntcy:shop.none.v1",
		"agent register wrong --schema agntcy:*",
		"agent list",
		"agent unregister pusher",
		"agent unregister pusher",
		"agent unregister buyer",
		"agent register reader --mode pull",
		"inbox get reader@north.test --key {key}",
		"SEND reader@north.test",
		"inbox get reader@north.test --key {key}",
		"inbox get reader@north.test --key wrong-key",
		"inbox get reader@north.test",
		"inbox get user@north.test --key {key}",
		"inbox ack reader@north.test {id} --key {key}",
		"inbox ack reader@north.test {id} --key {key}",
		"inbox ack reader@north.test 0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01 --key {key}",
		"inbox get reader@north.test --key {key}",
		"schema delete agntcy:shop.order.v1",
		"schema delete agntcy:shop.order.v1",
		"schema list",
		"agent list",
		"nonsense",
		"KEYS wrong.keys", // checklist 69
		"agent list",
		"schema list",
		"agent register other",
		"KEYS absent.keys",
		"agent list",
	} {
		var all [2]said
		for i, c := range consoles {
			if to, ok := strings.CutPrefix(command, "SEND "); ok {
				got := c.g.do(http.MethodPost, "/v1/messages", fmt.Sprintf(`{"sender":"user@north.test","recipients":[%q],"subject":"PO 77","payload":{"sku":"W-1"}}`, to))
				if got.status != http.StatusOK {
					t.Fatalf("send: %d %s", got.status, got.body)
				}
				continue
			}
			if file, ok := strings.CutPrefix(command, "KEYS "); ok {
				c.keys = file
				continue
			}
			all[i] = c.run(strings.Fields(command)...)
		}
		theirs, ours := all[0], all[1]
		if slices.Contains(otherWords, command) && theirs.exit == ours.exit {
			continue
		}
		if theirs.exit != ours.exit || theirs.complaint() != ours.complaint() {
			t.Errorf("%s: exit %d %q with ours, %d %q with theirs", command, ours.exit, ours.err, theirs.exit, theirs.err)
		}
		if a, b := theirs.lines(), ours.lines(); !slices.Equal(a, b) {
			t.Errorf("%s: with ours\n%s\nwith theirs\n%s", command, strings.Join(b, "\n"), strings.Join(a, "\n"))
		}
	}
	// The reference validates with eight keywords of JSON Schema at most; what it says of a
	// wrong payload is no measure, but that ours is refused is.
	consoles[1].keys = "admin.keys"
	if s := consoles[1].run("schema", "register", "agntcy:shop.order.v1", "-f", "schema.json"); s.exit != 0 {
		t.Fatal(s.err)
	}
	if s := consoles[1].run("schema", "validate", "agntcy:shop.order.v1", "-f", "bad.json"); !strings.Contains(s.out+s.err, "sku") {
		t.Errorf("a wrong payload: exit %d, %s%s", s.exit, s.out, s.err)
	}
}
