package direct

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/dht"
)

// Conn is the connection under the path to a peer.
type Conn struct {
	Remote  string // the peer's multiaddr as we see it now
	Limited bool   // it goes through a circuit relay; no path does
	// Punched tells that it goes through a hole that was punched for it.
	Punched bool
	Opened  time.Time
	RTT     time.Duration // of the last echo; 0: not measured
}

// Conn describes the connection that Send would use; false when there is none.
func (t *Transport) Conn(peerID string) (Conn, bool) {
	id, err := peer.Decode(peerID)
	if err != nil {
		return Conn{}, false
	}
	t.mu.Lock()
	l := t.links[id]
	if l == nil || l.send == nil {
		t.mu.Unlock()
		return Conn{}, false
	}
	s, punched := l.send, t.holes.has(id, l.send.addr)
	t.mu.Unlock()
	c := Conn{Remote: s.addr, Punched: punched, RTT: s.echoTime()}
	if conn := s.under; conn != nil {
		stat := conn.Stat()
		c.Limited, c.Opened = stat.Limited, stat.Opened
		c.Remote = dht.RemoteNow(conn).String()
	}
	return c, true
}

// ThroughHole reports what Conn says in Punched. Unlike Conn it may be asked for each
// envelope.
func (t *Transport) ThroughHole(peerID string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.texts[peerID]
	l := t.links[id]
	return l != nil && l.send != nil && t.holes.has(id, l.send.addr)
}

func (s *stream) echoTime() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rtt
}

// Punched tells that a hole to a peer was punched: a connection with that remote
// address goes through it, whoever of the two dialled.
func (t *Transport) Punched(peerID, remote string) {
	id, err := peer.Decode(peerID)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holes.add(hole{id, remote}, t.limits.Peers)
}

// hole is where a connection through it comes from.
type hole struct {
	peer   peer.ID
	remote string
}

// holes are those that were punched last, the newest at the end.
type holes []hole

func (h *holes) add(one hole, most int) {
	*h = slices.DeleteFunc(*h, func(o hole) bool { return o == one })
	if len(*h) >= most {
		*h = slices.Delete(*h, 0, 1)
	}
	*h = append(*h, one)
}

func (h holes) has(id peer.ID, remote string) bool { return slices.Contains(h, hole{id, remote}) }
