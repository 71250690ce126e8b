package relay

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/relay/socket"
)

// stuckQueue is a queue whose peer reads nothing until it is told to.
func stuckQueue(l Limits, failed func(error)) (q *queue, peer net.Conn) {
	peer, ours := net.Pipe()
	q = newQueue(l, func([]byte) {}, failed)
	q.open(socket.New(ours, nil, 1))
	return q, peer
}

func TestQueueIsBoundedByWhatIsNotWritten(t *testing.T) {
	for name, l := range map[string]Limits{
		"frames": {QueueFrames: 3, QueueBytes: 1 << 20, WriteWait: time.Hour},
		"bytes":  {QueueFrames: 100, QueueBytes: 25, WriteWait: time.Hour}, // with a head of two bytes each
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, peer := stuckQueue(l, func(error) {})
				for i := range 3 {
					if !q.offer(fmt.Appendf(nil, "{%05d}", i)) {
						t.Errorf("no room for frame %d", i)
					}
				}
				if q.offer([]byte("{too much}")) {
					t.Error("there was room for one more")
				}
				pushed := make(chan bool)
				go func() { pushed <- q.push([]byte("{later}")) }()
				synctest.Wait()
				select {
				case <-pushed:
					t.Fatal("push did not wait")
				default:
				}
				go func() {
					b := make([]byte, 100)
					for {
						if _, err := peer.Read(b); err != nil {
							return
						}
					}
				}()
				if !<-pushed || !q.drained() {
					t.Error("the queue was not emptied")
				}
				q.close()
				if q.offer([]byte("{}")) || q.push([]byte("{}")) || q.drained() {
					t.Error("a closed queue takes frames")
				}
				q.idle()
				peer.Close()
			})
		})
	}
}

// T47: who waits for a peer that never reads is released when its time is over.
func TestQueueOfAPeerWhoNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed error
		var q *queue
		l := Limits{QueueFrames: 1, QueueBytes: 1 << 20, WriteWait: 10 * time.Second}
		q, peer := stuckQueue(l, func(err error) { failed = err })
		defer peer.Close()
		start := time.Now()
		if !q.push([]byte("{1}")) || q.push([]byte("{2}")) {
			t.Error("the second frame found room")
		}
		q.idle()
		if took := time.Since(start); took != l.WriteWait {
			t.Errorf("cut after %v", took)
		}
		synctest.Wait()
		if failed == nil {
			t.Error("nobody was told")
		}
	})
}

// A frame longer than the whole queue may stand in it alone.
func TestQueueTakesOneLongFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, peer := stuckQueue(Limits{QueueFrames: 10, QueueBytes: 10, WriteWait: time.Hour}, func(error) {})
		if !q.offer([]byte("{"+strings.Repeat("x", 100)+"}")) || q.offer([]byte("{}")) {
			t.Error("want room for one")
		}
		q.close()
		peer.Close()
		q.idle()
	})
}
