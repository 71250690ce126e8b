package node

import (
	"context"
	"crypto/mlkem"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"amesh/dht"
	"amesh/identity"
	"amesh/registry/client"
)

// told is a book that gives one answer after a while.
type told struct {
	after time.Duration
	rec   *identity.AgentRecord
	err   error
}

func (b told) Find(ctx context.Context, _ identity.AMID) (*identity.AgentRecord, error) {
	select {
	case <-time.After(b.after):
		return b.rec, b.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func someKEMKey(t *testing.T) []byte {
	t.Helper()
	k, err := mlkem.GenerateKey768()
	if err != nil {
		t.Fatal(err)
	}
	return k.EncapsulationKey().Bytes()
}

// records are records of one agent, the newer ones behind.
func records(t *testing.T, n int) []*identity.AgentRecord {
	t.Helper()
	key, now := freshKey(t), time.Now().Truncate(time.Second)
	b := identity.Bundle{Sequence: 1, Created: now, Expires: now.Add(time.Hour), SignedPrekey: [32]byte{9}, KEMKey: someKEMKey(t),
		Certificate: identity.KeyCertificate{Exchange: [32]byte{9}, Created: now, Expires: now.Add(time.Hour)}}
	bundle, err := identity.SignBundle(key, b)
	if err != nil {
		t.Fatal(err)
	}
	var list []*identity.AgentRecord
	for i := range n {
		raw, err := identity.SignRecord(key, identity.AgentRecord{Sequence: uint64(i + 1), Created: now, Expires: now.Add(time.Hour)}, bundle)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := identity.ParseAgentRecord(raw)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, rec)
	}
	return list
}

// T58: no source alone decides. A DHT that Sybils hold, and a registry that lies, are
// silent or slow, cost a moment, and whoever has the record is heard; of two records the
// newer counts, also when it comes a little later.
func TestT58AnySourceWillDo(t *testing.T) {
	recs := records(t, 3)
	stranger := records(t, 1)[0]
	const never = time.Hour
	for _, c := range []struct {
		name  string
		books map[string]told
		want  uint64 // sequence, 0 for none
		took  time.Duration
		lied  string
	}{
		{"the DHT has it", map[string]told{"dht": {time.Second, recs[0], nil}}, 1, time.Second, ""},
		{"held by Sybils", map[string]told{"dht": {never, nil, nil}, "r": {time.Second, recs[0], nil}}, 1, time.Second + findSettle, ""},
		{"said not to be", map[string]told{"dht": {0, nil, dht.ErrNotFound}, "r": {time.Second, recs[0], nil}}, 1, time.Second, ""},
		{"a newer one behind it", map[string]told{"dht": {0, recs[0], nil}, "r": {findSettle / 2, recs[2], nil}, "s": {findSettle / 4, recs[1], nil}}, 3, findSettle / 2, ""},
		{"a newer one too late", map[string]told{"dht": {0, recs[0], nil}, "r": {2 * findSettle, recs[2], nil}}, 1, findSettle, ""},
		{"an older one behind it", map[string]told{"dht": {0, recs[2], nil}, "r": {findSettle / 2, recs[0], nil}}, 3, findSettle / 2, ""},
		{"a forgery first", map[string]told{"dht": {time.Second, recs[0], nil}, "r": {0, nil, client.ErrLie}}, 1, time.Second, "r"},
		{"another's record first", map[string]told{"dht": {time.Second, recs[0], nil}, "r": {0, stranger, nil}}, 1, time.Second, "r"},
		{"nobody", map[string]told{"dht": {0, nil, dht.ErrNotFound}, "r": {time.Second, nil, client.ErrNotFound}}, 0, time.Second, ""},
		{"nobody answers", map[string]told{"dht": {never, nil, nil}, "r": {never, nil, nil}}, 0, 10 * time.Second, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lied := ""
				f := &finder{check: func(*identity.AgentRecord) error { return nil }, shelves: func() []shelf {
					var all []shelf
					for name, b := range c.books {
						all = append(all, shelf{name: name, book: b, lied: func(code string, _ identity.AMID) { lied = name }})
					}
					return all
				}}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				rec, err := f.Find(ctx, recs[0].AMID)
				if took := time.Since(began); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				got := uint64(0)
				if err == nil {
					got = rec.Sequence
				}
				if got != c.want || lied != c.lied {
					t.Errorf("sequence %d, want %d; %q lied, want %q; %v", got, c.want, lied, c.lied, err)
				}
			})
		})
	}
}

// T59: what is older than something seen before is not taken, whoever has it, and only
// who has it is to blame.
func TestT59StaleRecordIsNotTaken(t *testing.T) {
	recs := records(t, 2)
	lied := map[string]string{}
	f := &finder{
		check: func(rec *identity.AgentRecord) error {
			if rec.Sequence < 2 {
				return identity.ErrStaleBundle
			}
			return nil
		},
		shelves: func() []shelf {
			note := func(name string) func(string, identity.AMID) {
				return func(code string, _ identity.AMID) { lied[name] = code }
			}
			return []shelf{{"old", told{rec: recs[0]}, note("old")}, {"new", told{rec: recs[1]}, note("new")}, {"dht", told{rec: recs[0]}, nil}}
		},
	}
	rec, err := f.Find(t.Context(), recs[0].AMID)
	if err != nil || rec.Sequence != 2 || len(lied) != 1 || lied["old"] != warnStale {
		t.Errorf("%v, %v, lied %v", rec, err, lied)
	}
	f.shelves = func() []shelf { return nil }
	if _, err := f.Find(t.Context(), recs[0].AMID); !errors.Is(err, errNobodyAsked) {
		t.Errorf("nobody to ask: %v", err)
	}
}
