package agents

import (
	"errors"
	"slices"
	"testing"
	"time"

	"amesh/gateway/store"
)

// Two gateways on one database, with the real store between them.
func TestDirectoriesShareAStore(t *testing.T) {
	st, err := store.OpenMemory(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	open := func() *Directory {
		d, err := New(Config{Domain: "north.test", Rows: st})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	load := func(d *Directory) {
		t.Helper()
		if err := d.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	here, there := open(), open()
	load(here)
	load(there)
	end := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	a, key := register(t, here, Registration{
		Address: "Ann", Mode: "push", PushTarget: "https://ann.test/in", Headers: map[string]string{"X-A": "b"}, Schemas: []string{"agntcy:shop.*"},
		Role: "clerk", Description: "takes orders", Capabilities: []string{"orders"}, KeyExpires: end,
	})
	if _, _, err := there.Register(t.Context(), Registration{Address: "ANN", Mode: "pull"}); !errors.Is(err, ErrExists) {
		t.Errorf("the same name elsewhere: %v", err)
	}
	load(there)
	b, ok := there.Authenticate(key)
	if !ok || b.Address != a.Address || b.Mode != a.Mode || b.PushTarget != a.PushTarget || b.Headers["X-A"] != "b" || !b.RequiresSchema ||
		b.PushSecret != a.PushSecret || b.Role != a.Role || b.Description != a.Description || !slices.Equal(b.Capabilities, a.Capabilities) ||
		!b.KeyExpires.Equal(end) || !b.Created.Equal(a.Created.Truncate(time.Microsecond)) {
		t.Errorf("%+v\n%+v", a, b)
	}
	_, next, err := here.Rotate(t.Context(), "ann", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	role := "manager"
	if _, err := there.Update(t.Context(), "ann", Change{Role: &role}); err != nil {
		t.Fatal(err)
	}
	load(here)
	for name, d := range map[string]*Directory{"here": here, "there": there} {
		got, ok := d.Authenticate(next)
		if !ok || got.Role != role {
			t.Errorf("%s: %+v", name, got)
		}
		if _, ok := d.Authenticate(key); ok {
			t.Errorf("%s: the old key is back", name)
		}
	}
	there.Seen(b)
	if err := there.touch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := there.Remove(t.Context(), "Ann"); err != nil {
		t.Fatal(err)
	}
	load(here)
	if here.Count() != 0 {
		t.Error("still there")
	}
	if err := here.Remove(t.Context(), "ann"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// Of several gateways on one database each knows at once whom another one registered, and
// strangers cannot make it ask the database as often as they like.
func TestWhoWasRegisteredElsewhereIsKnownAtOnce(t *testing.T) {
	r := &rows{}
	now := time.Now()
	shared := func(c *Config) { c.Shared, c.Clock = true, func() time.Time { return now } }
	here, there := newDirectory(t, r, shared), newDirectory(t, r, shared)
	_, key := register(t, there, Registration{Address: "ann"})
	if a, ok := here.Search(t.Context(), "Ann"); !ok || a.Address != "ann@north.test" {
		t.Errorf("the name: %+v", a)
	}
	_, other := register(t, there, Registration{Address: "bob"})
	if a, ok := here.Identify(t.Context(), other); !ok || a.Address != "bob@north.test" {
		t.Errorf("the key: %+v", a)
	}
	_, next, err := there.Rotate(t.Context(), "ann", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := here.Confirm(t.Context(), "ann", next); !ok {
		t.Error("the new key of ann is not known")
	}
	if _, ok := here.Identify(t.Context(), key); ok {
		t.Error("the old key still counts")
	}
	asked := r.questions()
	for range 10 * LooksPerSecond {
		here.Search(t.Context(), "nobody")
		here.Identify(t.Context(), "nobody's key")
	}
	if n := r.questions() - asked; n > LooksPerSecond {
		t.Errorf("strangers asked the database %d times", n)
	}
	register(t, there, Registration{Address: "cid"})
	now = now.Add(time.Second)
	if _, ok := here.Search(t.Context(), "cid"); !ok {
		t.Error("nobody is looked for any more")
	}
	asked = r.questions()
	alone := newDirectory(t, r, nil)
	alone.Search(t.Context(), "nobody")
	if n := r.questions() - asked; n != 1 {
		t.Errorf("a gateway alone asked its database %d times", n)
	}
}
