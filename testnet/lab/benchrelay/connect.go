package main

import (
	"time"

	"amesh/testnet/lab/bench"
)

const (
	// connecting is how many connect at a time.
	connecting = 16
	// connectBuffer is small, because a connection lives for two frames.
	connectBuffer = 1 << 10
)

// connect is upgrading and being accepted, against upgrading alone as one does who has
// no relay to write: net/http and the library that our clients use. The relay's own
// upgrade is no floor, for it gets faster together with what is measured.
func (h *house) connect(relay *server) (bench.Case, error) {
	c := bench.Case{Name: "connect and authenticate, against coder/websocket upgrading", Bar: 0.7, Aim: 0.9, Slice: 300 * time.Millisecond}
	peer, err := h.start("plain")
	if err != nil {
		return c, err
	}
	agents := make([]*agent, 1024)
	for i := range agents {
		if agents[i], err = newAgent(); err != nil {
			return c, err
		}
	}
	c.Product = func(n int) (time.Duration, error) {
		hellos := make([][]byte, n)
		for i := range hellos {
			hellos[i] = agents[i%len(agents)].hello()
		}
		return allConnecting(n, func(i int) error { return visit(relay.addr, hellos[i]) })
	}
	c.Floor = func(n int) (time.Duration, error) {
		return allConnecting(n, func(int) error { return visit(peer.addr, nil) })
	}
	return c, nil
}

func allConnecting(n int, visit func(i int) error) (time.Duration, error) {
	start := time.Now()
	err := atOnce(connecting, func(worker int) error {
		for i := worker; i < n; i += connecting {
			if err := visit(i); err != nil {
				return err
			}
		}
		return nil
	})
	return time.Since(start), err
}

func visit(addr string, hello []byte) error {
	s, err := dial(addr, connectBuffer)
	if err != nil {
		return err
	}
	defer s.leave()
	if hello == nil {
		return nil
	}
	return s.join(hello)
}
