package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Files as operators have them: what each changes, and what it is told. With
// AMESH_UPDATE=1 the answers are written anew.
func TestFilesAsOperatorsHaveThem(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c, warnings, err := Load(Sources{File: raw, FileName: filepath.Base(file)})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		got := shown(c, warnings)
		golden := strings.TrimSuffix(file, ".yaml") + ".golden"
		if os.Getenv("AMESH_UPDATE") == "1" {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s:\n%s", file, diff)
		}
	}
}

// shown is a line for each key that is not at its default, and for each warning.
func shown(c Config, warnings []string) string {
	var b strings.Builder
	usual := Defaults(c.Compat.Mode)
	defaults := keys(&usual, new(given))
	for i, k := range keys(&c, new(given)) {
		value := reflect.ValueOf(k.at).Elem().Interface()
		if !reflect.DeepEqual(value, reflect.ValueOf(defaults[i].at).Elem().Interface()) {
			fmt.Fprintf(&b, "%s = %v\n", k.name, value)
		}
	}
	for _, w := range warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}
