package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
)

// CardContent is what the owner says of the agent, nil while he has said nothing.
func (a *Agent) CardContent() (*api.CardContent, error) {
	var said *api.CardContent
	err := a.Store.View(func(r store.Reader) error {
		c, found, err := getJSON[api.CardContent](r, a.key(rowCard))
		if found {
			said = &c
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("card of %s: %w", a.Name, err)
	}
	return said, nil
}

// SignCard signs what the owner says of the agent, for a week (cards.md), and keeps what
// he says. The sequence grows with every call, also across restarts. It returns
// identity.ErrRevoked when the agent's key has left, and wire.ErrMalformed for a card
// that breaks the rules.
func (a *Agent) SignCard(ctx context.Context, said api.CardContent) ([]byte, error) {
	if a.left.of(a.amid) != nil {
		return nil, identity.ErrRevoked
	}
	c := identity.Card{Name: said.Name, Description: said.Description, Capabilities: said.Capabilities, Issued: a.Clock().Truncate(time.Second)}
	c.Expires = c.Issued.Add(identity.CardLife)
	var raw []byte
	err := a.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		if c.Sequence, err = a.nextSequence(tx, counterCard); err != nil {
			return err
		}
		if raw, err = identity.SignCard(a.Key, c); err != nil {
			return err
		}
		return setJSON(tx, a.key(rowCard), said)
	})
	if err != nil {
		return nil, fmt.Errorf("card of %s: %w", a.Name, err)
	}
	return raw, nil
}

// StorageProblem is an error of the store, such as SignCard returns, as the owner is
// told of it; another error is returned as it is.
func (a *Agent) StorageProblem(err error) error { return a.storageProblem(err) }

// ExchangeKey is the public exchange key of the newest bundle.
func (a *Agent) ExchangeKey() [identity.ExchangeKeySize]byte {
	return a.prekeys.current().bundle.Certificate.Exchange
}

// nextSequence is a number for something that replaces what was signed before: it grows
// with every call, and with the time, so that one of a state that was lost is not above.
func (a *Agent) nextSequence(tx store.Tx, name byte) (uint64, error) {
	key := a.key(rowCounter, []byte{name})
	seq := uint64(a.Clock().UnixMilli())
	b, err := tx.Get(key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if len(b) == 8 {
		seq = max(seq, binary.BigEndian.Uint64(b)+1)
	}
	return seq, tx.Set(key, be64(seq))
}
