package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/backup"
	"amesh/node/doctor"
)

// A backup of a home holds every agent's key and mail (agent.Backup), the policy and
// config.yaml. It holds no session and no prekey, and nothing of the node: neither
// its key nor a token, a mark or the key of the state.

var (
	// ErrBackupExists is returned for a backup file that is there already.
	ErrBackupExists = errors.New("the file exists")
	// ErrNobody is returned by BackupHome for a home without an agent.
	ErrNobody = errors.New("nobody lives in this home")
)

// configName is the command line's file in the home.
const configName = "config.yaml"

// extraFiles of a home are in a backup beside the agents' identities.
var extraFiles = []string{policyName, configName}

// BackupHome writes a backup of a home in which no node runs to a new file. It
// returns ErrHomeInUse, ErrBackupExists, ErrNobody or ErrIdentityLost, among others.
// It does not need the key of the state.
func BackupHome(ctx context.Context, dir, file string, to []age.Recipient) (b api.Backup, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("%w: %s", ErrNobody, dir) // and none is made
	}
	h, err := openHome(dir)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.checkRestored(); err != nil {
		return b, err
	}
	ids, err := h.agents()
	if err != nil {
		return b, err
	}
	inUse := store.Exists(h.path(stateDir))
	switch {
	case len(ids) == 0 && inUse:
		return b, fmt.Errorf("%w: no %s in %s", ErrIdentityLost, identity.IdentityFile, h.path(agentsDir))
	case len(ids) == 0:
		return b, fmt.Errorf("%w: %s", ErrNobody, dir)
	}
	var st store.Store = store.NewMemory() // of agents that never ran
	if inUse {
		if st, err = store.Open(h.path(stateDir), store.Options{Schema: schema}); err != nil {
			return b, err
		}
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	w := backupWriter{home: h, agents: make(map[string]identity.AMID, len(ids)), st: st}
	for name, id := range ids {
		w.agents[name] = id.AMID()
	}
	return w.write(ctx, file, to)
}

// Backup implements api.Backend.
func (m *mesh) Backup(ctx context.Context, r api.BackupRequest) (api.Backup, error) {
	to, err := BackupRecipients(r.Passphrase, r.Recipients)
	if err != nil {
		return api.Backup{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
			WithHint("give a passphrase, or age public keys (age1…)")
	}
	if !filepath.IsAbs(r.File) {
		return api.Backup{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "the file's path is not absolute").
			WithHint("the node works in another folder than its caller")
	}
	// A passphrase costs a quarter of a GiB of memory while it is worked on.
	if !m.backups.TryLock() {
		return api.Backup{}, api.Problemf(http.StatusServiceUnavailable, api.CodeBusy, "another backup is being written").
			WithHint("wait until it is done")
	}
	defer m.backups.Unlock()
	w := backupWriter{home: &home{dir: m.node.cfg.Home}, agents: make(map[string]identity.AMID, len(m.rooms)), st: m.store}
	for _, room := range m.own() {
		w.agents[room.agent.Name] = room.agent.AMID()
	}
	b, err := w.write(ctx, r.File, to)
	return b, backupProblem(err)
}

// backupProblem is what the caller can do about an error.
func backupProblem(err error) error {
	switch {
	case errors.Is(err, ErrBackupExists):
		return api.Problemf(http.StatusConflict, api.CodeConflict, "%v", err).WithHint("name a new file")
	case errors.Is(err, ErrIdentityLost):
		return api.Problemf(http.StatusInternalServerError, api.CodeStorage, "%v", err).WithHint("put identity.json back while the node still runs")
	case errors.Is(err, fs.ErrNotExist):
		return api.Problemf(http.StatusNotFound, api.CodeNotFound, "%v", err).WithHint("make the folder first")
	case errors.Is(err, fs.ErrPermission):
		return api.Problemf(http.StatusForbidden, api.CodeForbidden, "%v", err).WithHint("name a folder that the node's user may write to")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return api.Problemf(http.StatusInsufficientStorage, api.CodeStorage, "%v", err).WithHint("make room, or name another disk")
	}
	return err
}

// BackupRecipients are those who will be able to read a backup: whoever knows the
// passphrase, or holds one of the age keys. Its errors repeat neither.
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
	var to []age.Recipient
	for i, key := range keys {
		// One by one: in a list age passes over what it takes for a remark.
		one, err := age.ParseRecipients(strings.NewReader(key))
		if err != nil || len(one) != 1 {
			return nil, fmt.Errorf("recipient %d is no age public key", i+1)
		}
		to = append(to, one...)
	}
	// age refuses some together, such as keys that resist quantum computers and keys that do not.
	if _, err := age.Encrypt(io.Discard, to...); err != nil {
		return nil, err
	}
	return to, nil
}

