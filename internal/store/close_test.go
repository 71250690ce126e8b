package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
)

func withFree(free, reserve int64) Options {
	return Options{
		Schema:  Schema{Name: "test", Version: 1},
		Reserve: reserve,
		free:    func(string) (int64, error) { return free, nil },
	}
}

// T44: with too little space to start, the store says so instead of being killed.
func TestOpenOnAFullDisk(t *testing.T) {
	for _, c := range []struct {
		name          string
		free, reserve int64
		want          error
	}{
		{"nothing left", 0, 0, ErrNoSpace},
		{"a byte too little", openSpace - 1, 0, ErrNoSpace},
		{"just enough", openSpace, 0, nil},
		{"big reserve", openSpace, 1 << 40, nil},
		{"small reserve", 1, 1, nil},
		{"less than a small reserve", 0, 1, ErrNoSpace},
	} {
		dir := t.TempDir()
		s, err := Open(dir, withFree(c.free, c.reserve))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if err != nil {
			if entries, _ := os.ReadDir(dir); len(entries) > 0 {
				t.Errorf("%s: files were made: %v", c.name, entries)
			}
			continue
		}
		d := s.(*disk)
		d.free = func() (int64, error) { return 1 << 40, nil }
		closeDisk(t, d)
	}
}

// T44: with too little space to stop, nothing is lost.
func TestCloseOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	d := openDisk(t, dir)
	if err := d.Update(t.Context(), setter("k", "v")); err != nil {
		t.Fatal(err)
	}
	d.free = func() (int64, error) { return closeSpace - 1, nil }
	for range 2 {
		if err := d.Close(); !errors.Is(err, ErrNoSpace) {
			t.Errorf("close: %v, want ErrNoSpace", err)
		}
	}
	if _, err := Open(dir, withFree(1<<40, 0)); !errors.Is(err, ErrLocked) {
		t.Errorf("the folder was let go while Badger has it: %v", err)
	}
	next := filepath.Join(t.TempDir(), "as the process leaves it")
	if err := os.CopyFS(next, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.db.Close(), d.lock.Close()); err != nil {
		t.Error(err)
	}
	d = openDisk(t, next)
	if got := read(t, d, "k"); got != "v" {
		t.Errorf("k is %q after the next start, want v", got)
	}
	closeDisk(t, d)
}

func TestFolderRemovedWhileRunning(t *testing.T) {
	for _, c := range []struct {
		name string
		free func() (int64, error)
	}{
		{"seen before", nil},
		{"seen by Badger only", func() (int64, error) { return 1 << 40, nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := openDisk(t, t.TempDir())
			if err := d.Update(t.Context(), setter("k", "v")); err != nil {
				t.Fatal(err)
			}
			if c.free != nil {
				d.free = c.free
			}
			if err := os.RemoveAll(d.names.dir); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if err := d.Close(); !errors.Is(err, ErrPoisoned) {
				t.Errorf("close: %v, want ErrPoisoned", err)
			}
			if took := time.Since(begun); took >= closeWait {
				t.Errorf("close took %v", took)
			}
			// With a folder to write to, Badger comes to its end.
			if err := os.Mkdir(d.names.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			_ = d.db.Close()
			_ = d.lock.Close()
		})
	}
}

func TestBadgerThatDoesNotClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{broken: make(chan struct{})}
		release := make(chan struct{})
		defer close(release)
		begun := time.Now()
		err := d.attempt(time.After(closeWait), func() error { <-release; return nil })
		if !errors.Is(err, ErrPoisoned) {
			t.Errorf("%v, want ErrPoisoned", err)
		}
		if took := time.Since(begun); took != closeWait {
			t.Errorf("took %v, want %v", took, closeWait)
		}
	})
}

// A commit may wait for a memtable that is never flushed.
func TestCommitThatHangs(t *testing.T) {
	d := openDisk(t, t.TempDir())
	defer abandon(t, d)
	hangs, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	d.commitAt = func(*badger.Txn, uint64) error {
		close(hangs)
		<-release
		return nil
	}
	done := make(chan error)
	go func() { done <- d.Update(context.Background(), setter("k", "v")) }()
	<-hangs
	d.db.Opts().Logger.Errorf(lostFlush+": %v, retrying", os.ErrNotExist)
	if err := <-done; !errors.Is(err, ErrPoisoned) {
		t.Errorf("update: %v, want ErrPoisoned", err)
	}
}

func TestPanicOfBadgerAtOpen(t *testing.T) {
	_, err := guarded(func() (*badger.DB, error) { panic("index out of range") })
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		line string
		want error
		not  error
	}{
		{"Cannot acquire directory lock. Another process is using this Badger database.", ErrLocked, ErrDamaged},
		{"while opening memtables err: no space left on device", ErrNoSpace, ErrDamaged},
		{"Error while opening key registry. err: open KEYREGISTRY: permission denied", nil, ErrDamaged},
		{"Level validation err: Inter: Biggest(j-1)", ErrDamaged, ErrLocked},
	} {
		err := openError(errors.New(c.line))
		if c.want != nil && !errors.Is(err, c.want) || errors.Is(err, c.not) {
			t.Errorf("%s: %v, want %v", c.line, err, c.want)
		}
	}
}
