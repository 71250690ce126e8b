// Package backup is the file format of a backup: a sequence of entries, encrypted
// with age. It knows nothing of what the entries mean.
//
// Inside the encryption stand a first line, "amesh backup 1", and then entries:
//
//	kind u8 ‖ name LP16 ‖ value LP32
//
// The last one is of kind End and says how many came before it. age notices a file
// that was cut or changed; End notices one that was never finished.
package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// Kind says what an entry is.
type Kind uint8

// The kinds of entries.
const (
	File  Kind = 1 // name: path in the home
	Agent Kind = 2 // name: the agent's; value: AMID 20 ‖ epoch u32; its rows follow
	Row   Kind = 3 // name: the row's key without the AMID
	End   Kind = 9 // value: number of entries before, u64
)

const (
	head     = "amesh backup 1\n"
	maxName  = 1<<16 - 1
	maxValue = 16 << 20
)

var (
	// ErrFormat is returned by Reader for what no Writer made.
	ErrFormat = errors.New("not a backup of amesh")
	// ErrNewer is returned by NewReader for a format of a later version.
	ErrNewer = errors.New("a backup of a later version of amesh")
)

// Writer writes one backup. Close must be called, and must have returned nil.
type Writer struct {
	enc io.WriteCloser
	buf *bufio.Writer
	n   uint64
	err error
}

// NewWriter starts a backup for whoever holds one of the keys of to.
func NewWriter(w io.Writer, to ...age.Recipient) (*Writer, error) {
	enc, err := age.Encrypt(w, to...)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	b := &Writer{enc: enc, buf: bufio.NewWriterSize(enc, 64<<10)}
	_, b.err = b.buf.WriteString(head)
	return b, b.err
}

// Add writes an entry.
func (w *Writer) Add(kind Kind, name, value []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(name) > maxName || len(value) > maxValue {
		return fmt.Errorf("backup: entry of %d bytes named with %d", len(value), len(name))
	}
	w.n++
	var h [7]byte
	h[0] = byte(kind)
	binary.BigEndian.PutUint16(h[1:], uint16(len(name)))
	binary.BigEndian.PutUint32(h[3:], uint32(len(value)))
	for _, b := range [][]byte{h[:3], name, h[3:], value} {
		if _, w.err = w.buf.Write(b); w.err != nil {
			return w.err
		}
	}
	return nil
}

// Close finishes the backup. The underlying writer is left open.
func (w *Writer) Close() error {
	if err := w.Add(End, nil, binary.BigEndian.AppendUint64(nil, w.n)); err != nil {
		return err
	}
	return errors.Join(w.buf.Flush(), w.enc.Close())
}

// Entry is one entry of a backup.
type Entry struct {
	Kind        Kind
	Name, Value []byte
}

// Reader reads one backup.
type Reader struct {
	buf *bufio.Reader
	n   uint64
}

// NewReader opens a backup with one of the keys of by. It returns an
// *age.NoIdentityMatchError when none fits, and ErrFormat or ErrNewer.
func NewReader(r io.Reader, by ...age.Identity) (*Reader, error) {
	plain, err := age.Decrypt(r, by...)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	b := &Reader{buf: bufio.NewReaderSize(plain, 64<<10)}
	line := make([]byte, len(head))
	if _, err := io.ReadFull(b.buf, line); err != nil {
		return nil, fmt.Errorf("backup: %w", ErrFormat)
	}
	switch {
	case string(line) == head:
		return b, nil
	case string(line[:13]) == head[:13]:
		return nil, fmt.Errorf("backup: %w", ErrNewer)
	}
	return nil, fmt.Errorf("backup: %w", ErrFormat)
}

// Next returns the next entry, and io.EOF behind the last. Whatever it returned
// before another error is part of a backup that is not whole.
func (r *Reader) Next() (Entry, error) {
	e, err := r.read()
	if err != nil {
		return Entry{}, fmt.Errorf("backup: %w", err)
	}
	if e.Kind != End {
		r.n++
		return e, nil
	}
	if len(e.Value) != 8 || binary.BigEndian.Uint64(e.Value) != r.n {
		return Entry{}, fmt.Errorf("backup: %w: entries are missing", ErrFormat)
	}
	if _, err := r.buf.ReadByte(); err != io.EOF {
		return Entry{}, fmt.Errorf("backup: %w: something follows the end", ErrFormat)
	}
	return Entry{}, io.EOF
}

func (r *Reader) read() (Entry, error) {
	kind, err := r.buf.ReadByte()
	if err != nil {
		return Entry{}, cut(err)
	}
	var n [4]byte
	if _, err := io.ReadFull(r.buf, n[:2]); err != nil {
		return Entry{}, cut(err)
	}
	name := make([]byte, binary.BigEndian.Uint16(n[:]))
	if _, err := io.ReadFull(r.buf, name); err != nil {
		return Entry{}, cut(err)
	}
	if _, err := io.ReadFull(r.buf, n[:]); err != nil {
		return Entry{}, cut(err)
	}
	size := binary.BigEndian.Uint32(n[:])
	if size > maxValue {
		return Entry{}, fmt.Errorf("%w: entry of %d bytes", ErrFormat, size)
	}
	value := make([]byte, size)
	_, err = io.ReadFull(r.buf, value)
	return Entry{Kind(kind), name, value}, cut(err)
}

// cut says that a backup ends before its End.
func cut(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too soon", ErrFormat)
	}
	return err
}
