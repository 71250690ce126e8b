package mailbox_test

import (
	"context"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay/mailbox"
)

// kib is a payload such as most envelopes make: 1 KiB of base64.
var kib = strings.Repeat("o21zaGFn", 128)

func benchDisk(b *testing.B) mailbox.Mailbox {
	b.Helper()
	s, err := store.Open(b.TempDir(), store.Options{Schema: mailbox.Schema(), Reserve: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	m, err := mailbox.NewDisk(s, mailbox.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// fresh is a message that was not there before, to its own receiver with others
// that have the same n/200.
func fresh(n uint64) mailbox.Message {
	m := mailbox.Message{Kind: mailbox.KindMessage, Payload: kib, Once: true}
	binary.BigEndian.PutUint64(m.ID[:], n)
	binary.BigEndian.PutUint64(m.To[:], n/200)
	m.From = identity.AMID{1}
	return m
}

// benchPut has 64 writers, each with a sequence of receivers of its own.
func benchPut(b *testing.B, batch int) {
	m := benchDisk(b)
	ctx := context.Background()
	var writers atomic.Uint64
	b.SetParallelism(32) // of each of two processors
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		n := writers.Add(1) * 200_000_000_000
		messages := make([]mailbox.Message, batch)
		for more := pb.Next(); more; {
			size := 0
			for ; more && size < batch; size++ {
				messages[size] = fresh(n)
				if n%200 == 0 {
					if _, err := m.Open(ctx, messages[size].To, true); err != nil {
						b.Error(err)
					}
				}
				n++
				more = pb.Next()
			}
			answers, err := m.Put(ctx, messages[:size])
			if err != nil || answers[size-1].Err != nil {
				b.Error(answers, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func BenchmarkPut64Writers(b *testing.B)        { benchPut(b, 1) }
func BenchmarkPut64WritersBatch16(b *testing.B) { benchPut(b, 16) }

// BenchmarkDrain1000 hands out a full mailbox and acknowledges it, in steps of a
// credit of 256.
func BenchmarkDrain1000(b *testing.B) {
	m := benchDisk(b)
	ctx, owner := context.Background(), identity.AMID{9}
	if _, err := m.Open(ctx, owner, true); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		messages := make([]mailbox.Message, 1000)
		for i := range messages {
			messages[i] = fresh(uint64(i))
			messages[i].From, messages[i].To = identity.AMID{byte(i / 250), 1}, owner
		}
		if _, err := m.Put(ctx, messages); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		drain(b, m, owner, 1000)
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func drain(b *testing.B, m mailbox.Mailbox, owner identity.AMID, want int) {
	var after mailbox.Cursor
	for want > 0 {
		rows, err := m.List(context.Background(), owner, after, mailbox.Size{Messages: 256, Bytes: 1 << 20})
		if err != nil || len(rows) == 0 {
			b.Fatal(want, err)
		}
		cursors := make([]mailbox.Cursor, len(rows))
		for i := range rows {
			cursors[i] = rows[i].Cursor
		}
		after = cursors[len(cursors)-1]
		n, err := m.Delete(context.Background(), owner, cursors)
		if err != nil || n != len(rows) {
			b.Fatal(n, err)
		}
		want -= n
	}
}
