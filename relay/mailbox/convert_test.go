package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/internal/wire"
)

// firstMessage writes a message as version 1 did.
func firstMessage(tx store.Tx, c Cursor, m Message, at time.Time, due int64) error {
	w := wire.NewWriter(0)
	w.U8(firstVersion)
	w.Fixed(m.From[:])
	w.Fixed(m.ID[:])
	w.Bool(m.Once)
	w.U8(kindNumber(m.Kind))
	w.I64(at.UnixMicro())
	w.I64(at.Add(72 * time.Hour).UnixMicro())
	w.I64(due)
	w.LP32(m.Candidates)
	w.LP32([]byte(m.Payload))
	name := append(append(rowPrefix(firstName, m.To), m.From[:]...), m.ID[:]...)
	return errors.Join(
		tx.Set(rowKey(keyMessage, m.To, c), w.Bytes()),
		tx.Set(name, binary.BigEndian.AppendUint64(nil, uint64(c))))
}

func firstBox(tx store.Tx, owner identity.AMID, last Cursor, used Size, wide bool, seen int64) error {
	w := wire.NewWriter(0)
	w.U8(firstVersion)
	w.U64(uint64(last))
	w.U64(uint64(used.Messages))
	w.I64(used.Bytes)
	w.Bool(wide)
	w.I64(seen)
	return tx.Set(boxKey(owner), w.Bytes())
}

// What version 1 left is handed out by version 2, however often the conversion
// is cut short.
func TestRowsOfVersionOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for crash := 0; crash < 8; crash++ {
			convertOnce(t, crash)
		}
	})
}

func convertOnce(t *testing.T, crash int) {
	a, b, c, d := identity.AMID{1}, identity.AMID{2}, identity.AMID{3}, identity.AMID{4}
	clock, at := int64(1_000_000_000), time.Now().UTC().Truncate(time.Microsecond)
	hour := time.Hour.Microseconds()
	mail := func(to identity.AMID, text string) Message {
		return Message{From: a, To: to, ID: PayloadID(text), Kind: KindStatus, Payload: text, Once: true}
	}
	legacy := mail(b, "3")
	legacy.Once, legacy.Candidates = false, []byte("[]")
	disk := store.NewMemory()
	err := disk.Update(t.Context(), func(tx store.Tx) error {
		w := wire.NewWriter(0)
		w.U8(firstVersion)
		w.I64(clock)
		w.I64(at.UnixMicro())
		return errors.Join(
			firstMessage(tx, 7, mail(b, "1"), at, clock+hour),
			firstMessage(tx, 8, mail(b, "2"), at, clock+hour),
			firstMessage(tx, 9, legacy, at, clock+hour),
			firstMessage(tx, 5, mail(c, "4"), at, clock+2*hour),
			firstBox(tx, b, 9, Size{Messages: 3, Bytes: 5}, true, clock),
			firstBox(tx, c, 5, Size{Messages: 1, Bytes: 1}, false, 0),
			firstBox(tx, d, 0, Size{}, true, clock),
			tx.Set(rowKey(keyMessage, c, 6), []byte{firstVersion, 1, 2}),
			tx.Set([]byte{firstTotal}, []byte("usage")),
			tx.Set([]byte{keyClock}, w.Bytes()))
	})
	if err != nil {
		t.Fatal(err)
	}
	open := func() *Disk {
		m, err := NewDisk(disk, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for n := 1; n <= crash; n++ {
		disk = disk.Reopen()
		disk.CrashAt(1+(n+crash)/2, store.Phase(1+n%2))
		_, _ = open().Usage(t.Context(), b)
	}
	disk = disk.Reopen()
	m := open()
	rows, err := m.List(t.Context(), b, 0, Size{Messages: 9, Bytes: 999})
	if err != nil {
		t.Fatal(err)
	}
	want := []Message{mail(b, "1"), mail(b, "2"), legacy}
	var got []Message
	for _, r := range rows {
		got = append(got, r.Message)
		if !r.At.Equal(at) || r.Expires.Sub(at) != 72*time.Hour {
			t.Errorf("times: %+v", r)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%d crashes: rows (-want +got)\n%s", crash, diff)
	}
	if s := m.Stats(); s.Boxes != 3 || s.Messages != 4 || s.Bytes != 6 {
		t.Errorf("%d crashes: %+v", crash, s)
	}
	answers, err := m.Put(context.Background(), []Message{mail(b, "1"), mail(c, "4"), mail(b, "new")})
	if err != nil || !answers[0].Repeated || !answers[1].Repeated || answers[2].Repeated {
		t.Errorf("%d crashes: repeats: %+v, %v", crash, answers, err)
	}
	err = disk.View(func(r store.Reader) error {
		return r.Scan(nil, nil, func(key, _ []byte) bool {
			if key[0] == firstName || key[0] == firstTotal {
				t.Errorf("%d crashes: a row of version 1 is left: %x", crash, key)
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour)
	if n, err := m.Expire(t.Context()); n != 3 || err != nil {
		t.Errorf("%d crashes: expired %d, %v", crash, n, err)
	}
}
