package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

var (
	// ErrKeyPermissions is returned by LoadStateKey for a key file that others
	// than its owner can read.
	ErrKeyPermissions = errors.New("key_permissions")
	// ErrKeyFile is returned by LoadStateKey for a file that is no state key. It
	// is left as it is: a new key in its place would make every sealed row
	// unreadable.
	ErrKeyFile = errors.New("not a state key file")
	// ErrSealed is returned by StateKey.Open for a row that this key did not seal
	// under this row key, for whatever reason.
	ErrSealed = errors.New("sealed row cannot be opened")
)

// A key file is text: a first line that names the format, then one line for each
// key, id and key in lower-case hex. The first key seals; the second, if there is
// one, is its predecessor and opens only.
//
//	amesh state key 1
//	5c20a9f1 <64 digits>
//	88e7d004 <64 digits>
const (
	keyFileHead   = "amesh state key 1"
	keyIDSize     = 4
	maxKeysInFile = 2
)

// StateKey seals the rows that hold session or prekey secrets. Deleting in Badger
// is not erasing; but a row is unreadable once the key is gone, which lies outside
// of Badger in a file that can be overwritten (session.md §14). It prints as
// "(hidden)" and is safe for any number of goroutines.
type StateKey struct {
	keys []idKey // the sealing one first
}

type idKey struct {
	id  [keyIDSize]byte
	key [chacha20poly1305.KeySize]byte
}

// LoadStateKey reads the key file, and makes one with a random key if there is
// none. The caller holds the state folder (Open), so that no second process makes
// another key at the same time.
func LoadStateKey(path string) (*StateKey, error) {
	k, err := readStateKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		k = &StateKey{keys: []idKey{newIDKey()}}
		err = writeFile(path, k.file())
	}
	if err != nil {
		return nil, fmt.Errorf("state key %s: %w", path, err)
	}
	return k, nil
}

func readStateKey(path string) (*StateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a file", ErrKeyFile)
	}
	if !private(fi.Mode()) {
		return nil, fmt.Errorf("%w: mode %04o, want 0600", ErrKeyPermissions, fi.Mode().Perm())
	}
	const largest = 1 << 10
	if fi.Size() > largest {
		return nil, fmt.Errorf("%w: %d bytes", ErrKeyFile, fi.Size())
	}
	data := make([]byte, fi.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, err
	}
	return parseStateKey(data)
}

// newIDKey makes a key. The id is random, so that rows of a lost key file are not
// taken for rows of its replacement.
func newIDKey() idKey {
	var k idKey
	rand.Read(k.id[:])
	rand.Read(k.key[:])
	return k
}

// file is the key file's content.
func (k *StateKey) file() []byte {
	b := []byte(keyFileHead + "\n")
	for _, key := range k.keys {
		b = hex.AppendEncode(b, key.id[:])
		b = append(b, ' ')
		b = hex.AppendEncode(b, key.key[:])
		b = append(b, '\n')
	}
	return b
}

// parseStateKey takes exactly what file writes. Its errors say nothing of what
// they found: it could be a key.
func parseStateKey(data []byte) (*StateKey, error) {
	lines := strings.Split(string(data), "\n")
	if len(lines) < 3 || len(lines) > 2+maxKeysInFile || lines[0] != keyFileHead {
		return nil, fmt.Errorf("%w: unknown format", ErrKeyFile)
	}
	k := &StateKey{}
	for i, line := range lines[1 : len(lines)-1] {
		id, key, _ := strings.Cut(line, " ")
		var next idKey
		if !unhex(next.id[:], id) || !unhex(next.key[:], key) || k.find(next.id[:]) != nil {
			return nil, fmt.Errorf("%w: bad key in line %d", ErrKeyFile, i+2)
		}
		k.keys = append(k.keys, next)
	}
	if !bytes.Equal(k.file(), data) {
		return nil, fmt.Errorf("%w: not in its one form", ErrKeyFile)
	}
	return k, nil
}

func unhex(into []byte, text string) bool {
	if len(text) != hex.EncodedLen(len(into)) {
		return false
	}
	_, err := hex.Decode(into, []byte(text))
	return err == nil
}

func (k *StateKey) find(id []byte) *idKey {
	i := slices.IndexFunc(k.keys, func(key idKey) bool { return bytes.Equal(key.id[:], id) })
	if i < 0 {
		return nil
	}
	return &k.keys[i]
}

// Seal encrypts a value for the row under rowKey:
//
//	key id (4) ‖ nonce (24) ‖ XChaCha20-Poly1305(value), associated data rowKey
//
// The row key is bound in, so that a sealed value cannot be moved to another row.
func (k *StateKey) Seal(rowKey, plaintext []byte) []byte {
	key := &k.keys[0]
	out := make([]byte, keyIDSize+chacha20poly1305.NonceSizeX,
		keyIDSize+chacha20poly1305.NonceSizeX+len(plaintext)+chacha20poly1305.Overhead)
	copy(out, key.id[:])
	nonce := out[keyIDSize:]
	rand.Read(nonce)
	aead, err := chacha20poly1305.NewX(key.key[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	return aead.Seal(out, nonce, plaintext, rowKey)
}

// Open decrypts what Seal made for the same row key, with this or the previous
// key. The error is ErrSealed.
func (k *StateKey) Open(rowKey, sealed []byte) ([]byte, error) {
	if len(sealed) < keyIDSize+chacha20poly1305.NonceSizeX {
		return nil, ErrSealed
	}
	id, sealed := sealed[:keyIDSize], sealed[keyIDSize:]
	nonce, sealed := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	key := k.find(id)
	if key == nil {
		return nil, ErrSealed
	}
	aead, err := chacha20poly1305.NewX(key.key[:])
	if err != nil {
		panic(err) // only for a key of another length
	}
	plaintext, err := aead.Open(nil, nonce, sealed, rowKey)
	if err != nil {
		return nil, ErrSealed
	}
	return plaintext, nil
}

// Format hides the key from every verb of fmt, also those that would look past
// String into the fields.
func (k *StateKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, "(hidden)") }

// String hides the key from what does not use fmt.
func (k *StateKey) String() string { return "(hidden)" }

// MarshalText hides the key from encoders, a logger's among them.
func (k *StateKey) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }
