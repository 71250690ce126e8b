package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func TestOneValueOneEncoding(t *testing.T) {
	w := NewWriter(0)
	w.U8(1)
	w.U16(0x0203)
	w.U32(0x04050607)
	w.U64(0x08090a0b0c0d0e0f)
	w.I64(-2)
	w.Bool(true)
	w.Bool(false)
	w.Fixed([]byte{0xaa})
	w.LP8([]byte("ab"))
	w.LP16([]byte("c"))
	w.LP32(nil)
	w.List([]string{"d", ""})
	w.List(nil)
	const want = "0102030405060708090a0b0c0d0e0ffffffffffffffffe0100aa026162" + "000163" + "00000000" + "02016400" + "00"
	if got := hex.EncodeToString(w.Bytes()); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	r := NewReader(w.Bytes())
	if r.U8() != 1 || r.U16() != 0x0203 || r.U32() != 0x04050607 || r.U64() != 0x08090a0b0c0d0e0f || r.I64() != -2 {
		t.Error("integers differ")
	}
	if !r.Bool() || r.Bool() {
		t.Error("booleans differ")
	}
	if !bytes.Equal(r.Fixed(1), []byte{0xaa}) || string(r.LP8(2)) != "ab" || string(r.LP16(1)) != "c" || len(r.LP32(0)) != 0 {
		t.Error("fields differ")
	}
	if list := r.List(2, 1); len(list) != 2 || list[0] != "d" || list[1] != "" || r.List(2, 1) != nil {
		t.Errorf("lists differ: %q", list)
	}
	if err := r.Done(); err != nil {
		t.Error(err)
	}
}

func TestReaderIsStrict(t *testing.T) {
	for _, c := range []struct {
		name string
		in   string
		read func(r *Reader)
	}{
		{"nothing there", "", func(r *Reader) { r.U8() }},
		{"integer cut short", "0102", func(r *Reader) { r.U32() }},
		{"bytes left over", "0102", func(r *Reader) { r.U8() }},
		{"boolean 2", "02", func(r *Reader) { r.Bool() }},
		{"field longer than allowed", "03616263", func(r *Reader) { r.LP8(2) }},
		{"field longer than the input", "0361", func(r *Reader) { r.LP8(3) }},
		{"LP16 longer than allowed", "000161", func(r *Reader) { r.LP16(0) }},
		{"LP32 of 4 GiB", "ffffffff61", func(r *Reader) { r.LP32(1 << 30) }},
		{"LP32 over the sign of an int32", "8000000061", func(r *Reader) { r.LP32(1 << 20) }},
		{"list longer than allowed", "0200", func(r *Reader) { r.List(1, 9) }},
		{"text in a list longer than allowed", "010361", func(r *Reader) { r.List(1, 2) }},
		{"list cut short", "020161", func(r *Reader) { r.List(9, 9) }},
		{"negative length", "00", func(r *Reader) { r.Fixed(-1) }},
		{"the caller's rule", "", func(r *Reader) { r.Fail("no %s", "good") }},
	} {
		in, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatal(err)
		}
		r := NewReader(in)
		c.read(r)
		if err := r.Done(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The first error stays, and nothing is read after it.
func TestFirstErrorWins(t *testing.T) {
	r := NewReader([]byte{2, 7, 7})
	r.Bool()
	first := r.Err()
	if r.U8() != 0 || r.Fixed(1) != nil || r.U64() != 0 {
		t.Error("read on after an error")
	}
	r.Fail("later")
	if first == nil || r.Done() != first {
		t.Errorf("got %v, want %v", r.Done(), first)
	}
}

// Results share the input's memory but cannot reach past their own end.
func TestFieldsCannotGrowIntoTheirNeighbours(t *testing.T) {
	in := []byte{1, 2, 3}
	r := NewReader(in)
	_ = append(r.Fixed(1), 9)
	if in[1] != 2 {
		t.Error("append overwrote the next field")
	}
}

func TestTooLongForItsLength(t *testing.T) {
	for name, f := range map[string]func(w *Writer){
		"LP8":  func(w *Writer) { w.LP8(make([]byte, 256)) },
		"LP16": func(w *Writer) { w.LP16(make([]byte, 1<<16)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s took it", name)
				}
			}()
			f(NewWriter(0))
		}()
	}
}
