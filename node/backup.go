package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/backup"
)

var (
	// ErrBackupExists is returned for a backup file that is there already.
	ErrBackupExists = errors.New("the file exists")
	// ErrHomeNotEmpty is returned by Restore for a home in which an agent lives.
	ErrHomeNotEmpty = errors.New("somebody lives in this home")
	// ErrRestoreUnfinished is returned by Run for a home whose restore was cut short.
	ErrRestoreUnfinished = errors.New("a restore into this home was not finished")
	// ErrBackupKey is returned by Restore when the passphrase or key does not open the
	// backup.
	ErrBackupKey = errors.New("this key does not open the backup")
)

// restoring is the file that marks a restore under way.
const restoring = "restoring"

// extraFiles of a home are in a backup beside the agents' identities.
var extraFiles = []string{policyName, "config.yaml"}

// BackupHome writes a backup of a home in which no node runs to a new file. It
// returns ErrHomeInUse, ErrBackupExists or ErrIdentityLost, among others.
func BackupHome(ctx context.Context, dir, file string, to []age.Recipient) (b api.Backup, err error) {
	h, err := openHome(dir)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if _, err := os.Stat(h.path(agentsDir)); errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("%w: no agents in %s", ErrIdentityLost, dir)
	}
	ids, err := h.identities("")
	if err != nil {
		return b, err
	}
	st, _, err := h.state(store.Options{Schema: schema})
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	agents := make(map[string]identity.AMID, len(ids))
	for name, id := range ids {
		agents[name] = id.AMID()
	}
	return writeBackup(dir, file, agents, st, to)
}

// Backup implements api.Backend.
func (m *mesh) Backup(_ context.Context, r api.BackupRequest) (api.Backup, error) {
	to, err := BackupRecipients(r.Passphrase, r.Recipients)
	if err != nil {
		return api.Backup{}, api.Problemf(400, api.CodeInvalid, "%v", err)
	}
	agents := make(map[string]identity.AMID, len(m.rooms))
	for _, room := range m.rooms {
		agents[room.agent.Name] = room.agent.AMID()
	}
	b, err := writeBackup(m.node.cfg.Home, r.File, agents, m.store, to)
	if errors.Is(err, ErrBackupExists) {
		return b, api.Problemf(409, api.CodeConflict, "%v", err).WithHint("name a new file")
	}
	return b, err
}

// BackupRecipients are those who will be able to read a backup: whoever knows the
// passphrase, or holds one of the age keys.
func BackupRecipients(passphrase string, keys []string) ([]age.Recipient, error) {
	switch {
	case passphrase != "" && len(keys) > 0:
		return nil, errors.New("a backup is for a passphrase or for keys, not for both")
	case passphrase != "":
		one, err := age.NewScryptRecipient(passphrase)
		return []age.Recipient{one}, err
	case len(keys) == 0:
		return nil, errors.New("a backup needs a passphrase or a key: it holds the agent's identity")
	}
	return age.ParseRecipients(strings.NewReader(strings.Join(keys, "\n")))
}

// writeBackup writes the file under another name and renames it when it is whole.
func writeBackup(dir, file string, agents map[string]identity.AMID, st store.Store, to []age.Recipient) (b api.Backup, err error) {
	if _, err := os.Lstat(file); err == nil {
		return b, fmt.Errorf("%w: %s", ErrBackupExists, file)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".amesh-backup-*") // 0600
	if err != nil {
		return b, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	if b.Rows, err = fillBackup(tmp, dir, agents, st, to); err == nil {
		err = tmp.Sync()
	}
	if info, statErr := tmp.Stat(); statErr == nil {
		b.Size = info.Size()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return b, err
	}
	// Link, not rename: it does not replace what came meanwhile.
	if err := os.Link(tmp.Name(), file); errors.Is(err, fs.ErrExist) {
		return b, fmt.Errorf("%w: %s", ErrBackupExists, file)
	} else if err != nil {
		return b, err
	}
	b.File = file
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		b.Agents = append(b.Agents, api.Agent{Name: name, AMID: agents[name]})
	}
	return b, os.Remove(tmp.Name())
}

