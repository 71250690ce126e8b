package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func adminFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Checklist 67: a key file with comments and several keys.
func TestAdminKeysOfAFile(t *testing.T) {
	file := "# operators\n\n  first-key \nsecond-key\r\n#third-key\n"
	for _, c := range []struct {
		name, file, key string
		want            error
	}{
		{"the first key", file, "first-key", nil},
		{"the second key", file, "second-key", nil},
		{"with space around", file, " second-key\n", nil},
		{"one line without an end", "only-key", "only-key", nil},
		{"a key in a comment", file, "third-key", ErrWrong},
		{"a comment", file, "#third-key", ErrWrong},
		{"a beginning", file, "first", ErrWrong},
		{"a longer one", file, "first-keys", ErrWrong},
		{"in other letters", file, "FIRST-KEY", ErrWrong},
		{"the whole file", file, strings.TrimSpace(file), ErrWrong},
		{"none", file, "", ErrNone},
		{"space", file, "  ", ErrNone},
		{"a file without keys", "# nothing\n", "x", ErrNotConfigured},
		{"a file without keys, no key", "", "", ErrNotConfigured},
		{"a file without end", strings.Repeat("k", AdminFileSize+1), "k", ErrNotConfigured},
	} {
		err := NewAdminKeys(adminFile(t, c.file), time.Now).Check(c.key)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// Checklist 70: without a key file nobody gets in, whatever he shows.
func TestNoAdminWithoutAKeyFile(t *testing.T) {
	for _, path := range []string{"", filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		k := NewAdminKeys(path, time.Now)
		for _, key := range []string{"", "x"} {
			if err := k.Check(key); !errors.Is(err, ErrNotConfigured) {
				t.Errorf("%q with key %q: %v", path, key, err)
			}
		}
		if k.Configured() != (path != "") {
			t.Errorf("%q: configured %v", path, k.Configured())
		}
	}
}

// Checklist 68: a change of the file counts without a restart.
func TestAdminKeysChangeWithTheirFile(t *testing.T) {
	now := time.Now()
	path := adminFile(t, "old")
	k := NewAdminKeys(path, func() time.Time { return now })
	if err := k.Check("old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(AdminReread)
	if err := k.Check("old"); !errors.Is(err, ErrWrong) {
		t.Errorf("the old key: %v", err)
	}
	if err := k.Check("new"); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(AdminReread)
	if err := k.Check("new"); !errors.Is(err, ErrNotConfigured) {
		t.Errorf("without the file: %v", err)
	}
	if AdminReread > 5*time.Second {
		t.Error("a change takes longer than promised")
	}
}
