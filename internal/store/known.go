package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// knownFile lies among Badger's files and says what a later start must find of
// them, because Badger does not miss what its manifest does not name, and a
// manifest that is cut off at the end of an entry looks whole. It is written at
// every start and stop and now and then between; it may be old, but never has
// more than was durable.
//
//	known 1 <number of the newest value log>
//	<copy of MANIFEST>
const knownFile = "KNOWN"

type known struct {
	newestLog int
	manifest  []byte
}

// readKnown gives what is known, nothing if there is no file.
func readKnown(dir string) (known, error) {
	data, err := os.ReadFile(filepath.Join(dir, knownFile))
	if errors.Is(err, fs.ErrNotExist) {
		return known{}, nil
	}
	if err != nil {
		return known{}, err
	}
	head, manifest, _ := bytes.Cut(data, []byte("\n"))
	k := known{manifest: manifest}
	if _, err := fmt.Sscanf(string(head), "known 1 %d", &k.newestLog); err != nil || !bytes.Equal(k.file(), data) {
		return known{}, damagef("%s cannot be read", knownFile)
	}
	return k, nil
}

func (k known) file() []byte {
	return append(fmt.Appendf(nil, "known 1 %d\n", k.newestLog), k.manifest...)
}

// hasMore reports whether the manifest is the beginning of the known one. Badger
// appends to it; a rewritten one has another beginning.
func (k known) hasMore(manifest []byte) bool {
	return len(manifest) < len(k.manifest) && bytes.HasPrefix(k.manifest, manifest)
}

// saveKnown writes the file if there is news.
func saveKnown(dir string) error {
	k := known{newestLog: newestLog(dir)}
	var err error
	if k.manifest, err = durable(filepath.Join(dir, badger.ManifestFilename)); err != nil {
		return err
	}
	path := filepath.Join(dir, knownFile)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, k.file()) {
		return nil
	}
	if err := syncFolder(dir); err != nil {
		return err
	}
	return writeFile(path, k.file())
}

// durable reads a file that is appended to, as far as it is certainly on disk.
func durable(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	data := make([]byte, fi.Size())
	_, err = io.ReadFull(f, data)
	return data, err
}
