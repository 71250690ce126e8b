package identity

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"amesh/internal/wire"
)

func TestRecord(t *testing.T) {
	raw := signedRecord(t, 1)
	rec, err := ParseAgentRecord(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := testRecord()
	want.SigningKey, want.AMID = testKey(t, 1).Public(), testKey(t, 1).AMID()
	if want.Bundle, err = ParseBundle(signedBundle(t, 1)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, rec, cmpopts.IgnoreUnexported(Bundle{}, AgentRecord{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !bytes.Equal(rec.Bundle.Raw(), signedBundle(t, 1)) || !bytes.Equal(rec.Raw(), raw) {
		t.Error("the bytes differ")
	}
}

func TestRecordForged(t *testing.T) {
	raw := signedRecord(t, 1)
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x10
		if _, err := ParseAgentRecord(bad); err == nil {
			t.Fatalf("byte %d changed: parsed", i)
		}
	}
	for n := 0; n < len(raw); n += 3 {
		if _, err := ParseAgentRecord(raw[:n]); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("%d bytes: got %v, want ErrMalformed", n, err)
		}
	}
	if _, err := ParseAgentRecord(make([]byte, MaxRecordSize+1)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("too long: got %v", err)
	}
	if _, err := SignRecord(testKey(t, 2), testRecord(), signedBundle(t, 1)); !errors.Is(err, ErrMismatch) {
		t.Errorf("bundle of another agent: got %v, want ErrMismatch", err)
	}
}

func TestRecordRules(t *testing.T) {
	long := strings.Repeat("x", 255)
	for name, c := range map[string]struct {
		change func(r *AgentRecord)
		ok     bool
	}{
		"bare": {func(r *AgentRecord) { r.Relays, r.PeerIDs, r.Addresses = nil, nil, nil }, true},
		"everything at its limit": {func(r *AgentRecord) {
			r.Relays, r.PeerIDs, r.Addresses = fill(8, long), fill(8, long), fill(16, long[:100])
		}, true},
		"nine relays":              {func(r *AgentRecord) { r.Relays = fill(9, "x") }, false},
		"nine peer ids":            {func(r *AgentRecord) { r.PeerIDs = fill(9, "x") }, false},
		"seventeen addresses":      {func(r *AgentRecord) { r.Addresses = fill(17, "x") }, false},
		"address of 101 bytes":     {func(r *AgentRecord) { r.Addresses = []string{long[:101]} }, false},
		"relay of 256 bytes":       {func(r *AgentRecord) { r.Relays = []string{long + "x"} }, false},
		"empty relay":              {func(r *AgentRecord) { r.Relays = []string{""} }, false},
		"escape sequence in relay": {func(r *AgentRecord) { r.Relays = []string{"wss://\x1b[2J"} }, false},
		"broken text":              {func(r *AgentRecord) { r.PeerIDs = []string{"\xff"} }, false},
		"life of 24 h and 1 s":     {func(r *AgentRecord) { r.Expires = r.Created.Add(RecordLife + time.Second) }, false},
		"no life":                  {func(r *AgentRecord) { r.Expires = r.Created }, false},
	} {
		rec := testRecord()
		c.change(&rec)
		raw, err := SignRecord(testKey(t, 1), rec, signedBundle(t, 1))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			continue
		}
		if _, err := ParseAgentRecord(raw); err != nil || len(raw) > MaxRecordSize {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
	}
	// What a foreign writer could sign although SignRecord would not.
	key, raw := testKey(t, 1), signedRecord(t, 1)
	relay := bytes.Index(raw, []byte("wss:"))
	if _, err := ParseAgentRecord(resign(t, key, TagAgentRecord, raw, func(b []byte) { b[relay] = 0x07 })); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("signed control character: got %v, want ErrMalformed", err)
	}
	if _, err := ParseAgentRecord(resign(t, key, TagAgentRecord, raw, func(b []byte) { b[relay-2] = 9 })); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("signed count of nine relays: got %v, want ErrMalformed", err)
	}
}

func TestRecordValid(t *testing.T) {
	rec, err := ParseAgentRecord(signedRecord(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		now  time.Time
		want error
	}{
		"now":             {noon, nil},
		"600 s too early": {noon.Add(-600 * time.Second), nil},
		"601 s too early": {noon.Add(-601 * time.Second), ErrRecordExpired},
		"last second":     {noon.Add(RecordLife), nil},
		"after the end":   {noon.Add(RecordLife + time.Second), ErrRecordExpired},
	} {
		if err := rec.Valid(c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	late := testRecord()
	late.Created, late.Expires = noon.Add(BundleLife), noon.Add(BundleLife+time.Hour)
	raw, err := SignRecord(testKey(t, 1), late, signedBundle(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	if rec, err = ParseAgentRecord(raw); err != nil {
		t.Fatal(err)
	}
	if err := rec.Valid(late.Created.Add(time.Minute)); !errors.Is(err, ErrBundleExpired) {
		t.Errorf("bundle over: got %v, want ErrBundleExpired", err)
	}
}

func TestNewer(t *testing.T) {
	sign := func(sequence uint64, relay string) []byte {
		rec := testRecord()
		rec.Sequence, rec.Relays = sequence, []string{relay}
		raw, err := SignRecord(testKey(t, 1), rec, signedBundle(t, 1))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	old, recent := sign(255, "wss://z"), sign(256, "wss://a")
	one, other := sign(9, "wss://a"), sign(9, "wss://b")
	for name, c := range map[string]struct {
		a, b []byte
		want int
	}{
		"higher sequence":    {recent, old, 1},
		"lower sequence":     {old, recent, -1},
		"same bytes":         {old, old, 0},
		"tie, smaller bytes": {one, other, -1},
		"tie, greater bytes": {other, one, 1},
		"something short":    {nil, old, -1},
	} {
		if got := Newer(c.a, c.b); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}
