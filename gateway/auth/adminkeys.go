package auth

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// AdminKeys are the keys of administrators, from a file with one key a line. Blank lines and
// lines that begin with # are ignored, and space around a key. The file is read again when
// what is known of it is older than AdminReread; one that cannot be read lets nobody in.
// It is safe for concurrent use.
type AdminKeys struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	read   time.Time
	hashes [][sha256.Size]byte
	err    error
}

// NewAdminKeys are the keys of a file. With an empty path there are none.
func NewAdminKeys(path string, now func() time.Time) *AdminKeys {
	return &AdminKeys{path: path, now: now}
}

// Configured reports whether there is a key file at all, readable or not.
func (k *AdminKeys) Configured() bool { return k.path != "" }

// Check returns nil for one of the keys, else ErrNotConfigured if there is no file or no key
// in it, ErrNone for no key, or ErrWrong. How long it takes says nothing about the keys but
// their number.
func (k *AdminKeys) Check(key string) error {
	if k.path == "" {
		return ErrNotConfigured
	}
	hashes, err := k.current()
	if err != nil {
		return err
	}
	if len(hashes) == 0 {
		return ErrNotConfigured
	}
	key = strings.TrimSpace(key)
	if key == "" {
		return ErrNone
	}
	shown := sha256.Sum256([]byte(key))
	found := 0
	for i := range hashes {
		found |= subtle.ConstantTimeCompare(hashes[i][:], shown[:])
	}
	if found != 1 {
		return ErrWrong
	}
	return nil
}

func (k *AdminKeys) current() ([][sha256.Size]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if age := now.Sub(k.read); k.read.IsZero() || age < 0 || age >= AdminReread {
		k.hashes, k.err = readAdminKeys(k.path)
		k.read = now
	}
	return k.hashes, k.err
}

func readAdminKeys(path string) ([][sha256.Size]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("admin key file: %w: %v", ErrNotConfigured, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, AdminFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("admin key file: %w: %v", ErrNotConfigured, err)
	}
	if len(raw) > AdminFileSize {
		return nil, fmt.Errorf("admin key file: %w: more than %d bytes", ErrNotConfigured, AdminFileSize)
	}
	var hashes [][sha256.Size]byte
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, AdminFileSize+1)
	for lines.Scan() {
		if key := strings.TrimSpace(lines.Text()); key != "" && !strings.HasPrefix(key, "#") {
			hashes = append(hashes, sha256.Sum256([]byte(key)))
		}
	}
	return hashes, nil
}
