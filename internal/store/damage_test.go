package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"amesh/internal/store"
)

// big goes to Badger's value log.
var big = strings.Repeat("big ", 1000)

// lived is a folder after a first and a second start: two tables, two value logs,
// a big value in each.
func lived(t *testing.T) (dir, db string) {
	t.Helper()
	dir = made(t)
	for _, key := range []string{"big/1", "big/2"} {
		s := open(t, dir)
		set(t, s, key, big)
		set(t, s, "small", key)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, filepath.Join(dir, "db")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// matching gives the files of db, oldest first.
func matching(t *testing.T, db, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(db, pattern))
	must(t, err)
	if len(names) < 2 {
		t.Fatalf("files like %s: %q, want two", pattern, names)
	}
	return names
}

func remove(pattern string) func(*testing.T, string) {
	return func(t *testing.T, db string) {
		names, err := filepath.Glob(filepath.Join(db, pattern))
		must(t, err)
		if len(names) == 0 {
			t.Fatalf("no %s", pattern)
		}
		for _, name := range names {
			must(t, os.RemoveAll(name))
		}
	}
}

// cut leaves n bytes of a file, or takes -n off.
func cut(name string, n int64) func(*testing.T, string) {
	return func(t *testing.T, db string) {
		path := filepath.Join(db, name)
		if n < 0 {
			fi, err := os.Stat(path)
			must(t, err)
			n += fi.Size()
		}
		must(t, os.Truncate(path, n))
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	data[at] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
}

// lastTable lets f spoil the newest table.
func lastTable(f func(t *testing.T, path string)) func(*testing.T, string) {
	return func(t *testing.T, db string) {
		tables := matching(t, db, "*.sst")
		f(t, tables[len(tables)-1])
	}
}

func refused(t *testing.T, dir string) {
	t.Helper()
	s, err := store.Open(dir, testOptions())
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("open: %v, want ErrDamaged", err)
	}
}

// A folder that has lost something is neither opened nor changed.
func TestDamagedFolder(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, db string)
	}{
		{"no data", func(t *testing.T, db string) { must(t, os.RemoveAll(db)) }},
		{"data emptied", remove("*")},
		{"manifest gone", remove("MANIFEST")},
		{"everything but the manifest gone", remove("[^M]*")},
		{"manifest empty", cut("MANIFEST", 0)},
		{"manifest cut off in an entry", cut("MANIFEST", -1)},
		{"manifest cut off after its first entry", cut("MANIFEST", 16)},
		{"manifest overwritten", func(t *testing.T, db string) { flip(t, filepath.Join(db, "MANIFEST"), 20) }},
		{"table gone", lastTable(func(t *testing.T, path string) { must(t, os.Remove(path)) })},
		{"table empty", lastTable(func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) })},
		{"table cut off", lastTable(func(t *testing.T, path string) { must(t, os.Truncate(path, 50)) })},
		{"table zeroed", lastTable(func(t *testing.T, path string) {
			must(t, os.WriteFile(path, make([]byte, 500), 0o600))
		})},
		{"newest value log gone", func(t *testing.T, db string) {
			logs := matching(t, db, "*.vlog")
			must(t, os.Remove(logs[len(logs)-1]))
		}},
		{"value logs gone", remove("*.vlog")},
		{"key registry cut off", cut("KEYREGISTRY", 20)},
		{"key registry overwritten", func(t *testing.T, db string) { flip(t, filepath.Join(db, "KEYREGISTRY"), 20) }},
		{"list of files empty", cut("KNOWN", 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, db := lived(t)
			c.damage(t, db)
			before := fingerprint(t, dir)
			refused(t, dir)
			if diff := cmp.Diff(before, fingerprint(t, dir)); diff != "" {
				t.Errorf("folder changed (-before +after)\n%s", diff)
			}
		})
	}
}

func TestEveryByteOfATableCounts(t *testing.T) {
	dir, db := lived(t)
	tables := matching(t, db, "*.sst")
	path := tables[len(tables)-1]
	data, err := os.ReadFile(path)
	must(t, err)
	for at := range data {
		damaged := bytes.Clone(data)
		damaged[at] ^= 0x40
		must(t, os.WriteFile(path, damaged, 0o600))
		if s, err := store.Open(dir, testOptions()); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("byte %d of %d: %v, want ErrDamaged", at, len(data), err)
			if err == nil {
				s.Close()
			}
			return
		}
	}
	must(t, os.WriteFile(path, data, 0o600))
	if got := content(t, dir, testOptions()); got != "v1" {
		t.Errorf("k in the restored folder is %q, want v1", got)
	}
}

