// Package backup is the file format of a backup: a sequence of entries, encrypted
// with age. It knows nothing of what the entries mean.
//
// Inside the encryption stand a first line, "amesh backup 1", and then entries:
//
//	kind u8 ‖ name LP16 ‖ value LP32
//
// The last one is of kind End and says how many came before it. age notices a file
// that was cut or changed; End notices one that was never finished. A passphrase also
// proves who wrote a backup, a public key does not: everybody may have it.
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
	State Kind = 4 // value: version of the layout that all rows have, u32; before the first agent
	End   Kind = 9 // value: number of entries before, u64
)

const (
	head = "amesh backup 1\n"
	// headOfAny is what the first line of every version begins with.
	headOfAny = "amesh backup "
	// maxName and maxValue bound an entry in bytes: a row of the store fits, and a
	// reader never holds more than one entry.
	maxName  = 512
	maxValue = 2 << 20
	// bufferSize is one chunk of age.
	bufferSize = 64 << 10
)

var (
	// ErrFormat is returned by Reader for what no Writer made.
	ErrFormat = errors.New("not a backup of amesh")
	// ErrDamaged is returned by Reader for a backup that was cut short or changed.
	ErrDamaged = errors.New("the backup is damaged or cut short")
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
	return newWriter(enc)
}

func newWriter(enc io.WriteCloser) (*Writer, error) {
	w := &Writer{enc: enc, buf: bufio.NewWriterSize(enc, bufferSize)}
	_, w.err = w.buf.WriteString(head)
	return w, w.err
}

// Add writes an entry, with a name of at most 512 bytes and a value of at most 2 MiB.
func (w *Writer) Add(kind Kind, name, value []byte) error {
	if w.err != nil {
		return w.err
	}
	if len(name) > maxName || len(value) > maxValue {
		return fmt.Errorf("backup: entry of %d bytes with a name of %d: at most %d and %d fit", len(value), len(name), maxValue, maxName)
	}
	w.n++
	h := binary.BigEndian.AppendUint16([]byte{byte(kind)}, uint16(len(name)))
	size := binary.BigEndian.AppendUint32(nil, uint32(len(value)))
	for _, b := range [][]byte{h, name, size, value} {
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
	if err := w.buf.Flush(); err != nil {
		return err
	}
	return w.enc.Close()
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
// *age.NoIdentityMatchError when none fits, and ErrFormat, ErrDamaged or ErrNewer.
func NewReader(r io.Reader, by ...age.Identity) (*Reader, error) {
	src := &source{r: r}
	file := bufio.NewReaderSize(src, bufferSize)
	if err := src.looksLikeAge(file); err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	plain, err := age.Decrypt(file, by...)
	if _, none := errors.AsType[*age.NoIdentityMatchError](err); none || len(by) == 0 {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("backup: %w", src.blame(err))
	}
	return newReader(&decrypted{plain, src})
}

func newReader(plain io.Reader) (*Reader, error) {
	r := &Reader{buf: bufio.NewReaderSize(plain, bufferSize)}
	line, err := r.take(len(head))
	switch {
	case err != nil:
		return nil, fmt.Errorf("backup: %w", err)
	case string(line) == head:
		return r, nil
	case string(line[:len(headOfAny)]) == headOfAny:
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
	if len(e.Name) != 0 || len(e.Value) != 8 || binary.BigEndian.Uint64(e.Value) != r.n {
		return Entry{}, fmt.Errorf("backup: %w: entries are missing", ErrFormat)
	}
	switch _, err := r.buf.ReadByte(); {
	case err == nil:
		return Entry{}, fmt.Errorf("backup: %w: something follows the end", ErrFormat)
	case err != io.EOF:
		return Entry{}, fmt.Errorf("backup: %w", err)
	}
	return Entry{}, io.EOF
}

func (r *Reader) read() (e Entry, err error) {
	h, err := r.take(3)
	if err != nil {
		return e, err
	}
	e.Kind = Kind(h[0])
	if e.Name, err = r.lengthPrefixed(int(binary.BigEndian.Uint16(h[1:])), maxName); err != nil {
		return e, err
	}
	size, err := r.take(4)
	if err != nil {
		return e, err
	}
	e.Value, err = r.lengthPrefixed(int(binary.BigEndian.Uint32(size)), maxValue)
	return e, err
}

// lengthPrefixed looks at a length before anything of that length is made.
func (r *Reader) lengthPrefixed(n, most int) ([]byte, error) {
	if n > most {
		return nil, fmt.Errorf("%w: %d bytes where at most %d may stand", ErrFormat, n, most)
	}
	return r.take(n)
}

func (r *Reader) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r.buf, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		// The encryption is whole: this is how it was written.
		return nil, fmt.Errorf("%w: it ends too soon", ErrFormat)
	}
	return b, err
}

// source is the file. It remembers what reading failed with, so that a bad disk is not
// taken for a bad backup.
type source struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// blame turns an error of the decryption into what the file did wrong.
func (s *source) blame(err error) error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("%w: %v", ErrDamaged, err)
}

// looksLikeAge tells a file of another kind from one that is damaged.
func (s *source) looksLikeAge(file *bufio.Reader) error {
	const intro = "age-encryption.org/v1\n"
	got, err := file.Peek(len(intro))
	switch {
	case s.err != nil:
		return s.err
	case string(got) != intro[:len(got)]:
		return ErrFormat
	case err != nil:
		return s.blame(err)
	}
	return nil
}

// decrypted is the content of the file, with errors that say whose fault it is.
type decrypted struct {
	r   io.Reader
	src *source
}

// Read implements io.Reader.
func (d *decrypted) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = d.src.blame(err)
	}
	return n, err
}
