package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// nodeFile is what a running node writes about itself into its home.
type nodeFile struct {
	Socket string `json:"socket"`
}

// Discover says how to reach the node of a home folder: by the socket that its
// node.json names, or by node.sock in the home when there is no such file. It
// opens no connection; whether a node runs is learnt by calling it.
func Discover(home string) (ClientConfig, error) {
	cfg := ClientConfig{Socket: filepath.Join(home, "node.sock")}
	path := filepath.Join(home, "node.json")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, nil
	}
	if err != nil {
		return ClientConfig{}, err
	}
	defer f.Close()
	var n nodeFile
	if err := json.NewDecoder(io.LimitReader(f, maxNodeFile)).Decode(&n); err != nil {
		return ClientConfig{}, fmt.Errorf("read %s: %w", path, err)
	}
	switch {
	case n.Socket == "":
	case !filepath.IsAbs(n.Socket):
		return ClientConfig{}, fmt.Errorf("read %s: socket %q is not an absolute path", path, n.Socket)
	default:
		cfg.Socket = n.Socket
	}
	return cfg, nil
}
