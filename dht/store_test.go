package dht

import (
	"errors"
	"testing"

	ds "github.com/ipfs/go-datastore"
)

func TestStoreIsBounded(t *testing.T) {
	ctx := budget(t)
	s := newBoundedStore(10 + 2*2) // keys are two bytes
	a, b := ds.NewKey("a"), ds.NewKey("b")
	put := func(k ds.Key, n int) error { return s.Put(ctx, k, make([]byte, n)) }
	steps := []struct {
		name string
		do   func() error
		want error
	}{
		{"first", func() error { return put(a, 6) }, nil},
		{"too much beside it", func() error { return put(b, 5) }, errStoreFull},
		{"just enough", func() error { return put(b, 4) }, nil},
		{"same size again", func() error { return put(a, 6) }, nil},
		{"growing", func() error { return put(a, 7) }, errStoreFull},
		{"shrinking", func() error { return put(a, 1) }, nil},
		{"room again", func() error { return put(b, 9) }, nil},
		{"delete", func() error { return s.Delete(ctx, b) }, nil},
		{"delete what is gone", func() error { return s.Delete(ctx, b) }, nil},
		{"room of the deleted", func() error { return put(a, 10) }, nil},
	}
	for _, step := range steps {
		if err := step.do(); !errors.Is(err, step.want) {
			t.Errorf("%s: %v, want %v", step.name, err, step.want)
		}
	}
	batch, err := s.Batch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.Put(ctx, b, []byte{1}); err != nil {
		t.Fatal(err)
	}
	if err := batch.Commit(ctx); !errors.Is(err, errStoreFull) {
		t.Errorf("batch over the limit: %v, want errStoreFull", err)
	}
}
