package identity

import (
	"fmt"

	"amesh/internal/wire"
)

const (
	markVersion = 1
	maxServer   = 255
)

// RollbackMark is a statement of an agent to itself, kept where a copy of its state
// does not reach: no envelope beyond Reserved was sealed (session.md §2.7). A state
// that knows of fewer was put back.
type RollbackMark struct {
	Server   string // host:port of who keeps it; empty for the file beside the store
	AMID     AMID
	Epoch    uint32
	Reserved uint64 // sealed envelopes
}

// SignMark returns the signed bytes of m, at most 353. The AMID is the key's.
func SignMark(key PrivateKey, m RollbackMark) ([]byte, error) {
	m.AMID = key.AMID()
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("sign rollback mark: %w", err)
	}
	w := wire.NewWriter(98 + len(m.Server))
	w.U8(markVersion)
	w.LP8([]byte(m.Server))
	w.Fixed(m.AMID[:])
	w.U32(m.Epoch)
	w.U64(m.Reserved)
	w.Fixed(key.Sign(TagRollbackMark, w.Bytes()))
	return w.Bytes(), nil
}

// ParseMark reads a mark that own must have signed, for the server where it was
// found: each keeps its own, so none can pass another's off. It returns
// wire.ErrMalformed, ErrMismatch or ErrSignature; then the mark counts as none.
func ParseMark(raw []byte, own PublicKey, server string) (*RollbackMark, error) {
	m := &RollbackMark{}
	r := wire.NewReader(raw)
	if v := r.U8(); v != markVersion {
		r.Fail("version %d", v)
	}
	m.Server = string(r.LP8(maxServer))
	r.Into(m.AMID[:])
	m.Epoch = r.U32()
	m.Reserved = r.U64()
	sig := r.Fixed(SignatureSize)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("rollback mark: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("rollback mark: %w", err)
	}
	if m.AMID != own.AMID() || m.Server != server {
		return nil, fmt.Errorf("rollback mark: %w: of %s for %q", ErrMismatch, m.AMID, m.Server)
	}
	body, _ := split(raw)
	if err := own.Verify(TagRollbackMark, body, sig); err != nil {
		return nil, fmt.Errorf("rollback mark: %w", err)
	}
	return m, nil
}

func (m *RollbackMark) check() error {
	if len(m.Server) > maxServer || !textOK([]byte(m.Server)) {
		return fmt.Errorf("%w: server %.40q", wire.ErrMalformed, m.Server)
	}
	return nil
}
