package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
)

func openDisk(t *testing.T, dir string) *disk {
	t.Helper()
	s, err := Open(dir, Options{Schema: Schema{Name: "test", Version: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return s.(*disk)
}

func closeDisk(t *testing.T, d *disk) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// abandon releases what a poisoned store leaves to the end of the process.
func abandon(t *testing.T, d *disk) {
	t.Helper()
	if err := d.Close(); !errors.Is(err, ErrPoisoned) {
		t.Errorf("close: %v, want ErrPoisoned", err)
	}
	if err := errors.Join(d.db.Close(), d.lock.Close()); err != nil {
		t.Error(err)
	}
}

func setter(key, value string) func(Tx) error {
	return func(tx Tx) error { return tx.Set([]byte(key), []byte(value)) }
}

func read(t *testing.T, s Store, key string) string {
	t.Helper()
	value := "(absent)"
	err := s.View(func(r Reader) error {
		v, err := r.Get([]byte(key))
		if err == nil {
			value = string(v)
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Errorf("read %s: %v", key, err)
	}
	return value
}

// together lets the committer find all fs waiting at once, and gives the error
// each was answered with.
func together(d *disk, fs ...func(Tx) error) []error {
	hold, held := make(chan struct{}), make(chan struct{})
	first := &request{done: make(chan error, 1), f: func(Tx) error {
		close(held)
		<-hold
		return nil
	}}
	d.queue <- first
	<-held
	waiting := make([]*request, len(fs))
	for i, f := range fs {
		waiting[i] = &request{f: f, done: make(chan error, 1)}
		d.queue <- waiting[i]
	}
	close(hold)
	<-first.done
	errs := make([]error, len(fs))
	for i, r := range waiting {
		errs[i] = <-r.done
	}
	return errs
}

// countCommits counts what reaches Badger.
func countCommits(d *disk) *atomic.Int64 {
	var n atomic.Int64
	inner := d.commitAt
	d.commitAt = func(txn *badger.Txn, version uint64) error {
		n.Add(1)
		return inner(txn, version)
	}
	return &n
}

func TestWaitingUpdatesShareACommit(t *testing.T) {
	d := openDisk(t, t.TempDir())
	defer closeDisk(t, d)
	commits := countCommits(d)
	boom := errors.New("boom")
	var fs []func(Tx) error
	for i := range 100 {
		fs = append(fs, func(tx Tx) error {
			// Each sees what the one before it wrote, unless that failed.
			_, err := tx.Get(fmt.Appendf(nil, "k%02d", i-1))
			if i > 0 && (err == nil) == ((i-1)%10 == 7) {
				t.Errorf("update %d: previous row: %v", i, err)
			}
			if err := tx.Set(fmt.Appendf(nil, "k%02d", i), nil); err != nil {
				return err
			}
			switch i % 10 {
			case 7:
				return boom
			case 8:
				_ = tx.Set([]byte("panicked"), nil)
			}
			return nil
		})
	}
	fs = append(fs, func(tx Tx) error {
		_ = tx.Set([]byte("panicked"), []byte("x"))
		panic("oh")
	})
	errs := together(d, fs...)
	for i, err := range errs[:100] {
		if (err == boom) != (i%10 == 7) {
			t.Errorf("update %d: %v", i, err)
		}
	}
	if err := errs[100]; err == nil || !strings.Contains(err.Error(), "oh") {
		t.Errorf("panicking update: %v", err)
	}
	if n := commits.Load(); n != 1 {
		t.Errorf("%d commits, want 1", n)
	}
	rows := 0
	err := d.View(func(r Reader) error {
		return r.Scan([]byte("k"), nil, func(_, _ []byte) bool { rows++; return true })
	})
	if err != nil || rows != 90 {
		t.Errorf("%d rows, %v; want 90", rows, err)
	}
	if got := read(t, d, "panicked"); got != "" {
		t.Errorf("row of the panicking update: %q", got)
	}
}

func TestUpdatesTooBigForOneCommitAreSplit(t *testing.T) {
	d := openDisk(t, t.TempDir())
	defer closeDisk(t, d)
	commits := countCommits(d)
	var fs []func(Tx) error
	for i := range 5 {
		fs = append(fs, func(tx Tx) error {
			for j := range 2500 {
				if err := tx.Set(fmt.Appendf(nil, "%d/%d", i, j), make([]byte, 90)); err != nil {
					return err
				}
			}
			if _, err := tx.Get(fmt.Appendf(nil, "%d/0", i-1)); i > 0 && err != nil {
				t.Errorf("update %d does not see the one before it: %v", i, err)
			}
			return nil
		})
	}
	if err := errors.Join(together(d, fs...)...); err != nil {
		t.Fatal(err)
	}
	if n := commits.Load(); n != 5 {
		t.Errorf("%d commits, want 5", n)
	}
	for i := range 5 {
		if got := read(t, d, fmt.Sprintf("%d/2499", i)); len(got) != 90 {
			t.Errorf("row of update %d has %d bytes, want 90", i, len(got))
		}
	}
}

func TestUpdateWithoutWritesCommitsNothing(t *testing.T) {
	d := openDisk(t, t.TempDir())
	defer closeDisk(t, d)
	commits := countCommits(d)
	if err := d.Update(t.Context(), func(tx Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if n := commits.Load(); n != 0 {
		t.Errorf("%d commits, want 0", n)
	}
}

// A view must neither see nor wait for a commit whose sync is under way.
func TestViewDuringACommit(t *testing.T) {
	d := openDisk(t, t.TempDir())
	defer closeDisk(t, d)
	if err := d.Update(t.Context(), setter("k", "old")); err != nil {
		t.Fatal(err)
	}
	inner := d.commitAt
	d.commitAt = func(txn *badger.Txn, version uint64) error {
		err := inner(txn, version)
		if got := read(t, d, "k"); got != "old" {
			t.Errorf("view during the commit: %q", got)
		}
		return err
	}
	if err := d.Update(t.Context(), setter("k", "new")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, d, "k"); got != "new" {
		t.Errorf("view after the commit: %q", got)
	}
}

// T45: after a failed sync nothing is tried again and nothing more is believed.
func TestFailedCommitPoisons(t *testing.T) {
	cases := []struct {
		name   string
		commit func(d *disk, txn *badger.Txn, version uint64) error
	}{
		{"badger says so", func(*disk, *badger.Txn, uint64) error { return syscall.EIO }},
		{"disk full inside badger", func(*disk, *badger.Txn, uint64) error { return syscall.ENOSPC }},
		{"badger only logs it", func(d *disk, txn *badger.Txn, version uint64) error {
			d.db.Opts().Logger.Errorf(lostSync+": %v\n", syscall.EIO)
			return txn.CommitAt(version, nil)
		}},
		{"the folder cannot be synced", func(d *disk, txn *badger.Txn, version uint64) error {
			d.names.dir = filepath.Join(d.names.dir, "away")
			return txn.CommitAt(version, nil)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := openDisk(t, t.TempDir())
			defer abandon(t, d)
			if err := d.Update(t.Context(), setter("k", "old")); err != nil {
				t.Fatal(err)
			}
			tried := 0
			d.commitAt = func(txn *badger.Txn, version uint64) error {
				tried++
				return c.commit(d, txn, version)
			}
			boom := errors.New("k is taken")
			errs := together(d,
				setter("k", "new"),
				setter("other", "new"),
				func(tx Tx) error {
					if v, _ := tx.Get([]byte("k")); string(v) == "new" {
						return boom // true only if the first one is kept
					}
					return nil
				},
			)
			for i, err := range errs {
				if !errors.Is(err, ErrPoisoned) {
					t.Errorf("update %d of the commit: %v", i, err)
				}
			}
			if err := d.Update(t.Context(), setter("k", "later")); !errors.Is(err, ErrPoisoned) {
				t.Errorf("later update: %v", err)
			}
			err := d.View(func(Reader) error { t.Error("view was started"); return nil })
			if !errors.Is(err, ErrPoisoned) {
				t.Errorf("later view: %v", err)
			}
			if tried != 1 {
				t.Errorf("%d commits tried, want 1", tried)
			}
		})
	}
}

// Badger reports a value log that could not be synced, and a memtable that could
// not be flushed, in a log line only. If this fails after an upgrade, look at what
// (*valueLog).write and (*DB).flushMemtable do with the error.
func TestBadgerStillLogsWhatItSwallows(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/dgraph-io/badger/v4").Output()
	if err != nil {
		t.Skipf("no go command: %v", err)
	}
	for _, c := range []struct{ file, line, rest string }{
		{"value.go", lostSync, `: %v\n", err)`},
		{"db.go", lostFlush, `: %v, retrying", err)`},
	} {
		source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), c.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), `Errorf("`+c.line+c.rest); n != 1 {
			t.Errorf("the line %q is %d times in Badger's source, want once", c.line, n)
		}
	}
}

// T44: no write is taken on a full disk, reads and deletes go on, and it heals.
func TestFullDisk(t *testing.T) {
	d := openDisk(t, t.TempDir())
	defer closeDisk(t, d)
	var free atomic.Int64
	free.Store(1 << 40)
	d.free = func() (int64, error) { return free.Load(), nil }
	for _, key := range []string{"a", "b", "c"} {
		if err := d.Update(t.Context(), setter(key, "1")); err != nil {
			t.Fatal(err)
		}
	}
	commits := countCommits(d)
	remove := func(key string, and int) func(Tx) error {
		return func(tx Tx) error {
			if and > 0 {
				if err := tx.Set([]byte("z"), make([]byte, and)); err != nil {
					return err
				}
			}
			return tx.Delete([]byte(key))
		}
	}
	for _, c := range []struct {
		name    string
		free    int64
		f       func(Tx) error
		want    error
		commits int64
	}{
		{"set above the reserve", defaultReserve + 10, setter("a", "2"), nil, 1},
		{"set into the reserve", defaultReserve + 10, setter("a", "more than ten"), ErrNoSpace, 0},
		{"set below the reserve", defaultReserve - 1, setter("a", "3"), ErrNoSpace, 0},
		{"reading update", defaultReserve - 1, func(Tx) error { return nil }, nil, 0},
		{"delete", defaultReserve / 2, remove("a", 0), nil, 1},
		{"delete and a small row", defaultReserve / 2, remove("b", 100), nil, 1},
		{"delete and a big row", defaultReserve / 2, remove("c", 5<<10), ErrNoSpace, 0},
		{"delete with nothing left", defaultReserve/leanShare - 1, remove("c", 0), ErrNoSpace, 0},
		{"set when there is space again", 1 << 40, setter("a", "4"), nil, 1},
	} {
		free.Store(c.free)
		commits.Store(0)
		if err := d.Update(t.Context(), c.f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if n := commits.Load(); n != c.commits {
			t.Errorf("%s: %d commits, want %d", c.name, n, c.commits)
		}
		if got := read(t, d, "c"); got != "1" {
			t.Errorf("%s: c is %q, want 1", c.name, got)
		}
	}
	// In one group the deletes pass and the others do not.
	free.Store(defaultReserve / 2)
	errs := together(d, setter("x", "1"), remove("c", 0), setter("y", "1"))
	if !errors.Is(errs[0], ErrNoSpace) || errs[1] != nil || !errors.Is(errs[2], ErrNoSpace) {
		t.Errorf("group on a full disk: %v", errs)
	}
	got := []string{read(t, d, "a"), read(t, d, "c"), read(t, d, "x"), read(t, d, "y")}
	if diff := cmp.Diff([]string{"4", "(absent)", "(absent)", "(absent)"}, got); diff != "" {
		t.Errorf("rows (-want +got)\n%s", diff)
	}
}

func TestUnknownFreeSpaceIsAnErrorOnce(t *testing.T) {
	d := openDisk(t, t.TempDir())
	defer closeDisk(t, d)
	inner := d.free
	d.free = func() (int64, error) { return 0, syscall.EACCES }
	if err := d.Update(t.Context(), setter("k", "v")); !errors.Is(err, syscall.EACCES) {
		t.Errorf("update: %v", err)
	}
	d.free = inner
	if err := d.Update(t.Context(), setter("k", "v")); err != nil {
		t.Errorf("next update: %v", err)
	}
}

// Overwritten values are given back to the disk, the live ones survive it, and a
// view keeps what it sees however much is compacted away beside it.
func TestGarbage(t *testing.T) {
	d := openDisk(t, t.TempDir())
	defer closeDisk(t, d)
	value := func(key, round int) []byte {
		return bytes.Repeat(fmt.Appendf(nil, "%4d.%2d ", key, round), 1000)
	}
	const keys, rounds = 1000, 8
	write := func(round int) {
		for first := 0; first < keys; first += 100 {
			err := d.Update(t.Context(), func(tx Tx) error {
				for i := range 100 {
					if err := tx.Set(fmt.Appendf(nil, "%04d", first+i), value(first+i, round)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(r Reader, round int) error {
		for i := range keys {
			got, err := r.Get(fmt.Appendf(nil, "%04d", i))
			if err != nil || !bytes.Equal(got, value(i, round)) {
				return fmt.Errorf("value %d of round %d: %d bytes, %w", i, round, len(got), err)
			}
		}
		return nil
	}
	for round := range rounds {
		write(round)
	}
	before := d.valueLogs(t)
	err := d.View(func(r Reader) error {
		write(rounds)
		d.squeeze()
		// The view's own versions are no garbage yet, all before them is. Badger
		// flushes and compacts beside us and tells nobody when it is done.
		deadline := time.Now().Add(20 * time.Second)
		for d.valueLogs(t) > before-2 {
			if time.Now().After(deadline) {
				return fmt.Errorf("still %d value log files, %d at first", d.valueLogs(t), before)
			}
			time.Sleep(5 * time.Millisecond)
			d.collect()
		}
		return check(r, rounds-1)
	})
	if err != nil {
		t.Errorf("old view: %v", err)
	}
	if err := d.View(func(r Reader) error { return check(r, rounds) }); err != nil {
		t.Errorf("new view: %v", err)
	}
	if err := d.poisoned(); err != nil {
		t.Error(err)
	}
}

func (d *disk) valueLogs(t *testing.T) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(d.names.dir, "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestLogNames(t *testing.T) {
	dir := t.TempDir()
	touch := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := logNames{dir: dir}
	for _, c := range []struct {
		made string
		want map[string]bool
	}{
		{"00001.mem", map[string]bool{"00001.mem": true}},
		{"000001.vlog", map[string]bool{"00001.mem": true, "000001.vlog": true}},
		{"000001.sst", map[string]bool{"00001.mem": true, "000001.vlog": true}},
		// Made in the same tick of the clock as the one before.
		{"00002.mem", map[string]bool{"00001.mem": true, "000001.vlog": true, "00002.mem": true}},
	} {
		touch(c.made)
		if err := l.sync(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, l.synced); diff != "" {
			t.Errorf("after %s (-want +got)\n%s", c.made, diff)
		}
	}
}

func TestGivenUpUpdateIsNotRun(t *testing.T) {
	d := openDisk(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	hold, held := make(chan struct{}), make(chan struct{})
	first := &request{done: make(chan error, 1), f: func(Tx) error {
		close(held)
		<-hold
		return nil
	}}
	d.queue <- first
	<-held
	second := make(chan error, 1)
	go func() {
		second <- d.Update(ctx, func(Tx) error { t.Error("f was started"); return nil })
	}()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	close(hold)
	<-first.done
	closeDisk(t, d)
}

func TestOptionsAreChecked(t *testing.T) {
	good := Schema{Name: "test", Version: 1}
	for name, opt := range map[string]Options{
		"no schema":        {},
		"no version":       {Schema: Schema{Name: "test"}},
		"name with space":  {Schema: Schema{Name: "te st", Version: 1}},
		"negative reserve": {Schema: good, Reserve: -1},
	} {
		dir := filepath.Join(t.TempDir(), "new")
		if s, err := Open(dir, opt); err == nil {
			t.Errorf("%s: opened", name)
			s.Close()
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: folder was made: %v", name, err)
		}
	}
}
