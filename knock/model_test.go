package knock

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"amesh/ratchet"
)

// The key agreement and the ratchet a second time, written from session.md §4 to §6
// and with nothing of package ratchet but the version byte. The vectors are made
// with it; both implementations must agree with them. It is slow and says no more
// than the code of an error.

func modelPublic(private []byte) []byte {
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		panic(err)
	}
	return k.PublicKey().Bytes()
}

func modelDH(private, public []byte) []byte {
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		panic(err)
	}
	p, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		panic(err)
	}
	out, err := k.ECDH(p)
	if err != nil {
		panic(err)
	}
	return out
}

func modelHKDF(salt, ikm []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, ikm, salt, info, n)
	if err != nil {
		panic(err)
	}
	return out
}

func modelHMAC(key []byte, b byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte{b})
	return m.Sum(nil)
}

func modelHash(parts ...[]byte) []byte {
	sum := sha256.Sum256(slices.Concat(parts...))
	return sum[:]
}

func modelSeal(key, nonce, ad, p []byte) []byte {
	a, err := chacha20poly1305.NewX(key)
	if err != nil {
		panic(err)
	}
	return a.Seal(bytes.Clone(nonce), nonce, p, ad)
}

func modelOpen(key, ad, box []byte) ([]byte, bool) {
	a, err := chacha20poly1305.NewX(key)
	if err != nil || len(box) < 40 {
		return nil, false
	}
	p, err := a.Open(nil, box[:24], box[24:], ad)
	return p, err == nil
}

