package main

import (
	"errors"
	"time"

	"amesh/testnet/lab/bench"

	"github.com/nats-io/nats.go"
)

const (
	pairs = 4
	// inFlight is how many messages of a pair may be on their way; nats.go stalls
	// over WebSocket with many more.
	inFlight = 1000
	// perWrite is how many frames our client puts into one write.
	perWrite = 16
)

// window bounds what is on its way between a sender and a receiver.
type window struct {
	tokens chan struct{}
	n      int
}

// The window moves in steps, so that counting costs next to nothing.
const step = 50

func newWindow(n int) *window {
	w := &window{tokens: make(chan struct{}, n/step)}
	for range n / step {
		w.tokens <- struct{}{}
	}
	return w
}

// sent waits when i messages before this one are too many.
func (w *window) sent(i int) error {
	if i%step != 0 {
		return nil
	}
	select {
	case <-w.tokens:
		return nil
	case <-time.After(patience):
		return errors.New("messages are lost, or the server is stuck")
	}
}

// got counts a message that came; after the last one the window is whole again.
func (w *window) got(last bool) {
	if w.n++; w.n == step || last {
		w.n = 0
		w.tokens <- struct{}{}
	}
}

// forward is messages between agents who are all there.
func (h *house) forward(relay *server) (bench.Case, error) {
	c := bench.Case{Name: "forward 1 KiB online, 4 pairs, against NATS over WebSocket", Bar: 0.5, Aim: 1, Slice: 400 * time.Millisecond}
	peer, err := h.start("nats")
	if err != nil {
		return c, err
	}
	var ours, theirs [pairs]func(n int) error
	for i := range pairs {
		if ours[i], err = h.relayPair(relay.addr); err != nil {
			return c, err
		}
		if theirs[i], err = h.natsPair(peer.addr); err != nil {
			return c, err
		}
	}
	c.Product, c.Floor = allPairs(ours), allPairs(theirs)
	return c, nil
}

func allPairs(pair [pairs]func(n int) error) bench.Run {
	return func(n int) (time.Duration, error) {
		start := time.Now()
		err := atOnce(pairs, func(i int) error { return pair[i]((n + i) / pairs) })
		return time.Since(start), err
	}
}

func (h *house) relayPair(addr string) (func(n int) error, error) {
	a, err := join(addr)
	if err != nil {
		return nil, err
	}
	b, err := join(addr)
	if err != nil {
		return nil, err
	}
	frame := message(b.name)
	return func(n int) error {
		w := newWindow(inFlight)
		return atOnce(2, func(side int) error {
			if side == 0 {
				return a.stream(frame, n, w)
			}
			for i := range n {
				if got, err := b.next(); err != nil || len(got) < frameSize {
					return errors.Join(err, errWrong)
				}
				w.got(i == n-1)
			}
			return nil
		})
	}, nil
}

var errWrong = errors.New("not the frame that was expected")

// stream sends a frame n times, several in a write.
func (a *agent) stream(frame []byte, n int, w *window) error {
	for i := range n {
		if i%perWrite == 0 && i > 0 || i%step == 0 {
			if err := a.flush(); err != nil {
				return err
			}
		}
		if err := w.sent(i); err != nil {
			return err
		}
		a.add(frame)
	}
	return a.flush()
}

func (h *house) natsPair(url string) (func(n int) error, error) {
	a, err := h.natsJoin(url)
	if err != nil {
		return nil, err
	}
	b, err := h.natsJoin(url)
	if err != nil {
		return nil, err
	}
	subject := nats.NewInbox()
	body := []byte(text(frameSize))
	var w *window
	var left int
	done := make(chan struct{})
	_, err = b.Subscribe(subject, func(*nats.Msg) {
		left--
		w.got(left == 0)
		if left == 0 {
			done <- struct{}{}
		}
	})
	if err != nil {
		return nil, err
	}
	return func(n int) error {
		if w, left = newWindow(inFlight), n; n == 0 {
			return nil
		}
		// So that the subscription is there, and sees what was just set.
		if err := b.Flush(); err != nil {
			return err
		}
		for i := range n {
			if err := w.sent(i); err != nil {
				return err
			}
			if err := a.Publish(subject, body); err != nil {
				return err
			}
		}
		if err := a.Flush(); err != nil {
			return err
		}
		<-done
		return nil
	}, nil
}

func (h *house) natsJoin(url string) (*nats.Conn, error) {
	c, err := nats.Connect(url)
	if err == nil {
		h.atEnd(func() error { c.Close(); return nil })
	}
	return c, err
}
