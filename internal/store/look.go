package store

import "io/fs"

// What can be told of a folder without opening it.

// Fits reports whether Open would take what is in a folder for this program's; its
// errors are Open's. A folder without a store fits.
func (s Schema) Fits(dir string) error {
	_, err := s.readFile(dir)
	return err
}

// FreeSpace is how many bytes this process may still write beside a folder.
func FreeSpace(dir string) (int64, error) { return freeSpace(dir) }

// Private reports whether only the owner can read a file of that mode; on systems
// where the mode does not say it, it is true.
func Private(mode fs.FileMode) bool { return private(mode) }
