// Package wycheproof gives tests the vectors of Project Wycheproof: known answers
// for cryptographic primitives, and inputs that careless code gets wrong.
//
// The vectors are a module without a package, and its go.mod spells its path in
// lower case, so ours cannot require it. The go command downloads it like any other
// module, into the same cache; after the first time no network is needed. Version
// and hash stand here instead of in go.mod and go.sum.
package wycheproof

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const (
	module = "github.com/C2SP/wycheproof@v0.0.0-20250901140545-b51abcfb8daf"
	sum    = "h1:5BKKVVVj676FUWirLcouEEL6GCYR9X0opkMlEUck8FY="
)

// Bytes are bytes that the files write in hex.
type Bytes []byte

// UnmarshalText reads hex digits.
func (b *Bytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// Case is what every vector has. A test embeds it in a struct with the fields of
// its file.
type Case struct {
	ID      int      `json:"tcId"`
	Comment string   `json:"comment"`
	Flags   []string `json:"flags"`
	Result  string   `json:"result"` // valid, invalid or acceptable
}

// Groups reads a file and returns its test groups. It fails the test when the file
// is not there or does not have count vectors, so that a file that was renamed or
// emptied is not taken for one that passed.
func Groups[G any](t testing.TB, file string, count int) []G {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Fatalf("vectors: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "testvectors_v1", file))
	if err != nil {
		t.Fatalf("vectors: %v", err)
	}
	var f struct {
		NumberOfTests int `json:"numberOfTests"`
		TestGroups    []G `json:"testGroups"`
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatalf("vectors: %s: %v", file, err)
	}
	if f.NumberOfTests != count {
		t.Fatalf("vectors: %s has %d, want %d", file, f.NumberOfTests, count)
	}
	return f.TestGroups
}

// folder is asked for once in a test binary.
var folder = sync.OnceValues(download)

func download() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	var got struct{ Dir, Sum, Error string }
	if jsonErr := json.Unmarshal(out, &got); jsonErr != nil {
		return "", fmt.Errorf("go mod download %s: %w", module, errors.Join(err, jsonErr))
	}
	switch {
	case got.Error != "":
		return "", fmt.Errorf("go mod download %s: %s", module, got.Error)
	case got.Sum != sum:
		return "", fmt.Errorf("%s has the hash %s, want %s", module, got.Sum, sum)
	}
	return got.Dir, nil
}
