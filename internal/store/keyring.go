package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// A key file is text: a first line that names the format, when the first key was
// made in seconds since 1970, then one line for each key, id and key in lower-case
// hex. The first key seals; the second, if there is one, is its predecessor, opens
// only, and says that a change is not finished.
//
//	amesh state key 2
//	made 1788091200
//	5c20a9f1 <64 digits>
//	88e7d004 <64 digits>
//
// Format 1 is the same without the second line, for a key whose age is not known.
const (
	keyFileHead   = "amesh state key 2"
	keyFileHead1  = "amesh state key 1"
	keyFileMade   = "made "
	keyIDSize     = 4
	maxKeysInFile = 2
)

// keyring is the keys of one moment. It never changes, so any number of goroutines
// may use it while it is replaced by another.
type keyring struct {
	made time.Time // when the first key was; zero when that is not known
	keys []idKey   // those of the file, the sealing one first
	// gone left the file in the last change. It still opens, for a View that began
	// before that change and reads rows as they were.
	gone []idKey
}

type idKey struct {
	id  [keyIDSize]byte
	key [chacha20poly1305.KeySize]byte
}

// newIDKey makes a key. The id is random, so that rows of a lost key file are not
// taken for rows of its replacement.
func newIDKey() idKey {
	var k idKey
	rand.Read(k.id[:])
	rand.Read(k.key[:])
	return k
}

// find gives the key with an id, nil when there is none.
func (r *keyring) find(id []byte) *idKey {
	for _, keys := range [][]idKey{r.keys, r.gone} {
		i := slices.IndexFunc(keys, func(key idKey) bool { return bytes.Equal(key.id[:], id) })
		if i >= 0 {
			return &keys[i]
		}
	}
	return nil
}

// changing reports whether a change has begun and not ended.
func (r *keyring) changing() bool { return len(r.keys) > 1 }

// changed is the keyring with a new key that seals.
func (r *keyring) changed(now time.Time) *keyring {
	next := newIDKey()
	for r.find(next.id[:]) != nil {
		next = newIDKey()
	}
	return &keyring{made: time.Unix(now.Unix(), 0), keys: []idKey{next, r.keys[0]}, gone: r.gone}
}

// settled is the keyring without the predecessor.
func (r *keyring) settled() *keyring {
	return &keyring{made: r.made, keys: r.keys[:1], gone: r.keys[1:]}
}

// text is the key file's content.
func (r *keyring) text() []byte {
	b := []byte(keyFileHead1 + "\n")
	if !r.made.IsZero() {
		b = fmt.Appendf(nil, "%s\n%s%d\n", keyFileHead, keyFileMade, r.made.Unix())
	}
	for _, key := range r.keys {
		b = hex.AppendEncode(b, key.id[:])
		b = append(b, ' ')
		b = hex.AppendEncode(b, key.key[:])
		b = append(b, '\n')
	}
	return b
}

// parseKeyring takes exactly what text writes. Its errors say nothing of what they
// found: it could be a key.
func parseKeyring(data []byte) (*keyring, error) {
	r := &keyring{}
	head, rest, _ := strings.Cut(string(data), "\n")
	switch head {
	case keyFileHead1:
	case keyFileHead:
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		seconds, err := strconv.ParseInt(strings.TrimPrefix(line, keyFileMade), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: no time", ErrKeyFile)
		}
		r.made = time.Unix(seconds, 0)
	default:
		return nil, fmt.Errorf("%w: unknown format", ErrKeyFile)
	}
	lines := strings.Split(rest, "\n")
	if len(lines) < 2 || len(lines) > 1+maxKeysInFile {
		return nil, fmt.Errorf("%w: not one or two keys", ErrKeyFile)
	}
	for i, line := range lines[:len(lines)-1] {
		id, key, _ := strings.Cut(line, " ")
		var next idKey
		if !unhex(next.id[:], id) || !unhex(next.key[:], key) || r.find(next.id[:]) != nil {
			return nil, fmt.Errorf("%w: key %d is bad", ErrKeyFile, i+1)
		}
		r.keys = append(r.keys, next)
	}
	if !bytes.Equal(r.text(), data) {
		return nil, fmt.Errorf("%w: not in its one form", ErrKeyFile)
	}
	return r, nil
}

func unhex(into []byte, text string) bool {
	if len(text) != hex.EncodedLen(len(into)) {
		return false
	}
	_, err := hex.Decode(into, []byte(text))
	return err == nil
}
