package agent

import (
	"crypto/sha256"
	"errors"
	"time"

	"github.com/google/uuid"

	"amesh/internal/content"
	"amesh/internal/store"
)

// takePart keeps a part of a longer message. The message enters the inbox in the
// transaction of the last part to come, if the whole fits its hash.
func (c *clerk) takePart(b *batch, s *session, arr arrival, p *content.Part) {
	epoch, breach := s.PeerEpoch, c.breachOf(s, p)
	proof := s.proofOf(&p.Description, content.HashOf(p.Description, p.Body))
	if p.Index == 0 {
		c.talks(b, s, &c.gotAt)
	}
	b.write(func(tx store.Tx, row *peerRow, after *[]func()) error {
		if breach != 0 {
			return c.refuseBreach(tx, row, after, b, p, epoch, breach)
		}
		whole, err := c.keepPart(tx, b.wall, p)
		if errors.Is(err, errPartsKnown) {
			return c.placed(tx, row, after, b, epoch, p.Description.Sequence)
		}
		if errors.Is(err, errParts) || errors.Is(err, errPartsBusy) {
			return c.refuseParts(tx, row, after, b, p, epoch, err)
		}
		if err != nil || whole == nil {
			return err
		}
		return c.store(tx, row, after, b, incomingMessage{
			desc: p.Description, body: whole, path: arr.Path, epoch: epoch, proof: proof,
		})
	})
}

var (
	errParts      = errors.New("parts do not fit together")
	errPartsBusy  = errors.New("no room for another long message")
	errPartsKnown = errors.New("completed or refused before")
)

// keepPart stores a slice and returns the whole body when it was the last one.
func (c *clerk) keepPart(tx store.Tx, wall time.Time, p *content.Part) ([]byte, error) {
	id := p.Description.ID
	hash := content.HashOf(p.Description, p.Body)
	seen, found, err := getJSON[seenRow](tx, c.a.key(rowSeen, c.peer[:], id[:]))
	if err != nil {
		return nil, err
	}
	if found { // it was completed or refused before; its answer goes again
		if err := c.storeAgain(tx, wall, id, hash, seen); err != nil {
			return nil, err
		}
		return nil, errPartsKnown
	}
	key := c.a.key(rowParts, c.peer[:], id[:])
	row, found, err := getJSON[partsRow](tx, key)
	if err != nil {
		return nil, err
	}
	if !found {
		if err := c.reserveParts(tx, int(p.Total)); err != nil {
			return nil, err
		}
		row = partsRow{Count: int(p.Count), Total: int(p.Total), Hash: p.Body, Content: hash, Seq: p.Description.Sequence, Deadline: p.Description.Deadline}
	}
	if row.Count != int(p.Count) || row.Total != int(p.Total) || row.Content != hash || row.Seq != p.Description.Sequence {
		return nil, errParts
	}
	row.Got |= 1 << p.Index
	if err := tx.Set(c.a.key(rowPart, c.peer[:], id[:], []byte{p.Index}), p.Slice); err != nil {
		return nil, err
	}
	if row.Got != 1<<row.Count-1 {
		return nil, setJSON(tx, key, row)
	}
	return c.joinParts(tx, id, row)
}

func (c *clerk) joinParts(tx store.Tx, id uuid.UUID, row partsRow) ([]byte, error) {
	whole := make([]byte, 0, row.Total)
	err := tx.Scan(c.a.key(rowPart, c.peer[:], id[:]), nil, func(_, slice []byte) bool {
		whole = append(whole, slice...)
		return len(whole) <= row.Total
	})
	if err != nil {
		return nil, err
	}
	if len(whole) != row.Total || sha256.Sum256(whole) != row.Hash {
		return nil, errParts
	}
	return whole, c.dropParts(tx, id)
}

func (c *clerk) dropParts(tx store.Tx, id uuid.UUID) error {
	var keys [][]byte
	err := tx.Scan(c.a.key(rowPart, c.peer[:], id[:]), nil, func(k, _ []byte) bool {
		keys = append(keys, append([]byte(nil), k...))
		return true
	})
	if err != nil {
		return err
	}
	keys = append(keys, c.a.key(rowParts, c.peer[:], id[:]))
	for _, k := range keys {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// reserveParts makes room for a long message before its first part is kept: so many
// of one peer, so many bytes of all.
func (c *clerk) reserveParts(tx store.Tx, total int) error {
	mine := 0
	err := tx.Scan(c.a.key(rowParts, c.peer[:]), nil, func(_, _ []byte) bool { mine++; return true })
	if err != nil {
		return err
	}
	if mine >= c.a.Limits.PartsPerPeer {
		return errPartsBusy
	}
	all := total
	err = scanJSON(tx, c.a.key(rowParts), nil, func(_ []byte, row partsRow) bool { all += row.Total; return true })
	if err != nil {
		return err
	}
	if all > c.a.Limits.PartsBytes {
		return errPartsBusy
	}
	return nil
}

// refuseParts ends a long message that cannot be put together, or for which there
// is no room.
func (c *clerk) refuseParts(tx store.Tx, row *peerRow, after *[]func(), b *batch, p *content.Part, epoch uint32, why error) error {
	id := p.Description.ID
	if err := c.dropParts(tx, id); err != nil {
		return err
	}
	reason := partsReason(why)
	refused := seenRow{Hash: content.HashOf(p.Description, p.Body), At: b.wall, Refused: reason}
	err := setJSON(tx, c.a.key(rowSeen, c.peer[:], id[:]), refused)
	if err != nil {
		return err
	}
	if epoch == row.InEpoch {
		if err := c.skip(tx, row, after, b, p.Description.Sequence, p.Description.Sequence); err != nil {
			return err
		}
	}
	return c.a.putDue(tx, c.peer, dueRow{Message: id, State: content.Refused, Reason: reason, At: b.wall})
}
