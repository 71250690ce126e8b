package registry

import (
	"path/filepath"
	"testing"

	"amesh/registry/db"
	"amesh/registry/wire"
)

// A database that can be read and not written, as on a full disk, is not healthy, and
// is again when it can.
func TestHealthOfADatabaseThatTakesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "registry.db")
	h := start(t, path)
	readOnly, err := db.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	err = readOnly.Write(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec("PRAGMA query_only = 1")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.get("/v1/health").want(200)
	takesAll := h.server.db.Swap(readOnly)
	h.clock.pass(h.server.limits.StatsLife)
	for range 2 {
		h.get("/v1/health").want(503).code(wire.CodeUnavailable)
	}
	h.get("/v1/registry/stats").want(200)
	if h.server.Stats().Ready {
		t.Error("ready, and takes nothing")
	}
	h.server.db.Store(takesAll)
	h.clock.pass(h.server.limits.StatsLife)
	h.get("/v1/health").want(200)
	if !h.server.Stats().Ready {
		t.Error("not ready with a database that takes all")
	}
}
