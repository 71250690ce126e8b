package relay

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"amesh/internal/store"
	"amesh/relay/mailbox"
)

func newMemory() *store.Memory { return store.NewMemory() }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func debugLogger(b *lockedBuffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// crashNext makes the store's next commit a crash.
func crashNext(disk *store.Memory, p store.Phase) { disk.CrashAt(disk.Commits()+1, p) }

// restart stops the server and starts another on what was durable.
func (h *house) restart(disk *store.Memory) {
	h.t.Helper()
	h.shut()
	h.start(disk.Reopen(), Limits{})
}

// CP 9: crash before the commit. No relayed; the sender sends again.
func TestCrashBeforeTheCommitOfASend(t *testing.T) {
	h, disk := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	bob := testKey(t, 2).AMID()
	crashNext(disk, store.BeforeCommit)
	alice.send(bob, "x", "1")
	alice.want(object{"type": typeRefused, "client_id": "1", "code": "storage_unavailable"})
	h.restart(disk)
	h.holds(bob, 0)
	alice, _ = h.join(1, ExtensionAck)
	alice.send(bob, "x", "2")
	alice.want(object{"type": typeRelayed, "client_id": "2"})
	h.holds(bob, 1)
}

// CP 10: crash after the commit, before relayed. Sent again, stored once.
func TestCrashAfterTheCommitOfASend(t *testing.T) {
	h, disk := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	bob := testKey(t, 2).AMID()
	crashNext(disk, store.AfterCommit)
	alice.send(bob, "x", "1")
	alice.want(object{"type": typeRefused, "client_id": "1", "code": "storage_unavailable"})
	h.restart(disk)
	h.holds(bob, 1)
	before := usage(t, h.server.box, bob)
	alice, _ = h.join(1, ExtensionAck)
	alice.send(bob, "x", "2")
	alice.want(object{"type": typeRelayed, "client_id": "2"})
	if got := usage(t, h.server.box, bob); got != before {
		t.Errorf("the repeat was stored: %+v", got)
	}
}

// CP 11: a full disk is told and harms nothing else; a failed sync ends the server.
func TestDiskFailures(t *testing.T) {
	h, disk := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	legacy, _ := h.join(3)
	bob := testKey(t, 2).AMID()
	disk.Fail(syscall.ENOSPC)
	alice.send(bob, "x", "1")
	got := alice.want(object{"type": typeRefused, "client_id": "1", "code": "storage_unavailable"})
	if got["retry_after_s"] != 2.0 {
		t.Errorf("retry after: %v", got)
	}
	alice.send(bob, "x", "2")
	alice.want(object{"type": typeRelayed, "client_id": "2"})
	disk.Fail(syscall.ENOSPC)
	legacy.send(bob, "y", "")
	legacy.want(object{"type": typeError, "code": CodeInternalError})
	h.holds(bob, 1)

	disk.Fail(syscall.EIO)
	alice.send(bob, "z", "3")
	select {
	case err := <-h.stopped:
		if !errors.Is(err, mailbox.ErrBroken) {
			t.Errorf("server ended with %v", err)
		}
		h.stopped <- nil
	case <-time.After(patience):
		t.Error("server goes on with a broken store")
	}
}

// CP 12: crash while a batch is handed out. Rows are deleted only on the ack.
func TestCrashWhileHandingOut(t *testing.T) {
	h, disk := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	b, _ := h.join(2, ExtensionAck)
	for i := range 3 {
		alice.send(b.who, fmt.Sprint(i), fmt.Sprint(i))
		alice.want(object{"type": typeRelayed})
	}
	first := b.want(object{"encrypted_payload": "0"})
	b.want(object{"encrypted_payload": "1"})
	b.ack(first["id"].(string))
	h.holds(b.who, 2)
	disk.Crash()
	h.restart(disk)
	b, _ = h.join(2, ExtensionAck)
	b.want(object{"encrypted_payload": "1"})
	b.want(object{"encrypted_payload": "2"})
	b.quiet()
}

// CP 13: crash between the ack and the delete. Handed out again, with the id by
// which the receiver knows it.
func TestCrashBeforeTheDelete(t *testing.T) {
	h, disk := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	b, _ := h.join(2, ExtensionAck)
	alice.send(b.who, "x", "1")
	alice.want(object{"type": typeRelayed})
	first := b.want(object{"type": typeReceive})
	crashNext(disk, store.BeforeCommit)
	b.ack(first["id"].(string))
	h.until("the delete was tried", func(s *Server) bool { return s.failing.Load() })
	h.restart(disk)
	b, _ = h.join(2, ExtensionAck)
	b.want(object{"type": typeReceive, "id": first["id"], "timestamp": first["timestamp"]})
	b.ack(first["id"].(string))
	h.holds(b.who, 0)
}

// A receiver without ack never gets a frame that it may have: the crash costs it.
func TestCrashWhileTakingForALegacyReceiver(t *testing.T) {
	for _, c := range []struct {
		phase store.Phase
		left  int
	}{{store.BeforeCommit, 1}, {store.AfterCommit, 0}} {
		h, disk := startRelay(t, Limits{})
		alice, _ := h.join(1, ExtensionAck)
		bob := testKey(t, 2).AMID()
		alice.send(bob, "x", "1")
		alice.want(object{"type": typeRelayed})
		crashNext(disk, c.phase)
		b, _ := h.join(2)
		h.until("taking failed", func(s *Server) bool { return s.failing.Load() })
		b.quiet()
		h.restart(disk)
		b, connected := h.join(2)
		if connected["pending_messages"] != float64(c.left) {
			t.Errorf("phase %d: %v", c.phase, connected)
		}
		for range c.left {
			b.want(object{"type": typeReceive, "encrypted_payload": "x"})
		}
		b.quiet()
	}
}
