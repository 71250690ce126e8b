package direct

import "sync"

// events calls OnPeer from one goroutine and in order. Only the newest state of a
// peer is kept, so strangers who come and go can't make the queue grow beyond
// the number of peers.
type events struct {
	tell func(peerID string, up bool)
	wake chan struct{}
	done chan struct{}

	mu    sync.Mutex
	order []string
	state map[string]bool // of those in order
	told  map[string]bool // peers that are up as far as OnPeer knows
}

func newEvents(tell func(string, bool)) *events {
	if tell == nil {
		tell = func(string, bool) {}
	}
	return &events{
		tell: tell, wake: make(chan struct{}, 1), done: make(chan struct{}),
		state: make(map[string]bool), told: make(map[string]bool),
	}
}

func (e *events) add(peerID string, up bool) {
	e.mu.Lock()
	if _, waiting := e.state[peerID]; !waiting {
		e.order = append(e.order, peerID)
	}
	e.state[peerID] = up
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run tells until close was called and everything is told.
func (e *events) run() {
	for {
		select {
		case <-e.wake:
			e.flush()
		case <-e.done:
			e.flush()
			return
		}
	}
}

func (e *events) close() { close(e.done) }

func (e *events) flush() {
	for {
		peerID, up, ok := e.next()
		if !ok {
			return
		}
		e.tell(peerID, up)
	}
}

// next returns the next change that OnPeer doesn't know yet.
func (e *events) next() (string, bool, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.order) > 0 {
		peerID := e.order[0]
		e.order = e.order[1:]
		up := e.state[peerID]
		delete(e.state, peerID)
		if up == e.told[peerID] {
			continue
		}
		if up {
			e.told[peerID] = true
		} else {
			delete(e.told, peerID)
		}
		return peerID, up, true
	}
	return "", false, false
}
