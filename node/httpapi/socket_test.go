package httpapi

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// folder is a short private folder for a socket.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "am")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestSocketIsPrivate(t *testing.T) {
	path := filepath.Join(folder(t), "node.sock")
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fi, err := os.Stat(path)
	if err != nil || fi.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v; want mode 0600", fi.Mode(), err)
	}
}

func TestSocketFolderOfOthers(t *testing.T) {
	dir := folder(t)
	for _, mode := range []os.FileMode{0o750, 0o701, 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ListenSocket(filepath.Join(dir, "node.sock")); !errors.Is(err, ErrSocketFolder) {
			t.Errorf("mode %04o: %v, want %v", mode, err, ErrSocketFolder)
		}
	}
}

func TestSocketInUse(t *testing.T) {
	path := filepath.Join(folder(t), "node.sock")
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := ListenSocket(path); !errors.Is(err, ErrSocketInUse) {
		t.Errorf("%v, want %v", err, ErrSocketInUse)
	}
}

// A killed node leaves its socket behind.
func TestDeadSocketIsReplaced(t *testing.T) {
	path := filepath.Join(folder(t), "node.sock")
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after closing: %v, want no file", err)
	}
}

func TestFileInTheSocketsPlace(t *testing.T) {
	path := filepath.Join(folder(t), "node.sock")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(path); err == nil {
		t.Error("a file was taken for a socket")
	}
	if raw, err := os.ReadFile(path); string(raw) != "mine" {
		t.Errorf("the file is %q (%v)", raw, err)
	}
}
