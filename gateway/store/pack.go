package store

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// sumSize is how much of a SHA-256 is kept, of contents and keys. Whoever finds two that
// are the same has sent both: they meet only under his own key.
const sumSize = 16

// packID is a UUID's bytes, nil for text that is none.
func packID(id string) []byte {
	if len(id) != 36 {
		return nil
	}
	raw, err := hex.DecodeString(id[:8] + id[9:13] + id[14:18] + id[19:23] + id[24:])
	if err != nil {
		return nil
	}
	return raw
}

// unpackID is the text of a UUID.
func unpackID(raw []byte) string {
	if len(raw) != 16 {
		return ""
	}
	var out [36]byte
	hex.Encode(out[:8], raw[:4])
	hex.Encode(out[9:13], raw[4:6])
	hex.Encode(out[14:18], raw[6:8])
	hex.Encode(out[19:23], raw[8:10])
	hex.Encode(out[24:], raw[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// packed marks a document that is kept without its beginning. One that is kept as it is
// begins with a brace.
const packed = 1

// beginning is how a document begins whose id and key are UUIDs.
func beginning(id, key []byte) string {
	return `{"version":"` + amtp.Version + `","message_id":"` + unpackID(id) + `","idempotency_key":"` + unpackID(key) + `"`
}

// packDocument is a document without what its row has anyway, and with its key as bytes,
// which it puts into the document's place.
func packDocument(document, id, key []byte) []byte {
	begin := beginning(id, key)
	if len(key) != 16 || !strings.HasPrefix(string(document[:min(len(document), len(begin))]), begin) {
		return document
	}
	out := document[len(begin)-1-len(key):]
	out[0] = packed
	copy(out[1:], key)
	return out
}

// unpackDocument is what packDocument packed.
func unpackDocument(raw, id []byte) []byte {
	if len(raw) < 17 || raw[0] != packed {
		return raw
	}
	begin := beginning(id, raw[1:17])
	out := make([]byte, 0, len(begin)+len(raw)-17)
	return append(append(out, begin...), raw[17:]...)
}

// dedup is what a recipient of a message is known by when the message comes again.
func dedup(origin, sender, key, recipient string) []byte {
	sum := sha256.Sum256([]byte(origin + "\x00" + sender + "\x00" + key + "\x00" + recipient))
	return sum[:sumSize]
}

// states are the states as they are written into rows, by their place.
var states = []amtp.State{amtp.Pending, amtp.Queued, amtp.Delivering, amtp.Delivered, amtp.Failed, amtp.Retrying}

// The states that queries name.
const (
	queued     = 1
	delivering = 2
	delivered  = 3
	failed     = 4
	retrying   = 5
)

func packState(s amtp.State) int {
	for i, known := range states {
		if s == known {
			return i
		}
	}
	return 0
}

func unpackState(n int) amtp.State {
	if n < 0 || n >= len(states) {
		return amtp.Pending
	}
	return states[n]
}

// modes are the modes as they are written into rows, by their place.
var modes = []Mode{None, Pull, Push, Remote}

func packMode(m Mode) int {
	for i, known := range modes {
		if m == known {
			return i
		}
	}
	return 0
}

func unpackMode(n int) Mode {
	if n < 0 || n >= len(modes) {
		return None
	}
	return modes[n]
}

// maxText bounds what is kept of an error's text, in bytes.
const maxText = 512

// clean is text that both databases take, and no longer than it may be.
func clean(s string) *string {
	if s == "" {
		return nil
	}
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "�")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return &s
}

// fold is an address as our own agents are known by.
func fold(address string) string { return strings.ToLower(address) }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// moment is a time in a column that may be NULL.
func moment(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := sqldb.Micros(t)
	return &us
}

func fromMoment(us *int64) time.Time {
	if us == nil {
		return time.Time{}
	}
	return sqldb.Time(*us)
}
