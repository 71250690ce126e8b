package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"amesh/internal/wire"
	"amesh/ratchet"
	"amesh/testnet/lab/bench"
)

const (
	sessionCount = 64
	// nodeBatch is how many envelopes of one peer node/agent puts into one
	// transaction (its Limits.Batch).
	nodeBatch = 64
	// window is how many envelopes may be on their way in a chain (session.md §12).
	window       = 400
	durableSlice = 500 * time.Millisecond
)

// durableCases compare so many sessions that are kept on disk with as many that are not.
// Only the first has a bar; the others say what it is that costs.
func durableCases(d *disk, sessions int) ([]bench.Case, error) {
	var cases []bench.Case
	for _, c := range []struct {
		name     string
		batch    int
		layout   layout
		bar, aim float64
	}{
		{"on disk", nodeBatch, packed, 0.3, 0.7},
		{"on disk, a row for each envelope", nodeBatch, eachEnvelope, 0, 0},
		{"on disk, and for each plaintext", nodeBatch, eachPlaintext, 0, 0},
		{"on disk, a commit for each message", 1, packed, 0, 0},
	} {
		memory, err := newLines(sessions, c.batch)
		if err != nil {
			return nil, err
		}
		durable, err := newLines(sessions, c.batch)
		if err != nil {
			return nil, err
		}
		durable.disk, durable.layout = d, c.layout
		cases = append(cases, bench.Case{
			Name: fmt.Sprintf("%d sessions %s", sessions, c.name), Bar: c.bar, Aim: c.aim, Slice: durableSlice, Floor: memory.run, Product: durable.run,
		})
	}
	return cases, nil
}

// layout is what is kept beside the sessions.
type layout int

const (
	packed        layout = iota // the envelopes of a transaction in one row
	eachEnvelope                // a row for each envelope, as node/agent has it
	eachPlaintext               // and one for each message that was opened
)

// lines are sessions that all work at once.
type lines struct {
	all   []*line
	text  []byte
	batch int   // messages in a transaction
	disk  *disk // nil: nothing is kept
	layout
}

// line has its two ends on two nodes that do not wait for each other.
type line struct {
	sender, receiver side
}

type side struct {
	session *ratchet.Session
	name    [2]byte // in the keys of its rows
	kept    uint32  // rows beside the session's, counted
}

func newLines(count, batch int) (*lines, error) {
	ls := &lines{text: bytes.Repeat([]byte{1}, bodySize), batch: batch}
	for i := range count {
		p, err := newPair()
		if err != nil {
			return nil, err
		}
		ls.all = append(ls.all, &line{
			sender:   side{session: p.a, name: [2]byte{byte(i), 's'}},
			receiver: side{session: p.b, name: [2]byte{byte(i), 'r'}},
		})
	}
	return ls, nil
}

// run takes at least n messages over all lines and returns what n of them took, on
// the wall: a sync is waited for, not computed.
func (ls *lines) run(n int) (time.Duration, error) {
	rounds := max(1, n/(len(ls.all)*ls.batch))
	errs := make(chan error, 2*len(ls.all))
	var all sync.WaitGroup
	start := time.Now()
	for _, l := range ls.all {
		// With one batch at either end the window is full.
		way := make(chan [][]byte, window/ls.batch-2)
		all.Go(func() { errs <- ls.send(&l.sender, rounds, way) })
		all.Go(func() { errs <- ls.receive(&l.receiver, way) })
	}
	all.Wait()
	took := time.Since(start)
	close(errs)
	for err := range errs {
		if err != nil {
			return 0, err
		}
	}
	done := rounds * len(ls.all) * ls.batch
	return time.Duration(float64(took) * float64(n) / float64(done)), nil
}

// send seals batches and hands each over once it is on disk. Like a node it works
// on a copy of the session, which takes the session's place then.
func (ls *lines) send(sd *side, rounds int, way chan<- [][]byte) error {
	defer close(way)
	for range rounds {
		s := ls.copyOf(sd.session)
		envelopes := make([][]byte, ls.batch)
		for i := range envelopes {
			env, _, err := s.Seal(rand.Reader, ls.text)
			if err != nil {
				return err
			}
			envelopes[i] = env
		}
		if ls.disk != nil {
			rows := envelopes
			if ls.layout == packed {
				rows = pack(envelopes)
			}
			if err := ls.disk.keep(sd, s, rows); err != nil {
				return err
			}
		}
		sd.session = s
		way <- envelopes
	}
	return nil
}

// receive opens batches. What it would acknowledge is on disk before the next one.
// After an error it goes on taking, so that the sender ends.
func (ls *lines) receive(sd *side, way <-chan [][]byte) error {
	var failed error
	for envelopes := range way {
		if failed == nil {
			failed = ls.take(sd, envelopes)
		}
	}
	return failed
}

func (ls *lines) take(sd *side, envelopes [][]byte) error {
	s := ls.copyOf(sd.session)
	texts := make([][]byte, len(envelopes))
	for i, env := range envelopes {
		o, err := s.Open(time.Now(), rand.Reader, env)
		if err != nil {
			return err
		}
		texts[i] = o.Plaintext
	}
	if ls.layout != eachPlaintext {
		texts = nil
	}
	if ls.disk != nil {
		if err := ls.disk.keep(sd, s, texts); err != nil {
			return err
		}
	}
	sd.session = s
	return nil
}

// pack makes one row of envelopes.
func pack(envelopes [][]byte) [][]byte {
	size := 0
	for _, env := range envelopes {
		size += 2 + len(env)
	}
	w := wire.NewWriter(size)
	for _, env := range envelopes {
		w.LP16(env)
	}
	return [][]byte{w.Bytes()}
}

func (ls *lines) copyOf(s *ratchet.Session) *ratchet.Session {
	if ls.disk == nil {
		return s
	}
	return s.Clone()
}
