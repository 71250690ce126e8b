package amtp

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"time"
)

// ErrID reports text that is no UUID of the version that is wanted.
var ErrID = errors.New("not such a UUID")

// minted is the last id of this process: ids of one millisecond count up, so that
// they sort in the order in which they were given out.
var minted struct {
	sync.Mutex
	ms      uint64
	counter uint16 // the 12 bits after the version
}

// maxStepBack is how far the clock may go back without the ids following it, in
// milliseconds. Beyond it the clock was set, and ids do not stay in the future.
const maxStepBack = 60_000

// NewMessageID returns a UUIDv7 for the given moment, larger than the one before
// (RFC 9562 §6.2, method 1).
func NewMessageID(now time.Time) string {
	var u [16]byte
	rand.Read(u[6:])
	ms := uint64(max(now.UnixMilli(), 0))
	minted.Lock()
	if ms > minted.ms || minted.ms-ms > maxStepBack {
		minted.ms, minted.counter = ms, binary.BigEndian.Uint16(u[6:])&0x7ff
	} else if minted.counter++; minted.counter > 0xfff {
		minted.ms, minted.counter = minted.ms+1, 0
	}
	ms, counter := minted.ms, minted.counter
	minted.Unlock()
	binary.BigEndian.PutUint16(u[6:], counter)
	return stamp7(u, ms)
}

// stamp7 makes u a UUIDv7 of the millisecond ms.
func stamp7(u [16]byte, ms uint64) string {
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i))
	}
	return stamp(u, 7)
}

// stamp sets version and variant and writes u out.
func stamp(u [16]byte, version byte) string {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[:8], u[:4])
	hex.Encode(out[9:13], u[4:6])
	hex.Encode(out[14:18], u[6:8])
	hex.Encode(out[19:23], u[8:10])
	hex.Encode(out[24:], u[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// NewKey returns a random UUIDv4 for an idempotency_key or a request id.
func NewKey() string {
	var u [16]byte
	rand.Read(u[:])
	return stamp(u, 4)
}

// CheckMessageID returns s, a UUIDv7, in lower case, or ErrID.
func CheckMessageID(s string) (string, error) { return checkUUID(s, '7') }

// CheckKey returns s, a UUIDv4, in lower case, or ErrID.
func CheckKey(s string) (string, error) { return checkUUID(s, '4') }

func checkUUID(s string, version byte) (string, error) {
	if len(s) != 36 || s[14] != version || strings.IndexByte("89abAB", s[19]) < 0 {
		return "", ErrID
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') {
			return "", ErrID
		} else if !dash && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return "", ErrID
		}
	}
	return strings.ToLower(s), nil
}

// DeriveKey makes the key of a message whose sender gave none, from everything
// that it says and to whom. Two equal messages have the same.
func DeriveKey(m *Message) string {
	h := sha256.New()
	content := m.Hash()
	h.Write(content[:])
	for _, r := range m.Recipients {
		h.Write([]byte(r.String()))
		h.Write([]byte{0})
	}
	return stamp([16]byte(h.Sum(nil)), 4)
}

// ForRecipient returns the id and the key under which one recipient's copy of a
// message goes to a gateway that knows keys, not recipients: always the same two,
// and the id with the time of the original.
func ForRecipient(messageID, recipient string) (id, key string) {
	sum := sha256.Sum256([]byte("amtp recipient\x00" + messageID + "\x00" + recipient))
	return stamp7([16]byte(sum[:16]), idTime(messageID)), stamp([16]byte(sum[16:]), 4)
}

// idTime returns the milliseconds in a UUIDv7, 0 for what is none.
func idTime(id string) uint64 {
	if len(id) != 36 {
		return 0
	}
	b, err := hex.DecodeString(id[:8] + id[9:13])
	if err != nil {
		return 0
	}
	var wide [8]byte
	copy(wide[2:], b)
	return binary.BigEndian.Uint64(wide[:])
}

// mapID makes a UUIDv7 from the UUIDv4 that a client gave a message: always the
// same one for the same sender, id and time.
func mapID(sender, id string, at time.Time) string {
	sum := sha256.Sum256([]byte("amtp client id\x00" + sender + "\x00" + id))
	return stamp7([16]byte(sum[:16]), uint64(max(at.UnixMilli(), 0)))
}
