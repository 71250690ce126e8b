package dht

import (
	"context"
	"errors"
	"sync"

	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
)

var errStoreFull = errors.New("record store is full")

// boundedStore keeps records in memory up to a number of bytes, keys included. It refuses new
// ones rather than evict: whoever may push others out by writing more could
// silence any agent, while a refused agent is told and goes by its relays.
type boundedStore struct {
	ds.Batching
	max int64

	mu   sync.Mutex
	used int64
}

func newBoundedStore(max int64) *boundedStore {
	return &boundedStore{Batching: dssync.MutexWrap(ds.NewMapDatastore()), max: max}
}

// Put stores value under key, or returns errStoreFull.
func (s *boundedStore) Put(ctx context.Context, key ds.Key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	grow := entrySize(key, len(value)) - s.size(ctx, key)
	if grow > 0 && s.used+grow > s.max {
		return errStoreFull
	}
	if err := s.Batching.Put(ctx, key, value); err != nil {
		return err
	}
	s.used += grow
	return nil
}

// Delete removes key and gives its bytes back.
func (s *boundedStore) Delete(ctx context.Context, key ds.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.size(ctx, key)
	if err := s.Batching.Delete(ctx, key); err != nil {
		return err
	}
	s.used -= gone
	return nil
}

// Batch goes through Put and Delete, so that it is counted too.
func (s *boundedStore) Batch(context.Context) (ds.Batch, error) { return ds.NewBasicBatch(s), nil }

func (s *boundedStore) size(ctx context.Context, key ds.Key) int64 {
	n, err := s.Batching.GetSize(ctx, key)
	if err != nil {
		return 0
	}
	return entrySize(key, n)
}

// entrySize counts the key too: of a provider record it is nearly everything.
func entrySize(key ds.Key, value int) int64 { return int64(len(key.String()) + value) }
