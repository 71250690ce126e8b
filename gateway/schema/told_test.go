package schema

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
)

// Messages that name a schema which cannot be used, and nobody can stop those who send
// them, are one line of the log, and another one when something else is wrong.
func TestBadSchemaIsToldOnce(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	d, path := newDirectory(t, func(c *DirectoryConfig) { c.Log = logger })
	s := newService(t, Config{Registry: d, Log: logger})
	check := func() {
		t.Helper()
		for range 3 {
			for _, name := range []string{"agntcy:bad.json.v1", "agntcy:bad.type.v1"} {
				report, err := s.Check(t.Context(), Request{Schema: name, Payload: []byte(`{}`), Recipients: []Recipient{{}}})
				if err != nil || report.Decisions[0].Accept {
					t.Errorf("%s: %+v, %v", name, report, err)
				}
			}
		}
	}
	count := func(text string, want int) {
		t.Helper()
		if n := strings.Count(log.String(), text); n != want {
			t.Errorf("%s: %d lines, want %d: %s", text, n, want, log.String())
		}
	}
	writeText(t, filepath.Join(path, "bad/json/v1.json"), `{`)
	writeText(t, filepath.Join(path, "bad/type/v1.json"), `{"definition":{"type":7}}`)
	check()
	count("file=bad/json/v1.json", 1)
	count("schema=agntcy:bad.json.v1", 1)
	count("schema=agntcy:bad.type.v1", 1)
	writeText(t, filepath.Join(path, "bad/json/v1.json"), `{"title":"no definition"}`)
	check()
	count("file=bad/json/v1.json", 2)
	count("schema=agntcy:bad.type.v1", 1)
}

func TestWhatIsToldIsBounded(t *testing.T) {
	t.Parallel()
	told := newTold()
	for i := range 3 * mostTold {
		if !told.first(ID{Domain: "d", Entity: fmt.Sprint("e", i), Version: 1}, "bad") {
			t.Fatal(i)
		}
	}
	if n := told.what.order.Len(); n != mostTold {
		t.Errorf("%d are remembered", n)
	}
}
