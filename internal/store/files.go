package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// writeFile puts a file in place whole or not at all, readable by its owner only,
// and durable together with its name.
func writeFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp.Name())
		}
	}()
	if _, err := tmp.Write(data); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Sync(); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// makeFolder makes dir, with its parents, for its owner only. A folder that is
// there already keeps its mode.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

// copyFolder copies the files of a flat folder, durable before it has its name.
// A copy that is there already is complete, and older than this one would be: it
// stays.
func copyFolder(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	tmp := to + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(tmp, e.Name())); err != nil {
			return fmt.Errorf("copy %s: %w", e.Name(), err)
		}
	}
	if err := syncFolder(tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// logNames keeps the names of Badger's new log files durable. Badger syncs what
// is in a write-ahead log but not the folder that a new log was made in, and
// after a power cut a file without a name is no file.
type logNames struct {
	dir     string
	changed time.Time
	synced  map[string]bool
}

// sync syncs the folder if it has a log whose name may not be durable yet.
func (l *logNames) sync() error {
	fi, err := os.Stat(l.dir)
	if err != nil {
		return err
	}
	if fi.ModTime().Equal(l.changed) && time.Since(l.changed) > coarseClock {
		return nil
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	logs, fresh := map[string]bool{}, false
	for _, e := range entries {
		if isLog(e) {
			logs[e.Name()] = true
			fresh = fresh || !l.synced[e.Name()]
		}
	}
	if fresh {
		if err := syncFolder(l.dir); err != nil {
			return err
		}
	}
	l.changed, l.synced = fi.ModTime(), logs
	return nil
}

// dropEmptyLogs removes logs of no length. Badger leaves one behind when the process is
// killed between making a log and giving it its size, or between emptying and removing
// it, and then refuses to open; there is nothing in it either way.
func dropEmptyLogs(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !isLog(e) {
			continue
		}
		if fi, err := e.Info(); err != nil || fi.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return err
}

func isLog(e fs.DirEntry) bool {
	return strings.HasSuffix(e.Name(), ".mem") || strings.HasSuffix(e.Name(), ".vlog")
}