func fillBackup(w io.Writer, dir string, agents map[string]identity.AMID, st store.Store, to []age.Recipient) (rows int, err error) {
	out, err := backup.NewWriter(w, to...)
	if err != nil {
		return 0, err
	}
	files := slices.Clone(extraFiles)
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		files = append(files, path.Join(agentsDir, name, identity.IdentityFile))
	}
	for _, name := range files {
		raw, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) && slices.Contains(extraFiles, name) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if err := out.Add(backup.File, []byte(name), raw); err != nil {
			return 0, err
		}
	}
	err = st.View(func(r store.Reader) error { // one view: all rows are of one moment
		for _, name := range slices.Sorted(maps.Keys(agents)) {
			if err := backupAgent(out, r, name, agents[name], &rows); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return rows, err
	}
	return rows, out.Close()
}

func backupAgent(out *backup.Writer, r store.Reader, name string, amid identity.AMID, rows *int) error {
	epoch, err := agent.StoredEpoch(r, amid)
	if err != nil {
		return err
	}
	who := binary.BigEndian.AppendUint32(slices.Clone(amid[:]), epoch)
	if err := out.Add(backup.Agent, []byte(name), who); err != nil {
		return err
	}
	return agent.Backup(r, amid, func(k, v []byte) error {
		*rows++
		return out.Add(backup.Row, k, v)
	})
}

// Restored is what a restore brought back.
type Restored struct {
	Agents []RestoredAgent `json:"agents"`
	Rows   int             `json:"rows"`
	Kept   []string        `json:"kept,omitempty"` // files that were there and stayed
}

// RestoredAgent is an agent that a restore brought back.
type RestoredAgent struct {
	Name  string        `json:"name"`
	AMID  identity.AMID `json:"amid"`
	Epoch uint32        `json:"epoch"`
}

// Restore makes a home from a backup. No agent may live in it. Every agent begins a
// new epoch: it has no session any more, and peers that write to it on an old one are
// asked for a new one (docs/protocol/session.md §8.6, §8.7). A restore that was cut
// short is begun anew by the next.
func Restore(ctx context.Context, dir string, from io.Reader, by []age.Identity, now time.Time) (res Restored, err error) {
	in, err := backup.NewReader(from, by...)
	if _, none := errors.AsType[*age.NoIdentityMatchError](err); none {
		return res, fmt.Errorf("%w: %w", ErrBackupKey, err)
	}
	if err != nil {
		return res, err
	}
	h, err := openHome(dir)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.beginRestore(); err != nil {
		return res, err
	}
	if err := h.fill(ctx, in, now, &res); err != nil {
		return res, errors.Join(err, h.undoRestore())
	}
	return res, removeIfThere(h.path(restoring))
}

// beginRestore makes sure that nobody lives in the home, and marks it.
func (h *home) beginRestore() error {
	_, err := os.Stat(h.path(restoring))
	switch {
	case err == nil:
		return h.clear()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	keys, err := filepath.Glob(h.path(agentsDir, "*", identity.IdentityFile))
	if err != nil {
		return err
	}
	if len(keys) > 0 || store.Exists(h.path(stateDir)) {
		return fmt.Errorf("%w: %s", ErrHomeNotEmpty, h.dir)
	}
	return identity.ReplaceFile(h.path(restoring), nil)
}

// clear removes what a restore writes.
func (h *home) clear() error {
	return errors.Join(os.RemoveAll(h.path(agentsDir)), os.RemoveAll(h.path(stateDir)), removeIfThere(h.path(stateKey)))
}

func (h *home) undoRestore() error {
	return errors.Join(h.clear(), removeIfThere(h.path(restoring)))
}

func (h *home) fill(ctx context.Context, in *backup.Reader, now time.Time, res *Restored) (err error) {
	st, _, err := h.state(store.Options{Schema: schema})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	var rows *agent.Restorer
	end := func() error {
		if rows == nil {
			return nil
		}
		return rows.Done(ctx, res.Agents[len(res.Agents)-1].Epoch)
	}
	for {
		e, err := in.Next()
		switch {
		case err == io.EOF && len(res.Agents) == 0:
			return fmt.Errorf("%w: no agent in it", backup.ErrFormat)
		case err == io.EOF:
			return end()
		case err != nil:
			return err
		}
		switch e.Kind {
		case backup.File:
			err = h.restoreFile(string(e.Name), e.Value, res)
		case backup.Agent:
			if err = end(); err == nil {
				rows, err = h.restoreAgent(e, st, now, res)
			}
		case backup.Row:
			if rows == nil {
				return fmt.Errorf("%w: a row of nobody", backup.ErrFormat)
			}
			res.Rows++
			err = rows.Row(ctx, e.Name, e.Value)
		default:
			err = fmt.Errorf("%w: entry of kind %d", backup.ErrFormat, e.Kind)
		}
		if err != nil {
			return err
		}
	}
}

// restoreFile writes one of the files that a backup may name. One that the owner has
// put there already stays.
func (h *home) restoreFile(name string, raw []byte, res *Restored) error {
	parts := strings.Split(name, "/")
	known := slices.Contains(extraFiles, name) ||
		len(parts) == 3 && parts[0] == agentsDir && parts[2] == identity.IdentityFile && agentFolder(parts[1])
	if !known {
		return fmt.Errorf("%w: file %.80q", backup.ErrFormat, name)
	}
	full := h.path(parts...)
	if _, err := os.Lstat(full); err == nil {
		res.Kept = append(res.Kept, name)
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		return err
	}
	return identity.ReplaceFile(full, raw)
}

// agentFolder reports whether an agent's name can be the name of its folder.
func agentFolder(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 64 && !strings.ContainsAny(name, "/\\\x00")
}

func (h *home) restoreAgent(e backup.Entry, st store.Store, now time.Time, res *Restored) (*agent.Restorer, error) {
	name := string(e.Name)
	if len(e.Value) != identity.AMIDSize+4 || !agentFolder(name) {
		return nil, fmt.Errorf("%w: agent %.80q", backup.ErrFormat, name)
	}
	amid := identity.AMID(e.Value[:identity.AMIDSize])
	id, err := identity.LoadIdentity(h.path(agentsDir, name))
	if err != nil {
		return nil, err
	}
	if id.AMID() != amid {
		return nil, fmt.Errorf("%w: agent %.80q has another's key", backup.ErrFormat, name)
	}
	epoch, err := nextEpoch(binary.BigEndian.Uint32(e.Value[identity.AMIDSize:]), now)
	if err != nil {
		return nil, err
	}
	res.Agents = append(res.Agents, RestoredAgent{name, amid, epoch})
	return agent.NewRestorer(st, amid), nil
}

// nextEpoch is the epoch after a restore: above the backup's, and above that of any
// earlier restore of the same backup, which only the clock knows of.
func nextEpoch(before uint32, now time.Time) (uint32, error) {
	s := now.Unix()
	if before == 1<<32-1 || s < 0 || s >= 1<<32-1 {
		return 0, fmt.Errorf("no epoch follows %d at %s", before, now.Format(time.RFC3339))
	}
	return max(before+1, uint32(s)), nil
}
