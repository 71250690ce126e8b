package store

import (
	"sync"
	"testing"
	"time"

	"amesh/internal/sqldb/sqltest"
)

func TestWithPostgresBounds(t *testing.T) {
	kit.Postgres(t, sqltest.Cases{"a store holds no more connections than it may": testBounds})
}

func testBounds(t *testing.T, url string) {
	for asked, want := range map[int]int{0: 16, 1: 4, 4: 4, 20: 20} {
		s, err := OpenBounded(t.Context(), url, Bounds{Connections: asked, IdleTime: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := s.Agents(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		st := s.db.Pool().Stats()
		if st.MaxOpenConnections != want || st.OpenConnections > want {
			t.Errorf("%d connections asked for: %d open of %d, want %d at most", asked, st.OpenConnections, st.MaxOpenConnections, want)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
