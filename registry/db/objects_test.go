package db_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestObjects(t *testing.T)             { dbtest.SQLite(t, objectCases) }
func TestWithPostgresObjects(t *testing.T) { dbtest.Postgres(t, objectCases) }

var objectCases = dbtest.Cases{
	"a card's sequence rises":                       testCardSequence,
	"an expired card is gone, and so is its hit":    testCardExpires,
	"a record's sequence and epoch do not go back":  testRecordSequence,
	"a new epoch ends the one-time keys of the old": testEpochEndsKeys,
	"no one-time key is ever handed out twice":      testKeysOnce,
	"one-time keys have limits":                     testKeysLimits,
	"a schema does not change, nor its publisher":   testSchemas,
}

// sharp is noon as signed objects write it, in whole seconds.
var sharp = noon.Truncate(time.Second)

func exchange(n byte) [identity.ExchangeKeySize]byte {
	return [identity.ExchangeKeySize]byte(must(ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{n}, 32))).PublicKey().Bytes())
}

func keyOf(t *testing.T, n byte) identity.PrivateKey {
	t.Helper()
	key, err := identity.PrivateKeyFromSeed(bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// kemKey is one key for all, because making one takes time.
var kemKey = sync.OnceValue(func() []byte { return must(mlkem.GenerateKey768()).EncapsulationKey().Bytes() })

// record signs agent 1's record.
func record(t *testing.T, sequence uint64, epoch uint32) *identity.AgentRecord {
	t.Helper()
	key := keyOf(t, 1)
	bundle, err := identity.SignBundle(key, identity.Bundle{
		Epoch: epoch, Sequence: sequence, Created: sharp, Expires: sharp.Add(identity.BundleLife),
		Certificate:  identity.KeyCertificate{Created: sharp, Expires: sharp.Add(identity.BundleLife), Exchange: exchange(1)},
		SignedPrekey: exchange(2), KEMKey: kemKey(),
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := identity.SignRecord(key, identity.AgentRecord{Sequence: sequence, Created: sharp, Expires: sharp.Add(identity.RecordLife)}, bundle)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := identity.ParseAgentRecord(raw)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// put runs one method in a transaction of its own.
func put(t *testing.T, d *db.DB, want error, fn func(*db.Tx) error) {
	t.Helper()
	if err := d.Write(t.Context(), fn); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func testCardSequence(t *testing.T, url string) {
	d := open(t, url)
	settle(t, d, []db.Agent{agent(t, 1)})
	second := putCard(t, d, 1, identity.Card{Sequence: 2, Name: "second"})
	for _, c := range []struct {
		name string
		n    byte
		card identity.Card
		want error
	}{
		{"the same again", 1, identity.Card{Sequence: 2, Name: "second"}, nil},
		{"same sequence, other words", 1, identity.Card{Sequence: 2, Name: "other"}, db.ErrStale},
		{"older", 1, identity.Card{Sequence: 1, Name: "first"}, db.ErrStale},
		{"of a stranger", 2, identity.Card{Sequence: 1}, db.ErrNotFound},
	} {
		c.card.Issued, c.card.Expires = sharp, sharp.Add(identity.CardLife)
		card := must(identity.ParseCard(must(identity.SignCard(keyOf(t, c.n), c.card))))
		t.Log(c.name)
		put(t, d, c.want, func(tx *db.Tx) error { return tx.PutCard(card) })
	}
	put(t, d, nil, func(tx *db.Tx) error {
		got, err := tx.Card(second.Agent, sharp)
		if err == nil && !bytes.Equal(got.Raw(), second.Raw()) {
			t.Error("another card than the second")
		}
		return err
	})
}

func testCardExpires(t *testing.T, url string) {
	d := open(t, url)
	ann := agent(t, 1)
	settle(t, d, []db.Agent{ann})
	putCard(t, d, 1, identity.Card{Sequence: 1, Capabilities: []identity.Capability{{ID: "cook", Category: "food"}}})
	late := sharp.Add(identity.CardLife)
	put(t, d, db.ErrNotFound, func(tx *db.Tx) error { _, err := tx.Card(ann.AMID, late); return err })
	for _, c := range []struct {
		at        time.Time
		gone, hit int
	}{{late.Add(-time.Second), 0, 1}, {late, 1, 0}, {late, 0, 0}} {
		put(t, d, nil, func(tx *db.Tx) error {
			n, err := tx.ForgetCards(c.at)
			if n != c.gone {
				t.Errorf("%s: forgot %d cards, want %d", c.at, n, c.gone)
			}
			return err
		})
		if got, _ := findAll(t, d, wire.SearchQuery{Category: "food"}, 10); len(got) != c.hit {
			t.Errorf("%s: found %v", c.at, got)
		}
	}
	if got, _ := findAll(t, d, wire.SearchQuery{Prefix: "chat"}, 10); len(got) != 1 {
		t.Errorf("what it registered with is not found any more")
	}
}

func testRecordSequence(t *testing.T, url string) {
	d := open(t, url)
	put(t, d, db.ErrNotFound, func(tx *db.Tx) error { return tx.PutRecord(record(t, 1, 1)) })
	settle(t, d, []db.Agent{agent(t, 1)})
	now := record(t, 5, 3)
	for _, c := range []struct {
		name string
		rec  *identity.AgentRecord
		want error
	}{
		{"first", now, nil},
		{"the same again", now, nil},
		{"older", record(t, 4, 3), db.ErrStale},
		{"newer of an older epoch", record(t, 6, 2), db.ErrStale},
		{"newer", record(t, 6, 3), nil},
		{"newer epoch", record(t, 7, 4), nil},
	} {
		t.Log(c.name)
		put(t, d, c.want, func(tx *db.Tx) error { return tx.PutRecord(c.rec) })
		if c.want == nil {
			now = c.rec
		}
		put(t, d, nil, func(tx *db.Tx) error {
			got, err := tx.Record(now.AMID, sharp)
			if !bytes.Equal(got, now.Raw()) {
				t.Errorf("%s: other bytes than the newest", c.name)
			}
			return err
		})
	}
	late := sharp.Add(identity.RecordLife)
	put(t, d, db.ErrNotFound, func(tx *db.Tx) error { _, err := tx.Record(now.AMID, late); return err })
	put(t, d, nil, func(tx *db.Tx) error {
		n, err := tx.ForgetRecords(late)
		if n != 1 {
			t.Errorf("forgot %d records", n)
		}
		return err
	})
}

func oneTime(t *testing.T, kind identity.KeyKind, epoch uint32, id uint32) db.SessionKey {
	t.Helper()
	k := identity.OneTimeKey{Epoch: epoch, Kind: kind, ID: id, Created: sharp, Expires: sharp.Add(identity.OneTimeKeyLife), Public: kemKey()}
	if kind == identity.KindOneTime {
		k.Public = append([]byte{9, byte(id), byte(id >> 8)}, make([]byte, 29)...)
	}
	raw := must(identity.SignOneTimeKey(keyOf(t, 1), k))
	return db.SessionKey{OneTimeKey: must(identity.ParseOneTimeKey(raw, keyOf(t, 1).Public())), Signed: raw}
}

func add(t *testing.T, d *db.DB, want int, err error, keys ...db.SessionKey) {
	t.Helper()
	put(t, d, err, func(tx *db.Tx) error {
		n, err := tx.AddSessionKeys(keyOf(t, 1).AMID(), keys, sharp)
		if n != want {
			t.Errorf("added %d keys, want %d", n, want)
		}
		return err
	})
}

func testEpochEndsKeys(t *testing.T, url string) {
	d := open(t, url)
	settle(t, d, []db.Agent{agent(t, 1)})
	add(t, d, 0, db.ErrNotFound, oneTime(t, identity.KindOneTime, 1, 1)) // no record yet
	put(t, d, nil, func(tx *db.Tx) error { return tx.PutRecord(record(t, 1, 1)) })
	add(t, d, 2, nil, oneTime(t, identity.KindOneTime, 1, 1), oneTime(t, identity.KindOneTimeKEM, 1, 1))
	add(t, d, 0, nil, oneTime(t, identity.KindOneTime, 1, 1))
	add(t, d, 0, db.ErrStale, oneTime(t, identity.KindOneTime, 2, 7))
	put(t, d, nil, func(tx *db.Tx) error { return tx.PutRecord(record(t, 2, 2)) })
	put(t, d, nil, func(tx *db.Tx) error {
		x, kem, err := tx.TakeSessionKeys(keyOf(t, 1).AMID(), 60, sharp)
		if x != nil || kem != nil {
			t.Error("a key of the old epoch")
		}
		return err
	})
}

func testKeysOnce(t *testing.T, url string) {
	d := open(t, url)
	settle(t, d, []db.Agent{agent(t, 1)})
	put(t, d, nil, func(tx *db.Tx) error { return tx.PutRecord(record(t, 1, 1)) })
	const count, takers = 12, 20
	var keys []db.SessionKey
	for id := range uint32(count) {
		keys = append(keys, oneTime(t, identity.KindOneTime, 1, id))
	}
	add(t, d, count+1, nil, append(keys, oneTime(t, identity.KindOneTimeKEM, 1, 0))...)

	var mu sync.Mutex
	taken := make(map[string]int)
	var wg sync.WaitGroup
	for range takers {
		wg.Go(func() {
			var got [2][]byte
			err := d.Write(t.Context(), func(tx *db.Tx) (err error) {
				got[0], got[1], err = tx.TakeSessionKeys(keyOf(t, 1).AMID(), 60, sharp)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, k := range got {
				taken[string(k)]++
			}
		})
	}
	wg.Wait()
	none := taken[""]
	delete(taken, "")
	for _, n := range taken {
		if n != 1 {
			t.Errorf("a key was handed out %d times", n)
		}
	}
	if len(taken) != count+1 || none != 2*takers-count-1 {
		t.Errorf("%d keys and %d times none", len(taken), none)
	}
	add(t, d, 0, nil, keys...) // what was handed out is not taken in again
}

func testKeysLimits(t *testing.T, url string) {
	d := open(t, url)
	settle(t, d, []db.Agent{agent(t, 1)})
	put(t, d, nil, func(tx *db.Tx) error { return tx.PutRecord(record(t, 1, 1)) })
	var keys []db.SessionKey
	for id := range uint32(db.MaxKeysX25519 + 1) {
		keys = append(keys, oneTime(t, identity.KindOneTime, 1, id))
	}
	add(t, d, 0, db.ErrFull, keys...)
	add(t, d, db.MaxKeysX25519, nil, keys[:db.MaxKeysX25519]...)

	take := func(at time.Time) (n int) {
		put(t, d, nil, func(tx *db.Tx) error {
			x, _, err := tx.TakeSessionKeys(keyOf(t, 1).AMID(), 3, at)
			n = len(x)
			return err
		})
		return n
	}
	var got []bool
	for _, after := range []time.Duration{0, 1, 2, time.Hour - 1, time.Hour, 31 * 24 * time.Hour} {
		got = append(got, take(sharp.Add(after.Truncate(time.Microsecond))) > 0)
	}
	if want := []bool{true, true, true, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("handed out %v, want %v", got, want)
	}
	late := sharp.Add(identity.OneTimeKeyLife)
	for _, want := range []int{200, 0} {
		put(t, d, nil, func(tx *db.Tx) error {
			n, err := tx.ForgetSessionKeys(late)
			if n != want {
				t.Errorf("forgot %d keys, want %d", n, want)
			}
			return err
		})
	}
}

func testSchemas(t *testing.T, url string) {
	d := open(t, url)
	ann, bob := keyOf(t, 1).AMID(), keyOf(t, 2).AMID()
	publish := func(who identity.AMID, name, version, body string, isNew bool, want error) {
		t.Helper()
		put(t, d, want, func(tx *db.Tx) error {
			got, err := tx.PutSchema(db.Schema{ID: name + "/" + version, Owner: strings.Split(name, "/")[0], Publisher: who, Body: []byte(body), Published: sharp})
			if got != isNew {
				t.Errorf("%s/%s is new: %v", name, version, got)
			}
			return err
		})
	}
	publish(ann, "acme/order", "v1", "{}", true, nil)
	publish(ann, "acme/order", "v1", "{}", false, nil)
	publish(ann, "acme/order", "v1", `{"type":"object"}`, false, db.ErrTaken)
	publish(bob, "acme/order", "v2", "{}", false, db.ErrTaken)
	publish(ann, "acme/order", "v2", "{}", true, nil)
	publish(bob, "other/order", "v1", "{}", true, nil)
	list := func(who *identity.AMID, after string, limit int) (ids []string) {
		put(t, d, nil, func(tx *db.Tx) error {
			found, err := tx.Schemas(who, after, limit)
			for _, s := range found {
				ids = append(ids, s.ID)
			}
			return err
		})
		return ids
	}
	for _, c := range []struct{ got, want []string }{
		{list(nil, "", 10), []string{"acme/order/v1", "acme/order/v2", "other/order/v1"}},
		{list(nil, "acme/order/v1", 1), []string{"acme/order/v2"}},
		{list(&bob, "", 10), []string{"other/order/v1"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("listed %v, want %v", c.got, c.want)
		}
	}
	for i := range db.MaxSchemas - 2 {
		publish(ann, fmt.Sprintf("acme/s%d", i), "v1", "{}", true, nil)
	}
	publish(ann, "acme/more", "v1", "{}", false, db.ErrFull)
	put(t, d, db.ErrNotFound, func(tx *db.Tx) error { _, err := tx.Schema("acme/more/v1"); return err })
	put(t, d, nil, func(tx *db.Tx) error {
		s, err := tx.Schema("acme/order/v2")
		if string(s.Body) != "{}" || s.Publisher != ann || !s.Published.Equal(sharp) {
			t.Errorf("got %+v", s)
		}
		return err
	})
}
