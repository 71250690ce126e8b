package store

import (
	"context"
	"errors"
	"os"
	"testing"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// A disk that is full refuses messages, loses none, and may get room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := running(t, kit.NewSQLite(t))
	first := accept(t, s, newMessage(message(t), pull("bob@b.test")))
	pages := func(most string) {
		t.Helper()
		err := s.db.Write(context.Background(), func(tx *sqldb.Tx) error {
			var now int
			return tx.QueryRow("PRAGMA max_page_count = " + most).Scan(&now)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	next := func() error {
		_, err := s.Accept(t.Context(), newMessage(message(t, key(amtp.NewKey())), pull("bob@b.test")))
		return err
	}
	pages("1") // which means as many as there are
	var err error
	for range 2000 {
		if err = next(); err != nil {
			break
		}
	}
	if !Unavailable(err) {
		t.Fatalf("on a full disk: %v", err)
	}
	if err := s.Probe(t.Context()); !Unavailable(err) {
		t.Errorf("asked how it is, a store on a full disk says %v", err)
	}
	before := inbox(t, s, "bob@b.test")
	if before[0] != first.MessageID {
		t.Errorf("the first is gone: %v", before)
	}
	pages("1000000")
	if err := next(); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// Memory is a file that nobody else reads, and that goes with the store.
func TestMemoryGoesWithTheStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := OpenMemory(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, Options{}) }()
	accept(t, s, newMessage(message(t), pull("bob@b.test")))
	if info, err := os.Stat(s.memory); err != nil || info.Mode().Perm() != 0o700 || s.Kind() != "memory" {
		t.Errorf("%s: %v %v", s.Kind(), info, err)
	}
	cancel()
	if err := errors.Join(<-done, s.Close()); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
