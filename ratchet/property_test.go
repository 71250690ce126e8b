package ratchet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// inFlight is an envelope that the network holds.
type inFlight struct {
	env   []byte
	text  string
	chain int
	done  bool
}

// peerModel is one end as the test sees it.
type peerModel struct {
	s     *Session
	sent  []*inFlight
	chain int // number of the present sending chain
	seen  int // the newest chain of the other that was opened
}

// Loss, any order, repeats and forgeries: what arrives is what was sent, once;
// what was not sent moves nothing. (T23, T25, T26, T27)
func TestAnyNetwork(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := seeded(rapid.StringN(1, 8, 32).Draw(rt, "seed"))
		a, b := pairOf(t, r)
		peers := []*peerModel{{s: a}, {s: b}}
		rt.Repeat(map[string]func(*rapid.T){
			"send": func(rt *rapid.T) {
				p := peers[rapid.IntRange(0, 1).Draw(rt, "who")]
				text := fmt.Sprintf("message %d", len(p.sent))
				p.sent = append(p.sent, &inFlight{env: seal(t, p.s, r, text), text: text, chain: p.chain})
			},
			"deliver": func(rt *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(rt, "from")
				from, to := peers[i], peers[1-i]
				if len(from.sent) == 0 {
					return
				}
				deliver(rt, r, to, from.sent[rapid.IntRange(0, len(from.sent)-1).Draw(rt, "which")])
			},
			"forge": func(rt *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(rt, "at")
				forge(rt, peers[i], peers[1-i])
			},
			"restart": func(rt *rapid.T) {
				p := peers[rapid.IntRange(0, 1).Draw(rt, "who")]
				s, err := UnmarshalSession(image(t, p.s))
				if err != nil {
					rt.Fatal(err)
				}
				p.s = s
			},
			"": func(rt *rapid.T) {
				for _, p := range peers {
					if n := p.s.SkippedKeys(); n > MaxSkipped || len(p.s.skipped.chains) > MaxSkippedChains {
						rt.Fatalf("%d keys in %d chains", n, len(p.s.skipped.chains))
					}
				}
			},
		})
	})
}

func deliver(rt *rapid.T, r io.Reader, to *peerModel, m *inFlight) {
	before, err := to.s.MarshalBinary()
	if err != nil {
		rt.Fatal(err)
	}
	o, err := to.s.Open(noon, r, m.env)
	switch {
	case err == nil && m.done:
		rt.Fatalf("%s of chain %d opened twice", m.text, m.chain)
	case err == nil:
		m.done = true
		if string(o.Plaintext) != m.text {
			rt.Fatalf("opened %q, want %q", o.Plaintext, m.text)
		}
		if o.NewChain {
			to.chain++
			to.seen = m.chain
		}
		return
	case !m.done && to.seen-m.chain < MaxSkippedChains:
		rt.Fatalf("%s of chain %d, at chain %d: %v", m.text, m.chain, to.seen, err)
	case !errors.Is(err, ErrDuplicate) && !errors.Is(err, ErrDecrypt):
		rt.Fatalf("%s again: %v", m.text, err)
	}
	after, err := to.s.MarshalBinary()
	if err != nil {
		rt.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		rt.Fatal("a refused message changed the session")
	}
}

// forge delivers an envelope that was changed in one place.
func forge(rt *rapid.T, to, from *peerModel) {
	if len(from.sent) == 0 {
		return
	}
	env := bytes.Clone(from.sent[rapid.IntRange(0, len(from.sent)-1).Draw(rt, "of")].env)
	env[rapid.IntRange(0, len(env)-1).Draw(rt, "at")] ^= byte(rapid.IntRange(1, 255).Draw(rt, "by"))
	before, err := to.s.MarshalBinary()
	if err != nil {
		rt.Fatal(err)
	}
	if o, err := to.s.Open(noon, seeded("forged"), env); err == nil {
		rt.Fatalf("forged message opened: %q", o.Plaintext)
	}
	after, err := to.s.MarshalBinary()
	if err != nil {
		rt.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		rt.Fatal("a forged message changed the session")
	}
}
