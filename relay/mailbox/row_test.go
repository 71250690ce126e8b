package mailbox

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
)

// Each row once as a struct and once as bytes.
func TestRowsAreWrittenExactly(t *testing.T) {
	at := time.UnixMicro(0x0102).UTC()
	e := entry{cursor: 7, due: 9, from: identity.AMID{1}, id: MessageID{2}, size: 4, flags: flagOnce | flagStranger}
	note := Notice{Reason: Corrupt, ID: MessageID{2}, To: identity.AMID{3}, Taken: at, At: at}
	key := rowKey(keyMessage, identity.AMID{5}, 7)
	const (
		id    = "02000000000000000000000000000000"
		times = "0000000000000009" + "0000000000000102" + "0000000000000203"
	)
	for _, c := range []struct {
		name string
		row  stored
		want string
	}{
		{"a knock of a stranger", stored{entry: e, at: at, expires: at.Add(257 * time.Microsecond), row: Row{
			Message: Message{Kind: KindKnock, Payload: "ab", Candidates: []byte("[]")}}},
			"0203" + "0100000000000000000000000000000000000000" + id + "00000004" + times +
				"00" + "000000025b5d" + "000000026162" + "15341446"},
		{"a notice", stored{entry: entry{cursor: 7, due: 9, id: MessageID{2}, flags: flagNotice}, at: at,
			expires: at.Add(257 * time.Microsecond), row: Row{Notice: &note}},
			"0204" + "0000000000000000000000000000000000000000" + id + "00000000" + times +
				"02" + "0300000000000000000000000000000000000000" + "0000000000000102" + "23dfb215"},
	} {
		if diff := cmp.Diff(c.want, hex.EncodeToString(c.row.encodeMessage(key))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	if got, want := hex.EncodeToString(boxRow{wide: true, seen: 5}.encode([]byte("k"))), "020100"+"0000000000000005"+"75cc38dc"; got != want {
		t.Errorf("mailbox: %s", got)
	}
	if got, want := hex.EncodeToString(encodeClock(1, 2)), "020000000000000001"+"0000000000000002"+"4eeaf71a"; got != want {
		t.Errorf("clock: %s", got)
	}
}

// Whatever is on the disk, reading it is harmless, and what can be read has one
// encoding. The sum is right here: it keeps rot out, not malice.
func FuzzRow(f *testing.F) {
	p := place{identity.AMID{5}, 7}
	key := rowKey(keyMessage, p.owner, p.cursor)
	for _, r := range []Row{
		{Message: Message{Kind: KindKnock, Payload: "ab", Candidates: []byte("[]")}},
		{Notice: &Notice{Reason: Expired}},
	} {
		s := stored{row: r}
		if r.Notice != nil {
			s.flags = flagNotice
		}
		v := s.encodeMessage(key)
		f.Add(v[:len(v)-4])
	}
	f.Add([]byte{firstVersion, 1, 2, 3})
	f.Fuzz(func(t *testing.T, value []byte) {
		if _, err := decodeMessage(p, key, value); err != nil && !isDamage(err) {
			t.Errorf("not called damage: %v", err)
		}
		value = seal(key, bytes.Clone(value))
		_, _ = decodeIndex(p, key, value)
		_, _ = decodeBoxRow(key, value)
		s, err := decodeMessage(p, key, value)
		if err != nil || value[0] == firstVersion {
			return
		}
		if again := s.encodeMessage(key); !bytes.Equal(again, value) {
			t.Errorf("%x is written as %x", value, again)
		}
	})
}
