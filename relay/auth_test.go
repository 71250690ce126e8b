package relay

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/timestamp"
)

func testKey(t testing.TB, n byte) identity.PrivateKey {
	t.Helper()
	key, err := identity.PrivateKeyFromSeed([]byte(strings.Repeat(string([]byte{n}), 32)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signed is the connect frame of key whose signature covers text while the frame
// carries stamp.
func signed(key identity.PrivateKey, stamp, text string) connectFrame {
	return connectFrame{
		Type: typeConnect, Protocol: protocol02, AMID: key.AMID().String(), PublicKey: key.Public().Text(),
		Signature: signatureText(key.SignTimestamp(text)), Timestamp: stamp,
	}
}

// Scenario (g): raw and re-rendered stamps, and the edges of the window.
func TestConnectIsVerified(t *testing.T) {
	key, other := testKey(t, 1), testKey(t, 2)
	now := time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
	const js, rust = "2026-02-01T12:00:00.123Z", "2026-02-01T12:00:00.123+00:00"
	at := func(d time.Duration) connectFrame {
		s := timestamp.ToSign(now.Add(d))
		return signed(key, s, s)
	}
	edit := func(f connectFrame, change func(*connectFrame)) connectFrame {
		change(&f)
		return f
	}
	cases := []struct {
		name  string
		frame connectFrame
		code  string
	}{
		{"signed as sent", signed(key, js, js), ""},
		{"signed as Rust renders it", signed(key, js, rust), ""},
		{"known signature of the Python SDK", edit(signed(key, "2026-02-01T12:00:00.123456+00:00", ""), func(f *connectFrame) {
			f.Signature = "JAoBc2MxGLJBPMhM0WTvEIlBkrGhG7GgdVUc+DrxBlx+7LRcLuSeXKn6hqHBna0VENVY/QI8O7uilHbLxBDpBg=="
		}), ""},
		{"prefixed key", edit(signed(key, js, js), func(f *connectFrame) { f.PublicKey = "ed25519:" + f.PublicKey }), ""},
		{"protocol 0.1", edit(signed(key, js, js), func(f *connectFrame) { f.Protocol = protocol01 }), ""},
		{"five minutes old", at(-5 * time.Minute), ""},
		{"a second older", at(-5*time.Minute - time.Second), CodeInvalidSignature},
		{"one minute ahead", at(time.Minute), ""},
		{"a second further", at(time.Minute + time.Second), CodeInvalidSignature},
		{"protocol 0.3", edit(signed(key, js, js), func(f *connectFrame) { f.Protocol = "agentmesh/0.3" }), CodeProtocolMismatch},
		{"no timestamp", edit(signed(key, js, js), func(f *connectFrame) { f.Timestamp = "noon" }), CodeInvalidMessage},
		{"signature of another time", signed(key, js, "2026-02-01T12:00:01Z"), CodeInvalidSignature},
		{"another's name (T03)", edit(signed(key, js, js), func(f *connectFrame) { f.AMID = other.AMID().String() }), CodeInvalidSignature},
		{"DID instead of the name", edit(signed(key, js, js), func(f *connectFrame) { f.AMID = key.AMID().DID() }), CodeInvalidSignature},
		{"another's key", edit(signed(key, js, js), func(f *connectFrame) { f.PublicKey = other.Public().Text() }), CodeInvalidSignature},
		{"identity point as key (T01)", edit(signed(key, js, js), func(f *connectFrame) {
			f.PublicKey = base64.StdEncoding.EncodeToString(append([]byte{1}, make([]byte, 31)...))
		}), CodeInvalidSignature},
		{"short signature", edit(signed(key, js, js), func(f *connectFrame) { f.Signature = "AAAA" }), CodeInvalidSignature},
		{"signature not base64", edit(signed(key, js, js), func(f *connectFrame) { f.Signature = "!" }), CodeInvalidSignature},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, no := verifyConnect(c.frame, now, DefaultLimits(), threshold{}, nil, newKeys(maxKeys, maxKnown))
			if c.code == "" {
				if no != nil || got != key.Public() {
					t.Errorf("refused: %+v", no)
				}
				return
			}
			if no == nil || no.code != c.code {
				t.Errorf("got %+v, want %s", no, c.code)
			}
		})
	}
}

func TestReplayCacheOutlivesTheWindow(t *testing.T) {
	l := DefaultLimits()
	a, b := testKey(t, 1).AMID(), testKey(t, 2).AMID()
	r := newReplays(l)
	now := time.Now()
	if !r.first(a, "s", now) {
		t.Error("a new signature was called a replay")
	}
	if !r.first(b, "s", now) {
		t.Error("another agent's signature was called a replay")
	}
	for _, after := range []time.Duration{0, time.Minute, l.StampPast + l.StampFuture} {
		if r.first(a, "s", now.Add(after)) {
			t.Errorf("replay after %v was not seen", after)
		}
	}
	if !r.first(a, "s", now.Add(time.Hour)) {
		t.Error("a signature was remembered for ever")
	}
}

// T50: the counters belong to the agent.
func TestRatesOfLegacyClients(t *testing.T) {
	l := DefaultLimits()
	r := newRates(l)
	who := testKey(t, 1).AMID()
	now := time.Now()
	for i := range l.LegacySends {
		if _, ok := r.legacy(who, 1, 0, now); !ok {
			t.Fatalf("send %d refused", i+1)
		}
	}
	retry, ok := r.legacy(who, 1, 0, now.Add(20*time.Second))
	if ok || retry != 40*time.Second {
		t.Errorf("send too many: %v, retry after %v", ok, retry)
	}
	if _, ok := r.legacy(who, 0, l.LegacyKnocks, now); !ok {
		t.Error("knocks share the counter of sends")
	}
	if _, ok := r.legacy(who, 1, 1, now); ok {
		t.Error("a knock too many was let through")
	}
	if _, ok := r.legacy(who, 1, 1, now.Add(l.LegacyWindow)); !ok {
		t.Error("the window did not turn")
	}
	r.sweep(now.Add(l.LegacyWindow + l.RateMemory))
	if len(r.agents) != 1 {
		t.Error("counters were dropped too early")
	}
	r.sweep(now.Add(l.LegacyWindow + l.RateMemory + 1))
	if len(r.agents) != 0 {
		t.Error("counters were never dropped")
	}
}

func TestRateTableIsBounded(t *testing.T) {
	l := DefaultLimits()
	l.RateEntries = 10
	r := newRates(l)
	for i := range 100 {
		r.legacy(identity.AMID{byte(i)}, 1, 0, time.Now())
	}
	if len(r.agents) > 10 {
		t.Errorf("%d agents counted", len(r.agents))
	}
}

func TestTokenBucketDelaysBeforeItRefuses(t *testing.T) {
	l := DefaultLimits()
	l.SendRate, l.SendBurst = 10, 5
	r := newRates(l)
	who, now := testKey(t, 1).AMID(), time.Now()
	var delayed, refused int
	for range 20 {
		wait, ok := r.message(who, now)
		if !ok {
			refused++
		} else if wait > 0 {
			delayed++
		}
	}
	// 5 at once, 10 within the second that is waited for, 5 too many.
	if delayed != 10 || refused != 5 {
		t.Errorf("%d delayed and %d refused, want 10 and 5", delayed, refused)
	}
}
