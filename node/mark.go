package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"amesh/identity"
	"amesh/internal/store"
)

// markName is the file in an agent's folder that keeps its rollback mark: beside the
// state and not in it, so that a state which is put back meets a mark that was not.
const markName = "mark"

// markFile keeps a rollback mark in a file; it is an agent.MarkKeeper.
type markFile string

// Load implements agent.MarkKeeper.
func (f markFile) Load() ([]byte, error) {
	const largest = 1 << 10 // anything longer is no mark
	raw, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw[:min(len(raw), largest)], err
}

// Save implements agent.MarkKeeper.
func (f markFile) Save(raw []byte) error {
	err := identity.ReplaceFile(string(f), raw)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	}
	return err
}
