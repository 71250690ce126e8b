package dht

import (
	"errors"
	"io/fs"
	"os"
)

// FileMemory is a Memory in a file, readable by its owner alone.
func FileMemory(path string) Memory { return fileMemory(path) }

type fileMemory string

func (f fileMemory) Load() ([]byte, error) {
	raw, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

// Save writes beside the file and renames, so that a crash leaves the old one or the
// new one. It need not survive a power cut: it is a hint.
func (f fileMemory) Save(servers []byte) error {
	next := string(f) + ".new"
	if err := os.WriteFile(next, servers, 0o600); err != nil {
		return err
	}
	return os.Rename(next, string(f))
}
