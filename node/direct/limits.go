package direct

import (
	"fmt"
	"time"
)

// Limits are the numbers of the protocol. The zero value of Config.Limits means
// DefaultLimits.
type Limits struct {
	// AckTimeout is how long a written envelope may wait for its acknowledgement,
	// and a write for room. After that the path is dead. Time in which our own
	// Deliver keeps the reader from reading doesn't count. Default 1 s.
	AckTimeout time.Duration
	// PongTimeout is the same for a ping, and for the peer's hello. Default 1.5 s.
	PongTimeout time.Duration
	// PingEvery is how long a stream may go without a sign that the peer hears us
	// before it is pinged. With PongTimeout it says how soon a dead path is noticed on
	// which nothing is sent. Default 3 s.
	PingEvery time.Duration
	// DialTimeout bounds one Dial as a whole. Default 8 s.
	DialTimeout time.Duration
	// Outstanding bounds the envelopes without acknowledgement per peer. Default 256.
	Outstanding int
	// OutstandingBytes bounds their bytes. Default 4 MiB.
	OutstandingBytes int
	// Batch is how many bytes of frames are gathered into one write. Default 64 KiB.
	Batch int
	// Pongs bounds the pings of a peer that wait for our answer; more is an
	// attack. Default 16.
	Pongs int
	// Questions bounds our questions for one-time keys that wait on one stream.
	// Default 16.
	Questions int
	// StreamsPerPeer bounds the streams with one peer. Default 4.
	StreamsPerPeer int
	// Peers bounds the peers with a stream. Default 256.
	Peers int
	// Reserved are those of Peers that only peers we dialled can take, so that
	// strangers can't lock us out of our own paths. Default 64.
	Reserved int
	// PeerIDs and Addresses bound one Dial. Defaults 8 and 16.
	PeerIDs   int
	Addresses int
}

// DefaultLimits returns the defaults written at the fields.
func DefaultLimits() Limits {
	return Limits{
		AckTimeout:       time.Second,
		PongTimeout:      1500 * time.Millisecond,
		PingEvery:        3 * time.Second,
		DialTimeout:      8 * time.Second,
		Outstanding:      256,
		OutstandingBytes: 4 << 20,
		Batch:            64 << 10,
		Pongs:            16,
		Questions:        16,
		StreamsPerPeer:   4,
		Peers:            256,
		Reserved:         64,
		PeerIDs:          8,
		Addresses:        16,
	}
}

func (l Limits) check() error {
	for name, v := range map[string]int64{
		"AckTimeout": int64(l.AckTimeout), "PongTimeout": int64(l.PongTimeout),
		"PingEvery": int64(l.PingEvery), "DialTimeout": int64(l.DialTimeout),
		"Outstanding": int64(l.Outstanding), "OutstandingBytes": int64(l.OutstandingBytes),
		"Batch": int64(l.Batch), "Pongs": int64(l.Pongs), "Questions": int64(l.Questions),
		"StreamsPerPeer": int64(l.StreamsPerPeer), "Peers": int64(l.Peers), "PeerIDs": int64(l.PeerIDs), "Addresses": int64(l.Addresses),
	} {
		if v <= 0 {
			return fmt.Errorf("limit %s is %d, want more than 0", name, v)
		}
	}
	if l.Reserved < 0 || l.Reserved >= l.Peers {
		return fmt.Errorf("limit Reserved is %d, want 0 to %d", l.Reserved, l.Peers-1)
	}
	return nil
}
