package schema

import (
	"errors"
	"strings"
	"sync"
	"testing"
)

func schemaOf(t testing.TB, name, definition string) Schema {
	t.Helper()
	return Schema{ID: id(t, name), Definition: []byte(definition)}
}

// Rows 72, 73, 75 and 76.
func TestManage(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newService(t, Config{Registry: newMemory(t, nil)})
	if _, err := s.Register(ctx, schemaOf(t, messageV1, messageDefinition), false); err != nil {
		t.Fatal(err)
	}
	first, err := s.Get(ctx, id(t, messageV1))
	if err != nil || first.Published.IsZero() || !first.Updated.IsZero() {
		t.Errorf("%+v, %v", first, err)
	}
	if _, err := s.Register(ctx, schemaOf(t, messageV1, messageDefinition), false); !errors.Is(err, ErrExists) {
		t.Errorf("registered twice: %v", err)
	}
	var refused *DefinitionError
	if _, err := s.Register(ctx, schemaOf(t, messageV2, `{"type":"text"}`), false); !errors.As(err, &refused) {
		t.Errorf("no JSON Schema: %v", err)
	}
	breaking := schemaOf(t, messageV1, `{"type":"object","required":["zzz"]}`)
	var incompatible *IncompatibleError
	_, _, err = s.Update(ctx, breaking, false)
	if !errors.As(err, &incompatible) || len(incompatible.Diff.Changes) == 0 || !strings.Contains(err.Error(), `/required: "zzz" is required now`) {
		t.Errorf("breaking: %v", err)
	}
	if got, _ := s.Get(ctx, id(t, messageV1)); string(got.Definition) != messageDefinition {
		t.Error("a refused definition was stored")
	}
	if diff, created, err := s.Update(ctx, breaking, true); err != nil || created || len(diff.Changes) == 0 {
		t.Errorf("forced: %+v, %v, %v", diff, created, err)
	}
	got, err := s.Get(ctx, id(t, messageV1))
	if err != nil || string(got.Definition) != string(breaking.Definition) || !got.Published.Equal(first.Published) || got.Updated.IsZero() {
		t.Errorf("after force: %+v, %v", got, err)
	}
	if _, created, err := s.Update(ctx, schemaOf(t, messageV2, `true`), false); err != nil || !created {
		t.Errorf("put of a new one: %v, %v", created, err)
	}
	if _, err := s.Register(ctx, schemaOf(t, messageV2, `{"required":["a"]}`), true); err != nil {
		t.Errorf("registered by force: %v", err)
	}
	if st, err := s.Stats(ctx); err != nil || st.Total != 2 || st.Domains["test"] != 2 || st.Entities["message"] != 2 {
		t.Errorf("%+v, %v", st, err)
	}
	if diff, err := s.Compare(ctx, id(t, messageV1), id(t, messageV2)); err != nil || diff.Allows(ModeBackward, false) {
		t.Errorf("%+v, %v", diff, err)
	}
	if err := s.Remove(ctx, id(t, messageV2)); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, id(t, messageV2)); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
}

// What is written is seen at once, however fresh the answers are taken for.
func TestChangesAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newService(t, Config{Registry: newMemory(t, nil), Fresh: 1 << 40})
	valid := func(payload string) bool {
		r, err := s.Check(ctx, Request{Schema: messageV1, Payload: []byte(payload), Recipients: []Recipient{{}}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Decisions[0].Accept
	}
	if valid(`1`) {
		t.Error("valid without a schema")
	}
	for definition, want := range map[string]bool{`{"type":"string"}`: false, `{"type":"number"}`: true} {
		if _, _, err := s.Update(ctx, schemaOf(t, messageV1, definition), true); err != nil {
			t.Fatal(err)
		}
		if valid(`1`) != want {
			t.Errorf("%s is not used", definition)
		}
	}
	if err := s.Remove(ctx, id(t, messageV1)); err != nil || valid(`1`) {
		t.Errorf("valid by a schema that was removed, %v", err)
	}
}

func TestVersionsAreCompared(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newService(t, Config{Registry: newMemory(t, map[string]string{messageV1: `true`, messageV9: `{"type":"string"}`}),
		Compatibility: Compatibility{Versions: ModeBackward}})
	var incompatible *IncompatibleError
	if _, err := s.Register(ctx, schemaOf(t, messageV2, `{"type":"object"}`), false); !errors.As(err, &incompatible) || incompatible.From != id(t, messageV1) {
		t.Errorf("register: %v", err)
	}
	if _, _, err := s.Update(ctx, schemaOf(t, messageV2, `{"type":"object"}`), false); !errors.As(err, &incompatible) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Register(ctx, schemaOf(t, messageV2, `{"type":"object"}`), true); err != nil {
		t.Errorf("forced: %v", err)
	}
	if _, err := s.Register(ctx, schemaOf(t, "agntcy:test.message.v0", `false`), false); err != nil {
		t.Errorf("the lowest: %v", err)
	}
}

// Strict mode counts members that nobody declared.
func TestStrictCompatibility(t *testing.T) {
	t.Parallel()
	for strict, want := range map[bool]bool{false: true, true: false} {
		s := newService(t, Config{Registry: newMemory(t, map[string]string{messageV1: `{"type":"object"}`}), Compatibility: Compatibility{Strict: strict}})
		_, _, err := s.Update(t.Context(), schemaOf(t, messageV1, `{"type":"object","properties":{"a":{"type":"string"}}}`), false)
		if (err == nil) != want {
			t.Errorf("strict %v: %v", strict, err)
		}
	}
}

func TestOneOfManyRegistersFirst(t *testing.T) {
	t.Parallel()
	s := newService(t, Config{Registry: newMemory(t, nil)})
	won := make(chan bool, 8)
	var wg sync.WaitGroup
	for range cap(won) {
		wg.Go(func() {
			_, err := s.Register(t.Context(), schemaOf(t, messageV1, `true`), false)
			if err != nil && !errors.Is(err, ErrExists) {
				t.Error(err)
			}
			won <- err == nil
		})
	}
	wg.Wait()
	close(won)
	n := 0
	for ok := range won {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d registered, want 1", n)
	}
}
