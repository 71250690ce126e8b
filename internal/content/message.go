package content

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/google/uuid"

	"amesh/internal/wire"
)

// hashLabel starts the bytes of a content hash.
const hashLabel = "amesh/session/1 content\x00"

// Description is everything about a message but its body (session.md §7.3).
type Description struct {
	ID          uuid.UUID
	Sequence    uint64
	Created     time.Time // whole milliseconds
	Deadline    time.Time // whole milliseconds
	Intent      string
	Thread      string
	ReplyTo     uuid.UUID // uuid.Nil: none
	ContentType string
	FileName    string
	Signature   []byte // accountable mode only
}

// Hash is the content hash of a message with this body: two messages under one
// id are the same message exactly when their hashes are (session.md §9.2).
func Hash(d Description, body []byte) [32]byte { return HashOf(d, sha256.Sum256(body)) }

// HashOf is Hash for a body known by its hash. Sequence and signature do not
// count: a message sealed again keeps its hash.
func HashOf(d Description, bodyHash [32]byte) [32]byte {
	w := wire.NewWriter(512)
	w.Fixed([]byte(hashLabel))
	w.Fixed(d.ID[:])
	w.I64(d.Created.UnixMilli())
	w.I64(d.Deadline.UnixMilli())
	w.LP32([]byte(d.Intent))
	w.LP32([]byte(d.Thread))
	w.Fixed(d.ReplyTo[:])
	w.LP32([]byte(d.ContentType))
	w.LP32([]byte(d.FileName))
	w.LP32(bodyHash[:])
	return sha256.Sum256(w.Bytes())
}

// Statement is what the sender of a message signs in accountable mode (session.md
// §9.5): binding is the session's AD, hash the content hash.
func Statement(binding [32]byte, sequence uint64, hash [32]byte) []byte {
	w := wire.NewWriter(len(binding) + 8 + len(hash))
	w.Fixed(binding[:])
	w.U64(sequence)
	w.Fixed(hash[:])
	return w.Bytes()
}

func (d *Description) check() error {
	if d.ID == uuid.Nil {
		return malformed("no message id")
	}
	if d.Sequence == 0 {
		return malformed("sequence is 0")
	}
	if err := checkTime("created", d.Created); err != nil {
		return err
	}
	if err := checkTime("deadline", d.Deadline); err != nil {
		return err
	}
	if life := d.Deadline.UnixMilli() - d.Created.UnixMilli(); life <= 0 || life > MaxDeadline.Milliseconds() {
		return malformed("deadline %d ms after created", life)
	}
	if err := CheckIntent(d.Intent); err != nil {
		return err
	}
	if err := checkText("thread", d.Thread, MaxThread); err != nil {
		return err
	}
	if err := checkText("content type", d.ContentType, MaxContentType); err != nil {
		return err
	}
	if n := len(d.Signature); n != 0 && n != signatureSize {
		return malformed("signature of %d bytes", n)
	}
	return CheckFileName(d.FileName)
}

func (d *Description) encode() []byte {
	w := wire.NewWriter(256)
	w.Fixed(d.ID[:])
	w.U64(d.Sequence)
	w.I64(d.Created.UnixMilli())
	w.I64(d.Deadline.UnixMilli())
	w.LP8([]byte(d.Intent))
	w.LP8([]byte(d.Thread))
	w.Fixed(d.ReplyTo[:])
	w.LP8([]byte(d.ContentType))
	w.LP8([]byte(d.FileName))
	w.LP8(d.Signature)
	return w.Bytes()
}

func (d *Description) read(outer *wire.Reader) {
	r := wire.NewReader(outer.LP16(maxDescription))
	r.Into(d.ID[:])
	d.Sequence = r.U64()
	d.Created = readMillis(r)
	d.Deadline = readMillis(r)
	d.Intent = string(r.LP8(MaxIntent))
	d.Thread = string(r.LP8(MaxThread))
	r.Into(d.ReplyTo[:])
	d.ContentType = string(r.LP8(MaxContentType))
	d.FileName = string(r.LP8(MaxFileName))
	d.Signature = notEmpty(r.LP8(signatureSize))
	if err := r.Done(); err != nil {
		outer.Fail("description: %v", err)
	}
}

