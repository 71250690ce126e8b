package mailbox

import (
	"encoding/binary"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/internal/wire"
)

// Keys of the mailbox. Numbers are big-endian, so byte order is age.
//
//	'b' owner                    the mailbox: last cursor, usage, who its owner is
//	'm' owner cursor             a message
//	'd' owner sender message-id  cursor of the message stored under this name
//	't'                          usage of all mailboxes
//	'c'                          the relay's own clock
const (
	keyBox     = 'b'
	keyMessage = 'm'
	keyName    = 'd'
	keyTotal   = 't'
	keyClock   = 'c'
)

// rowVersion is the first byte of every value.
const rowVersion = 1

// Schema names the rows above, for opening the store of a Disk.
func Schema() store.Schema { return store.Schema{Name: "relay", Version: 1} }

func boxKey(owner identity.AMID) []byte { return append([]byte{keyBox}, owner[:]...) }

func messagePrefix(owner identity.AMID) []byte { return append([]byte{keyMessage}, owner[:]...) }

func messageKey(owner identity.AMID, c Cursor) []byte {
	return binary.BigEndian.AppendUint64(messagePrefix(owner), uint64(c))
}

func nameKey(owner, from identity.AMID, id MessageID) []byte {
	k := append([]byte{keyName}, owner[:]...)
	k = append(k, from[:]...)
	return append(k, id[:]...)
}

// box is the row of one mailbox.
type box struct {
	last Cursor
	used Size
	wide bool
	// seen is when the owner last connected with "ack", by the relay's clock.
	seen int64
}

func (b box) encode() []byte {
	w := wire.NewWriter(34)
	w.U8(rowVersion)
	w.U64(uint64(b.last))
	w.U64(uint64(b.used.Messages))
	w.I64(b.used.Bytes)
	w.Bool(b.wide)
	w.I64(b.seen)
	return w.Bytes()
}

func decodeBox(v []byte) (box, error) {
	r := wire.NewReader(v)
	checkVersion(r)
	b := box{
		last: Cursor(r.U64()), used: Size{Messages: int(r.U64()), Bytes: r.I64()},
		wide: r.Bool(), seen: r.I64(),
	}
	return b, r.Done()
}

func (s Size) encode() []byte {
	w := wire.NewWriter(17)
	w.U8(rowVersion)
	w.U64(uint64(s.Messages))
	w.I64(s.Bytes)
	return w.Bytes()
}

func decodeSize(v []byte) (Size, error) {
	r := wire.NewReader(v)
	checkVersion(r)
	s := Size{Messages: int(r.U64()), Bytes: r.I64()}
	return s, r.Done()
}

// storedRow is a Row with the moment it is due by the relay's own clock.
type storedRow struct {
	Row
	due int64
}

func (m *storedRow) encode() []byte {
	w := wire.NewWriter(80 + len(m.Payload) + len(m.Candidates))
	w.U8(rowVersion)
	w.Fixed(m.From[:])
	w.Fixed(m.ID[:])
	w.Bool(m.Once)
	w.U8(kindNumber(m.Kind))
	w.I64(m.At.UnixMicro())
	w.I64(m.Expires.UnixMicro())
	w.I64(m.due)
	w.LP32(m.Candidates)
	w.LP32([]byte(m.Payload))
	return w.Bytes()
}

// decodeMessage reads a message row; the result shares no memory with it.
func decodeMessage(owner identity.AMID, key, value []byte) (storedRow, error) {
	var m storedRow
	if len(key) != 1+identity.AMIDSize+8 {
		return m, fmt.Errorf("%w: key of %d bytes", wire.ErrMalformed, len(key))
	}
	m.To = owner
	m.Cursor = Cursor(binary.BigEndian.Uint64(key[1+identity.AMIDSize:]))
	r := wire.NewReader(value)
	checkVersion(r)
	r.Into(m.From[:])
	r.Into(m.ID[:])
	m.Once = r.Bool()
	n := int(r.U8())
	if n >= len(kinds) {
		r.Fail("kind %d", n)
		return m, r.Done()
	}
	m.Kind = kinds[n]
	m.At = time.UnixMicro(r.I64()).UTC()
	m.Expires = time.UnixMicro(r.I64()).UTC()
	m.due = r.I64()
	if c := r.LP32(maxField); len(c) > 0 {
		m.Candidates = append([]byte(nil), c...)
	}
	m.Payload = string(r.LP32(maxField))
	return m, r.Done()
}

// maxField is the longest field of a row: what the store takes as a value.
const maxField = 2 << 20

func checkVersion(r *wire.Reader) {
	if v := r.U8(); r.Err() == nil && v != rowVersion {
		r.Fail("row version %d", v)
	}
}

func kindNumber(k Kind) uint8 {
	for i, known := range kinds {
		if k == known {
			return uint8(i)
		}
	}
	// Only checked kinds come here; 0xFF is refused on reading.
	return 0xFF
}

func readBox(r store.Reader, owner identity.AMID) (box, error) {
	v, err := r.Get(boxKey(owner))
	if err != nil {
		return box{}, ignoreMissing(err)
	}
	return decodeBox(v)
}

// writeBox stores the row, or removes it when it says nothing that a missing row
// does not say.
func writeBox(tx store.Tx, owner identity.AMID, b box) error {
	if b.used.Messages == 0 && !b.wide {
		return tx.Delete(boxKey(owner))
	}
	return tx.Set(boxKey(owner), b.encode())
}

func readTotal(r store.Reader) (Size, error) {
	v, err := r.Get([]byte{keyTotal})
	if err != nil {
		return Size{}, ignoreMissing(err)
	}
	return decodeSize(v)
}
