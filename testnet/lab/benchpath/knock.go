package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"amesh/node/api"
	"amesh/testnet/lab/bench"
)

const (
	// delay is how long everything is on its way over the line.
	delay = 50 * time.Millisecond
	// Round trips from a knock until the peer has the first message, and at most.
	knockBar = 2.0
	grantBar = 1.0
)

// knocks are how many round trips it took until the peer had the first message: of a
// stranger, and with a grant. The quickest round counts: what is asked is how often
// something has to cross the line, and the machine's other work adds to it.
type knocks struct{ stranger, grant []float64 }

// countTrips puts a line with a delay between two places. In each there is a relay and who
// is homed on it, so that a message goes over the line once, when it is left at the other's relay.
// A stranger knocks at an agent who lets it in, and once more when only their grants are
// left. What has to be connected is connected before; what programs need for
// themselves is in the parts behind the point.
func (h *house) countTrips(binary string, rounds int) (*knocks, error) {
	var k knocks
	for range rounds {
		if err := h.countOnce(context.Background(), binary, &k); err != nil {
			return nil, err
		}
	}
	return &k, nil
}

func (h *house) countOnce(ctx context.Context, binary string, k *knocks) (err error) {
	round := new(house) // what it opens is closed before the next
	defer func() { err = errors.Join(err, round.close()) }()
	m, err := round.newMesh(ctx, binary, 2)
	if err != nil {
		return err
	}
	here, err := round.openDoor(m.relays[0].Relay)
	if err != nil {
		return err
	}
	there, err := round.openDoor(m.relays[1].Relay)
	if err != nil {
		return err
	}
	var all [4]*resident
	for i, name := range []string{"ann", "dan", "ben", "cat"} {
		if all[i], err = m.add(ctx, name, []*door{here, there}[i/2].url); err != nil {
			return err
		}
	}
	ann, dan, ben, cat := all[0], all[1], all[2], all[3]
	here.slow.Store(true)
	there.slow.Store(true)
	// Somebody else at the other place is knocked at, so that the line is open.
	for _, pair := range [][2]*resident{{ann, cat}, {ben, dan}} {
		if err := pair[1].admit(ctx, pair[0]); err != nil {
			return err
		}
		if _, err := pair[0].send(ctx, pair[1], "relayed"); err != nil {
			return err
		}
	}
	if err := ben.admit(ctx, ann); err != nil {
		return err
	}
	first, err := trip(ctx, ann, ben)
	if err != nil {
		return err
	}
	if err := forgetSessions(ctx, ann, ben); err != nil {
		return err
	}
	again, err := trip(ctx, ann, ben)
	k.stranger, k.grant = append(k.stranger, first), append(k.grant, again)
	return err
}

// trip sends a message and says how many round trips later it was there. Until then
// neither has told the other an address, so nothing goes another way.
func trip(ctx context.Context, ann, ben *resident) (float64, error) {
	came := make(chan error, 1)
	var at time.Time
	go func() {
		list, err := ben.api.Lease(ctx, "", api.LeaseRequest{Max: 1, WaitSeconds: int(grace.Seconds())})
		at = time.Now()
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("no message came in %v", grace)
		}
		if err == nil {
			_, err = ben.api.Ack(ctx, "", list[0].ID, api.AckRequest{})
		}
		came <- err
	}()
	start := time.Now()
	_, err := ann.send(ctx, ben, "relayed")
	err = errors.Join(err, <-came)
	return float64(at.Sub(start)) / float64(2*delay), err
}

// forgetSessions closes what sessions there are, at both ends.
func forgetSessions(ctx context.Context, ann, ben *resident) error {
	if _, err := ann.api.Kill(ctx, "", ben.amid); err != nil {
		return err
	}
	for {
		open, err := ben.api.Sessions(ctx, "", ann.amid)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(open, func(s api.Session) bool { return s.State != "closed" }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (k *knocks) missed() int {
	missed := 0
	for _, over := range []bool{slices.Min(k.stranger) > knockBar, slices.Min(k.grant) > grantBar} {
		if over {
			missed++
		}
	}
	return missed
}

func (k *knocks) report(w io.Writer, asJSON bool) error {
	for _, line := range []struct {
		name  string
		there []float64
		bar   float64
	}{{"knock", k.stranger, knockBar}, {"knock with a grant", k.grant, grantBar}} {
		var err error
		if asJSON {
			err = json.NewEncoder(w).Encode(struct {
				Name   string    `json:"name"`
				There  []float64 `json:"round_trips"`
				Bar    float64   `json:"bar"`
				Missed bool      `json:"missed"`
			}{line.name, line.there, line.bar, slices.Min(line.there) > line.bar})
		} else {
			_, err = fmt.Fprintf(w, "%s: round trips of %v until the first message is there: %.2f (median %.2f), bar %s\n",
				line.name, 2*delay, slices.Min(line.there), bench.Median(line.there), atMost(slices.Min(line.there), line.bar, "ok", "MISSED"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// door is a listener in front of a relay. Connections that come when it is slow are delayed, both
// ways, for as long as they last.
type door struct {
	url  string
	slow atomic.Bool
}

// openDoor opens one before the relay of a URL.
func (h *house) openDoor(url string) (*door, error) {
	relay, path, _ := strings.Cut(strings.TrimPrefix(url, "ws://"), "/")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{url: "ws://" + l.Addr().String() + "/" + path}
	h.atEnd(l.Close)
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			wait := time.Duration(0)
			if d.slow.Load() {
				wait = delay
			}
			go join(near, relay, wait)
		}
	}()
	return d, nil
}

func join(near net.Conn, to string, wait time.Duration) {
	far, err := net.Dial("tcp", to)
	if err != nil {
		_ = near.Close()
		return
	}
	go late(far, near, wait)
	late(near, far, wait)
}

// late copies what comes and writes it so much later. It ends both when one ends.
func late(to, from net.Conn, wait time.Duration) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.bytes) // when it fails reading does, too
		}
		_ = to.Close()
		_ = from.Close()
	}()
	defer close(pieces)
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if n > 0 {
			pieces <- piece{buf[:n], time.Now().Add(wait)}
		}
		if err != nil {
			return
		}
	}
}