// backupWriter writes one backup.
type backupWriter struct {
	home   *home
	agents map[string]identity.AMID
	st     store.Store
	rows   int
}

// write puts the file in place whole or not at all, readable by its owner only, and
// on disk before it returns. Nothing that has the name already is touched.
func (w *backupWriter) write(ctx context.Context, file string, to []age.Recipient) (b api.Backup, err error) {
	if there, err := exists(file); err == nil && there {
		return b, fmt.Errorf("%w: %s", ErrBackupExists, file)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".amesh-backup-*") // 0600
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, removeIfThere(tmp.Name())) }()
	err = w.fill(ctx, tmp, to)
	if err == nil {
		err = tmp.Sync()
	}
	info, statErr := tmp.Stat()
	if err := errors.Join(err, statErr, tmp.Close()); err != nil {
		return b, err
	}
	if err := place(tmp.Name(), file, os.Link); err != nil {
		return b, err
	}
	// The backup is whole whether it can be noted or not; a check then misses it.
	_ = doctor.NoteBackup(w.home.dir, time.Now())
	b = api.Backup{File: file, Size: info.Size(), Rows: w.rows}
	for _, name := range slices.Sorted(maps.Keys(w.agents)) {
		b.Agents = append(b.Agents, api.Agent{Name: name, AMID: w.agents[name]})
	}
	return b, nil
}

// place gives a file a name that nothing has, and makes it durable.
func place(tmp, file string, link func(old, new string) error) error {
	err := link(tmp, file)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = placeByRename(tmp, file)
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s", ErrBackupExists, file)
	}
	if err != nil {
		return err
	}
	err = syncFolder(filepath.Dir(file))
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // a disk that syncs no folders
	}
	return err
}

// placeByRename is for disks without links, such as most memory sticks. A rename
// replaces what is there, so an empty file of ours takes the name first.
func placeByRename(tmp, file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), os.Rename(tmp, file)); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (w *backupWriter) fill(ctx context.Context, file io.Writer, to []age.Recipient) error {
	out, err := backup.NewWriter(file, to...)
	if err != nil {
		return err
	}
	if err := out.Add(backup.State, nil, binary.BigEndian.AppendUint32(nil, schema.Version)); err != nil {
		return err
	}
	if err := w.addFiles(out); err != nil {
		return err
	}
	err = w.st.View(func(r store.Reader) error { // one view: all rows are of one moment
		for _, name := range slices.Sorted(maps.Keys(w.agents)) {
			if err := w.addAgent(ctx, out, r, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// addFiles adds the agents' keys and what else lies in files. What could not be
// restored is not taken for a backup.
func (w *backupWriter) addFiles(out *backup.Writer) error {
	for _, name := range slices.Sorted(maps.Keys(w.agents)) {
		if !agentFolder(name) {
			return fmt.Errorf("agent %.80q cannot be backed up: its name cannot be a folder's everywhere", name)
		}
		id, err := identity.LoadIdentity(w.home.path(agentsDir, name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && id.AMID() != w.agents[name] {
			return fmt.Errorf("%w: %s", ErrIdentityLost, w.home.path(agentsDir, name))
		}
		if err == nil {
			err = w.addFile(out, path.Join(agentsDir, name, identity.IdentityFile))
		}
		if err != nil {
			return err
		}
	}
	for _, name := range extraFiles {
		if err := w.addFile(out, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (w *backupWriter) addFile(out *backup.Writer, name string) error {
	raw, err := os.ReadFile(w.home.path(filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	return out.Add(backup.File, []byte(name), raw)
}

func (w *backupWriter) addAgent(ctx context.Context, out *backup.Writer, r store.Reader, name string) error {
	amid := w.agents[name]
	epoch, err := agent.StoredEpoch(r, amid)
	if err != nil {
		return err
	}
	if err := out.Add(backup.Agent, []byte(name), binary.BigEndian.AppendUint32(amid[:], epoch)); err != nil {
		return err
	}
	return agent.Backup(r, amid, func(k, v []byte) error {
		w.rows++
		return errors.Join(ctx.Err(), out.Add(backup.Row, k, v))
	})
}
