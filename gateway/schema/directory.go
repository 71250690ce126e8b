package schema

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

// DirectoryConfig says where a Directory is.
type DirectoryConfig struct {
	// Path is the directory.
	Path string
	// Index is the name of the file with the list of all; "index.json" when empty.
	Index string
	// Save writes what is registered to the directory. Otherwise it is kept in
	// memory until the gateway ends.
	Save bool
	// Create makes the directory when it is not there.
	Create bool
	// Log gets what is wrong with files.
	Log *slog.Logger
}

// Directory is a registry in files: domain/entity/vN.json, each with metadata and
// a definition. It sees what others change there. The files are the truth; the
// index is written for others, and not read.
//
// Names come from identifiers, whose characters lead nowhere, and no link in the
// directory is followed out of it.
type Directory struct {
	cfg  DirectoryConfig
	told *told

	mu     sync.Mutex
	memory map[ID]*Schema // what was not saved; nil for what was removed
}

const (
	// directoryFresh is how long a change in the files may go unseen.
	directoryFresh = time.Second
	// maxFile is how long a file may be, in bytes.
	maxFile = 4 << 20
)

// OpenDirectory finds or creates the directory. Nothing stays open.
func OpenDirectory(cfg DirectoryConfig) (*Directory, error) {
	if cfg.Index == "" {
		cfg.Index = "index.json"
	}
	if cfg.Path == "" || cfg.Index != path.Base(cfg.Index) || !fs.ValidPath(cfg.Index) {
		return nil, errors.New("schema directory: want a path, and an index that is the name of a file in it")
	}
	if cfg.Create {
		if err := os.MkdirAll(cfg.Path, 0o750); err != nil {
			return nil, fmt.Errorf("schema directory: %w", err)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Directory{cfg: cfg, told: newTold(), memory: make(map[ID]*Schema)}
	root, err := os.OpenRoot(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("schema directory: %w", err)
	}
	return d, root.Close()
}

// Fresh implements Fresher.
func (d *Directory) Fresh() time.Duration { return directoryFresh }

// fileOf is the name of a schema's file.
func fileOf(id ID) string { return path.Join(id.Domain, id.Entity, id.VersionText()+".json") }

// schemaFile is what stands in one.
type schemaFile struct {
	Metadata   metadata        `json:"metadata"`
	Definition json.RawMessage `json:"definition"`
}

type metadata struct {
	ID        ID        `json:"id"`
	Version   string    `json:"version"`
	Created   time.Time `json:"created_at"`
	Updated   time.Time `json:"updated_at"`
	Path      string    `json:"file_path"`
	Size      int       `json:"size"`
	Checksum  string    `json:"checksum"`
	Signature string    `json:"signature,omitempty"`
}

func metadataOf(s Schema) metadata {
	m := metadata{
		ID: s.ID, Version: s.ID.VersionText(), Created: s.Published, Updated: s.Updated, Path: fileOf(s.ID),
		Size: len(s.Definition), Checksum: s.Checksum(), Signature: s.Signature,
	}
	if m.Updated.IsZero() {
		m.Updated = m.Created
	}
	return m
}

// open returns the directory; who gets it closes it.
func (d *Directory) open() (*os.Root, error) {
	root, err := os.OpenRoot(d.cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return root, nil
}

// Get implements Registry.
func (d *Directory) Get(_ context.Context, id ID) (Schema, error) {
	d.mu.Lock()
	kept, ok := d.memory[id]
	d.mu.Unlock()
	switch {
	case ok && kept == nil:
		return Schema{}, ErrNotFound
	case ok:
		return *kept, nil
	}
	root, err := d.open()
	if err != nil {
		return Schema{}, err
	}
	defer root.Close()
	return d.read(root, id)
}

func (d *Directory) read(root *os.Root, id ID) (Schema, error) {
	f, err := root.Open(fileOf(id))
	if errors.Is(err, fs.ErrNotExist) {
		return Schema{}, ErrNotFound
	}
	if err != nil {
		return Schema{}, d.damaged(id, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Schema{}, d.damaged(id, err)
	}
	if len(text) > maxFile {
		return Schema{}, d.damaged(id, fmt.Errorf("longer than %d bytes", maxFile))
	}
	var file schemaFile
	if err := json.Unmarshal(text, &file); err != nil {
		return Schema{}, d.damaged(id, err)
	}
	if file.Metadata.ID != (ID{}) && file.Metadata.ID != id {
		return Schema{}, d.damaged(id, fmt.Errorf("it says that it is %s", file.Metadata.ID))
	}
	if len(file.Definition) == 0 {
		return Schema{}, d.damaged(id, errors.New(`it has no member "definition"`))
	}
	s := Schema{ID: id, Definition: file.Definition, Published: file.Metadata.Created, Signature: file.Metadata.Signature}
	if file.Metadata.Updated.After(s.Published) {
		s.Updated = file.Metadata.Updated
	}
	return s, nil
}

// damaged says that a file cannot be used, to the operator, once while the reason is the
// same, and to the caller.
func (d *Directory) damaged(id ID, err error) error {
	if d.told.first(id, err.Error()) {
		d.cfg.Log.Warn("schema file cannot be used", "file", fileOf(id), "err", err)
	}
	return fmt.Errorf("%w: %s", ErrDamaged, id)
}

// List implements Registry.
func (d *Directory) List(_ context.Context, p Pattern) ([]ID, error) {
	root, err := d.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := files(root)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, kept := range d.memory {
		found[id] = kept != nil
	}
	var ids []ID
	for id, there := range found {
		if there && p.Match(id) {
			ids = append(ids, id)
		}
	}
	return InOrder(ids), nil
}

// files finds the identifiers for which there is a file.
func files(root *os.Root) (map[ID]bool, error) {
	found := make(map[ID]bool)
	tree := root.FS()
	domains, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, err
	}
	for _, domain := range domains {
		if !domain.IsDir() || !label(domain.Name()) {
			continue
		}
		entities, err := fs.ReadDir(tree, domain.Name())
		if err != nil {
			return nil, err
		}
		for _, entity := range entities {
			if !entity.IsDir() || !label(entity.Name()) {
				continue
			}
			versions, err := fs.ReadDir(tree, path.Join(domain.Name(), entity.Name()))
			if err != nil {
				return nil, err
			}
			for _, version := range versions {
				name, isJSON := strings.CutSuffix(version.Name(), ".json")
				if n, err := parseVersion(name); err == nil && isJSON && !version.IsDir() {
					found[ID{Domain: domain.Name(), Entity: entity.Name(), Version: n}] = true
				}
			}
		}
	}
	return found, nil
}

// Put implements Registry.
func (d *Directory) Put(ctx context.Context, s Schema, replace bool) error {
	if _, err := d.Get(ctx, s.ID); !replace && !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = ErrExists
		}
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.cfg.Save {
		d.memory[s.ID] = &s
		return nil
	}
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(fileOf(s.ID)), 0o750); err != nil {
		return changeError(err)
	}
	text, err := json.MarshalIndent(schemaFile{Metadata: metadataOf(s), Definition: s.Definition}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(root, fileOf(s.ID), text); err != nil {
		return changeError(err)
	}
	return d.writeIndex(root)
}

// Remove implements Registry.
func (d *Directory) Remove(ctx context.Context, id ID) error {
	if _, err := d.Get(ctx, id); err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.cfg.Save {
		d.memory[id] = nil
		return nil
	}
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(fileOf(id)); err != nil {
		return changeError(err)
	}
	// Folders that still hold something stay.
	_ = root.Remove(path.Join(id.Domain, id.Entity))
	_ = root.Remove(id.Domain)
	return d.writeIndex(root)
}

// changeError tells a directory that cannot be written to from other trouble.
func changeError(err error) error {
	if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "read-only file system") {
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	return fmt.Errorf("schema directory: %w", err)
}

// writeIndex writes the list of all files, as agentry reads it.
func (d *Directory) writeIndex(root *os.Root) error {
	found, err := files(root)
	if err != nil {
		return err
	}
	index := struct {
		Version string              `json:"version"`
		Updated time.Time           `json:"updated_at"`
		Schemas map[string]metadata `json:"schemas"`
	}{"1.0", time.Now().UTC(), make(map[string]metadata, len(found))}
	for id := range found {
		if s, err := d.read(root, id); err == nil {
			index.Schemas[id.String()] = metadataOf(s)
		}
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(root, d.cfg.Index, text)
}

// writeFile puts a file in place as a whole, or not at all.
func writeFile(root *os.Root, name string, text []byte) error {
	next := path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text()[:8])
	f, err := root.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(text))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = root.Rename(next, name)
	}
	if err != nil {
		_ = root.Remove(next)
	}
	return err
}
