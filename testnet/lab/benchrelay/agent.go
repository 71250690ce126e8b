package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"amesh/identity"
)

// frameSize is the length of a send frame where frames are compared with messages
// of the same length.
const frameSize = 1 << 10

// agent is a client of the relay: an identity and a connection.
type agent struct {
	*client
	key  identity.PrivateKey
	name string
}

// readBuffer is what clients read with that are there to be fast.
const readBuffer = 64 << 10

func newAgent() (*agent, error) {
	key, err := identity.GenerateKey(rand.Reader)
	return &agent{key: key, name: key.AMID().String()}, err
}

// join connects a new agent.
func join(addr string, extensions ...string) (*agent, error) {
	a, err := newAgent()
	if err != nil {
		return nil, err
	}
	return a, a.join(addr, extensions...)
}

func (a *agent) join(addr string, extensions ...string) (err error) {
	hello := a.hello(extensions...)
	if a.client, err = dial(addr, readBuffer); err != nil {
		return err
	}
	return a.client.join(hello)
}

// join says hello and waits until the relay has accepted it.
func (s *client) join(hello []byte) error {
	if err := s.send(hello); err != nil {
		return err
	}
	answer, err := s.next()
	if err != nil {
		return err
	}
	if !bytes.Contains(answer, []byte(`"connected"`)) {
		return fmt.Errorf("connect answered with %s", answer)
	}
	return nil
}

var stamps atomic.Int64

// hello is a connect frame. No two have the same timestamp.
func (a *agent) hello(extensions ...string) []byte {
	at := time.Now().Truncate(time.Second).Add(time.Duration(stamps.Add(1)%1e6) * time.Microsecond)
	stamp := at.UTC().Format("2006-01-02T15:04:05.000000") + "+00:00"
	return object(map[string]any{
		"type": "connect", "protocol": "agentmesh/0.2", "amid": a.name, "public_key": a.key.Public().Text(),
		"signature": base64.StdEncoding.EncodeToString(a.key.SignTimestamp(stamp)), "timestamp": stamp,
		"p2p_capable": false, "extensions": extensions,
	})
}

func object(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return b
}

// message is a send frame of frameSize bytes.
func message(to string) []byte {
	frame := func(payload string) []byte {
		return object(map[string]string{"type": "send", "to": to, "encrypted_payload": payload, "message_type": "message"})
	}
	return frame(text(frameSize - len(frame(""))))
}

// text is random base64 of n letters.
func text(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)[:n]
}

// atOnce runs f for 0 to n-1 at the same time and gives the first error.
func atOnce(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		wg.Go(func() { errs <- f(i) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
