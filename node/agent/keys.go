package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"amesh/node/api"
)

// Keys shows the agent's public keys and how old they are.
func (a *Agent) Keys() api.Keys {
	a.prekeys.mu.RLock()
	sets := len(a.prekeys.sets)
	a.prekeys.mu.RUnlock()
	b := a.prekeys.current().bundle
	id := b.ID()
	return api.Keys{
		Agent: a.Name, AMID: a.amid, SigningKey: b.SigningKey.Text(),
		Fingerprint: fingerprint(b.SigningKey), ExchangeFingerprint: fingerprint(b.Certificate.Exchange),
		Epoch: b.Epoch, Sequence: b.Sequence, BundleID: hex.EncodeToString(id[:]), Created: b.Created, Expires: b.Expires,
		Sets: sets, Revoked: a.Revoked(),
	}
}

func fingerprint(key [32]byte) string {
	sum := sha256.Sum256(key[:])
	return hex.EncodeToString(sum[:])
}

// RotateKeys makes new exchange and prekeys at once. Knocks that name the old ones
// still open in the grace.
func (a *Agent) RotateKeys(ctx context.Context) (api.Keys, error) {
	if err := a.checkParted(a.amid); err != nil {
		return api.Keys{}, err
	}
	if err := a.prekeys.replace(ctx, true); err != nil {
		return api.Keys{}, a.storageProblem(err)
	}
	return a.Keys(), nil
}

// Edition changes when a record that was signed before says something about the
// agent's keys that no longer holds.
func (a *Agent) Edition() string {
	return fmt.Sprintf("%x %t", a.prekeys.current().bundle.ID(), a.Revoked() != nil)
}
