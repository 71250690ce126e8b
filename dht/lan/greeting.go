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
}

func encodeGreeting(agents []Own) []byte {
	w := wire.NewWriter(4096)
	w.U8(uint8(len(agents)))
	for _, a := range agents {
		w.LP16(a.Record)
		w.LP16(a.Presence)
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
		list = append(list, Own{Record: r.LP16(identity.MaxRecordSize), Presence: r.LP16(maxPresence)})
	}
	return list, r.Done()
}

// believe returns the records of the agents in a greeting of a node for which there
// is proof: the record holds, and its agent says that it is at this node. Others are
// left out.
func believe(agents []Own, from peer.ID, now time.Time) []*identity.AgentRecord {
	var list []*identity.AgentRecord
	for _, a := range agents {
		rec, err := identity.ParseAgentRecord(a.Record)
		if err != nil || rec.Valid(now) != nil {
			continue
		}
		p, err := identity.ParsePresence(a.Presence, rec.SigningKey)
		if err != nil || p.Valid(now) != nil || !bytes.Equal(p.PeerID, []byte(from)) {
			continue
		}
		list = append(list, rec)
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
