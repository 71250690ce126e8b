package identity

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"amesh/internal/wire"
)

// The vectors in docs/protocol/vectors are made from fixed seeds. After an intended
// change of the protocol they are written anew as the README beside them says.
var update = flag.Bool("update", false, "write this package's files in docs/protocol/vectors anew")

const vectorFolder = "../docs/protocol/vectors"

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// decimal is a u64 in digits: not every reader of JSON has whole numbers that long.
type decimal uint64

func (d decimal) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(d), 10), nil }

func (d *decimal) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 10, 64)
	*d = decimal(v)
	return err
}

// object is a signed object with what it says, or with the code under which it is
// refused.
type object struct {
	Name    string   `json:"name"`
	Seed    hexBytes `json:"signing_seed,omitempty"` // of whoever signed a valid one
	Signer  hexBytes `json:"signer,omitempty"`       // the key it is read under, where it carries none
	Encoded hexBytes `json:"encoded"`
	Error   string   `json:"error,omitempty"`
	Fields  any      `json:"fields,omitempty"`
}

type certificateFields struct {
	AMID     hexBytes `json:"amid"`
	Exchange hexBytes `json:"exchange_key"`
	Epoch    uint32   `json:"epoch"`
	Created  int64    `json:"created"`
	Expires  int64    `json:"expires"`
}

type bundleFields struct {
	AMID        hexBytes          `json:"amid"`
	SigningKey  hexBytes          `json:"signing_key"`
	Epoch       uint32            `json:"epoch"`
	Sequence    decimal           `json:"sequence"`
	Created     int64             `json:"created"`
	Expires     int64             `json:"expires"`
	Certificate certificateFields `json:"key_certificate"`
	PrekeyID    uint32            `json:"signed_prekey_id"`
	Prekey      hexBytes          `json:"signed_prekey"`
	KEMKeyID    uint32            `json:"kem_key_id"`
	KEMKey      hexBytes          `json:"kem_key"`
	Suites      hexBytes          `json:"suites"`
	Features    uint32            `json:"features"`
	ID          hexBytes          `json:"bundle_id"`
}

type oneTimeFields struct {
	AMID    hexBytes `json:"amid"`
	Epoch   uint32   `json:"epoch"`
	Kind    uint8    `json:"kind"`
	ID      uint32   `json:"id"`
	Created int64    `json:"created"`
	Expires int64    `json:"expires"`
	Public  hexBytes `json:"public_key"`
}

type recordFields struct {
	AMID       hexBytes `json:"amid"`
	SigningKey hexBytes `json:"signing_key"`
	Sequence   decimal  `json:"sequence"`
	Created    int64    `json:"created"`
	Expires    int64    `json:"expires"`
	Relays     []string `json:"relays"`
	PeerIDs    []string `json:"peer_ids"`
	Addresses  []string `json:"addresses"`
	Bundle     hexBytes `json:"bundle"`
}

func fieldsOfCertificate(c *KeyCertificate) certificateFields {
	return certificateFields{c.AMID[:], c.Exchange[:], c.Epoch, c.Created.Unix(), c.Expires.Unix()}
}

func fieldsOfBundle(b *Bundle) bundleFields {
	id := b.ID()
	return bundleFields{
		b.AMID[:], b.SigningKey[:], b.Epoch, decimal(b.Sequence), b.Created.Unix(), b.Expires.Unix(), fieldsOfCertificate(&b.Certificate),
		b.SignedPrekeyID, b.SignedPrekey[:], b.KEMKeyID, b.KEMKey, b.Suites, b.Features, id[:],
	}
}

func fieldsOfOneTime(k *OneTimeKey) oneTimeFields {
	return oneTimeFields{k.AMID[:], k.Epoch, uint8(k.Kind), k.ID, k.Created.Unix(), k.Expires.Unix(), k.Public}
}

func fieldsOfRecord(r *AgentRecord) recordFields {
	list := func(l []string) []string { return append([]string{}, l...) }
	return recordFields{
		r.AMID[:], r.SigningKey[:], decimal(r.Sequence), r.Created.Unix(), r.Expires.Unix(),
		list(r.Relays), list(r.PeerIDs), list(r.Addresses), r.Bundle.Raw(),
	}
}

// code is the word of session.md §13 for an error.
func code(err error) string {
	for _, e := range []error{
		wire.ErrMalformed, ErrKey, ErrMismatch, ErrSignature, ErrLowOrder, ErrKEM, ErrStaleEpoch, ErrStaleBundle, ErrBundleConflict, ErrBundleExpired,
	} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return ""
}

// compare holds the vectors that this code makes against the file, and returns what
// the file says, as any reader finds it.
func compare[V any](t *testing.T, name, about string, made []V) []V {
	t.Helper()
	return compareFile(t, filepath.Join(vectorFolder, name), about, made)
}

func compareFile[V any](t *testing.T, path, about string, made []V) []V {
	t.Helper()
	type file struct {
		About   string `json:"about"`
		Made    string `json:"made"`
		Vectors []V    `json:"vectors"`
	}
	raw, err := json.MarshalIndent(file{about, "from fixed seeds, by go test ./identity -update", made}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, '\n')
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
		t.Errorf("%s is not what the code makes (-file +made):\n%.2000s", path, diff)
	}
	var f file
	if err := json.Unmarshal(stored, &f); err != nil {
		t.Fatal(err)
	}
	return f.Vectors
}

// checkObjects reads every stored object and compares what it says, or the code.
func checkObjects(t *testing.T, vectors []object, read func(v object) (any, error)) {
	t.Helper()
	for _, v := range vectors {
		fields, err := read(v)
		if code(err) != v.Error || err != nil && v.Error == "" {
			t.Errorf("%s: got %v, want %q", v.Name, err, v.Error)
		}
		if err != nil {
			continue
		}
		got, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		var back any
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v.Fields, back); diff != "" {
			t.Errorf("%s (-file +read):\n%s", v.Name, diff)
		}
	}
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
