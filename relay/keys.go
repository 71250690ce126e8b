package relay

import (
	"sync"

	"amesh/identity"
)

// keys remembers public keys that were checked, by their text. Agents come back, and to
// see that a key is a point, and none of small order, costs a fifth of what checking a
// signature does. Who has signed before is worth the multiples of an
// identity.KnownKey when it comes again, which halve that cost too. Two generations
// bound both.
type keys struct {
	max, maxKnown int // of a generation

	mu       sync.Mutex
	now, old map[string]remembered
	known    int // of now
}

// remembered is a key and what is known of it.
type remembered struct {
	identity.KnownKey
	signed bool // and not only named, which anybody can
	known  bool // the key has its multiples
}

const (
	// maxKeys is how many keys a generation has, of about 160 bytes each.
	maxKeys = 16_384
	// maxKnown is how many of them have multiples, of 4 KiB each.
	maxKnown = 8_192
)

func newKeys(most, known int) *keys {
	return &keys{max: most, maxKnown: known, now: map[string]remembered{}}
}

// parse is identity.ParsePublicKeyText.
func (k *keys) parse(text string) (identity.KnownKey, error) {
	if r, ok := k.find(text); ok {
		if r.signed && !r.known && k.roomForKnown() {
			known, err := r.Known()
			r.KnownKey, r.known = known, err == nil
			k.note(text, r)
		}
		return r.KnownKey, nil
	}
	key, err := identity.ParsePublicKeyText(text)
	r := remembered{KnownKey: identity.KnownKey{PublicKey: key}}
	if err == nil {
		k.note(text, r)
	}
	return r.KnownKey, err
}

// signed notes that a signature of the key was good.
func (k *keys) signed(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.now[text]; ok && !r.signed {
		r.signed = true
		k.now[text] = r
	}
}

// find looks a key up, and keeps it for another generation.
func (k *keys) find(text string) (remembered, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r, ok := k.now[text]; ok {
		return r, true
	}
	r, ok := k.old[text]
	if ok {
		k.put(text, r)
	}
	return r, ok
}

func (k *keys) roomForKnown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known < k.maxKnown
}

func (k *keys) note(text string, r remembered) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(text, r)
}

// put is called with the mutex held.
func (k *keys) put(text string, r remembered) {
	before, again := k.now[text]
	if !again && len(k.now) >= k.max {
		k.now, k.old, k.known = map[string]remembered{}, k.now, 0
	}
	if r.known && !before.known {
		if k.known >= k.maxKnown {
			r.KnownKey, r.known = identity.KnownKey{PublicKey: r.PublicKey}, false
		} else {
			k.known++
		}
	}
	k.now[text] = r
}
