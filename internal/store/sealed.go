package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

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

// StateKey seals the rows that hold session or prekey secrets. Deleting in Badger
// is not erasing; but a row is unreadable once the key is gone, which lies outside
// of Badger in a file that can be overwritten (session.md §14). ChangeKey does
// that. It prints as "(hidden)" and is safe for any number of goroutines, also
// during a change.
type StateKey struct {
	ring   atomic.Pointer[keyring]
	change sync.Mutex // held by ChangeKey, guards what file remembers
	file   keyFile
}

// LoadStateKey reads the key file, and makes one with a random key if there is
// none; such a key has no age yet and is Due. The caller holds the state folder
// (Open), so that no second process makes another key at the same time.
func LoadStateKey(path string) (*StateKey, error) {
	k := &StateKey{file: keyFile{path: path}}
	// A key that lies elsewhere behind a link is replaced there.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		k.file.path = real
	}
	r, err := k.file.read()
	if errors.Is(err, fs.ErrNotExist) {
		r = &keyring{keys: []idKey{newIDKey()}}
		err = run(k.file.replace(r.text()))
	}
	if err != nil {
		return nil, fmt.Errorf("state key %s: %w", path, err)
	}
	k.ring.Store(r)
	return k, nil
}

// Made is when the key that seals was made, to the second; zero when that is not
// known.
func (k *StateKey) Made() time.Time { return k.ring.Load().made }

// Unfinished reports whether a change of the key was cut short: the last key, or its
// bytes, may still be on the disk. ChangeKey finishes it.
func (k *StateKey) Unfinished() bool { return k.ring.Load().changing() || k.file.littered() }

// Due reports whether it is time for ChangeKey: the key is a day old, or of unknown
// age, or was made while the clock was ahead, or a change is unfinished.
func (k *StateKey) Due(now time.Time) bool {
	made := k.Made()
	return made.IsZero() || now.Before(made) || now.Sub(made) >= keyLife || k.Unfinished()
}

// Seal encrypts a value for the row under rowKey:
//
//	key id (4) ‖ nonce (24) ‖ XChaCha20-Poly1305(value), associated data rowKey
//
// The row key is bound in, so that a sealed value cannot be moved to another row.
//
// Who writes a sealed row calls Seal inside the function given to Store.Update.
// Updates run one after the other, so that ChangeKey's last one sees every row that
// the last key sealed. A value sealed outside could be committed behind it, when
// its key is gone.
func (k *StateKey) Seal(rowKey, plaintext []byte) []byte {
	key := &k.ring.Load().keys[0]
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
// key. It must be called in the View or Update that gave the row: a value that is
// kept for longer than a change cannot be opened after the next. The error is
// ErrSealed.
func (k *StateKey) Open(rowKey, sealed []byte) ([]byte, error) {
	if len(sealed) < keyIDSize+chacha20poly1305.NonceSizeX {
		return nil, ErrSealed
	}
	id, sealed := sealed[:keyIDSize], sealed[keyIDSize:]
	nonce, sealed := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	key := k.ring.Load().find(id)
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
