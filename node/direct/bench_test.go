package direct

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// BenchmarkSend measures envelopes of 1 KiB with acknowledgement over loopback.
func BenchmarkSend(b *testing.B) {
	for _, over := range []string{quicLoopback, tcpLoopback} {
		b.Run(over, func(b *testing.B) {
			from, to := newNode(b, listen(over)), newNode(b, listen(over), manual(func(d Delivery) { d.Ack() }))
			from.dial(to.target())
			var wg sync.WaitGroup
			e := numbered(0, 1024)
			id := to.id()
			for i := 0; b.Loop(); i++ {
				e := numbered(i, 1024)
				wg.Add(1)
				for {
					err := from.Send(id, e, func(err error) {
						if err != nil {
							b.Error(err)
						}
						wg.Done()
					})
					if err == nil {
						break
					}
					if !errors.Is(err, ErrBusy) {
						b.Fatal(err)
					}
					time.Sleep(20 * time.Microsecond)
				}
			}
			wg.Wait()
			b.SetBytes(int64(len(e.Data)))
		})
	}
}
