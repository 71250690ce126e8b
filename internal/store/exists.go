package store

import (
	"os"
	"path/filepath"
)

// Exists reports whether a store was ever opened in a folder. What belongs to its
// state, such as a key, is then not to be made anew.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, schemaFile))
	return err == nil
}
