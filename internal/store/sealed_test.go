package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newStateKey(t *testing.T) (*StateKey, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.key")
	k, err := LoadStateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	return k, path
}

// keyOf is a StateKey without a file.
func keyOf(keys ...idKey) *StateKey {
	k := &StateKey{}
	k.ring.Store(&keyring{keys: keys})
	return k
}

func TestStateKeyIsMadeOnce(t *testing.T) {
	k, path := newStateKey(t)
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fi.Mode(); got != 0o600 {
		t.Errorf("mode %v, want 0600", got)
	}
	again, err := LoadStateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := again.Open([]byte("row"), k.Seal([]byte("row"), []byte("secret")))
	if err != nil || string(plain) != "secret" {
		t.Errorf("opened by the key read again: %q, %v", plain, err)
	}
	if names, _ := filepath.Glob(path + "*"); len(names) != 1 {
		t.Errorf("files left: %q", names)
	}
}

func TestSealedRows(t *testing.T) {
	k, _ := newStateKey(t)
	other, _ := newStateKey(t)
	row := []byte("amid/session/7")
	for _, plain := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("s"), 1<<20)} {
		sealed := k.Seal(row, plain)
		if bytes.Contains(sealed, bytes.Repeat([]byte("s"), 16)) {
			t.Error("the secret is readable")
		}
		got, err := k.Open(row, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes came back as %d, %v", len(plain), len(got), err)
		}
		if bytes.Equal(sealed, k.Seal(row, plain)) {
			t.Error("sealed twice to the same bytes: the nonce is not random")
		}
	}
	sealed := k.Seal(row, []byte("secret"))
	foreign := other.Seal(row, []byte("secret"))
	renamed := bytes.Clone(foreign)
	copy(renamed, sealed[:keyIDSize])
	for _, c := range []struct {
		name        string
		row, sealed []byte
	}{
		{"moved to another row", []byte("amid/session/8"), sealed},
		{"no row key", nil, sealed},
		{"of another key", row, foreign},
		{"of another key, under our id", row, renamed},
		{"cut off", row, sealed[:len(sealed)-1]},
		{"longer", row, append(bytes.Clone(sealed), 0)},
		{"header only", row, sealed[:keyIDSize+24]},
		{"shorter than the header", row, sealed[:keyIDSize+23]},
		{"empty", row, nil},
	} {
		if plain, err := k.Open(c.row, c.sealed); err != ErrSealed || plain != nil {
			t.Errorf("%s: %q, %v; want ErrSealed", c.name, plain, err)
		}
	}
	for i := range sealed {
		flipped := bytes.Clone(sealed)
		flipped[i] ^= 1
		if _, err := k.Open(row, flipped); err != ErrSealed {
			t.Errorf("bit flipped in byte %d: %v, want ErrSealed", i, err)
		}
	}
}

func TestSealedLayout(t *testing.T) {
	k := keyOf(idKey{id: [4]byte{1, 2, 3, 4}})
	sealed := k.Seal(nil, []byte("five!"))
	if got, want := len(sealed), 4+24+5+16; got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if got := fmt.Sprintf("%x", sealed[:4]); got != "01020304" {
		t.Errorf("key id %s, want 01020304", got)
	}
}

// While a change is unfinished the file has two keys: rows of both open, the first
// one seals.
func TestPreviousKeyStillOpens(t *testing.T) {
	before, path := newStateKey(t)
	old := before.Seal([]byte("row"), []byte("old"))
	if err := writeFile(path, before.ring.Load().changed(time.Now()).text()); err != nil {
		t.Fatal(err)
	}
	k, err := LoadStateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := k.Open([]byte("row"), old); err != nil || string(plain) != "old" {
		t.Errorf("row of the previous key: %q, %v", plain, err)
	}
	if !k.Unfinished() {
		t.Error("two keys are not an unfinished change")
	}
	if _, err := before.Open([]byte("row"), k.Seal([]byte("row"), nil)); err != ErrSealed {
		t.Errorf("the previous key opens a new row: %v", err)
	}
}

