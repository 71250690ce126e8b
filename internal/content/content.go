package content

import (
	"fmt"

	"amesh/internal/wire"
	"amesh/ratchet"
)

// Type is the first byte of a content.
type Type uint8

// The types of contents.
const (
	TypeRequest    Type = 0x01
	TypeAccept     Type = 0x02
	TypeReject     Type = 0x03
	TypePending    Type = 0x04
	TypeMessage    Type = 0x10
	TypePart       Type = 0x11
	TypeReceipts   Type = 0x12
	TypeSkip       Type = 0x13
	TypeClose      Type = 0x14
	TypePaths      Type = 0x15
	TypeICEOffer   Type = 0x16
	TypeICEAnswer  Type = 0x17
	TypeRevocation Type = 0x18
	TypeEcho       Type = 0x19
	TypeEchoReply  Type = 0x1a
)

// ErrMalformed reports a content that breaks a rule of its layout, read or to be
// written. It is the same value as wire.ErrMalformed.
var ErrMalformed = wire.ErrMalformed

// Content is one plaintext of a ratchet message.
type Content interface {
	// Type is the content's type.
	Type() Type
	// Encode writes the content, type byte first. It returns ErrMalformed when
	// Parse would refuse the result.
	Encode() ([]byte, error)

	check() error
	write(*wire.Writer)
	read(*wire.Reader)
}

// Unknown is a content of a type that this version does not know. It is
// committed, receipted and ignored.
type Unknown struct {
	Kind   Type
	Fields []byte
}

// Parse reads a content: a pointer to one of the structs of this package. The
// result shares memory with b. It returns ErrMalformed.
func Parse(b []byte) (Content, error) {
	if len(b) == 0 || len(b) > ratchet.MaxPlaintext {
		return nil, fmt.Errorf("content: %w: %d bytes", ErrMalformed, len(b))
	}
	c := blank(Type(b[0]))
	r := wire.NewReader(b[1:])
	c.read(r)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("content %#02x: %w", b[0], err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("content %#02x: %w", b[0], err)
	}
	return c, nil
}

func blank(t Type) Content {
	switch t {
	case TypeRequest:
		return &Request{}
	case TypeAccept:
		return &Accept{}
	case TypeReject:
		return &Reject{}
	case TypePending:
		return &Pending{}
	case TypeMessage:
		return &Message{}
	case TypePart:
		return &Part{}
	case TypeReceipts:
		return &Receipts{}
	case TypeSkip:
		return &Skip{}
	case TypeClose:
		return &Close{}
	case TypePaths:
		return &Paths{}
	case TypeICEOffer:
		return &ICEOffer{}
	case TypeICEAnswer:
		return &ICEAnswer{}
	case TypeRevocation:
		return &Revocation{}
	case TypeEcho:
		return &Echo{}
	case TypeEchoReply:
		return &EchoReply{}
	}
	return &Unknown{Kind: t}
}

func encode(c Content, size int) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("encode content %#02x: %w", uint8(c.Type()), err)
	}
	w := wire.NewWriter(size)
	w.U8(uint8(c.Type()))
	c.write(w)
	if n := len(w.Bytes()); n > ratchet.MaxPlaintext {
		return nil, fmt.Errorf("encode content %#02x: %w: %d bytes", uint8(c.Type()), ErrMalformed, n)
	}
	return w.Bytes(), nil
}

// Type is the type byte that was read.
func (c *Unknown) Type() Type { return c.Kind }

// Encode writes the content again as it came.
func (c *Unknown) Encode() ([]byte, error) { return encode(c, 1+len(c.Fields)) }

func (c *Unknown) check() error {
	if _, ok := blank(c.Kind).(*Unknown); !ok {
		return malformed("type %#02x is known", uint8(c.Kind))
	}
	return nil
}

func (c *Unknown) write(w *wire.Writer) { w.Fixed(c.Fields) }
func (c *Unknown) read(r *wire.Reader)  { c.Fields = notEmpty(r.Fixed(r.Len())) }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
