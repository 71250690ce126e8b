package identity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"amesh/internal/wire"
)

func testPresence() Presence {
	return Presence{PeerID: []byte("node"), Issued: noon, Expires: noon.Add(PresenceLife)}
}

// presenceVector is testPresence signed by the agent of testKey(1).
const presenceVector = "0134750f98bd59fcfc946da45aaabe933be154a4b5046e6f6465" +
	"0000000069a42a400000000069a43850"

func TestPresence(t *testing.T) {
	key := testKey(t, 1)
	raw := must(t)(SignPresence(key, testPresence()))
	if got := hex.EncodeToString(raw[:len(raw)-SignatureSize]); got != presenceVector {
		t.Errorf("signed bytes %s, want %s", got, presenceVector)
	}
	p, err := ParsePresence(raw, key.Public())
	if err != nil || p.AMID != key.AMID() || string(p.PeerID) != "node" || !p.Expires.Equal(noon.Add(PresenceLife)) {
		t.Fatalf("%+v, %v", p, err)
	}
	for at, ok := range map[time.Time]bool{noon: true, noon.Add(PresenceLife): true, noon.Add(PresenceLife + time.Second): false, noon.Add(-ClockSkew - 1): false} {
		if err := p.Valid(at); (err == nil) != ok || err != nil && !errors.Is(err, ErrRecordExpired) {
			t.Errorf("%s: %v", at, err)
		}
	}
	longest := testPresence()
	longest.PeerID = make([]byte, presencePeerID)
	if raw := must(t)(SignPresence(key, longest)); len(raw) != 166 {
		t.Errorf("longest presence: %d bytes, the document says 166", len(raw))
	}
}

// T02: nobody but the agent says where it is.
func TestT02PresenceForged(t *testing.T) {
	key := testKey(t, 1)
	raw := must(t)(SignPresence(key, testPresence()))
	for i := range raw {
		if _, err := ParsePresence(flipped(raw, i), key.Public()); err == nil {
			t.Fatalf("byte %d changed: parsed", i)
		}
		if _, err := ParsePresence(raw[:i:i], key.Public()); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("cut to %d bytes: got %v, want ErrMalformed", i, err)
		}
	}
	signed := func(change func(b []byte)) []byte { return resign(t, key, TagPresence, raw, change) }
	for name, c := range map[string]refused{
		"of another":             {must(t)(SignPresence(testKey(t, 2), testPresence())), ErrMismatch},
		"signed by another":      {resign(t, testKey(t, 2), TagPresence, raw, func([]byte) {}), ErrSignature},
		"under another tag":      {resign(t, key, TagAgentRecord, raw, func([]byte) {}), ErrSignature},
		"lives an hour and 1 s":  {signed(func(b []byte) { b[len(b)-1]++ }), wire.ErrMalformed},
		"version 2":              {signed(func(b []byte) { b[0] = 2 }), wire.ErrMalformed},
		"a byte more":            {append(bytes.Clone(raw), 0), wire.ErrMalformed},
		"no peer id, cut before": {signed(func(b []byte) { b[21] = 0 }), wire.ErrMalformed},
	} {
		if _, err := ParsePresence(c.raw, key.Public()); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	nobody := testPresence()
	nobody.PeerID = nil
	if _, err := SignPresence(key, nobody); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("no peer id: got %v", err)
	}
}
