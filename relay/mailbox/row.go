package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/internal/wire"
)

// Keys of the mailbox. Numbers are big-endian, so byte order is age.
//
//	'b' owner             what is remembered of an owner
//	'i' owner cursor      a row without its payload: all of these are in memory
//	'm' owner cursor      the same row with it, unless it was taken
//	'q' due owner cursor  a row that could not be read, as it was found
//	'c'                   the relay's own clock
//
// A value is version ‖ fields ‖ CRC-32C of key, version and fields. The sum finds
// what rotted where the store has no sum of its own, and rows that changed places.
const (
	keyBox        = 'b'
	keyIndex      = 'i'
	keyMessage    = 'm'
	keyQuarantine = 'q'
	keyClock      = 'c'
)

// rowVersion is the first byte of every value.
const rowVersion = 2

// maxField is the longest field of a row: what the store takes as a value.
const maxField = 2 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errRotten reports a row that is not as it was written.
var errRotten = errors.New("damaged row")

func boxKey(owner identity.AMID) []byte { return append([]byte{keyBox}, owner[:]...) }

func rowPrefix(kind byte, owner identity.AMID) []byte {
	return append(append(make([]byte, 0, 1+identity.AMIDSize+8), kind), owner[:]...)
}

func rowKey(kind byte, owner identity.AMID, c Cursor) []byte {
	return binary.BigEndian.AppendUint64(rowPrefix(kind, owner), uint64(c))
}

// placeOf reads the key of an 'i' or 'm' row.
func placeOf(key []byte) (place, bool) {
	if len(key) != 1+identity.AMIDSize+8 {
		return place{}, false
	}
	return place{
		owner:  identity.AMID(key[1 : 1+identity.AMIDSize]),
		cursor: Cursor(binary.BigEndian.Uint64(key[1+identity.AMIDSize:])),
	}, true
}

// seal ends a value with the sum that belongs to its key.
func seal(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(value, sumOf(key, value))
}

// unseal checks the sum and the version, and reads what is between them.
func unseal(key, value []byte) (*wire.Reader, error) {
	n := len(value) - 4
	if n < 1 || sumOf(key, value[:n]) != binary.BigEndian.Uint32(value[n:]) {
		return nil, fmt.Errorf("%w: wrong sum", errRotten)
	}
	if value[0] != rowVersion {
		return nil, fmt.Errorf("%w: version %d", errRotten, value[0])
	}
	return wire.NewReader(value[1:n]), nil
}

func sumOf(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// done is what a reader found wrong, as damage.
func done(r *wire.Reader) error {
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: %w", errRotten, err)
	}
	return nil
}

func (b boxRow) encode(key []byte) []byte {
	w := wire.NewWriter(15)
	w.U8(rowVersion)
	w.Bool(b.wide)
	w.Bool(b.listed)
	w.I64(b.seen)
	return seal(key, w.Bytes())
}

func decodeBoxRow(key, value []byte) (boxRow, error) {
	r, err := unseal(key, value)
	if err != nil {
		return boxRow{}, err
	}
	b := boxRow{wide: r.Bool(), listed: r.Bool(), seen: r.I64()}
	return b, done(r)
}

// writeBoxRow stores the row, or removes it when it says nothing that a missing
// row does not say.
func writeBoxRow(tx store.Tx, owner identity.AMID, b boxRow) error {
	key := boxKey(owner)
	if b.empty() {
		return tx.Delete(key)
	}
	return tx.Set(key, b.encode(key))
}

// stored is a row as the store has it: an entry with what only the disk needs.
type stored struct {
	entry
	at, expires time.Time
	row         Row // complete only if read from an 'm' row
}

// headSize is the length of version, head and sum.
const headSize = 1 + 1 + identity.AMIDSize + 16 + 4 + 3*8 + 4

func (s *stored) head(w *wire.Writer) {
	w.U8(rowVersion)
	w.U8(uint8(s.flags))
	w.Fixed(s.from[:])
	w.Fixed(s.id[:])
	w.U32(s.size)
	w.I64(s.due)
	w.I64(s.at.UnixMicro())
	w.I64(s.expires.UnixMicro())
}

