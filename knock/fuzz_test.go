package knock

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/internal/content"
)

// FuzzOpen is what a sender can do who signs whatever it likes: everything in front
// of the signature is fuzzed, then signed by A. Nothing opens but what A sealed.
func FuzzOpen(f *testing.F) {
	handshakes := read[*handshake](f, "handshakes.json")
	h := handshakes[slices.IndexFunc(handshakes, func(h *handshake) bool { return h.Name == "both one-time keys" })]
	a := signer(f, h.ASigning)
	f.Add([]byte(h.Knock))
	for _, v := range read[refusedKnock](f, "knocks_refused.json") {
		f.Add([]byte(v.Envelope))
	}
	message0 := h.Message0
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < identity.SignatureSize {
			return
		}
		signed := resigned(raw, a, func([]byte) {})
		if err := h.receive(t, signed, noon); err == nil && (!bytes.Equal(signed[:clearSize], h.Clear) || !bytes.Contains(signed, message0)) {
			t.Errorf("%x: opened", signed)
		}
	})
}

// FuzzMatches holds patterns against a second reading of them: part by part.
func FuzzMatches(f *testing.F) {
	for _, s := range [][2]string{{"*", "a"}, {"a", "a/b"}, {"a/*", "a"}, {"a/*", "a/b/c"}, {"a", "ab"}, {"a/b", "a"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, intent string) {
		if checkPattern(pattern) != nil || content.CheckIntent(intent) != nil {
			return
		}
		stem, below := strings.CutSuffix(pattern, "/*")
		p, i := strings.Split(stem, "/"), strings.Split(intent, "/")
		want := pattern == "*" || len(i) >= len(p) && slices.Equal(i[:len(p)], p) && (!below || len(i) > len(p))
		if got := matches(pattern, intent); got != want {
			t.Errorf("%q covers %q is %v, want %v", pattern, intent, got, want)
		}
	})
}
