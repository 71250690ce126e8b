package relay

import (
	"sync"

	"amesh/identity"
)

// keys remembers public keys that were checked, by their text. Agents come back, and to
// see that a key is a point, and none of small order, costs a fifth of what checking a
// signature does. Two generations bound it.
type keys struct {
	max int // of a generation

	mu       sync.Mutex
	now, old map[string]identity.PublicKey
}

// maxKeys is how many keys a generation has, of about 150 bytes each.
const maxKeys = 16_384

func newKeys(most int) *keys { return &keys{max: most, now: map[string]identity.PublicKey{}} }

// parse is identity.ParsePublicKeyText.
func (k *keys) parse(text string) (identity.PublicKey, error) {
	if key, ok := k.find(text); ok {
		return key, nil
	}
	key, err := identity.ParsePublicKeyText(text)
	if err == nil {
		k.note(text, key)
	}
	return key, err
}

// find looks a key up, and keeps it for another generation.
func (k *keys) find(text string) (identity.PublicKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.now[text]; ok {
		return key, true
	}
	key, ok := k.old[text]
	if ok {
		k.put(text, key)
	}
	return key, ok
}

func (k *keys) note(text string, key identity.PublicKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(text, key)
}

// put is called with the mutex held.
func (k *keys) put(text string, key identity.PublicKey) {
	if len(k.now) >= k.max {
		k.now, k.old = map[string]identity.PublicKey{}, k.now
	}
	k.now[text] = key
}
