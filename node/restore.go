package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/backup"
)

var (
	// ErrHomeNotEmpty is returned by Restore for a home in which an agent lives.
	ErrHomeNotEmpty = errors.New("somebody lives in this home")
	// ErrRestoreUnfinished is returned by Run and BackupHome for a home whose restore
	// was cut short.
	ErrRestoreUnfinished = errors.New("a restore into this home was not finished")
	// ErrBackupKey is returned by Restore when the passphrase or key does not open the
	// backup.
	ErrBackupKey = errors.New("this key does not open the backup")
)

const (
	// restoring is the folder in which a home is restored, before anything of it is
	// put in place. As long as it is there no node starts.
	restoring = "restoring"
	// wholeName is a file in it, from when everything is there: only then something
	// of it may be in place.
	wholeName = "whole"
	// restored is the name of that folder when everything is in place, and it only
	// waits to be removed.
	restored = "restored"
	// mostWork is the work factor of a passphrase that is still tried, and costs 1
	// GiB of memory. Ours are of 2^18.
	mostWork = 20
)

// BackupIdentities are what opens a backup: the passphrase, or else the private keys
// in an age key file.
func BackupIdentities(passphrase string, keyFile io.Reader) ([]age.Identity, error) {
	if keyFile != nil {
		by, err := age.ParseIdentities(keyFile)
		if err != nil {
			return nil, fmt.Errorf("age key file: %w", err)
		}
		return by, nil
	}
	one, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	one.SetMaxWorkFactor(mostWork)
	return []age.Identity{one}, nil
}

// Restored is what a restore brought back.
type Restored struct {
	Agents []RestoredAgent `json:"agents"`
	Rows   int             `json:"rows"`
	Files  []string        `json:"files,omitempty"` // beside the agents' keys
	Kept   []string        `json:"kept,omitempty"`  // files that were there and stayed
}

// RestoredAgent is an agent that a restore brought back.
type RestoredAgent struct {
	Name  string        `json:"name"`
	AMID  identity.AMID `json:"amid"`
	Epoch uint32        `json:"epoch"`
}

// Restore makes a home from a backup. No agent may live in it. Every agent begins a
// new epoch: it has no session any more, and peers that write to it on an old one are
// asked for a new one (session.md §8.6, §8.7). After an error nothing of the backup is
// in the home; a restore that was killed is begun anew by the next.
func Restore(ctx context.Context, dir string, from io.Reader, by []age.Identity, now time.Time) (res Restored, err error) {
	in, err := backup.NewReader(from, by...)
	if none, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return res, fmt.Errorf("%w: it was made for %s", ErrBackupKey, madeFor(none.StanzaTypes))
	}
	if err != nil {
		return res, err
	}
	_, missing := os.Stat(dir)
	h, err := openHome(dir)
	if err != nil {
		return res, err
	}
	defer func() {
		if err = errors.Join(err, h.close()); err != nil && errors.Is(missing, fs.ErrNotExist) {
			_ = os.Remove(dir) // it was made for nothing
		}
	}()
	if err := h.beginRestore(); err != nil {
		return res, err
	}
	r := restorer{dir: h.path(restoring), now: now}
	if err := r.fill(ctx, in); err != nil {
		return res, errors.Join(err, h.dropRestore())
	}
	if err := h.putInPlace(&r.res); err != nil {
		return res, errors.Join(err, h.dropRestore())
	}
	return r.res, nil
}

// madeFor says who can open an age file with such recipients.
func madeFor(stanzas []string) string {
	if slices.Contains(stanzas, "scrypt") {
		return "another passphrase, or its first bytes are damaged"
	}
	return "age keys: " + strings.Join(slices.Compact(stanzas), ", ")
}

// checkRestored returns ErrRestoreUnfinished where a restore is to be begun anew. It
// removes what one that is done has left behind.
func (h *home) checkRestored() error {
	switch there, err := exists(h.path(restoring)); {
	case err != nil:
		return err
	case there:
		return fmt.Errorf("%w: %s", ErrRestoreUnfinished, h.dir)
	}
	return os.RemoveAll(h.path(restored))
}

// exists reports whether there is something at a path, if only a link to nothing.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil, err
}

