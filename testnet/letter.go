package testnet

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// defaultFile is what is sent where no file is named.
const defaultFile = "README.md"

// builtin is sent where there is no README.md.
const builtin = `Dear Bob,

this letter travels from one process of this machine to another, over a connection
that the two nodes opened after you had let me in. Whoever listened on the way saw
how long it is and nothing else. The demo compares both ends byte by byte, and then
looks for these very lines in everything that the relay was given to keep.

Yours, Alice
`

// readLetter reads the file once: what is compared in the end is what was sent,
// even if somebody edits the file meanwhile.
func readLetter(path string, longest int64) (letter, error) {
	l := letter{path: path, note: path}
	if path == "" {
		l.path, l.note = defaultFile, "the "+defaultFile+" of this folder"
	}
	f, err := os.Open(l.path)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return letter{path: "letter.txt", note: "a letter that comes with the demo (no " + defaultFile + " here)", body: []byte(builtin)}, nil
	}
	if err != nil {
		return l, fmt.Errorf("the file to send: %w", err)
	}
	defer f.Close()
	if l.body, err = io.ReadAll(io.LimitReader(f, longest+1)); err != nil {
		return l, fmt.Errorf("the file to send: %w", err)
	}
	if int64(len(l.body)) > longest {
		return l, fmt.Errorf("the file to send: %s is longer than %d bytes, the most that a message holds", l.path, longest)
	}
	return l, nil
}

// copyTo writes the letter into dir under its own name.
func (l *letter) copyTo(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l.path = filepath.Join(dir, filepath.Base(l.path))
	return os.WriteFile(l.path, l.body, 0o600)
}
