package main

import (
	"errors"
	"time"

	"amesh/testnet/lab/bench"

	"github.com/nats-io/nats.go"
)

// latency is a message and its answer, when there is nothing else to do: two
// forwardings. It counts as long as the median of them.
func (h *house) latency(relay *server) (bench.Case, error) {
	c := bench.Case{Name: "latency of a message and its answer (p50), against NATS request-reply", Bar: 1, Aim: 2, Slice: 150 * time.Millisecond}
	peer, err := h.start("nats")
	if err != nil {
		return c, err
	}
	ours, err := relayAsk(relay.addr)
	if err != nil {
		return c, err
	}
	theirs, err := h.natsAsk(peer.addr)
	if err != nil {
		return c, err
	}
	c.Product, c.Floor = typical(ours), typical(theirs)
	return c, nil
}

func typical(op func() error) bench.Run {
	return func(n int) (time.Duration, error) {
		times := make([]time.Duration, n)
		for i := range times {
			start := time.Now()
			if err := op(); err != nil {
				return 0, err
			}
			times[i] = time.Since(start)
		}
		return time.Duration(n) * bench.Median(times), nil
	}
}

func relayAsk(addr string) (func() error, error) {
	a, err := join(addr)
	if err != nil {
		return nil, err
	}
	b, err := join(addr)
	if err != nil {
		return nil, err
	}
	question, answer := message(b.name), message(a.name)
	go func() {
		for {
			if _, err := b.next(); err != nil || b.send(answer) != nil {
				return
			}
		}
	}()
	return func() error {
		if err := a.send(question); err != nil {
			return err
		}
		got, err := a.next()
		if err == nil && len(got) < frameSize {
			err = errWrong
		}
		return err
	}, nil
}

func (h *house) natsAsk(url string) (func() error, error) {
	a, err := h.natsJoin(url)
	if err != nil {
		return nil, err
	}
	b, err := h.natsJoin(url)
	if err != nil {
		return nil, err
	}
	body := []byte(text(frameSize))
	_, err = b.Subscribe("question", func(m *nats.Msg) { _ = m.Respond(body) })
	if err := errors.Join(err, b.Flush()); err != nil {
		return nil, err
	}
	return func() error {
		_, err := a.Request("question", body, patience)
		return err
	}, nil
}
