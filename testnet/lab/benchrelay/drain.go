package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"amesh/testnet/lab/bench"
)

// drain is how quickly an agent that comes back has all its mail, acknowledged.
func (h *house) drain(relay *server) (bench.Case, error) {
	c := bench.Case{Name: "drain of a full mailbox, 1 KiB each, against mosquitto QoS 1", Bar: 0.3, Aim: 1, Slice: 200 * time.Millisecond}
	addr, err := h.startMosquitto()
	if err != nil {
		return c, err
	}
	sender, err := join(relay.addr, "ack")
	if err != nil {
		return c, err
	}
	c.Product = inBoxes(func(n int) (time.Duration, error) {
		receiver, err := newAgent()
		if err != nil {
			return 0, err
		}
		if err := sender.fill(receiver.name, n); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := receiver.join(relay.addr, "ack"); err != nil {
			return 0, err
		}
		defer receiver.leave()
		err = receiver.takeAll(n)
		return time.Since(start), err
	})
	c.Floor = inBoxes(func(n int) (time.Duration, error) { return mqttDrain(addr, n) })
	return c, nil
}

// inBoxes drains n messages, no more than a mailbox holds at a time.
func inBoxes(drain bench.Run) bench.Run {
	return func(n int) (took time.Duration, err error) {
		for ; n > 0 && err == nil; n -= boxSize {
			var one time.Duration
			one, err = drain(min(n, boxSize))
			took += one
		}
		return took, err
	}
}

// fill leaves n messages.
func (a *agent) fill(to string, n int) error {
	w := newWindow(inFlight)
	return atOnce(2, func(side int) error {
		for i := range n {
			if side == 0 {
				if err := w.sent(i); err != nil {
					return err
				}
				if err := a.send(keep(to, i)); err != nil {
					return err
				}
				continue
			}
			answer, err := a.next()
			if err != nil || !bytes.Contains(answer, []byte(`"relayed"`)) {
				return errors.Join(err, fmt.Errorf("send answered with %s", answer))
			}
			w.got(i == n-1)
		}
		return nil
	})
}

// ackEvery is how many messages are acknowledged together.
const ackEvery = 64

// takeAll receives and acknowledges n messages. The pong says that the relay has
// seen the acknowledgements.
func (a *agent) takeAll(n int) error {
	var ids [][]byte
	for i := range n {
		frame, err := a.next()
		if err != nil {
			return err
		}
		id, ok := member(frame, "id")
		if !ok {
			return fmt.Errorf("%w: %s", errWrong, frame)
		}
		if ids = append(ids, id); len(ids) < ackEvery && i < n-1 {
			continue
		}
		ack := append([]byte(`{"type":"ack","message_ids":[`), bytes.Join(ids, []byte(","))...)
		if err := a.send(append(ack, "]}"...)); err != nil {
			return err
		}
		ids = nil
	}
	// Two, because the first may be answered beside the last acknowledgement.
	for range 2 {
		if err := a.send([]byte(`{"type":"ping","timestamp":"2026-11-20T09:22:47Z"}`)); err != nil {
			return err
		}
		if pong, err := a.next(); err != nil || !bytes.Contains(pong, []byte(`"pong"`)) {
			return errors.Join(err, errWrong)
		}
	}
	return nil
}

// member is a string of an object, with its quotes.
func member(frame []byte, name string) ([]byte, bool) {
	i := bytes.Index(frame, []byte(`"`+name+`":"`))
	if i < 0 {
		return nil, false
	}
	rest := frame[i+len(name)+3:]
	end := bytes.IndexByte(rest[1:], '"')
	if end < 0 {
		return nil, false
	}
	return bytes.Clone(rest[:end+2]), true
}
