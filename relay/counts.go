package relay

import (
	"bytes"
	"errors"
	"os"
	"sync/atomic"
	"time"
)

// counts are what a Server has done since it was made. Every list in it is closed:
// nothing that a stranger writes becomes a name in it.
type counts struct {
	shed     atomic.Uint64 // connections that gave way to newer ones
	crowded  atomic.Uint64 // upgrades refused because their address had too many
	banned   atomic.Uint64 // connections ended and refused by a ban
	slow     atomic.Uint64 // readers cut
	repeated atomic.Uint64 // messages sent again that were there
	in, out  tally         // frames and bytes by type
	refused  tally         // sends by code
	auth     tally         // connect frames by code
	commits  histogram
}

func newCounts() *counts {
	return &counts{
		in: newTally(typeConnect, typeSend, typeKnockMessage, typePresence, typePresenceQuery, typeICEOffer, typeICEAnswer,
			typeP2P, typePing, typeDisconnect, typeGetPending, typeAck, typeAllow, typeDeposit, malformed),
		out: newTally(typeConnected, typeReceive, typePresenceReply, typeICEOffer, typeICEAnswer, typeP2P, typeError,
			typePong, typePending, typeRelayed, typeRefused, typeAllowed, typeDeposited, typeExpired, typeDraining),
		refused: newTally(string(RefusedRateLimited), string(RefusedMailboxFull), string(RefusedNotAllowed), string(RefusedTooLarge),
			string(RefusedInvalid), string(RefusedStorage)),
		auth: newTally(CodeInvalidSignature, CodeInvalidMessage, CodeProtocolMismatch, CodeRateLimited, CodeUnauthorized, CodeWrongRelay),
	}
}

const (
	malformed = "malformed"
	other     = "other"
)

// tally counts by name, from a list that is fixed when it is made. What is not on
// the list is "other".
type tally map[string]*amount

type amount struct{ n, bytes atomic.Uint64 }

func newTally(names ...string) tally {
	t := tally{other: {}}
	for _, name := range names {
		t[name] = &amount{}
	}
	return t
}

func (t tally) add(name string, size int) { t.count(t[name], size) }

func (t tally) count(a *amount, size int) {
	if a == nil {
		a = t[other]
	}
	a.n.Add(1)
	a.bytes.Add(uint64(size))
}

// Count is a number of things and their bytes.
type Count struct {
	N     uint64 `json:"n"`
	Bytes uint64 `json:"bytes"`
}

func (t tally) read() map[string]Count {
	all := make(map[string]Count, len(t))
	for name, a := range t {
		all[name] = Count{N: a.n.Load(), Bytes: a.bytes.Load()}
	}
	return all
}

// histogramBounds are the upper bounds of a histogram's buckets.
var histogramBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second,
}

type histogram struct {
	buckets [len(histogramBounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	i := 0
	for i < len(histogramBounds) && d > histogramBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(d))
}

// Durations is how long something took, how often.
type Durations struct {
	N   uint64
	Sum time.Duration
	// UpTo counts those that took at most so long.
	UpTo map[time.Duration]uint64
}

func (h *histogram) read() Durations {
	d := Durations{Sum: time.Duration(h.sum.Load()), UpTo: map[time.Duration]uint64{}}
	for i := range h.buckets {
		d.N += h.buckets[i].Load()
		if i < len(histogramBounds) {
			d.UpTo[histogramBounds[i]] = d.N
		}
	}
	return d
}

// got counts a frame that was read; nil is one that was not understood.
func (c *conn) got(frame any, size int) { c.gotType(typeIn(frame), size) }

func (c *conn) gotType(typ string, size int) {
	c.s.counts.in.add(typ, size)
	for _, row := range c.by {
		if row != nil {
			row.inFrames.Add(1)
			row.inBytes.Add(uint64(size))
		}
	}
}

// wrote counts a frame that is to be written.
func (c *conn) wrote(frame []byte) {
	out := c.s.counts.out
	out.count(out[string(typeOut(frame))], len(frame))
	c.wroteBytes(len(frame))
}

func (c *conn) wroteBytes(size int) {
	for _, row := range c.by {
		if row != nil {
			row.outFrames.Add(1)
			row.outBytes.Add(uint64(size))
		}
	}
}

// denied counts a message that was refused.
func (c *conn) denied(code RefusalCode) {
	c.s.counts.refused.add(string(code), 0)
	for _, row := range c.by {
		if row != nil {
			row.refused.Add(1)
		}
	}
}

// unwritten counts a reader that was too slow, which is one reason why a frame
// cannot be written.
func (c *conn) unwritten(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.s.counts.slow.Add(1)
	}
}

// typeIn names a parsed frame.
func typeIn(frame any) string {
	switch f := frame.(type) {
	case nil:
		return malformed
	case connectFrame:
		return typeConnect
	case sendFrame:
		if f.second != nil {
			return typeKnockMessage
		}
		return typeSend
	case ackFrame:
		return typeAck
	case allowFrame:
		return typeAllow
	case depositFrame:
		return typeDeposit
	case pingFrame:
		return typePing
	case presenceFrame:
		return typePresence
	case presenceQueryFrame:
		return typePresenceQuery
	case iceFrame:
		return f.Type
	case p2pFrame:
		return typeP2P
	case getPendingFrame:
		return typeGetPending
	case disconnectFrame:
		return typeDisconnect
	}
	return other
}

// binaryTypes are the types of the binary frames that a relay writes.
var binaryTypes = map[byte][]byte{
	binaryReceive: []byte(typeReceive), binaryRelayed: []byte(typeRelayed), binaryRefused: []byte(typeRefused),
}

// typeOut takes the type out of a frame of ours, which stands in front.
func typeOut(frame []byte) []byte {
	if len(frame) > 1 && frame[0] == binaryVersion {
		return binaryTypes[frame[1]]
	}
	rest, _ := bytes.CutPrefix(frame, []byte(`{"type":"`))
	name, _, _ := bytes.Cut(rest, []byte(`"`))
	return name
}
