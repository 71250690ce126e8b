package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func newDirectory(t *testing.T, change func(*DirectoryConfig)) (*Directory, string) {
	t.Helper()
	cfg := DirectoryConfig{Path: filepath.Join(t.TempDir(), "schemas"), Save: true, Create: true}
	if change != nil {
		change(&cfg)
	}
	d, err := OpenDirectory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d, cfg.Path
}

func writeText(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

// What a registry promises, whichever it is.
func testRegistry(t *testing.T, r Registry) {
	t.Helper()
	ctx := t.Context()
	one := schemaOf(t, messageV1, `{"type":"string"}`)
	if _, err := r.Get(ctx, one.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if err := r.Remove(ctx, one.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("remove of nothing: %v", err)
	}
	if err := r.Put(ctx, one, false); err != nil {
		t.Fatal(err)
	}
	if err := r.Put(ctx, one, false); !errors.Is(err, ErrExists) {
		t.Errorf("put twice: %v", err)
	}
	one.Definition = []byte(`{"type":"number"}`)
	if err := r.Put(ctx, one, true); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"agntcy:test.message.v10", messageV2, "agntcy:other.thing.v1"} {
		if err := r.Put(ctx, schemaOf(t, name, `true`), true); err != nil {
			t.Errorf("replacing nothing: %v", err)
		}
	}
	got, err := r.Get(ctx, one.ID)
	if err != nil || canonical(mustDecode(t, string(got.Definition))) != `{"type":"number",}` || got.ID != one.ID {
		t.Errorf("%+v, %v", got, err)
	}
	for pattern, want := range map[string]string{
		"": "agntcy:other.thing.v1 agntcy:test.message.v1 agntcy:test.message.v2 agntcy:test.message.v10", "test": "agntcy:test.message.v1 agntcy:test.message.v2 agntcy:test.message.v10", "*.thing.*": "agntcy:other.thing.v1", "none": "",
	} {
		p, _ := ParsePattern(pattern)
		ids, err := r.List(ctx, p)
		if got := strings.Join(texts(ids), " "); err != nil || got != want {
			t.Errorf("%q: %s, %v", pattern, got, err)
		}
	}
	if err := r.Remove(ctx, one.ID); err != nil {
		t.Error(err)
	}
	if _, err := r.Get(ctx, one.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of what was removed: %v", err)
	}
}

func TestDirectoryIsARegistry(t *testing.T) {
	t.Parallel()
	d, path := newDirectory(t, nil)
	testRegistry(t, d)
	// Another one finds it all again.
	again, err := OpenDirectory(DirectoryConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := again.List(t.Context(), Pattern{}); err != nil || len(ids) != 3 {
		t.Errorf("%v, %v", ids, err)
	}
	var index struct {
		Schemas map[string]metadata `json:"schemas"`
	}
	text, err := os.ReadFile(filepath.Join(path, "index.json"))
	if err != nil || json.Unmarshal(text, &index) != nil || len(index.Schemas) != 3 || index.Schemas[messageV2].Path != "test/message/v2.json" {
		t.Errorf("%s, %v", text, err)
	}
	left, err := filepath.Glob(filepath.Join(path, "test", "message", ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Without saving, what is registered lives in memory, over what the files say.
func TestDirectoryInMemory(t *testing.T) {
	t.Parallel()
	d, path := newDirectory(t, func(c *DirectoryConfig) { c.Save = false })
	testRegistry(t, d)
	writeText(t, filepath.Join(path, "file", "thing", "v1.json"), `{"definition":true}`)
	there := id(t, "agntcy:file.thing.v1")
	if _, err := d.Get(t.Context(), there); err != nil {
		t.Error(err)
	}
	if err := d.Remove(t.Context(), there); err != nil {
		t.Error(err)
	}
	if _, err := d.Get(t.Context(), there); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(path, "file", "thing", "v1.json")); err != nil {
		t.Errorf("the file was touched: %v", err)
	}
}

// A file as agentry writes it, and what others change, is seen.
func TestDirectoryReadsAgentrysFiles(t *testing.T) {
	t.Parallel()
	d, path := newDirectory(t, nil)
	file := filepath.Join(path, "test", "message", "v1.json")
	writeText(t, file, `{"metadata":{"id":{"domain":"test","entity":"message","version":"v1","raw":"agntcy:test.message.v1"},"version":"","created_at":"2026-11-20T09:20:11Z",
		"updated_at":"2026-11-20T09:20:12Z","file_path":"../../../etc/passwd","size":2,"checksum":"wrong"},"definition":{"type":"string"}}`)
	s := newService(t, Config{Registry: d})
	for definition, want := range map[string]bool{"string": true, "number": false} {
		writeText(t, file, `{"definition":{"type":"`+definition+`"}}`)
		if r, err := s.Validate(t.Context(), id(t, messageV1), []byte(`"x"`)); err != nil || r.Valid != want {
			t.Errorf("%s: %+v, %v", definition, r, err)
		}
	}
}

// Nothing outside of the directory is read, and what is no schema is no answer.
func TestDirectoryStaysInside(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d, path := newDirectory(t, func(c *DirectoryConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	outside := filepath.Join(t.TempDir(), "v1.json")
	writeText(t, outside, `{"definition":{"title":"secret"}}`)
	for name, text := range map[string]string{
		"no/json/v1.json": `{`, "of/another/v1.json": `{"metadata":{"id":"agntcy:a.b.v1"},"definition":true}`, "no/definition/v1.json": `{"type":"string"}`,
		"a/long/v1.json": `{"definition":"` + strings.Repeat("x", maxFile) + `"}`, "x y/z/v1.json": `{}`, "x/y/v01.json": `{}`, "x/y/v1.txt": `{}`, "x/v1.json": `{}`,
	} {
		writeText(t, filepath.Join(path, name), text)
	}
	if err := os.MkdirAll(filepath.Join(path, "a", "link"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(path, "a", "link", "v1.json")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"agntcy:no.json.v1", "agntcy:of.another.v1", "agntcy:no.definition.v1", "agntcy:a.long.v1", "agntcy:a.link.v1"} {
		if got, err := d.Get(t.Context(), id(t, name)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	ids, err := d.List(t.Context(), Pattern{})
	if err != nil || len(ids) != 5 {
		t.Errorf("%v, %v", ids, err)
	}
	if !strings.Contains(log.String(), "file=no/json/v1.json") {
		t.Errorf("not logged: %s", log.String())
	}
	// A damaged one is refused for the recipient, and can be removed.
	s := newService(t, Config{Registry: d})
	report, err := s.Check(t.Context(), Request{Schema: "agntcy:no.json.v1", Recipients: []Recipient{{}}})
	if err != nil || report.Decisions[0].Accept || report.Decisions[0].Code != CodePipelineFailed {
		t.Errorf("%+v, %v", report, err)
	}
	if err := s.Remove(t.Context(), id(t, "agntcy:no.json.v1")); err != nil {
		t.Error(err)
	}
	// It can be replaced too, by force: nobody knows what that breaks.
	mended := schemaOf(t, "agntcy:of.another.v1", `true`)
	var incompatible *IncompatibleError
	if _, _, err := s.Update(t.Context(), mended, false); !errors.As(err, &incompatible) {
		t.Error(err)
	}
	if _, _, err := s.Update(t.Context(), mended, true); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), mended.ID); err != nil {
		t.Error(err)
	}
}

func TestDirectoryThatIsNotThere(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]DirectoryConfig{
		"nowhere": {Path: filepath.Join(t.TempDir(), "none")}, "no path": {}, "index elsewhere": {Path: t.TempDir(), Index: "../index.json"},
	} {
		if _, err := OpenDirectory(cfg); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
	d, path := newDirectory(t, nil)
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get(t.Context(), id(t, messageV1)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("gone: %v", err)
	}
}

func TestDirectoryAtOnce(t *testing.T) {
	t.Parallel()
	d, path := newDirectory(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := Schema{ID: ID{Domain: "a", Entity: "b", Version: i}, Definition: []byte(`true`)}
			if err := d.Put(t.Context(), s, true); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := d.Remove(t.Context(), s.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if ids, err := d.List(t.Context(), Pattern{}); err != nil || len(ids) != 4 {
		t.Errorf("%v, %v", ids, err)
	}
	if text, err := os.ReadFile(filepath.Join(path, "index.json")); err != nil || strings.Count(string(text), `"checksum"`) != 4 {
		t.Errorf("%s, %v", text, err)
	}
}
