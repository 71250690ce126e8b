package schema

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// memory is a registry in memory.
type memory struct {
	mu      sync.Mutex
	schemas map[ID]Schema
	asked   int
	down    bool
}

func (m *memory) Get(_ context.Context, id ID) (Schema, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.down {
		return Schema{}, ErrUnavailable
	}
	s, ok := m.schemas[id]
	if !ok {
		return Schema{}, ErrNotFound
	}
	return s, nil
}

func (m *memory) List(_ context.Context, p Pattern) ([]ID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	if m.down {
		return nil, ErrUnavailable
	}
	var ids []ID
	for id := range m.schemas {
		if p.Match(id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, ID.Compare)
	return ids, nil
}

func (m *memory) Put(_ context.Context, s Schema, replace bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.schemas[s.ID]; ok && !replace {
		return ErrExists
	}
	m.schemas[s.ID] = s
	return nil
}

func (m *memory) Remove(_ context.Context, id ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.schemas[id]; !ok {
		return ErrNotFound
	}
	delete(m.schemas, id)
	return nil
}

func newMemory(t testing.TB, definitions map[string]string) *memory {
	t.Helper()
	m := &memory{schemas: make(map[ID]Schema)}
	for name, text := range definitions {
		m.set(t, name, text)
	}
	return m
}

func (m *memory) set(t testing.TB, name, text string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.schemas[id(t, name)] = Schema{ID: id(t, name), Definition: []byte(text)}
}

func id(t testing.TB, s string) ID {
	t.Helper()
	id, err := ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newService(t testing.TB, cfg Config) *Service {
	t.Helper()
	// A machine that has more to do must not make a payload invalid.
	if cfg.Limits.Time == 0 {
		cfg.Limits.Time = time.Minute
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