func u16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func i64(v int64) []byte  { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
func lp(b []byte) []byte  { return append(u32(uint32(len(b))), b...) }

func modelPrefix(kind byte) []byte { return []byte{0xA3, 0x6D, 0x73, 0x68, ratchet.Version, kind} }

// modelSizes are the padded lengths of §4.3.
func modelSizes() []int {
	sizes := []int{256, 512, 1088, 2048, 4096}
	for _, step := range [][2]int{{512, 8192}, {1024, 16384}, {2048, 32768}, {4096, 45056}} {
		for size := sizes[len(sizes)-1] + step[0]; size <= step[1]; size += step[0] {
			sizes = append(sizes, size)
		}
	}
	return sizes
}

func modelPad(p []byte) []byte {
	for _, size := range modelSizes() {
		if len(p)+4 <= size {
			return append(lp(p), make([]byte, size-4-len(p))...)
		}
	}
	panic("too long")
}

func modelUnpad(b []byte) ([]byte, bool) {
	n := binary.BigEndian.Uint32(b)
	if int(n) > len(b)-4 {
		return nil, false
	}
	p := b[4 : 4+n]
	return p, bytes.Equal(modelPad(p), b)
}

// modelState is one side, in the names of the table of §5.5; nil is "none".
type modelState struct {
	DHs     hexBytes     `json:"DHs"` // private
	DHr     hexBytes     `json:"DHr"` // public
	RK      hexBytes     `json:"RK"`
	CKs     hexBytes     `json:"CKs"`
	CKr     hexBytes     `json:"CKr"`
	HKs     hexBytes     `json:"HKs"`
	HKr     hexBytes     `json:"HKr"`
	NHKs    hexBytes     `json:"NHKs"`
	NHKr    hexBytes     `json:"NHKr"`
	Ns      uint32       `json:"Ns"`
	Nr      uint32       `json:"Nr"`
	PN      uint32       `json:"PN"`
	Skipped []modelChain `json:"skipped"` // the oldest chain first
}

// modelChain is the stored keys of one chain. In a file it is its header key, how
// many keys there are and a hash over them: there may be two thousand.
type modelChain struct {
	Header []byte
	Keys   []modelKey
}

type modelKey struct {
	N      uint32
	Stored int64
	Key    []byte
}

func (c modelChain) MarshalJSON() ([]byte, error) {
	var all []byte
	for _, k := range c.Keys {
		all = append(all, slices.Concat(u32(k.N), i64(k.Stored), k.Key)...)
	}
	return json.Marshal(struct {
		HK    hexBytes `json:"HK"`
		Count int      `json:"count"`
		Hash  hexBytes `json:"hash"` // H of N u32 ‖ stored i64 ‖ key 32 of each, in order of N
	}{c.Header, len(c.Keys), modelHash(all)})
}

// UnmarshalJSON forgets the keys, which are not in the file.
func (c *modelChain) UnmarshalJSON([]byte) error { return nil }

func (s *modelState) clone() *modelState {
	c := *s
	c.Skipped = []modelChain{}
	for _, chain := range s.Skipped {
		c.Skipped = append(c.Skipped, modelChain{chain.Header, slices.Clone(chain.Keys)})
	}
	return &c
}

func modelRoot(rk, dh []byte) (r, ck, nhk hexBytes) {
	out := modelHKDF(rk, dh, "amesh/session/1 root", 96)
	return out[:32], out[32:64], out[64:]
}

// sealed is a message with everything on its way.
type sealed struct {
	MessageKey hexBytes
	Header     hexBytes
	EH         hexBytes
	Body       hexBytes
	Envelope   hexBytes
}

// seal is §6. nonces are 48 bytes, the header's first.
func (s *modelState) seal(kind byte, ad, nonces, plaintext []byte) sealed {
	prefix := modelPrefix(kind)
	m := sealed{MessageKey: modelHMAC(s.CKs, 1)}
	m.Header = slices.Concat(modelPublic(s.DHs), u32(s.PN), u32(s.Ns), u16(0))
	m.EH = modelSeal(s.HKs, nonces[:24], prefix, m.Header)
	m.Body = modelSeal(m.MessageKey, nonces[24:], slices.Concat(ad, prefix, m.EH), modelPad(plaintext))
	m.Envelope = slices.Concat(prefix, m.EH, m.Body)
	s.CKs = modelHMAC(s.CKs, 2)
	s.Ns++
	return m
}

// received is what opening gave.
type received struct {
	Code      string // empty: opened
	Plaintext []byte
	N         uint32
	NewChain  bool
}

// open is §6; fresh is the ratchet key that a new chain takes.
func (s *modelState) open(kind byte, ad, fresh []byte, now int64, env []byte) received {
	prefix := modelPrefix(kind)
	if !slices.Contains(modelSizes(), len(env)-128) || !bytes.Equal(env[:6], prefix) {
		return received{Code: "malformed"}
	}
	c := s.clone()
	key, got := c.find(fresh, now, env[6:88], prefix)
	if got.Code != "" {
		return got
	}
	padded, ok := modelOpen(key, slices.Concat(ad, env[:88]), env[88:])
	if !ok {
		return received{Code: "decrypt_failed"}
	}
	if got.Plaintext, ok = modelUnpad(padded); !ok {
		return received{Code: "malformed"}
	}
	c.limit(now)
	*s = *c
	return got
}

// find is the four steps of §6, on a copy.
func (s *modelState) find(fresh []byte, now int64, eh, prefix []byte) ([]byte, received) {
	for i := range s.Skipped {
		if bytes.Equal(s.Skipped[i].Header, s.HKr) {
			continue
		}
		if h, ok := modelOpen(s.Skipped[i].Header, prefix, eh); ok {
			return s.take(i, number(h), now)
		}
	}
	if s.HKr != nil {
		if h, ok := modelOpen(s.HKr, prefix, eh); ok {
			if n := number(h); n < s.Nr {
				return s.take(slices.IndexFunc(s.Skipped, func(c modelChain) bool { return bytes.Equal(c.Header, s.HKr) }), n, now)
			}
			return s.advance(number(h), now)
		}
	}
	h, ok := modelOpen(s.NHKr, prefix, eh)
	if !ok {
		return nil, received{Code: "decrypt_failed"}
	}
	pn := binary.BigEndian.Uint32(h[32:])
	switch {
	case number(h) > 1000 || s.HKr == nil && pn > 1000 || s.HKr != nil && pn > s.Nr && pn-s.Nr > 1000:
		return nil, received{Code: "skip_limit"}
	case bytes.Equal(h[:32], modelPublic(s.DHs)):
		return nil, received{Code: "key_invalid"}
	}
	if s.HKr != nil {
		s.skip(pn, now)
	}
	s.PN, s.Ns, s.Nr = s.Ns, 0, 0
	s.HKs, s.HKr, s.DHr = s.NHKs, s.NHKr, h[:32]
	s.RK, s.CKr, s.NHKr = modelRoot(s.RK, modelDH(s.DHs, s.DHr))
	s.DHs = fresh
	s.RK, s.CKs, s.NHKs = modelRoot(s.RK, modelDH(s.DHs, s.DHr))
	key, got := s.advance(number(h), now)
	got.NewChain = true
	return key, got
}

func number(header []byte) uint32 { return binary.BigEndian.Uint32(header[36:]) }

// take uses the stored key of a chain.
func (s *modelState) take(chain int, n uint32, now int64) ([]byte, received) {
	if chain >= 0 {
		keys := s.Skipped[chain].Keys
		if i := slices.IndexFunc(keys, func(k modelKey) bool { return k.N == n }); i >= 0 && keys[i].Stored >= now-7*86400 {
			key := keys[i].Key
			s.Skipped[chain].Keys = slices.Delete(keys, i, i+1)
			return key, received{N: n}
		}
	}
	return nil, received{Code: "duplicate_or_expired"}
}

func (s *modelState) advance(n uint32, now int64) ([]byte, received) {
	if n-s.Nr > 1000 || n == 1<<32-1 {
		return nil, received{Code: "skip_limit"}
	}
	s.skip(n, now)
	key := modelHMAC(s.CKr, 1)
	s.CKr = modelHMAC(s.CKr, 2)
	s.Nr++
	return key, received{N: n}
}

// skip stores the keys of the present chain up to number until.
func (s *modelState) skip(until uint32, now int64) {
	for ; s.Nr < until; s.Nr++ {
		i := slices.IndexFunc(s.Skipped, func(c modelChain) bool { return bytes.Equal(c.Header, s.HKr) })
		if i < 0 {
			i = len(s.Skipped)
			s.Skipped = append(s.Skipped, modelChain{Header: s.HKr})
		}
		s.Skipped[i].Keys = append(s.Skipped[i].Keys, modelKey{s.Nr, now, modelHMAC(s.CKr, 1)})
		s.CKr = modelHMAC(s.CKr, 2)
	}
}

// limit keeps to what a session may store.
func (s *modelState) limit(now int64) {
	for i := range s.Skipped {
		s.Skipped[i].Keys = slices.DeleteFunc(s.Skipped[i].Keys, func(k modelKey) bool { return k.Stored < now-7*86400 })
	}
	empty := func(c modelChain) bool { return len(c.Keys) == 0 }
	s.Skipped = slices.DeleteFunc(s.Skipped, empty)
	if over := len(s.Skipped) - 64; over > 0 {
		s.Skipped = s.Skipped[over:]
	}
	total := 0
	for _, c := range s.Skipped {
		total += len(c.Keys)
	}
	for ; total > 2000; total-- {
		s.Skipped[0].Keys = s.Skipped[0].Keys[1:]
		s.Skipped = slices.DeleteFunc(s.Skipped, empty)
	}
}

// modelSign is §2.2.
func modelSign(seed []byte, tag string, body []byte) []byte {
	return ed25519.Sign(ed25519.NewKeyFromSeed(seed), slices.Concat([]byte(tag), []byte{0}, body))
}

// modelEncapsulate is ML-KEM.Encaps with randomness m.
func modelEncapsulate(t testing.TB, seed, m []byte) (public, shared, ciphertext []byte) {
	t.Helper()
	k, err := mlkem.NewDecapsulationKey768(seed)
	if err != nil {
		t.Fatal(err)
	}
	shared, ciphertext, err = mlkemtest.Encapsulate768(k.EncapsulationKey(), m)
	if err != nil {
		t.Fatal(err)
	}
	return k.EncapsulationKey().Bytes(), shared, ciphertext
}
