package gateway

import "sync"

// watch tells requests that wait of changes to the messages that they wait for.
type watch struct {
	mu sync.Mutex
	by map[string]map[chan struct{}]bool // by message id
	n  int
}

func newWatch() watch { return watch{by: map[string]map[chan struct{}]bool{}} }

// on returns a channel that has a value when one of some messages has changed since it
// was last looked at, and how to end that; false if most already wait.
func (w *watch) on(ids []string, most int) (<-chan struct{}, func(), bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n >= most {
		return nil, nil, false
	}
	w.n++
	c := make(chan struct{}, 1)
	for _, id := range ids {
		if w.by[id] == nil {
			w.by[id] = map[chan struct{}]bool{}
		}
		w.by[id][c] = true
	}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.n--
		for _, id := range ids {
			delete(w.by[id], c)
			if len(w.by[id]) == 0 {
				delete(w.by, id)
			}
		}
	}, true
}

// changed is for (*store.Store).OnChange.
func (w *watch) changed(ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == 0 {
		return
	}
	for _, id := range ids {
		for c := range w.by[id] {
			select {
			case c <- struct{}{}:
			default: // it has not looked yet
			}
		}
	}
}
