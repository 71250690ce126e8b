package socket

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// Op is what a frame or a message is (RFC 6455 §5.2).
type Op byte

// The opcodes of RFC 6455 §11.8. Next never returns more.
const (
	more   Op = 0
	Text   Op = 1
	Binary Op = 2
	Close  Op = 8
	Ping   Op = 9
	Pong   Op = 10
)

const (
	fin  = 0x80
	rsv  = 0x70
	mask = 0x80
	// maxControl is the longest payload of a close, ping or pong frame.
	maxControl = 125
)

// Close codes of RFC 6455 §7.4.1 with which the peer's mistakes are answered.
const (
	CodeProtocol = 1002
	CodeTooLong  = 1009
)

// A PeerError is what the peer did wrong; the connection is to be closed with Code.
type PeerError struct {
	Code   int
	Reason string
}

func (e *PeerError) Error() string { return e.Reason }

func wrong(reason string) error { return &PeerError{CodeProtocol, reason} }

// AppendFrame appends an unmasked frame of one piece whose payload are the parts.
func AppendFrame(b []byte, op Op, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b = append(b, fin|byte(op))
	switch {
	case n <= maxControl:
		b = append(b, byte(n))
	case n <= 0xFFFF:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// AppendClose appends a close frame. The reason is cut off where it is too long.
func AppendClose(b []byte, code int, reason string) []byte {
	for len(reason) > maxControl-2 {
		_, n := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-n]
	}
	return AppendFrame(b, Close, binary.BigEndian.AppendUint16(nil, uint16(code)), []byte(reason))
}

// FrameSize is the length of the first of the frames that AppendFrame put into b.
func FrameSize(b []byte) int {
	switch n := b[1]; n {
	case 126:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return 10 + int(binary.BigEndian.Uint64(b[2:]))
	default:
		return 2 + int(n)
	}
}

// ParseClose reads the payload of a close frame. A frame without a code has 1005,
// which is never sent (RFC 6455 §7.1.5).
func ParseClose(payload []byte) (code int, reason string, err error) {
	if len(payload) == 0 {
		return 1005, "", nil
	}
	if len(payload) == 1 || !utf8.Valid(payload[2:]) {
		return 0, "", wrong("malformed close frame")
	}
	code = int(binary.BigEndian.Uint16(payload))
	switch {
	case code >= 3000 && code < 5000:
	case code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006:
	default:
		return 0, "", wrong(fmt.Sprintf("close code %d", code))
	}
	return code, string(payload[2:]), nil
}

// head is the head of a frame from the peer.
type head struct {
	op   Op
	fin  bool
	key  [4]byte
	size int // of the head
	n    int // of the payload
}

// parseHead reads the head of a frame; ok is false when it is not all there. limit
// is the longest payload of a data frame.
func parseHead(b []byte, limit int) (h head, ok bool, err error) {
	if len(b) < 2 {
		return h, false, nil
	}
	h = head{op: Op(b[0] & 0x0F), fin: b[0]&fin != 0, size: 6, n: int(b[1] &^ mask)}
	switch {
	case b[0]&rsv != 0:
		return h, false, wrong("reserved bits")
	case h.op > Binary && h.op < Close || h.op > Pong:
		return h, false, wrong("unknown opcode")
	case b[1]&mask == 0:
		return h, false, wrong("frame without mask")
	case h.op >= Close && (!h.fin || h.n > maxControl):
		return h, false, wrong("control frame in pieces or too long")
	}
	least := 0
	switch h.n {
	case 126:
		if len(b) < 4 {
			return h, false, nil
		}
		h.size, h.n, least = 8, int(binary.BigEndian.Uint16(b[2:])), 126
	case 127:
		if len(b) < 10 {
			return h, false, nil
		}
		n := binary.BigEndian.Uint64(b[2:])
		if n > uint64(limit) {
			return h, false, tooLong(limit)
		}
		h.size, h.n, least = 14, int(n), 1<<16
	}
	if h.n < least {
		return h, false, wrong("length in too many bytes")
	}
	if h.op < Close && h.n > limit {
		return h, false, tooLong(limit)
	}
	if len(b) < h.size {
		return h, false, nil
	}
	h.key = [4]byte(b[h.size-4:])
	return h, true, nil
}

func tooLong(limit int) error {
	return &PeerError{CodeTooLong, fmt.Sprintf("message longer than %d bytes", limit)}
}

// unmask takes the mask off, eight bytes at a time.
func unmask(b []byte, key [4]byte) {
	word := uint64(binary.LittleEndian.Uint32(key[:]))
	word |= word << 32
	for len(b) >= 32 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		binary.LittleEndian.PutUint64(b[8:], binary.LittleEndian.Uint64(b[8:])^word)
		binary.LittleEndian.PutUint64(b[16:], binary.LittleEndian.Uint64(b[16:])^word)
		binary.LittleEndian.PutUint64(b[24:], binary.LittleEndian.Uint64(b[24:])^word)
		b = b[32:]
	}
	for i := range b {
		b[i] ^= key[i%4]
	}
}
