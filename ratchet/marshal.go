package ratchet

import (
	"fmt"

	"amesh/internal/wire"
)

// stateVersion is the layout of a stored session. It never travels.
const stateVersion = 1

// MarshalBinary writes the whole session, keys included: the result is as secret
// as the session and is sealed before it is stored. Equal sessions give equal
// bytes.
//
//	version u8 ‖ stage u8 ‖ sid 16 ‖ th0 32 ‖ ad 32
//	‖ DHs 32 ‖ DHs public 32 ‖ DHr 32 ‖ RK 32
//	‖ sending u8 ‖ CKs 32 ‖ HKs 32 ‖ receiving u8 ‖ CKr 32 ‖ HKr 32 ‖ NHKs 32 ‖ NHKr 32
//	‖ Ns u32 ‖ Nr u32 ‖ PN u32
//	‖ chains u8, each: header key 32 ‖ count u16, each: number u32 ‖ stored i64 ‖ key 32
func (s *Session) MarshalBinary() ([]byte, error) {
	w := wire.NewWriter(512 + len(s.skipped.chains)*34 + s.skipped.count()*44)
	w.U8(stateVersion)
	w.U8(uint8(s.stage))
	w.Fixed(s.sid[:])
	w.Fixed(s.th0[:])
	w.Fixed(s.ad[:])
	w.Fixed(s.dhs[:])
	w.Fixed(s.dhsPublic[:])
	w.Fixed(s.dhr[:])
	w.Fixed(s.rk[:])
	w.Bool(s.sending)
	w.Fixed(s.cks[:])
	w.Fixed(s.hks[:])
	w.Bool(s.receiving)
	w.Fixed(s.ckr[:])
	w.Fixed(s.hkr[:])
	w.Fixed(s.nhks[:])
	w.Fixed(s.nhkr[:])
	w.U32(s.ns)
	w.U32(s.nr)
	w.U32(s.pn)
	w.U8(uint8(len(s.skipped.chains)))
	for i := range s.skipped.chains {
		s.skipped.chains[i].write(w)
	}
	return w.Bytes(), nil
}

func (c *chain) write(w *wire.Writer) {
	w.Fixed(c.header[:])
	w.U16(uint16(len(c.keys)))
	for i := range c.keys {
		w.U32(c.keys[i].number)
		w.I64(c.keys[i].stored)
		w.Fixed(c.keys[i].key[:])
	}
}

// UnmarshalSession reads what MarshalBinary wrote and nothing else; it returns
// ErrMalformed.
func UnmarshalSession(b []byte) (*Session, error) {
	s := &Session{}
	r := wire.NewReader(b)
	if v := r.U8(); v != stateVersion {
		r.Fail("version %d", v)
	}
	if s.stage = stage(r.U8()); s.stage > stageBound {
		r.Fail("stage %d", s.stage)
	}
	r.Into(s.sid[:])
	r.Into(s.th0[:])
	r.Into(s.ad[:])
	r.Into(s.dhs[:])
	r.Into(s.dhsPublic[:])
	r.Into(s.dhr[:])
	r.Into(s.rk[:])
	s.sending = r.Bool()
	r.Into(s.cks[:])
	r.Into(s.hks[:])
	s.receiving = r.Bool()
	r.Into(s.ckr[:])
	r.Into(s.hkr[:])
	r.Into(s.nhks[:])
	r.Into(s.nhkr[:])
	s.ns, s.nr, s.pn = r.U32(), r.U32(), r.U32()
	s.skipped.read(r)
	if err := r.Done(); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return s, nil
}

func (k *skipped) read(r *wire.Reader) {
	chains := int(r.U8())
	if chains > MaxSkippedChains {
		r.Fail("%d chains", chains)
	}
	total := 0
	for range chains {
		var c chain
		r.Into(c.header[:])
		n := int(r.U16())
		if total += n; n == 0 || total > MaxSkipped {
			r.Fail("chain of %d keys", n)
		}
		for range n {
			var key storedKey
			key.number, key.stored = r.U32(), r.I64()
			r.Into(key.key[:])
			if r.Err() != nil {
				return
			}
			c.keys = append(c.keys, key)
		}
		if r.Err() != nil {
			return
		}
		k.chains = append(k.chains, c)
	}
}
