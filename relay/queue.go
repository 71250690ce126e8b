package relay

import "sync"

// queue holds the frames that wait to be written to one connection. It is
// bounded: whoever may wait uses push, whoever may not uses offer.
type queue struct {
	maxFrames, maxBytes int

	mu      sync.Mutex
	changed sync.Cond
	frames  [][]byte
	bytes   int
	writing bool
	closed  bool
}

func newQueue(frames, bytes int) *queue {
	q := &queue{maxFrames: frames, maxBytes: bytes}
	q.changed.L = &q.mu
	return q
}

// push appends a frame, waiting for room. It returns false once the queue is
// closed.
func (q *queue) push(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && !q.room(frame) {
		q.changed.Wait()
	}
	return q.add(frame)
}

// offer appends a frame if there is room now.
func (q *queue) offer(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.room(frame) && q.add(frame)
}

// room: a frame longer than the whole queue may stand in it alone.
func (q *queue) room(frame []byte) bool {
	return len(q.frames) == 0 || len(q.frames) < q.maxFrames && q.bytes+len(frame) <= q.maxBytes
}

func (q *queue) add(frame []byte) bool {
	if q.closed {
		return false
	}
	q.frames = append(q.frames, frame)
	q.bytes += len(frame)
	q.changed.Broadcast()
	return true
}

// pop waits for the oldest frame; asking for it says that the one before is
// written. It returns false once the queue is closed.
func (q *queue) pop() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing = false
	q.changed.Broadcast()
	for !q.closed && len(q.frames) == 0 {
		q.changed.Wait()
	}
	if q.closed {
		return nil, false
	}
	frame := q.frames[0]
	q.frames[0] = nil
	q.frames = q.frames[1:]
	q.bytes -= len(frame)
	q.writing = true
	return frame, true
}

// drained waits until everything pushed so far is written. It returns false once
// the queue is closed.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && (q.writing || len(q.frames) > 0) {
		q.changed.Wait()
	}
	return !q.closed
}

// close drops what waits and releases everybody.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.frames, q.bytes = nil, 0
	q.changed.Broadcast()
}
