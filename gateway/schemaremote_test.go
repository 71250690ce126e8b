package gateway

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"amesh/gateway/auth"
	"amesh/gateway/schema"
)

// A gateway is a registry for others: signed schemas that one publishes there are those
// that it gets back.
func TestGatewayIsARegistry(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	keys := filepath.Join(t.TempDir(), "admin.keys")
	if err := os.WriteFile(keys, []byte("test-admin-key-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	service, err := schema.New(schema.Config{Registry: inMemory()})
	if err != nil {
		t.Fatal(err)
	}
	s := closed(t, func(c *Config) { c.Admins = auth.NewAdminKeys(keys, time.Now) })
	s.parts.Store(&parts{schemas: service})
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	remote := func(key string) *schema.Remote {
		r, err := schema.NewRemote(schema.RemoteConfig{
			URL: server.URL + "/v1/admin", Headers: map[string]string{"X-Admin-Key": key}, Keys: []crypto.PublicKey{public},
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := remote("test-admin-key-1")
	id := schema.ID{Domain: "test", Entity: "message", Version: 1}
	one := schema.Schema{ID: id, Definition: []byte(aMessage)}
	if one.Signature, err = schema.Sign(private, id, one.Definition); err != nil {
		t.Fatal(err)
	}
	if err := r.Put(ctx, one, false); err != nil {
		t.Fatal(err)
	}
	if err := r.Put(ctx, one, false); !errors.Is(err, schema.ErrExists) {
		t.Errorf("published twice: %v", err)
	}
	if err := r.Put(ctx, one, true); err != nil {
		t.Errorf("replaced: %v", err)
	}
	if got, err := r.Get(ctx, id); err != nil || got.Signature != one.Signature {
		t.Errorf("%+v, %v", got, err)
	}
	if ids, err := r.List(ctx, schema.Pattern{}); err != nil || len(ids) != 1 {
		t.Errorf("%v, %v", ids, err)
	}
	if err := remote("other").Put(ctx, one, true); !errors.Is(err, schema.ErrReadOnly) {
		t.Errorf("without the key: %v", err)
	}
	if err := r.Remove(ctx, id); err != nil {
		t.Error(err)
	}
	if _, err := r.Get(ctx, id); !errors.Is(err, schema.ErrNotFound) {
		t.Error(err)
	}
	if resp := ask(t, s.Handler(), http.MethodGet, "/v1/admin/schemas", "", "X-Admin-Key", "test-admin-key-1"); resp.StatusCode != http.StatusOK {
		t.Errorf("%d", resp.StatusCode)
	}
}
