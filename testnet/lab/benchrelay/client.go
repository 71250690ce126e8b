package main

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// client is the leanest WebSocket client that is still an honest one: it masks
// every frame with a key of its own. Several frames may share a write.
type client struct {
	net.Conn
	in  *bufio.Reader
	out []byte
	buf []byte
}

const (
	textFrame = 0x81
	pingFrame = 0x89
	pongFrame = 0x8A
	masked    = 0x80
	patience  = 30 * time.Second
)

// places gives clients addresses all over 127.0.0.0/8, since each has ports for some
// 28,000 connections only, and a relay may count connections by address.
var places atomic.Uint32

func dial(addr string, buffer int) (*client, error) {
	n := places.Add(1)
	from := net.IPv4(127, byte(1+n>>16%200), byte(n>>8), byte(1+n%250))
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: patience}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &client{Conn: conn, in: bufio.NewReaderSize(conn, buffer)}
	if err := s.upgrade(addr); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

func (s *client) upgrade(addr string) error {
	key := make([]byte, 16)
	rand.Read(key)
	_, err := fmt.Fprintf(s, "GET /v1/connect HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", addr, base64.StdEncoding.EncodeToString(key))
	if err != nil {
		return err
	}
	res, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("upgrade answered with %s", res.Status)
	}
	return nil
}

// add puts a frame behind those that wait for flush.
func (s *client) add(text []byte) {
	s.out = append(s.out, textFrame)
	switch n := len(text); {
	case n < 126:
		s.out = append(s.out, masked|byte(n))
	default:
		s.out = binary.BigEndian.AppendUint16(append(s.out, masked|126), uint16(n))
	}
	four := mathrand.Uint32()
	key := uint64(four)<<32 | uint64(four)
	s.out = binary.LittleEndian.AppendUint32(s.out, four)
	for len(text) >= 8 {
		s.out = binary.LittleEndian.AppendUint64(s.out, binary.LittleEndian.Uint64(text)^key)
		text = text[8:]
	}
	for i, b := range text {
		s.out = append(s.out, b^byte(key>>(8*(i%4))))
	}
}

func (s *client) flush() error {
	_, err := s.Write(s.out)
	s.out = s.out[:0]
	return err
}

func (s *client) send(text []byte) error {
	s.add(text)
	return s.flush()
}

// next is the next text frame; it is valid until the one after.
func (s *client) next() ([]byte, error) {
	for {
		kind, err := s.frame()
		switch {
		case err != nil:
			return nil, err
		case kind == textFrame:
			return s.buf, nil
		case kind == pingFrame && len(s.buf) == 0:
			// One write of its own, so it may come beside those of the sender.
			_, err = s.Write([]byte{pongFrame, masked, 0, 0, 0, 0})
		default:
			err = fmt.Errorf("frame %#x instead of text: %q", kind, s.buf)
		}
		if err != nil {
			return nil, err
		}
	}
}

// frame reads a frame into buf.
func (s *client) frame() (kind byte, err error) {
	head, err := s.in.Peek(2)
	if err != nil {
		return 0, err
	}
	kind, n, size := head[0], int(head[1]), 2
	switch n {
	case 126:
		if head, err = s.in.Peek(4); err != nil {
			return 0, err
		}
		n, size = int(binary.BigEndian.Uint16(head[2:])), 4
	case 127:
		return 0, errors.New("frame of 64 KiB or more")
	}
	if _, err := s.in.Discard(size); err != nil {
		return 0, err
	}
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	s.buf = s.buf[:n]
	_, err = io.ReadFull(s.in, s.buf)
	return kind, err
}

// leave closes without leaving a port in TIME_WAIT.
func (s *client) leave() {
	_ = s.Conn.(*net.TCPConn).SetLinger(0)
	_ = s.Close()
}
