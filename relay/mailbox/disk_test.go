package mailbox_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay/mailbox"
	"amesh/relay/mailbox/boxtest"
)

// disks remembers the store and the limits of each mailbox.
type disks struct {
	stores map[mailbox.Mailbox]store.Store
	limits map[mailbox.Mailbox]mailbox.Limits
}

func (d *disks) open(t *testing.T, s store.Store, l mailbox.Limits) mailbox.Mailbox {
	t.Helper()
	m, err := mailbox.NewDisk(s, l)
	if err != nil {
		t.Fatal(err)
	}
	d.stores[m], d.limits[m] = s, l
	return m
}

func newDisks() *disks {
	return &disks{stores: map[mailbox.Mailbox]store.Store{}, limits: map[mailbox.Mailbox]mailbox.Limits{}}
}

func TestDisk(t *testing.T) {
	d := newDisks()
	boxtest.Run(t, boxtest.Maker{
		New: func(t *testing.T, l mailbox.Limits) mailbox.Mailbox { return d.open(t, store.NewMemory(), l) },
		Reopen: func(t *testing.T, m mailbox.Mailbox) mailbox.Mailbox {
			return d.open(t, d.stores[m].(*store.Memory).Reopen(), d.limits[m])
		},
		CrashAt: func(m mailbox.Mailbox, n int, after bool) {
			s, phase := d.stores[m].(*store.Memory), store.BeforeCommit
			if after {
				phase = store.AfterCommit
			}
			s.CrashAt(s.Commits()+n, phase)
		},
	})
}

