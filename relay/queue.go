package relay

import (
	"sync"
	"time"

	"amesh/relay/socket"
)

// queue holds the frames that wait to be written to one connection, as they go over
// the wire, so that all that wait leave in one write. At rest it has neither a buffer
// nor a goroutine: whoever adds a frame writes as much as the kernel takes at once,
// and a goroutine waits with the rest. The queue is bounded by what was not yet
// written: whoever may wait uses push, whoever may not uses offer.
type queue struct {
	max    Size
	wait   time.Duration // for one frame to leave
	added  func(frame []byte)
	failed func(error) // called when a frame does not leave

	mu        sync.Mutex
	changed   sync.Cond
	ws        *socket.Conn
	waiting   *batch // nil when nothing waits
	unwritten Size   // in waiting and in the write
	writing   bool   // somebody writes, and will write what is added meanwhile
	closed    bool
}

// batch is frames that leave in one write.
type batch struct {
	bytes  []byte
	frames int
}

const (
	// keepBatch is the longest batch whose memory is used again.
	keepBatch = 256 << 10
	// helpings is how many batches are written by somebody who came to add one,
	// before a goroutine takes over from him.
	helpings = 4
)

var batches = sync.Pool{New: func() any { return new(batch) }}

func newQueue(l Limits, added func(frame []byte), failed func(error)) *queue {
	q := &queue{max: Size{Messages: l.QueueFrames, Bytes: int64(l.QueueBytes)}, wait: l.WriteWait, added: added, failed: failed}
	q.changed.L = &q.mu
	return q
}

// open gives the queue its socket.
func (q *queue) open(ws *socket.Conn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ws = ws
}

// push adds a frame, waiting for room, and has it written. It returns false once
// the queue is closed.
func (q *queue) push(frame []byte) bool {
	ok := q.put(frame)
	q.flush()
	return ok
}

// offer adds a frame if there is room now, and has it written.
func (q *queue) offer(frame []byte) bool {
	ok := q.tryPut(frame)
	q.flush()
	return ok
}

// put is push for somebody who has more, and calls flush after the last.
func (q *queue) put(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && !q.room(len(frame)) {
		if q.startWriting(); q.writing {
			q.changed.Wait()
		}
	}
	return q.addFrame(frame)
}

// tryPut is offer for somebody who calls flush later.
func (q *queue) tryPut(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.room(len(frame)) && q.addFrame(frame)
}

// tryParts is tryPut for a text frame in parts, which nobody counts.
func (q *queue) tryParts(parts ...[]byte) bool {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.room(n) && q.add(socket.Text, parts...)
}

// control adds a control frame, waiting for nothing, and has it written. It may be
// refused: a peer that makes us answer without reading is too slow soon.
func (q *queue) control(op socket.Op, payload []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	ok := q.room(len(payload)) && q.add(op, payload)
	q.startWriting()
	return ok
}

// flush has everything written that waits. It does not wait for the peer.
func (q *queue) flush() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.startWriting()
}

// room: a frame longer than the whole queue may stand in it alone.
func (q *queue) room(n int) bool {
	return q.unwritten.Messages == 0 || q.unwritten.Fits(int64(n), q.max)
}

// addFrame adds a whole frame. What is not JSON is binary.
func (q *queue) addFrame(frame []byte) bool {
	op := socket.Text
	if frame[0] != '{' {
		op = socket.Binary
	}
	ok := q.add(op, frame)
	if ok {
		q.added(frame)
	}
	return ok
}

func (q *queue) add(op socket.Op, parts ...[]byte) bool {
	if q.closed {
		return false
	}
	if q.waiting == nil {
		q.waiting = batches.Get().(*batch)
	}
	before := len(q.waiting.bytes)
	q.waiting.bytes = socket.AppendFrame(q.waiting.bytes, op, parts...)
	q.waiting.frames++
	q.unwritten = q.unwritten.Plus(1, int64(len(q.waiting.bytes)-before))
	return true
}

// startWriting writes what can be written at once, unlocked meanwhile, and leaves the
// rest to a goroutine.
func (q *queue) startWriting() {
	if q.writing || q.waiting == nil {
		return
	}
	q.writing = true
	for range helpings {
		b := q.take()
		if b == nil {
			return
		}
		q.mu.Unlock()
		n, err := q.ws.TryWrite(b.bytes)
		q.mu.Lock()
		if err != nil || n < len(b.bytes) {
			go q.write(b, n)
			return
		}
		q.written(b)
	}
	if b := q.take(); b != nil {
		go q.write(b, 0)
	}
}

// write writes a batch, and what was added meanwhile. A frame that does not leave in
// time means a reader who does not read: it is cut, and what was not written stays
// in its mailbox.
func (q *queue) write(b *batch, written int) {
	for b != nil {
		err := q.ws.Write(b.bytes, written, q.wait)
		written = 0
		q.mu.Lock()
		q.written(b)
		if err != nil {
			q.shut()
		}
		b = q.take()
		q.mu.Unlock()
		if err != nil {
			q.failed(err)
		}
	}
}

// take gives what waits to whoever is writing; nil says that writing is over.
func (q *queue) take() *batch {
	b := q.waiting
	q.waiting = nil
	if b == nil {
		q.writing = false
		q.changed.Broadcast()
	}
	return b
}

func (q *queue) written(b *batch) {
	q.unwritten = q.unwritten.Plus(-b.frames, -int64(len(b.bytes)))
	if cap(b.bytes) <= keepBatch {
		b.bytes, b.frames = b.bytes[:0], 0
		batches.Put(b)
	}
	q.changed.Broadcast()
}

// drained waits until everything added so far is written. It returns false once the
// queue is closed.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && (q.writing || q.waiting != nil) {
		if q.startWriting(); q.writing {
			q.changed.Wait()
		}
	}
	return !q.closed
}

// close drops what waits and releases everybody.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut()
}

func (q *queue) shut() {
	q.closed, q.waiting = true, nil
	q.changed.Broadcast()
}

// idle waits until a closed queue writes no more.
func (q *queue) idle() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.writing {
		q.changed.Wait()
	}
}
