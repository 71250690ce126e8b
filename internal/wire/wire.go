// Package wire writes and reads the binary layouts of the mesh: fixed-width
// big-endian integers, fixed-length fields and length-prefixed fields.
//
// A Writer only appends. A Reader is strict: it remembers the first error, gives
// zero values from then on, and Done refuses bytes that nobody asked for, so one
// value has exactly one encoding.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed reports bytes that are not a valid encoding.
var ErrMalformed = errors.New("malformed")

// Writer appends fields to a buffer. The zero value is ready for use.
type Writer struct {
	buf []byte
}

// NewWriter returns a Writer with room for size bytes.
func NewWriter(size int) *Writer { return &Writer{buf: make([]byte, 0, size)} }

// Bytes is what was written so far; the Writer keeps owning it.
func (w *Writer) Bytes() []byte { return w.buf }

// U8 appends one byte.
func (w *Writer) U8(v uint8) { w.buf = append(w.buf, v) }

// U16 appends two bytes, most significant first.
func (w *Writer) U16(v uint16) { w.buf = binary.BigEndian.AppendUint16(w.buf, v) }

// U32 appends four bytes, most significant first.
func (w *Writer) U32(v uint32) { w.buf = binary.BigEndian.AppendUint32(w.buf, v) }

// U64 appends eight bytes, most significant first.
func (w *Writer) U64(v uint64) { w.buf = binary.BigEndian.AppendUint64(w.buf, v) }

// I64 appends a signed integer in two's complement, most significant byte first.
func (w *Writer) I64(v int64) { w.U64(uint64(v)) }

// Fixed appends b without a length.
func (w *Writer) Fixed(b []byte) { w.buf = append(w.buf, b...) }

// Bool appends 1 or 0.
func (w *Writer) Bool(v bool) {
	if v {
		w.U8(1)
		return
	}
	w.U8(0)
}

// LP8 appends b behind its length in one byte. It panics over 255 bytes:
// callers bound their fields first.
func (w *Writer) LP8(b []byte) {
	if len(b) > 0xFF {
		panic("wire: LP8 field too long")
	}
	w.U8(uint8(len(b)))
	w.Fixed(b)
}

// LP16 appends b behind its length in two bytes. It panics over 65,535 bytes.
func (w *Writer) LP16(b []byte) {
	if len(b) > 0xFFFF {
		panic("wire: LP16 field too long")
	}
	w.U16(uint16(len(b)))
	w.Fixed(b)
}

// LP32 appends b behind its length in four bytes.
func (w *Writer) LP32(b []byte) {
	w.U32(uint32(len(b)))
	w.Fixed(b)
}

// List appends the number of texts in one byte and each text as LP8. It panics over
// 255 texts or bytes of one.
func (w *Writer) List(list []string) {
	if len(list) > 0xFF {
		panic("wire: list too long")
	}
	w.U8(uint8(len(list)))
	for _, s := range list {
		w.LP8([]byte(s))
	}
}

// Reader takes fields off the front of a message.
type Reader struct {
	buf []byte
	err error
}

// NewReader reads b, which it never changes and whose memory its results share.
func NewReader(b []byte) *Reader { return &Reader{buf: b} }

// Len is the number of bytes not yet read.
func (r *Reader) Len() int { return len(r.buf) }

// Err is the first error, nil so far otherwise.
func (r *Reader) Err() error { return r.err }

// Fail makes the Reader fail, for rules the caller checks between fields.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// Done returns the first error, or ErrMalformed if bytes are left over.
func (r *Reader) Done() error {
	if r.err == nil && len(r.buf) != 0 {
		r.Fail("%d bytes left over", len(r.buf))
	}
	return r.err
}

// Fixed takes n bytes; they alias the input.
func (r *Reader) Fixed(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.buf) {
		r.Fail("%d bytes wanted, %d left", n, len(r.buf))
		return nil
	}
	b := r.buf[:n:n]
	r.buf = r.buf[n:]
	return b
}

// Into fills dst from the front of the message.
func (r *Reader) Into(dst []byte) {
	copy(dst, r.Fixed(len(dst)))
}

// U8 takes one byte.
func (r *Reader) U8() uint8 {
	b := r.Fixed(1)
	if b == nil {
		return 0
	}
	return b[0]
}

// U16 takes two bytes.
func (r *Reader) U16() uint16 {
	b := r.Fixed(2)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

// U32 takes four bytes.
func (r *Reader) U32() uint32 {
	b := r.Fixed(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// U64 takes eight bytes.
func (r *Reader) U64() uint64 {
	b := r.Fixed(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// I64 takes a signed integer of eight bytes.
func (r *Reader) I64() int64 { return int64(r.U64()) }

// Bool takes one byte that must be 0 or 1.
func (r *Reader) Bool() bool {
	switch r.U8() {
	case 0:
		return false
	case 1:
		return true
	}
	r.Fail("boolean neither 0 nor 1")
	return false
}

// LP8 takes a field behind a one-byte length, at most max bytes long.
func (r *Reader) LP8(max int) []byte { return r.lp(int(r.U8()), max) }

// LP16 takes a field behind a two-byte length, at most max bytes long.
func (r *Reader) LP16(max int) []byte { return r.lp(int(r.U16()), max) }

// LP32 takes a field behind a four-byte length, at most max bytes long.
func (r *Reader) LP32(max int) []byte {
	n := r.U32()
	if uint64(n) > uint64(max) {
		r.Fail("field of %d bytes, at most %d", n, max)
		return nil
	}
	return r.lp(int(n), max)
}

// List takes what Writer.List wrote: at most count texts of at most size bytes. No
// texts are nil.
func (r *Reader) List(count, size int) []string {
	n := int(r.U8())
	if n > count {
		r.Fail("list of %d, at most %d", n, count)
	}
	var list []string
	for range n {
		b := r.LP8(size)
		if r.err != nil {
			return nil
		}
		list = append(list, string(b))
	}
	return list
}

func (r *Reader) lp(n, max int) []byte {
	if n > max {
		r.Fail("field of %d bytes, at most %d", n, max)
		return nil
	}
	return r.Fixed(n)
}
