package schema

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// suite reads the required part for 2020-12 of the official test suite,
// github.com/json-schema-org/JSON-Schema-Test-Suite at 44401e0c (MIT, see
// testdata/suite/LICENSE): all of tests/draft2020-12 but the folder optional,
// and remotes/draft2020-12.
func suite(t *testing.T) map[string][]byte {
	t.Helper()
	packed, err := os.Open("testdata/suite/draft2020-12.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string][]byte)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

type suiteGroup struct {
	Description string
	Schema      json.RawMessage
	Tests       []struct {
		Description string
		Data        json.RawMessage
		Valid       bool
	}
}

// Row 80: the required part of the official suite passes, through the same
// compiler, meter and decoder that messages go through.
func TestOfficialSuitePasses(t *testing.T) {
	t.Parallel()
	files := suite(t)
	remote := func(url string) (any, error) {
		name, ok := strings.CutPrefix(url, "http://localhost:1234/")
		if !ok || files["remotes/"+name] == nil {
			return nil, errForeignRef
		}
		return jsonschema.UnmarshalJSON(bytes.NewReader(files["remotes/"+name]))
	}
	s := newService(t, Config{})
	passed, groups := 0, 0
	for name, text := range files {
		if path.Dir(name) != "tests" || path.Ext(name) != ".json" {
			continue
		}
		var list []suiteGroup
		if err := json.Unmarshal(text, &list); err != nil {
			t.Fatal(err)
		}
		for _, g := range list {
			groups++
			passed += runGroup(t, s, name+": "+g.Description, g, remote)
		}
	}
	t.Logf("%d tests of %d schemas passed", passed, groups)
	if passed < 1299 {
		t.Errorf("only %d tests were run and passed", passed)
	}
}

func runGroup(t *testing.T, s *Service, name string, g suiteGroup, remote resolver) int {
	doc, err := s.decodeDefinition(g.Schema)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return 0
	}
	c, err := compile("agntcy:suite.test.v1", doc, remote, FormatsDialect, s.limits)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return 0
	}
	passed := 0
	for _, test := range g.Tests {
		v, refused := s.decodePayload(ID{}, test.Data)
		if refused != nil {
			t.Errorf("%s: %s: %v", name, test.Description, refused.Errors)
			continue
		}
		r, err := s.run(t.Context(), ID{}, c, v)
		if err != nil || r.Valid != test.Valid || !r.Valid && len(r.Errors) == 0 {
			t.Errorf("%s: %s: %+v, %v; want valid %v", name, test.Description, r, err, test.Valid)
			continue
		}
		passed++
	}
	return passed
}

// The meta-schema is a hall of $dynamicRef: what is reached through them must be
// charged for too, or a bomb has a place to hide.
func TestMeterCountsWhatDynamicRefsReach(t *testing.T) {
	t.Parallel()
	files := suite(t)
	p, err := build("agntcy:suite.test.v1", map[string]any{"agntcy:suite.test.v1": map[string]any{
		"$ref": "https://json-schema.org/draft/2020-12/schema"}}, nil, FormatsDialect, Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := decode(files["tests/ref.json"])
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range doc.([]any) {
		p.meter.start(1_000_000, time.Now().Add(time.Minute))
		if err := p.schema.Validate(group.(map[string]any)["schema"]); err != nil {
			t.Error(err)
		}
		if used := 1_000_000 - p.meter.left; used < 10 {
			t.Errorf("a check of a schema with the meta-schema took %d steps", used)
		}
	}
}
