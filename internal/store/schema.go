package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// schemaFile names what is in a folder: one line, name and version. It is
	// read before anything is opened, because opening Badger changes its files.
	// It is never older than what is in the data, and from a first start that was
	// cut short there is none: so a folder with the file has the row.
	schemaFile = "SCHEMA"
	// schemaKey has the same line inside the store: what the data has come to.
	schemaKey = "!store!schema"
	// dataFolder is Badger's.
	dataFolder = "db"
)

// errNoRow says that there are rows, but not the schema's.
var errNoRow = fmt.Errorf("%w: rows without a schema", ErrSchema)

// Schema names the layout of a program's rows.
type Schema struct {
	// Name is the program's: letters, digits and '-'.
	Name string
	// Version counts from 1.
	Version uint32
	// Migrations rewrite rows: the one under n makes version n+1 of version n.
	// Each is one transaction. A copy of the data is made before the first.
	Migrations map[uint32]func(Tx) error
}

func (s Schema) check() error {
	if s.Name == "" || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("open store: schema name %q", s.Name)
	}
	if s.Version == 0 {
		return errors.New("open store: schema version 0")
	}
	return nil
}

func (s Schema) line(version uint32) string { return fmt.Sprintf("%s %d\n", s.Name, version) }

// parse reads a line and says whether the state is for us.
func (s Schema) parse(line string) (uint32, error) {
	name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	version, err := strconv.ParseUint(number, 10, 32)
	if err != nil || version == 0 {
		return 0, fmt.Errorf("%w: schema %q", ErrSchema, line)
	}
	if name != s.Name {
		return 0, fmt.Errorf("%w: it is of %q, not %q", ErrSchema, name, s.Name)
	}
	if uint32(version) > s.Version {
		return 0, fmt.Errorf("%w: schema %d, this program knows %d", ErrTooNew, version, s.Version)
	}
	return uint32(version), nil
}

// readFile is the version in the schema file, 0 without one.
func (s Schema) readFile(dir string) (uint32, error) {
	line, err := os.ReadFile(filepath.Join(dir, schemaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return s.parse(string(line))
}

// prepare is what comes before Badger is opened: the copy, and the new version in
// the schema file, so that from here on no older program opens the folder. A new
// folder gets the file last.
func (s Schema) prepare(dir, data string, on uint32) error {
	if err := makeFolder(data); err != nil {
		return err
	}
	if on == s.Version || on == 0 {
		return nil
	}
	for v := on; v < s.Version; v++ {
		if s.Migrations[v] == nil {
			return fmt.Errorf("%w: no way from schema %d to %d", ErrSchema, v, v+1)
		}
	}
	if err := copyFolder(data, fmt.Sprintf("%s.v%d", data, on)); err != nil {
		return fmt.Errorf("copy before migration: %w", err)
	}
	return s.writeFile(dir, s.Version)
}

func (s Schema) writeFile(dir string, version uint32) error {
	if err := writeFile(filepath.Join(dir, schemaFile), []byte(s.line(version))); err != nil {
		return fmt.Errorf("write schema: %w", err)
	}
	return nil
}

// settle compares the row with what we want, and migrates. It goes by the row and
// not by the file: the program may have stopped between two migrations. file is
// the file's version; with one, a row that is missing was lost.
func (s Schema) settle(d *disk, file uint32) error {
	on, err := s.readRow(d)
	if file != 0 && (on == 0 && err == nil || errors.Is(err, errNoRow)) {
		return fmt.Errorf("%w: no schema inside", ErrDamaged)
	}
	if err != nil {
		return err
	}
	if on == 0 {
		return s.writeRow(d, s.Version, nil)
	}
	for ; on < s.Version; on++ {
		migrate := s.Migrations[on]
		if migrate == nil {
			return fmt.Errorf("%w: no way from schema %d to %d", ErrSchema, on, on+1)
		}
		if err := s.writeRow(d, on+1, migrate); err != nil {
			return fmt.Errorf("migrate to schema %d: %w", on+1, err)
		}
		d.log.Info("state migrated", "schema", s.Name, "version", on+1)
	}
	return nil
}

// readRow is the version in the store, 0 in an empty one.
func (s Schema) readRow(d *disk) (uint32, error) {
	snap, err := d.snapshot()
	if err != nil {
		return 0, err
	}
	defer snap.release()
	line, err := snap.get([]byte(schemaKey))
	if err == nil {
		return s.parse(string(line))
	}
	if !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	empty := true
	if err := snap.Scan(nil, nil, func(_, _ []byte) bool { empty = false; return false }); err != nil {
		return 0, err
	}
	if !empty {
		return 0, errNoRow
	}
	return 0, nil
}

// writeRow runs a migration and sets the version it led to in one commit.
func (s Schema) writeRow(d *disk, version uint32, migrate func(Tx) error) error {
	snap, err := d.snapshot()
	if err != nil {
		return err
	}
	defer snap.release()
	o := newOverlay(snap)
	if migrate != nil {
		if err := o.run(migrate); err != nil {
			return err
		}
	}
	if err := o.insert(&row{key: []byte(schemaKey), value: []byte(s.line(version))}); err != nil {
		return err
	}
	return d.commit(o.written)
}
