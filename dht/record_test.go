package dht

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"amesh/identity"
)

func TestValidator(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	now := time.Now().Truncate(time.Second)
	good := signRecord(t, key, 7, fresh())
	edited := func(at int) []byte {
		raw := bytes.Clone(good)
		raw[at] ^= 1
		return raw
	}
	hour := time.Hour
	cases := []struct {
		name string
		key  string
		raw  []byte
		want error // nil: accepted
	}{
		{"own record", recordKey(key.AMID()), good, nil},
		{"created 9 minutes ahead", recordKey(key.AMID()), signRecord(t, key, 1, life{now.Add(9 * time.Minute), now.Add(hour)}), nil},
		{"T59 created 11 minutes ahead", recordKey(key.AMID()), signRecord(t, key, 1, life{now.Add(11 * time.Minute), now.Add(hour)}), identity.ErrRecordExpired},
		{"T59 expired", recordKey(key.AMID()), signRecord(t, key, 1, life{now.Add(-2 * hour), now.Add(-hour)}), identity.ErrRecordExpired},
		{"somebody else's key", recordKey(stranger.AMID()), good, identity.ErrMismatch},
		{"forged sequence", recordKey(key.AMID()), edited(60), identity.ErrSignature},
		{"forged signature", recordKey(key.AMID()), edited(len(good) - 1), identity.ErrSignature},
		{"one byte too many", recordKey(key.AMID()), append(bytes.Clone(good), 0), ErrRecord},
		{"oversized", recordKey(key.AMID()), make([]byte, identity.MaxRecordSize+1), ErrRecord},
		{"empty", recordKey(key.AMID()), nil, ErrRecord},
		{"another namespace", "/pk/" + key.AMID().String(), good, ErrRecord},
		{"DID as key", "/amesh-agent/" + key.AMID().DID(), good, ErrRecord},
		{"key with a tail", recordKey(key.AMID()) + "/", good, identity.ErrAMID},
		{"no AMID", "/amesh-agent/", good, identity.ErrAMID},
	}
	v := validator{clock: func() time.Time { return now }}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := v.Validate(c.key, c.raw)
			if (err == nil) != (c.want == nil) || !errors.Is(err, c.want) {
				t.Errorf("Validate = %v, want %v", err, c.want)
			}
			if err != nil && !errors.Is(err, ErrRecord) {
				t.Errorf("Validate = %v, which is not ErrRecord", err)
			}
		})
	}
}

func TestSelect(t *testing.T) {
	key := newKey(t)
	one, two := signRecord(t, key, 1, fresh()), signRecord(t, key, 2, fresh())
	twin := signRecord(t, key, 2, fresh()) // another bundle, so other bytes
	lesser, greater := two, twin
	if bytes.Compare(two, twin) > 0 {
		lesser, greater = twin, two
	}
	cases := []struct {
		name string
		in   [][]byte
		want int
	}{
		{"higher sequence", [][]byte{one, two}, 1},
		{"higher sequence first", [][]byte{two, one}, 0},
		{"tie goes to the greater bytes", [][]byte{lesser, greater, lesser}, 1},
		{"the same twice", [][]byte{one, one}, 0},
	}
	for _, c := range cases {
		got, err := validator{}.Select("", c.in)
		if err != nil || got != c.want {
			t.Errorf("%s: Select = %d, %v, want %d", c.name, got, err, c.want)
		}
	}
	if _, err := (validator{}).Select("", nil); !errors.Is(err, ErrRecord) {
		t.Errorf("Select of nothing = %v, want ErrRecord", err)
	}
}