// T10
func TestKeyFileOthersCanRead(t *testing.T) {
	for _, c := range []struct {
		mode os.FileMode
		want error
	}{
		{0o600, nil}, {0o400, nil}, {0o700, nil},
		{0o640, ErrKeyPermissions}, {0o604, ErrKeyPermissions}, {0o660, ErrKeyPermissions},
		{0o602, ErrKeyPermissions}, {0o601, ErrKeyPermissions}, {0o644, ErrKeyPermissions},
	} {
		_, path := newStateKey(t)
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadStateKey(path); !errors.Is(err, c.want) {
			t.Errorf("mode %04o: %v, want %v", c.mode, err, c.want)
		}
	}
}

// T10: a damaged file is refused and never replaced.
func TestDamagedKeyFile(t *testing.T) {
	const id, key = "5c20a9f1", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	const id2 = "88e7d004"
	head, head1 := "amesh state key 2\nmade 1788091200\n", "amesh state key 1\n"
	made := func(line string) string { return "amesh state key 2\n" + line + id + " " + key + "\n" }
	for _, c := range []struct {
		name, file string
		want       error
	}{
		{"one key", head + id + " " + key + "\n", nil},
		{"two keys", head + id + " " + key + "\n" + id2 + " " + key + "\n", nil},
		{"one key, format 1", head1 + id + " " + key + "\n", nil},
		{"two keys, format 1", head1 + id + " " + key + "\n" + id2 + " " + key + "\n", nil},
		{"before 1970", made("made -1\n"), nil},
		{"empty", "", ErrKeyFile},
		{"head only", head, ErrKeyFile},
		{"head only, format 1", head1, ErrKeyFile},
		{"first line only", "amesh state key 2\n", ErrKeyFile},
		{"torn", head + id + " " + key[:40], ErrKeyFile},
		{"no last newline", head + id + " " + key, ErrKeyFile},
		{"three keys", head + id + " " + key + "\n" + id2 + " " + key + "\n00000000 " + key + "\n", ErrKeyFile},
		{"same id twice", head + strings.Repeat(id+" "+key+"\n", 2), ErrKeyFile},
		{"next format", "amesh state key 3\nmade 1788091200\n" + id + " " + key + "\n", ErrKeyFile},
		{"no time", made(""), ErrKeyFile},
		{"no number", made("made today\n"), ErrKeyFile},
		{"number only", made("1788091200\n"), ErrKeyFile},
		{"number with a sign", made("made +1788091200\n"), ErrKeyFile},
		{"number too large", made("made 9223372036854775808\n"), ErrKeyFile},
		{"time in format 1", head1 + "made 1788091200\n" + id + " " + key + "\n", ErrKeyFile},
		{"the time that means none", made(fmt.Sprintf("made %d\n", time.Time{}.Unix())), ErrKeyFile},
		{"short id", head + id[2:] + " " + key + "\n", ErrKeyFile},
		{"upper case", head + id + " " + strings.ToUpper(key) + "\n", ErrKeyFile},
		{"not hex", head + id + " " + "zz" + key[2:] + "\n", ErrKeyFile},
		{"two spaces", head + id + "  " + key + "\n", ErrKeyFile},
		{"carriage return", head + id + " " + key + "\r\n", ErrKeyFile},
		{"zeroes", strings.Repeat("\x00", 91), ErrKeyFile},
		{"endless", head + strings.Repeat(key, 100), ErrKeyFile},
	} {
		path := filepath.Join(t.TempDir(), "state.key")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadStateKey(path)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), key[:16]) {
			t.Errorf("%s: the error shows the key: %v", c.name, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != c.file {
			t.Errorf("%s: file changed to %q, %v", c.name, after, err)
		}
	}
	if _, err := LoadStateKey(t.TempDir()); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := LoadStateKey(filepath.Join(t.TempDir(), "no", "state.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such folder: %v", err)
	}
}

// T12
func TestStateKeyIsHidden(t *testing.T) {
	k := keyOf(idKey{id: [4]byte{0xca, 0xfe}, key: [32]byte{0xca, 0xfe}})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b"} {
		if got := fmt.Sprintf(verb, k); got != "(hidden)" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("key", "key", k)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("key", "key", k)
	if n := strings.Count(logged.String(), "(hidden)"); n != 2 {
		t.Errorf("logged as %s", logged.String())
	}
	if b, err := json.Marshal(struct{ Key *StateKey }{k}); string(b) != `{"Key":"(hidden)"}` {
		t.Errorf("encoded as %s, %v", b, err)
	}
}