func (s *stored) readHead(r *wire.Reader) {
	s.flags = flags(r.U8())
	r.Into(s.from[:])
	r.Into(s.id[:])
	s.size = r.U32()
	s.due = r.I64()
	s.at = time.UnixMicro(r.I64()).UTC()
	s.expires = time.UnixMicro(r.I64()).UTC()
}

// write stores both rows.
func (s *stored) write(tx store.Tx, owner identity.AMID) error {
	if err := s.writeIndex(tx, owner); err != nil {
		return err
	}
	key := rowKey(keyMessage, owner, s.cursor)
	return tx.Set(key, s.encodeMessage(key))
}

func (s *stored) writeIndex(tx store.Tx, owner identity.AMID) error {
	key := rowKey(keyIndex, owner, s.cursor)
	w := wire.NewWriter(headSize)
	s.head(w)
	return tx.Set(key, seal(key, w.Bytes()))
}

func (s *stored) encodeMessage(key []byte) []byte {
	m := &s.row
	w := wire.NewWriter(headSize + 48 + len(m.Candidates) + len(m.Payload))
	s.head(w)
	if n := m.Notice; n != nil {
		w.U8(uint8(n.Reason))
		w.Fixed(n.To[:])
		w.I64(n.Taken.UnixMicro())
		return seal(key, w.Bytes())
	}
	w.U8(kindNumber(m.Kind))
	w.LP32(m.Candidates)
	w.U32(uint32(len(m.Payload)))
	return seal(key, append(w.Bytes(), m.Payload...))
}

// decodeIndex reads the value of an 'i' row.
func decodeIndex(p place, key, value []byte) (stored, error) {
	s := stored{entry: entry{cursor: p.cursor}}
	r, err := unseal(key, value)
	if err != nil {
		return s, err
	}
	s.readHead(r)
	return s, done(r)
}

// decodeMessage reads the value of an 'm' row; the result shares no memory with it.
func decodeMessage(p place, key, value []byte) (stored, error) {
	if len(value) > 0 && value[0] == firstVersion {
		return decodeFirst(p, value)
	}
	s := stored{entry: entry{cursor: p.cursor}}
	r, err := unseal(key, value)
	if err != nil {
		return s, err
	}
	s.readHead(r)
	m := &s.row
	m.To, m.ID = p.owner, s.id
	m.Cursor, m.At, m.Expires = p.cursor, s.at, s.expires
	if s.flags.has(flagNotice) {
		n := &Notice{Reason: Reason(r.U8()), ID: s.id, At: s.at}
		r.Into(n.To[:])
		n.Taken = time.UnixMicro(r.I64()).UTC()
		m.Notice = n
		return s, done(r)
	}
	m.From, m.Once, m.Binary = s.from, s.flags.has(flagOnce), s.flags.has(flagBinary)
	m.Kind = readKind(r)
	if c := r.LP32(maxField); len(c) > 0 {
		m.Candidates = append([]byte(nil), c...)
	}
	m.Payload = string(r.LP32(maxField))
	return s, done(r)
}

func readKind(r *wire.Reader) Kind {
	n := int(r.U8())
	if n >= len(kinds) {
		r.Fail("kind %d", n)
		return ""
	}
	return kinds[n]
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

// getMessage reads one row. A row that is missing, though it should be there, is
// damage like any other.
func getMessage(r store.Reader, p place) (stored, error) {
	key := rowKey(keyMessage, p.owner, p.cursor)
	v, err := r.Get(key)
	if isDamage(err) || errors.Is(err, store.ErrNotFound) {
		return stored{}, fmt.Errorf("%w: %w", errRotten, err)
	}
	if err != nil {
		return stored{}, err
	}
	return decodeMessage(p, key, v)
}

// isDamage reports that one value is lost or rotten, while others are not.
func isDamage(err error) bool {
	return errors.Is(err, errRotten) || errors.Is(err, store.ErrDamaged)
}
