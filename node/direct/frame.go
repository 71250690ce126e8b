package direct

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"amesh/identity"
	"amesh/internal/wire"
)

// Sizes of the protocol (session.md §4, §11.2). They are part of the wire and
// therefore not among the Limits.
const (
	maxFrame    = 49152 // behind the length
	maxEnvelope = 45184
	idSize      = 16
	nonceSize   = 8
	maxAcks     = 255
	x25519Size  = 144 // a signed one-time key (session.md §2.5)
	kemSize     = 1296

	frameVersion = 1
	helloSize    = 2 + 4
	envelopeHead = 2 + 2*identity.AMIDSize
	lengthBytes  = 3 // of the longest length
)

type frameType uint8

const (
	typeHello    frameType = 1 // features u32
	typeEnvelope frameType = 2 // from 20 ‖ to 20 ‖ envelope
	typeAck      frameType = 3 // count u8 ‖ each envelope id 16
	typePing     frameType = 4 // 8 bytes
	typePong     frameType = 5 // the same 8 bytes
	typeWanted   frameType = 6 // of 20
	typeKeys     frameType = 7 // of 20 ‖ LP16(X25519 key or empty) ‖ LP16(KEM key or empty)
)

// frame is one parsed frame; the fields of its type are set.
type frame struct {
	kind     frameType
	features uint32
	from, to identity.AMID
	envelope []byte
	ids      [][idSize]byte
	nonce    [nonceSize]byte
	of       identity.AMID
	keys     OneTimeKeys
}

// parseFrame reads what stands behind the length. Envelope and keys alias b.
func parseFrame(b []byte) (frame, error) {
	r := wire.NewReader(b)
	if v := r.U8(); v != frameVersion {
		r.Fail("frame version %d", v)
	}
	f := frame{kind: frameType(r.U8())}
	switch f.kind {
	case typeHello:
		f.features = r.U32()
	case typeEnvelope:
		r.Into(f.from[:])
		r.Into(f.to[:])
		if n := r.Len(); n == 0 || n > maxEnvelope {
			r.Fail("envelope of %d bytes, want 1 to %d", n, maxEnvelope)
		}
		f.envelope = r.Fixed(r.Len())
	case typeAck:
		n := int(r.U8())
		if n == 0 {
			r.Fail("ack of nothing")
		}
		for range n {
			f.ids = append(f.ids, [idSize]byte(fixed(r, idSize)))
		}
	case typePing, typePong:
		r.Into(f.nonce[:])
	case typeWanted:
		r.Into(f.of[:])
	case typeKeys:
		r.Into(f.of[:])
		f.keys = OneTimeKeys{X25519: oneTimeKey(r, x25519Size), KEM: oneTimeKey(r, kemSize)}
	default:
		r.Fail("frame type %d", f.kind)
	}
	return f, r.Done()
}

// fixed gives zeros where the reader has failed, so that it can be converted to an array.
func fixed(r *wire.Reader, n int) []byte {
	if b := r.Fixed(n); b != nil {
		return b
	}
	return make([]byte, n)
}

// oneTimeKey reads a key of size bytes, or none.
func oneTimeKey(r *wire.Reader, size int) []byte {
	b := r.LP16(size)
	switch len(b) {
	case size:
		return b
	case 0:
	default:
		r.Fail("one-time key of %d bytes, want %d or none", len(b), size)
	}
	return nil
}

// appendHead appends length, version and type of a frame whose fields have n bytes.
func appendHead(b []byte, kind frameType, n int) []byte {
	b = binary.AppendUvarint(b, uint64(2+n))
	return append(b, frameVersion, byte(kind))
}

func appendHello(b []byte) []byte {
	b = appendHead(b, typeHello, 4)
	return binary.BigEndian.AppendUint32(b, 0) // session/1 defines no features of a stream
}

func appendEnvelope(b []byte, from, to identity.AMID, data []byte) []byte {
	b = appendHead(b, typeEnvelope, 2*identity.AMIDSize+len(data))
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	return append(b, data...)
}

// appendAcks appends as many ack frames as ids need.
func appendAcks(b []byte, ids [][idSize]byte) []byte {
	for len(ids) > 0 {
		n := min(len(ids), maxAcks)
		b = appendHead(b, typeAck, 1+n*idSize)
		b = append(b, byte(n))
		for _, id := range ids[:n] {
			b = append(b, id[:]...)
		}
		ids = ids[n:]
	}
	return b
}

func appendEcho(b []byte, kind frameType, nonce [nonceSize]byte) []byte {
	b = appendHead(b, kind, nonceSize)
	return append(b, nonce[:]...)
}

func appendWanted(b []byte, of identity.AMID) []byte {
	b = appendHead(b, typeWanted, identity.AMIDSize)
	return append(b, of[:]...)
}

func appendKeys(b []byte, of identity.AMID, k OneTimeKeys) []byte {
	b = appendHead(b, typeKeys, identity.AMIDSize+2+len(k.X25519)+2+len(k.KEM))
	b = append(b, of[:]...)
	for _, key := range [][]byte{k.X25519, k.KEM} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
		b = append(b, key...)
	}
	return b
}

// frameSize is what an envelope of n bytes takes on the wire at most.
func frameSize(n int) int { return lengthBytes + envelopeHead + n }

// readFrame reads one frame of at most max bytes into memory of its own.
func readFrame(r *bufio.Reader, max int) (frame, error) {
	n, err := readLength(r, max)
	if err != nil {
		return frame{}, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return frame{}, fmt.Errorf("frame of %d bytes: %w", n, err)
	}
	return parseFrame(b)
}

// readLength accepts only the shortest encoding, and nothing larger than max, so
// that a stranger's number never becomes memory of ours.
func readLength(r io.ByteReader, max int) (int, error) {
	n := 0
	for i := range lengthBytes {
		c, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int(c&0x7F) << (7 * i)
		if c&0x80 != 0 {
			continue
		}
		switch {
		case c == 0 && i > 0:
			return 0, fmt.Errorf("%w: length not in its shortest form", wire.ErrMalformed)
		case n < 2 || n > max:
			return 0, fmt.Errorf("%w: frame of %d bytes, want 2 to %d", wire.ErrMalformed, n, max)
		}
		return n, nil
	}
	return 0, fmt.Errorf("%w: length of more than %d bytes", wire.ErrMalformed, lengthBytes)
}
