package node

import (
	"context"
	"sync"
	"time"

	"amesh/identity"
	"amesh/node/agent"
)

// oneTimeNear is how long the peer's own node is asked for one-time keys before a
// registry is, or the knock goes without.
const oneTimeNear = 500 * time.Millisecond

// keySource asks the peer's node for one-time keys, and the registries when that has none
// or is away.
type keySource struct {
	near       agent.KeySource
	registries *registries
	key        identity.PrivateKey // proves who asks
}

var _ agent.KeySource = keySource{}

// OneTimeKeys implements agent.KeySource.
func (s keySource) OneTimeKeys(ctx context.Context, peer identity.AMID, rec *identity.AgentRecord) (x25519, kem []byte) {
	near, cancel := context.WithTimeout(ctx, oneTimeNear)
	x25519, kem = s.near.OneTimeKeys(near, peer, rec)
	cancel()
	for _, l := range s.registries.all() {
		if x25519 != nil || kem != nil {
			break
		}
		x25519, kem = l.oneTimeKeys(ctx, s.key, rec)
	}
	return x25519, kem
}

// servedMost is how many keys are remembered that one registry gave.
const servedMost = 4096

// servedKeys are the one-time keys that one registry gave to this node.
type servedKeys struct {
	mu   sync.Mutex
	seen map[servedKey]bool
}

type servedKey struct {
	of   identity.AMID
	kind identity.KeyKind
	id   uint32
}

// again reports whether the key was given to us before, and remembers it.
func (s *servedKeys) again(k *identity.OneTimeKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := servedKey{k.AMID, k.Kind, k.ID}
	if s.seen[one] {
		return true
	}
	if len(s.seen) >= servedMost || s.seen == nil {
		s.seen = make(map[servedKey]bool)
	}
	s.seen[one] = true
	return false
}

// oneTimeKeys takes one key of each kind from the registry, nil for none. A key that its
// agent did not sign, or that was given before, is not passed on.
func (l *registryLine) oneTimeKeys(ctx context.Context, key identity.PrivateKey, rec *identity.AgentRecord) (x25519, kem []byte) {
	keys, err := l.client.TakeOneTimeKeys(ctx, key, rec.AMID)
	if err != nil {
		l.log.Debug("no one-time keys of the registry", "peer", rec.AMID.Short(), "err", err)
		return nil, nil
	}
	good := func(raw []byte, kind identity.KeyKind) []byte {
		if raw == nil {
			return nil
		}
		k, err := identity.ParseOneTimeKey(raw, rec.SigningKey)
		switch {
		case err != nil || k.Kind != kind:
			l.warnings.add(warnOneTime, rec.AMID, l.clock())
		case l.served.again(k):
			l.warnings.add(warnTwice, rec.AMID, l.clock())
		default:
			return raw
		}
		return nil
	}
	return good(keys.X25519, identity.KindOneTime), good(keys.KEM, identity.KindOneTimeKEM)
}
