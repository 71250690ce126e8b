package testnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// A WebSocket client masks what it sends with a key of four bytes that changes
// with every frame (RFC 6455 §5.3). Whoever searches the bytes of the wire for a
// word finds none even if it is there in clear, so the recording is searched a
// second time as the relay saw it: taken apart and unmasked.

var (
	// errCompressed is returned for a connection that negotiated compression: its
	// payloads cannot be searched.
	errCompressed = errors.New("the connection is compressed")
	// errNotWebSocket is returned for bytes that are no WebSocket connection.
	errNotWebSocket = errors.New("not a WebSocket connection")
)

// headerEnd ends the HTTP part of a connection.
var headerEnd = []byte("\r\n\r\n")

// seen is one direction of a WebSocket connection as its receiver saw it.
type seen struct {
	header string
	frames [][]byte // payloads, unmasked
}

// unframe takes one direction of a connection apart. An incomplete last frame, as
// a killed relay leaves it, is unmasked as far as it came. A connection that ended
// inside the header has no frames.
func unframe(stream []byte) (seen, error) {
	head, rest, whole := bytes.Cut(stream, headerEnd)
	s := seen{header: string(head)}
	if !whole {
		return s, nil
	}
	if strings.Contains(strings.ToLower(s.header), "permessage-deflate") && strings.HasPrefix(s.header, "HTTP/") {
		return s, errCompressed
	}
	if !strings.Contains(strings.ToLower(s.header), "upgrade: websocket") {
		return s, errNotWebSocket
	}
	for len(rest) > 0 {
		payload, n, err := frame(rest)
		if err != nil {
			return s, fmt.Errorf("frame %d: %w", len(s.frames), err)
		}
		s.frames = append(s.frames, payload)
		rest = rest[n:]
	}
	return s, nil
}

// frame reads the frame that b begins with:
//
//	FIN,RSV,opcode (1) · MASK,length (1) · [length (2 or 8)] · [mask (4)] · payload
//
// It returns the unmasked payload and the frame's length, at most len(b).
func frame(b []byte) (payload []byte, n int, err error) {
	if len(b) < 2 {
		return nil, len(b), nil
	}
	if b[0]&0x70 != 0 { // reserved bits belong to extensions, and there is none
		return nil, 0, errNotWebSocket
	}
	masked, length, at := b[1]&0x80 != 0, uint64(b[1]&0x7f), 2
	switch {
	case length == 126 && len(b) >= 4:
		length, at = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case length == 127 && len(b) >= 10:
		length, at = binary.BigEndian.Uint64(b[2:]), 10
	case length >= 126:
		return nil, len(b), nil
	}
	var mask [4]byte
	if masked {
		if len(b) < at+len(mask) {
			return nil, len(b), nil
		}
		at += copy(mask[:], b[at:])
	}
	end := len(b)
	if length < uint64(end-at) {
		end = at + int(length)
	}
	payload = bytes.Clone(b[at:end])
	for i := range payload {
		payload[i] ^= mask[i%len(mask)]
	}
	return payload, end, nil
}