// beginRestore makes sure that nobody lives in the home, and makes the folder for the
// restore.
func (h *home) beginRestore() error {
	if err := h.dropRestore(); err != nil {
		return err
	}
	if err := h.checkRestored(); err != nil {
		return err
	}
	entries, err := os.ReadDir(h.path(agentsDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lived := []string{stateDir, stateKey}
	for _, e := range entries {
		lived = append(lived, filepath.Join(agentsDir, e.Name(), identity.IdentityFile))
	}
	for _, name := range lived {
		switch there, err := exists(h.path(name)); {
		case err != nil:
			return err
		case there:
			return fmt.Errorf("%w: %s is there", ErrHomeNotEmpty, h.path(name))
		}
	}
	if err := os.Mkdir(h.path(restoring), 0o700); err != nil {
		return err
	}
	return syncFolder(h.dir)
}

// putInPlace moves what was restored into the home. Files are linked: that replaces
// nothing, and shows, should we be killed, which of them are ours. The restore is done
// when its folder has its other name.
func (h *home) putInPlace(res *Restored) error {
	staged := h.path(restoring)
	if err := syncFolder(filepath.Join(staged, agentsDir)); err != nil {
		return err
	}
	if err := identity.ReplaceFile(filepath.Join(staged, wholeName), nil); err != nil {
		return err
	}
	for _, name := range extraFiles {
		switch err := os.Link(filepath.Join(staged, name), h.path(name)); {
		case err == nil:
			res.Files = append(res.Files, name)
		case errors.Is(err, fs.ErrExist):
			res.Kept = append(res.Kept, name)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	for _, a := range res.Agents {
		if err := h.putKey(staged, a.Name); err != nil {
			return err
		}
	}
	if err := os.Link(filepath.Join(staged, stateKey), h.path(stateKey)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(staged, stateDir), h.path(stateDir)); err != nil {
		return err
	}
	for _, dir := range []string{h.path(agentsDir), staged, h.dir} {
		if err := syncFolder(dir); err != nil {
			return err
		}
	}
	if err := os.Rename(staged, h.path(restored)); err != nil {
		return err
	}
	return errors.Join(syncFolder(h.dir), os.RemoveAll(h.path(restored)))
}

func (h *home) putKey(staged, name string) error {
	folder := h.path(agentsDir, name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	key := filepath.Join(agentsDir, name, identity.IdentityFile)
	if err := os.Link(filepath.Join(staged, key), h.path(key)); err != nil {
		return err
	}
	return syncFolder(folder)
}

// dropRestore takes back what a restore that did not finish has done, if there was one.
func (h *home) dropRestore() error {
	staged := h.path(restoring)
	whole := filepath.Join(staged, wholeName)
	placed, err := exists(whole)
	if err == nil && placed {
		if err = h.takeBack(staged); err == nil {
			err = os.Remove(whole)
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(staged), syncFolder(h.dir))
}

// takeBack undoes putInPlace. It removes links to what is staged, and nothing that
// somebody has put there instead.
func (h *home) takeBack(staged string) error {
	entries, err := os.ReadDir(filepath.Join(staged, agentsDir))
	if err != nil {
		return err
	}
	files := append(slices.Clone(extraFiles), stateKey)
	for _, e := range entries {
		files = append(files, filepath.Join(agentsDir, e.Name(), identity.IdentityFile))
	}
	for _, name := range files {
		ours, err := os.Lstat(filepath.Join(staged, name))
		if err != nil {
			continue // the backup had none
		}
		if there, err := os.Lstat(h.path(name)); err != nil || !os.SameFile(ours, there) {
			continue
		}
		if err := os.Remove(h.path(name)); err != nil {
			return err
		}
	}
	for _, e := range entries {
		_ = os.Remove(h.path(agentsDir, e.Name())) // unless something else is in it
	}
	_ = os.Remove(h.path(agentsDir))
	if still, err := exists(filepath.Join(staged, stateDir)); err != nil || still {
		return err
	}
	if err := os.Rename(h.path(stateDir), filepath.Join(staged, stateDir)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// restorer fills a folder from a backup.
type restorer struct {
	dir  string
	now  time.Time
	st   store.Store
	rows *agent.Restorer // of the last agent
	keys int             // identity files that came
	res  Restored
}

func (r *restorer) fill(ctx context.Context, in *backup.Reader) (err error) {
	defer func() {
		if r.st != nil {
			err = errors.Join(err, r.st.Close())
		}
	}()
	for {
		e, err := in.Next()
		if err == io.EOF {
			return r.finish(ctx)
		}
		if err == nil {
			err = r.take(ctx, e)
		}
		if err != nil {
			return err
		}
	}
}

func (r *restorer) take(ctx context.Context, e backup.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case e.Kind == backup.File:
		return r.file(string(e.Name), e.Value)
	case e.Kind == backup.State && r.st == nil:
		return r.state(e.Value)
	case e.Kind == backup.Agent && r.st != nil:
		return r.agent(ctx, e)
	case e.Kind == backup.Row && r.rows != nil:
		r.res.Rows++
		err := r.rows.Row(ctx, e.Name, e.Value)
		if errors.Is(err, agent.ErrRow) {
			return fmt.Errorf("%w: %w", backup.ErrFormat, err)
		}
		return err
	}
	return fmt.Errorf("%w: an entry of kind %d where none may stand", backup.ErrFormat, e.Kind)
}

// finish looks whether everything that belongs together came.
func (r *restorer) finish(ctx context.Context) error {
	if len(r.res.Agents) == 0 || r.keys != len(r.res.Agents) {
		return fmt.Errorf("%w: %d agents and %d keys", backup.ErrFormat, len(r.res.Agents), r.keys)
	}
	return r.endAgent(ctx)
}

// state opens a new store with the layout that the rows have; the next start of a node
// migrates it where that is an old one.
func (r *restorer) state(raw []byte) error {
	if len(raw) != 4 {
		return fmt.Errorf("%w: version of the rows", backup.ErrFormat)
	}
	layout := store.Schema{Name: schema.Name, Version: binary.BigEndian.Uint32(raw)}
	switch {
	case layout.Version == 0:
		return fmt.Errorf("%w: version of the rows", backup.ErrFormat)
	case layout.Version > schema.Version:
		return fmt.Errorf("%w: its rows are of version %d, this program knows %d", backup.ErrNewer, layout.Version, schema.Version)
	}
	var err error
	r.st, _, err = (&home{dir: r.dir}).state(store.Options{Schema: layout})
	return err
}

// file writes one of the files that a backup may name, and no other.
func (r *restorer) file(name string, raw []byte) error {
	parts := strings.Split(name, "/")
	key := len(parts) == 3 && parts[0] == agentsDir && parts[2] == identity.IdentityFile && agentFolder(parts[1])
	if !key && !slices.Contains(extraFiles, name) {
		return fmt.Errorf("%w: file %.80q", backup.ErrFormat, name)
	}
	full := filepath.Join(append([]string{r.dir}, parts...)...)
	if _, err := os.Lstat(full); err == nil {
		return fmt.Errorf("%w: file %.80q twice", backup.ErrFormat, name)
	}
	if key {
		r.keys++
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			return err
		}
	}
	return identity.ReplaceFile(full, raw)
}

// agentFolder reports whether an agent's name can be the name of its folder, wherever
// the backup is restored.
func agentFolder(name string) bool {
	const longest = 255
	return name != "." && len(name) <= longest && filepath.IsLocal(name) && !strings.ContainsAny(name, "/\\\x00")
}

// agent begins with an agent, whose key has come before.
func (r *restorer) agent(ctx context.Context, e backup.Entry) error {
	if err := r.endAgent(ctx); err != nil {
		return err
	}
	name := string(e.Name)
	if len(e.Value) != identity.AMIDSize+4 || !agentFolder(name) {
		return fmt.Errorf("%w: agent %.80q", backup.ErrFormat, name)
	}
	amid := identity.AMID(e.Value[:identity.AMIDSize])
	id, err := identity.LoadIdentity(filepath.Join(r.dir, agentsDir, name))
	if err != nil {
		return fmt.Errorf("%w: agent %.80q: %v", backup.ErrFormat, name, err)
	}
	if id.AMID() != amid {
		return fmt.Errorf("%w: agent %.80q has another's key", backup.ErrFormat, name)
	}
	for _, other := range r.res.Agents {
		if other.Name == name || other.AMID == amid {
			return fmt.Errorf("%w: agent %.80q twice", backup.ErrFormat, name)
		}
	}
	epoch, err := nextEpoch(binary.BigEndian.Uint32(e.Value[identity.AMIDSize:]), r.now)
	if err != nil {
		return err
	}
	r.res.Agents = append(r.res.Agents, RestoredAgent{name, amid, epoch})
	r.rows = agent.NewRestorer(r.st, amid)
	return nil
}

// endAgent gives the last agent its new epoch.
func (r *restorer) endAgent(ctx context.Context) error {
	if r.rows == nil {
		return nil
	}
	return r.rows.Done(ctx, r.res.Agents[len(r.res.Agents)-1].Epoch)
}

// nextEpoch is the epoch after a restore: above the backup's, and above that of any
// earlier restore of the same backup, which only the clock knows of.
func nextEpoch(before uint32, now time.Time) (uint32, error) {
	const highest = 1<<32 - 1
	s := now.Unix()
	if before == highest || s < 0 || s >= highest {
		return 0, fmt.Errorf("no epoch follows %d at %s", before, now.Format(time.RFC3339))
	}
	return max(before+1, uint32(s)), nil
}
