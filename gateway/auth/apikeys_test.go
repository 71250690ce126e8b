package auth

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"amesh/gateway/store"
)

// keyRows is a table of keys in memory.
type keyRows struct {
	mu   sync.Mutex
	rows []store.APIKey
	err  error
}

func (r *keyRows) APIKeys(context.Context) ([]store.APIKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.rows), r.err
}

func (r *keyRows) AddAPIKey(_ context.Context, k store.APIKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, k)
	return r.err
}

func (r *keyRows) UpdateAPIKey(_ context.Context, k store.APIKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.rows {
		if r.rows[i].ID == k.ID {
			k.LastUsed = r.rows[i].LastUsed
			r.rows[i] = k
			return r.err
		}
	}
	return store.ErrNotFound
}

func (r *keyRows) TouchAPIKeys(_ context.Context, used map[string]time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.rows {
		if at, ok := used[r.rows[i].ID]; ok {
			r.rows[i].LastUsed = at
		}
	}
	return r.err
}

func (r *keyRows) RemoveAPIKey(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.rows)
	r.rows = slices.DeleteFunc(r.rows, func(k store.APIKey) bool { return k.ID == id })
	if len(r.rows) == before {
		return store.ErrNotFound
	}
	return r.err
}

func TestAPIKeyIsItsDomainsAndKeptAsAHash(t *testing.T) {
	rows := &keyRows{}
	k := NewAPIKeys(rows, time.Now, slog.New(slog.DiscardHandler))
	row, key, err := k.Make(t.Context(), "their gateway", "South.test.", []string{ScopeSend}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if len(key) != 43 || slices.ContainsFunc(rows.rows, func(r store.APIKey) bool { return strings.Contains(string(r.Hash), key) }) {
		t.Errorf("key %q", key)
	}
	got, err := k.Caller(key)
	if err != nil || got.Kind != Client || got.Domain != "south.test" || got.ID != row.ID || !got.May(ScopeSend) || got.May(ScopeRead) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, wrong := range map[string]string{
		"another": strings.Repeat("A", 43), "a beginning": key[:42], "longer": key + "A",
		"in other letters": strings.ToLower(key), "its hash": string(row.Hash), "endless": strings.Repeat("A", KeySize+1),
	} {
		if _, err := k.Caller(wrong); !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := k.Caller(""); !errors.Is(err, ErrNone) {
		t.Errorf("none: %v", err)
	}
}

func TestAPIKeyEndsByTimeRotationAndRemoval(t *testing.T) {
	now := time.Now()
	rows := &keyRows{}
	k := NewAPIKeys(rows, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	row, key, err := k.Make(t.Context(), "x", "south.test", nil, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	_, next, err := k.Rotate(t.Context(), row.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Caller(key); !errors.Is(err, ErrWrong) {
		t.Errorf("a rotated key: %v", err)
	}
	if got, err := k.Caller(next); err != nil || got.ID != row.ID {
		t.Errorf("the new key: %+v, %v", got, err)
	}
	now = now.Add(time.Hour)
	if _, err := k.Caller(next); !errors.Is(err, ErrExpired) {
		t.Errorf("an expired key: %v", err)
	}
	now = now.Add(-time.Minute)
	if err := k.Remove(t.Context(), row.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Caller(next); !errors.Is(err, ErrWrong) {
		t.Errorf("a removed key: %v", err)
	}
	if err := k.Remove(t.Context(), row.ID); !errors.Is(err, ErrNoSuchKey) {
		t.Errorf("removed twice: %v", err)
	}
	if _, _, err := k.Rotate(t.Context(), row.ID); !errors.Is(err, ErrNoSuchKey) {
		t.Errorf("rotated after its end: %v", err)
	}
}

// A key that was written and not told is lost, and so is the one that it replaced.
func TestAPIKeyThatWasMadeIsToldWhateverComesAfter(t *testing.T) {
	rows := &keyRows{}
	k := NewAPIKeys(onceRead{rows, new(int)}, time.Now, slog.New(slog.DiscardHandler))
	row, key, err := k.Make(t.Context(), "x", "south.test", nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Caller(key); err != nil {
		t.Errorf("the new key: %v", err)
	}
	_, next, err := k.Rotate(t.Context(), row.ID) // which reads once
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Caller(next); err != nil {
		t.Errorf("the next key: %v", err)
	}
	if _, err := k.Caller(key); !errors.Is(err, ErrWrong) {
		t.Errorf("the old key: %v", err)
	}
	if err := k.Remove(t.Context(), row.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Caller(next); !errors.Is(err, ErrWrong) {
		t.Errorf("the removed key: %v", err)
	}
}

// onceRead is a table that can be read once, and written to.
type onceRead struct {
	*keyRows
	reads *int
}

func (r onceRead) APIKeys(ctx context.Context) ([]store.APIKey, error) {
	if *r.reads++; *r.reads > 1 {
		return nil, errors.New("away")
	}
	return r.keyRows.APIKeys(ctx)
}

func TestAPIKeysThatCannotBe(t *testing.T) {
	k := NewAPIKeys(&keyRows{}, time.Now, slog.New(slog.DiscardHandler))
	for name, make := range map[string]func() error{
		"no domain":   func() error { _, _, err := k.Make(t.Context(), "x", "", nil, time.Time{}); return err },
		"no real one": func() error { _, _, err := k.Make(t.Context(), "x", "a b", nil, time.Time{}); return err },
		"no name":     func() error { _, _, err := k.Make(t.Context(), "", "a.test", nil, time.Time{}); return err },
		"a long name": func() error {
			_, _, err := k.Make(t.Context(), strings.Repeat("x", 101), "a.test", nil, time.Time{})
			return err
		},
		"an odd scope": func() error {
			_, _, err := k.Make(t.Context(), "x", "a.test", []string{"amtp:admin"}, time.Time{})
			return err
		},
		"over already": func() error {
			_, _, err := k.Make(t.Context(), "x", "a.test", nil, time.Now().Add(-time.Second))
			return err
		},
		"a broken name": func() error { _, _, err := k.Make(t.Context(), "x\ny", "a.test", nil, time.Time{}); return err },
	} {
		if err := make(); !errors.Is(err, ErrInvalidKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A key that another gateway of the database makes, rotates or removes counts here within a
// second, and what was used is written down.
func TestAPIKeysFollowTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := &keyRows{}
		log := slog.New(slog.DiscardHandler)
		here, there := NewAPIKeys(rows, time.Now, log), NewAPIKeys(rows, time.Now, log)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- here.Run(ctx) }()
		row, key, err := there.Make(ctx, "x", "south.test", nil, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := here.Caller(key); err != nil {
			t.Errorf("made elsewhere: %v", err)
		}
		time.Sleep(KeysEvery * WriteUsesEvery)
		if all, err := there.All(ctx); err != nil || len(all) != 1 || all[0].LastUsed.IsZero() {
			t.Errorf("its use is not known elsewhere: %v, %v", all, err)
		}
		if _, _, err := there.Rotate(ctx, row.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := here.Caller(key); !errors.Is(err, ErrWrong) {
			t.Errorf("rotated elsewhere: %v", err)
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What was known counts while the database is away.
func TestAPIKeysOutliveAnOutage(t *testing.T) {
	rows := &keyRows{}
	k := NewAPIKeys(rows, time.Now, slog.New(slog.DiscardHandler))
	_, key, err := k.Make(t.Context(), "x", "south.test", nil, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	rows.err = errors.New("away")
	if err := k.Load(t.Context()); !errors.Is(err, rows.err) {
		t.Errorf("load: %v", err)
	}
	if _, err := k.Caller(key); err != nil {
		t.Error(err)
	}
}
