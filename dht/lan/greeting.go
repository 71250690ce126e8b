package lan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
	"amesh/internal/wire"
)

// Protocol is the libp2p protocol of a meeting (lan.md §3): whoever dialled sends its
// greeting, then the other side does.
const Protocol = "/amesh/lan/1"

// Own is one of our agents as a greeting tells of it.
type Own struct {
	Record   []byte // its public record
	Presence []byte // its word that it is here
	Card     []byte // what its owner says of it; empty for nothing
}

// told is an agent of a greeting for which there is proof.
type told struct {
	record *identity.AgentRecord
	card   *identity.Card // nil: it has none
}

func encodeGreeting(agents []Own) []byte {
	w := wire.NewWriter(4096)
	w.U8(uint8(len(agents)))
	for _, a := range agents {
		w.LP16(a.Record)
		w.LP16(a.Presence)
		w.LP16(a.Card)
	}
	return w.Bytes()
}

func parseGreeting(raw []byte) ([]Own, error) {
	r := wire.NewReader(raw)
	n := int(r.U8())
	if n > maxAgents {
		r.Fail("%d agents, at most %d", n, maxAgents)
	}
	var list []Own
	for range n {
		if r.Err() != nil {
			break
		}
		list = append(list, Own{Record: r.LP16(identity.MaxRecordSize), Presence: r.LP16(maxPresence), Card: r.LP16(identity.MaxCardSize)})
	}
	return list, r.Done()
}

// believe returns the agents in a greeting of a node for which there is proof: the
// record holds, and its agent says that it is at this node. Others are left out, and
// cards that are not the agent's own or do not hold.
func believe(agents []Own, from peer.ID, now time.Time) []told {
	var list []told
	for _, a := range agents {
		rec, err := identity.ParseAgentRecord(a.Record)
		if err != nil || rec.Valid(now) != nil {
			continue
		}
		p, err := identity.ParsePresence(a.Presence, rec.SigningKey)
		if err != nil || p.Valid(now) != nil || !bytes.Equal(p.PeerID, []byte(from)) {
			continue
		}
		one := told{record: rec}
		if c, err := identity.ParseCard(a.Card); err == nil && c.Agent == rec.AMID && c.Valid(now) == nil {
			one.card = c
		}
		list = append(list, one)
	}
	return list
}

func writeFrame(to io.Writer, body []byte) error {
	_, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...))
	return err
}

func readFrame(from io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > maxGreeting {
		return nil, fmt.Errorf("%w: greeting of %d bytes, at most %d", wire.ErrMalformed, n, maxGreeting)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(from, body)
	return body, err
}