// A manifest without tables is one of a first start that was cut short, unless the
// schema file says that there was more.
func TestDataWithoutTheSchemaRow(t *testing.T) {
	dir, db := lived(t)
	remove("[^M]*")(t, db)
	cut("MANIFEST", 16)(t, db)
	refused(t, dir)

	dir, db = lived(t)
	remove("[^M]*")(t, db)
	cut("MANIFEST", 16)(t, db)
	loseSchema(t, dir)
	if got := content(t, dir, testOptions()); got != "(absent)" {
		t.Errorf("k in a new store is %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "SCHEMA")); err != nil {
		t.Errorf("schema file of a new store: %v", err)
	}
}

// A folder from before the list of files was kept opens as it did.
func TestFolderWithoutTheListOfFiles(t *testing.T) {
	dir, db := lived(t)
	remove("KNOWN")(t, db)
	if got := content(t, dir, testOptions()); got != "v1" {
		t.Errorf("k is %q, want v1", got)
	}
	if _, err := os.Stat(filepath.Join(db, "KNOWN")); err != nil {
		t.Errorf("list of files: %v", err)
	}
}

// A value that is lost is an error, never an empty value, and nothing is written
// after it.
func TestLostValue(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, vlog string)
	}{
		{"value log emptied but for its head", func(t *testing.T, vlog string) { must(t, os.Truncate(vlog, 20)) }},
		{"value log cut off", func(t *testing.T, vlog string) { must(t, os.Truncate(vlog, 1000)) }},
		{"value overwritten", func(t *testing.T, vlog string) { flip(t, vlog, 1000) }},
		{"value log gone", func(t *testing.T, vlog string) { must(t, os.Remove(vlog)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, db := lived(t)
			for _, name := range matching(t, db, "*.vlog") {
				if data, err := os.ReadFile(name); err == nil && bytes.Contains(data, []byte("big/1")) {
					c.damage(t, name)
				}
			}
			for range 2 { // the second start finds it as the first
				lookAtLostValue(t, dir)
			}
		})
	}
}

func lookAtLostValue(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir)
	set(t, s, "before", "v")
	err := s.View(func(r store.Reader) error {
		v, err := r.Get([]byte("big/1"))
		if v != nil {
			t.Errorf("the lost value is %d bytes", len(v))
		}
		return err
	})
	if !errors.Is(err, store.ErrDamaged) {
		t.Errorf("get: %v, want ErrDamaged", err)
	}
	var seen []string
	err = s.View(func(r store.Reader) error {
		return r.Scan(nil, nil, func(key, _ []byte) bool { seen = append(seen, string(key)); return true })
	})
	if diff := cmp.Diff([]string{"before"}, seen); !errors.Is(err, store.ErrDamaged) || diff != "" {
		t.Errorf("scan: %v, want ErrDamaged; keys (-want +got)\n%s", err, diff)
	}
	err = s.Update(t.Context(), func(store.Tx) error { t.Error("update was started"); return nil })
	if !errors.Is(err, store.ErrPoisoned) || !errors.Is(err, store.ErrDamaged) {
		t.Errorf("update: %v, want ErrPoisoned and ErrDamaged", err)
	}
	if get(t, s, "big/2") != big || get(t, s, "k") != "v1" {
		t.Error("the other values are not there any more")
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestUpdateThatFindsALostValue(t *testing.T) {
	dir, db := lived(t)
	must(t, os.Truncate(matching(t, db, "*.vlog")[0], 20))
	s := open(t, dir)
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Get([]byte("big/1")); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("get: %v, want ErrDamaged", err)
		}
		return tx.Set([]byte("big/1"), nil) // an f that does not look
	})
	if !errors.Is(err, store.ErrPoisoned) {
		t.Errorf("update: %v, want ErrPoisoned", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// Where every row stands for itself, the others can still be changed.
func TestLossyStoreGoesOnAfterALostValue(t *testing.T) {
	dir, db := lived(t)
	must(t, os.Truncate(matching(t, db, "*.vlog")[0], 20))
	opt := testOptions()
	opt.Lossy = true
	s, err := store.Open(dir, opt)
	must(t, err)
	for range 2 {
		must(t, s.Update(t.Context(), func(tx store.Tx) error {
			if _, err := tx.Get([]byte("big/1")); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("get: %v, want ErrDamaged", err)
			}
			return tx.Set([]byte("k"), []byte("v2"))
		}))
	}
	must(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete([]byte("big/1")) }))
	if get(t, s, "big/2") != big || get(t, s, "k") != "v2" {
		t.Error("the other values are not there any more")
	}
	must(t, s.Close())
}

// A process that was killed in the middle of making or removing a log leaves one of no
// length, which holds nothing (CP 15).
func TestEmptyLogsAreNoDamage(t *testing.T) {
	dir, db := lived(t)
	for _, name := range []string{"000099.vlog", "00099.mem"} {
		must(t, os.WriteFile(filepath.Join(db, name), nil, 0o600))
	}
	s := open(t, dir)
	defer s.Close()
	err := s.View(func(r store.Reader) error {
		for _, key := range []string{"big/1", "big/2"} {
			if v, err := r.Get([]byte(key)); err != nil || string(v) != big {
				t.Errorf("%s: %d bytes, %v", key, len(v), err)
			}
		}
		return nil
	})
	must(t, err)
}