// Message is a message with a body of at most SliceSize bytes.
type Message struct {
	Description
	Body []byte
}

// Type is TypeMessage.
func (*Message) Type() Type { return TypeMessage }

// Encode implements Content.
func (c *Message) Encode() ([]byte, error) { return encode(c, 256+len(c.Body)) }

func (c *Message) check() error {
	if len(c.Body) > SliceSize {
		return malformed("body of %d bytes in one message, at most %d", len(c.Body), SliceSize)
	}
	return c.Description.check()
}

func (c *Message) write(w *wire.Writer) {
	w.LP16(c.Description.encode())
	w.Fixed(c.Body)
}

func (c *Message) read(r *wire.Reader) {
	c.Description.read(r)
	c.Body = notEmpty(r.Fixed(r.Len()))
}

// Part is a slice of a message with a longer body. All parts of a message have
// the same description.
type Part struct {
	Description
	Index uint8
	Count uint8
	Total uint32   // bytes of the whole body
	Body  [32]byte // SHA-256 of the whole body
	Slice []byte
}

// Type is TypePart.
func (*Part) Type() Type { return TypePart }

// Encode implements Content.
func (c *Part) Encode() ([]byte, error) { return encode(c, 1024+len(c.Slice)) }

// check allows one way only to cut a body: the receiver then knows from any
// part how long every other one is.
func (c *Part) check() error {
	if c.Total <= SliceSize || c.Total > MaxBody {
		return malformed("body of %d bytes in parts", c.Total)
	}
	if int(c.Count) != partCount(int(c.Total)) || c.Index >= c.Count {
		return malformed("part %d of %d for %d bytes", c.Index, c.Count, c.Total)
	}
	want := SliceSize
	if c.Index == c.Count-1 {
		want = int(c.Total) - SliceSize*int(c.Index)
	}
	if len(c.Slice) != want {
		return malformed("slice of %d bytes, want %d", len(c.Slice), want)
	}
	return c.Description.check()
}

func (c *Part) write(w *wire.Writer) {
	w.U8(c.Index)
	w.U8(c.Count)
	w.U32(c.Total)
	w.Fixed(c.Body[:])
	w.LP16(c.Description.encode())
	w.Fixed(c.Slice)
}

func (c *Part) read(r *wire.Reader) {
	c.Index, c.Count = r.U8(), r.U8()
	c.Total = r.U32()
	r.Into(c.Body[:])
	c.Description.read(r)
	c.Slice = r.Fixed(r.Len())
}

func partCount(n int) int { return (n + SliceSize - 1) / SliceSize }

// Split gives the contents in which a message travels: one Message or several
// Parts. They share body's memory. It returns ErrMalformed for a body over
// MaxBody or a bad description.
func Split(d Description, body []byte) ([]Content, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	if len(body) > MaxBody {
		return nil, malformed("body of %d bytes, at most %d", len(body), MaxBody)
	}
	if len(body) <= SliceSize {
		return []Content{&Message{Description: d, Body: body}}, nil
	}
	var parts []Content
	sum, count := sha256.Sum256(body), partCount(len(body))
	for slice := range slices.Chunk(body, SliceSize) {
		parts = append(parts, &Part{
			Description: d,
			Index:       uint8(len(parts)), Count: uint8(count),
			Total: uint32(len(body)), Body: sum,
			Slice: slice,
		})
	}
	return parts, nil
}

// Join puts the slices of a message together, given in the order of their index.
// It returns ErrMalformed when the result is not the body that the parts named.
func Join(parts [][]byte, total uint32, sum [32]byte) ([]byte, error) {
	body := bytes.Join(parts, nil)
	if len(body) != int(total) || sha256.Sum256(body) != sum {
		return nil, malformed("parts do not make the body they name")
	}
	return body, nil
}
