package knock

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/wire"
	"amesh/ratchet"
)

// The vectors in docs/protocol/vectors are made from fixed seeds by the model. After
// an intended change of the protocol they are written anew as the README beside them
// says.
var update = flag.Bool("update", false, "write this package's files in docs/protocol/vectors anew")

const vectorFolder = "../docs/protocol/vectors"

// hexBytes are hex digits in JSON; none at all is null.
type hexBytes []byte

func (h hexBytes) MarshalJSON() ([]byte, error) {
	if h == nil {
		return []byte("null"), nil
	}
	return json.Marshal(hex.EncodeToString(h))
}

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	raw, err := hex.DecodeString(*s)
	*h = append(hexBytes{}, raw...)
	return err
}

type vectorsOf[V any] struct {
	About   string `json:"about"`
	Made    string `json:"made"`
	Version int    `json:"version_byte"`
	Vectors []V    `json:"vectors"`
}

// compare holds the vectors that the model makes against the file, and returns what
// the file says, as any reader finds it.
func compare[V any](t *testing.T, name, about string, made []V) []V {
	t.Helper()
	raw, err := json.MarshalIndent(vectorsOf[V]{about, "from fixed seeds, by go test ./knock -update", ratchet.Version, made}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, '\n')
	path := filepath.Join(vectorFolder, name)
	if *update {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(stored), string(raw)); diff != "" {
		t.Errorf("%s is not what the model makes (-file +made):\n%.2000s", name, diff)
	}
	return read[V](t, name)
}

func read[V any](t testing.TB, name string) []V {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(vectorFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	var f vectorsOf[V]
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	if f.Version != ratchet.Version || len(f.Vectors) == 0 {
		t.Fatalf("%s: %d vectors of version %d", name, len(f.Vectors), f.Version)
	}
	return f.Vectors
}

// pairs goes through a table in the order of its names, as a file must.
func pairs[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(name, m[name]) {
				return
			}
		}
	}
}

// code is the word of session.md §13 for an error.
func code(err error) string {
	for _, e := range []error{
		wire.ErrMalformed, ratchet.ErrLegacy, ratchet.ErrUnsupported, ErrWrongRecipient, ErrKnockExpired, identity.ErrSignature, identity.ErrKey,
		ratchet.ErrKey, identity.ErrMismatch, identity.ErrBundleExpired, ErrPrekeyUnknown, identity.ErrLowOrder, ratchet.ErrLowOrder,
		identity.ErrKEM, ratchet.ErrKEM, ratchet.ErrDecrypt, ratchet.ErrDuplicate, ratchet.ErrSkipLimit,
	} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return ""
}

func take(t testing.TB, r io.Reader, n int) hexBytes {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exact gives the bytes that a vector names as randomness, and no others.
type exact struct {
	t    testing.TB
	left *bytes.Reader
}

func exactly(t testing.TB, parts ...[]byte) *exact {
	return &exact{t, bytes.NewReader(bytes.Join(parts, nil))}
}

func (e *exact) Read(b []byte) (int, error) { return e.left.Read(b) }

func (e *exact) done() {
	e.t.Helper()
	if n := e.left.Len(); n != 0 {
		e.t.Errorf("%d bytes of randomness were not asked for", n)
	}
}
