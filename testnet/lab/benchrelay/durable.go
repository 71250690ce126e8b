package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"amesh/relay"
	"amesh/testnet/lab/bench"

	"github.com/nats-io/nats.go"
)

// boxSize is how many messages a mailbox of the relay holds by default.
const boxSize = 1000

// senders is how many wait for the disk at a time.
const senders = 64

// durable is messages for agents who are away: each sender waits until its message
// is on disk before it sends the next.
func (h *house) durable(relay *server) (bench.Case, error) {
	c := bench.Case{Name: "durable store of 1 KiB, 64 senders, against JetStream sync_interval always", Bar: 4, Aim: 10, Slice: 500 * time.Millisecond}
	peer, err := h.start("jetstream")
	if err != nil {
		return c, err
	}
	var ours, theirs [senders]func() error
	for i := range senders {
		if ours[i], err = relayKeep(relay.addr); err != nil {
			return c, err
		}
	}
	purge, err := h.natsKeep(peer.addr, &theirs)
	if err != nil {
		return c, err
	}
	c.Product = allSenders(ours, func() error { return nil })
	c.Floor = allSenders(theirs, purge)
	return c, nil
}

func allSenders(send [senders]func() error, after func() error) bench.Run {
	return func(n int) (time.Duration, error) {
		start := time.Now()
		err := atOnce(senders, func(i int) error {
			for range (n + i) / senders {
				if err := send[i](); err != nil {
					return err
				}
			}
			return nil
		})
		took := time.Since(start)
		if err == nil {
			err = after()
		}
		return took, err
	}
}

// envelope is a payload as amesh nodes send it, of frameSize bytes.
func envelope(n int) string {
	b := append([]byte(relay.Magic), strconv.Itoa(n)...)
	return base64.StdEncoding.EncodeToString(append(b, make([]byte, frameSize-len(b))...))
}

func relayKeep(addr string) (func() error, error) {
	a, err := join(addr, "ack")
	if err != nil {
		return nil, err
	}
	var away *agent
	n := 0
	return func() error {
		// A mailbox holds a thousand.
		if n%(boxSize/2) == 0 {
			if away, err = newAgent(); err != nil {
				return err
			}
		}
		n++
		if err := a.send(keep(away.name, n)); err != nil {
			return err
		}
		answer, err := a.next()
		if err == nil && !bytes.Contains(answer, []byte(`"relayed"`)) {
			err = fmt.Errorf("send answered with %s", answer)
		}
		return err
	}, nil
}

// keep is a send frame that asks for an answer.
func keep(to string, n int) []byte {
	return fmt.Appendf(nil, `{"type":"send","to":%q,"encrypted_payload":%q,"message_type":"message","client_id":"%d"}`, to, envelope(n), n)
}

func (h *house) natsKeep(url string, send *[senders]func() error) (purge func() error, err error) {
	c, err := h.natsJoin(url)
	if err != nil {
		return nil, err
	}
	js, err := c.JetStream()
	if err != nil {
		return nil, err
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "KEEP", Subjects: []string{"keep.*"}, Storage: nats.FileStorage}); err != nil {
		return nil, err
	}
	body := []byte(text(frameSize))
	for i := range send {
		c, err := h.natsJoin(url)
		if err != nil {
			return nil, err
		}
		js, err := c.JetStream(nats.MaxWait(patience))
		if err != nil {
			return nil, err
		}
		send[i] = func() error {
			_, err := js.Publish(fmt.Sprintf("keep.%d", i), body)
			return err
		}
	}
	return func() error { return js.PurgeStream("KEEP") }, nil
}

// syncTime is the median time that the disk takes for 4 KiB.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	times := make([]time.Duration, 51)
	page := make([]byte, 4<<10)
	for i := range times {
		start := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times[i] = time.Since(start)
	}
	return bench.Median(times), nil
}