func TestDiskOnARealStore(t *testing.T) {
	d, dirs := newDisks(), map[mailbox.Mailbox]string{}
	open := func(t *testing.T, dir string, l mailbox.Limits) mailbox.Mailbox {
		s, err := store.Open(dir, store.Options{Schema: mailbox.Schema(), Reserve: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		m := d.open(t, s, l)
		dirs[m] = dir
		return m
	}
	boxtest.Run(t, boxtest.Maker{
		Real: true,
		New:  func(t *testing.T, l mailbox.Limits) mailbox.Mailbox { return open(t, t.TempDir(), l) },
		Reopen: func(t *testing.T, m mailbox.Mailbox) mailbox.Mailbox {
			if err := d.stores[m].Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, dirs[m], d.limits[m])
		},
	})
}

func TestMemory(t *testing.T) {
	boxtest.Run(t, boxtest.Maker{
		New: func(t *testing.T, l mailbox.Limits) mailbox.Mailbox {
			m, err := mailbox.NewMemory(l)
			if err != nil {
				t.Fatal(err)
			}
			return m
		},
	})
}

func note(text string) mailbox.Message {
	return mailbox.Message{
		From: identity.AMID{1}, To: identity.AMID{2}, ID: mailbox.PayloadID(text),
		Kind: mailbox.KindMessage, Payload: text, Once: true,
	}
}

func put(t *testing.T, m mailbox.Mailbox, messages ...mailbox.Message) []mailbox.Stored {
	t.Helper()
	stored, err := m.Put(context.Background(), messages)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func list(t *testing.T, m mailbox.Mailbox, owner identity.AMID) []mailbox.Row {
	t.Helper()
	rows, err := m.List(context.Background(), owner, 0, mailbox.Size{Messages: 10_000, Bytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func firstLetters(rows []mailbox.Row) string {
	var s string
	for _, r := range rows {
		if r.Notice != nil {
			s += "!"
			continue
		}
		s += r.Payload[:1]
	}
	return s
}

func TestLimitsAreChecked(t *testing.T) {
	if _, err := mailbox.NewDisk(nil, mailbox.Limits{}); err == nil {
		t.Error("a mailbox without a store")
	}
	for name, spoil := range map[string]func(*mailbox.Limits){
		"TTL":             func(l *mailbox.Limits) { l.TTL = 0 },
		"Share.Bytes":     func(l *mailbox.Limits) { l.Share.Bytes = -1 },
		"Box.Messages":    func(l *mailbox.Limits) { l.Box.Messages = 0 },
		"SweepRows":       func(l *mailbox.Limits) { l.SweepRows = 1001 },
		"Taken":           func(l *mailbox.Limits) { l.Taken = 4001 },
		"AllowEntries":    func(l *mailbox.Limits) { l.AllowEntries = 0 },
		"LegacyShare.Mes": func(l *mailbox.Limits) { l.LegacyShare = mailbox.Size{} },
	} {
		l := mailbox.DefaultLimits()
		spoil(&l)
		_, disk := mailbox.NewDisk(store.NewMemory(), l)
		_, memory := mailbox.NewMemory(l)
		for _, err := range []error{disk, memory} {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// CP 9: a repeat costs nothing and changes nothing.
func TestARepeatIsNotWritten(t *testing.T) {
	disk := store.NewMemory()
	m := newDisks().open(t, disk, mailbox.Limits{})
	put(t, m, note("x"))
	before := disk.Hash()
	if !put(t, m, note("x"))[0].Repeated || disk.Hash() != before {
		t.Error("a repeat changed the store")
	}
}

// CP 11: what to do about an error can be told from it, and a commit that failed
// leaves nothing, on disk or in memory.
func TestAFailedCommitLeavesNothing(t *testing.T) {
	b := identity.AMID{2}
	disk := store.NewMemory()
	m := newDisks().open(t, disk, mailbox.Limits{})
	put(t, m, note("x"))
	before, ctx := disk.Hash(), t.Context()
	for name, try := range map[string]func() error{
		"put":    func() error { _, err := m.Put(ctx, []mailbox.Message{note("y"), note("z")}); return err },
		"take":   func() error { _, err := m.Take(ctx, b, 1); return err },
		"delete": func() error { _, err := m.Delete(ctx, b, []mailbox.Cursor{list(t, m, b)[0].Cursor}); return err },
		"expire": func() error { _, err := m.Expire(ctx); return err },
	} {
		disk.Fail(syscall.ENOSPC)
		if err := try(); !errors.Is(err, mailbox.ErrStorage) || errors.Is(err, mailbox.ErrBroken) {
			t.Errorf("%s on a full disk: %v", name, err)
		}
		if got := firstLetters(list(t, m, b)); got != "x" {
			t.Errorf("after %s: %q", name, got)
		}
		used, err := m.Usage(ctx, b)
		if err != nil || used != (mailbox.Size{Messages: 1, Bytes: 1}) || disk.Hash() != before {
			t.Errorf("%s left something behind: %+v, %v", name, used, err)
		}
	}
	if s := m.Stats(); s.Messages != 1 || s.Bytes != 1 {
		t.Errorf("figures: %+v", s)
	}
	if put(t, m, note("y"))[0].Repeated {
		t.Error("the failed commit left a name behind")
	}
	disk.Fail(syscall.EIO)
	if _, err := m.Put(ctx, []mailbox.Message{note("z")}); !errors.Is(err, mailbox.ErrBroken) {
		t.Errorf("failed sync: %v", err)
	}
}

// lateNews is a store that tells of a failed commit only after the next one.
type lateNews struct {
	*store.Memory
	meanwhile func()
}

func (s *lateNews) Update(ctx context.Context, f func(store.Tx) error) error {
	err := s.Memory.Update(ctx, f)
	if next := s.meanwhile; err != nil && next != nil {
		s.meanwhile = nil
		next()
	}
	return err
}

// CP 9: whoever comes between a commit that failed and the news of it builds
// nothing on it. A repeat in particular is no proof that the first was stored.
func TestBetweenAFailedCommitAndTheNews(t *testing.T) {
	s := &lateNews{Memory: store.NewMemory()}
	m := newDisks().open(t, s, mailbox.Limits{})
	put(t, m, note("a"))
	s.Fail(syscall.ENOSPC)
	s.meanwhile = func() {
		if a := put(t, m, note("b"))[0]; a.Repeated || a.Err != nil {
			t.Errorf("the repeat of what was not stored: %+v", a)
		}
	}
	if _, err := m.Put(t.Context(), []mailbox.Message{note("b"), note("c")}); !errors.Is(err, mailbox.ErrStorage) {
		t.Errorf("put: %v", err)
	}
	if got := firstLetters(list(t, m, bob)); got != "ab" || m.Stats().Messages != 2 {
		t.Errorf("%q is there, %+v", got, m.Stats())
	}

	s.Fail(syscall.ENOSPC)
	s.meanwhile = func() {
		if rows, err := m.Take(t.Context(), bob, 1); len(rows) > 1 || err != nil {
			t.Errorf("taken %q, %v", firstLetters(rows), err)
		}
	}
	if rows, err := m.Take(t.Context(), bob, 1); err == nil {
		t.Errorf("taken %q from a full disk", firstLetters(rows))
	}
	put(t, m, note("d"))
	used, err := m.Usage(t.Context(), bob)
	if got := firstLetters(list(t, m, bob)); err != nil || got != "ad" || used.Messages != 2 {
		t.Errorf("%q is there, %+v, %v", got, used, err)
	}
}
