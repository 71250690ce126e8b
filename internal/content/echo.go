package content

import "amesh/internal/wire"

// Nonce ties an echo to its reply.
type Nonce [16]byte

// Echo asks the peer's node for a reply, whoever its agent is and whatever that does: it
// shows that the node holds the session and how long the way is (session.md §7.7).
type Echo struct {
	Nonce Nonce
}

// EchoReply is the answer to an Echo.
type EchoReply struct {
	Nonce Nonce
}

// Type is TypeEcho.
func (*Echo) Type() Type { return TypeEcho }

// Type is TypeEchoReply.
func (*EchoReply) Type() Type { return TypeEchoReply }

// Encode implements Content.
func (c *Echo) Encode() ([]byte, error) { return encode(c, 1+len(c.Nonce)) }

// Encode implements Content.
func (c *EchoReply) Encode() ([]byte, error) { return encode(c, 1+len(c.Nonce)) }

func (*Echo) check() error                { return nil }
func (c *Echo) write(w *wire.Writer)      { w.Fixed(c.Nonce[:]) }
func (c *Echo) read(r *wire.Reader)       { r.Into(c.Nonce[:]) }
func (*EchoReply) check() error           { return nil }
func (c *EchoReply) write(w *wire.Writer) { w.Fixed(c.Nonce[:]) }
func (c *EchoReply) read(r *wire.Reader)  { r.Into(c.Nonce[:]) }
