package client

import (
	"context"
	"encoding/base64"
	"fmt"

	"amesh/identity"
	"amesh/registry/wire"
)

// Prekeys are keys for sessions with agents of the 0.2 SDKs. Our own agents use the
// bundle in their record, which is signed as a whole.
type Prekeys struct {
	SignedID  int32
	Signed    [identity.ExchangeKeySize]byte
	Signature []byte // over Signed, by the signing key
	OneTime   []Prekey
}

// Prekey is one one-time prekey of 0.2.
type Prekey struct {
	ID  int32
	Key [identity.ExchangeKeySize]byte
}

// PutPrekeys uploads prekeys of 0.2.
func (c *Client) PutPrekeys(ctx context.Context, key identity.PrivateKey, k Prekeys) (wire.PrekeysStored, error) {
	b := wire.PrekeysRequest{
		AMID: key.AMID().String(), SignedPrekey: text(k.Signed[:]), SignedPrekeySignature: text(k.Signature), SignedPrekeyID: k.SignedID,
		OneTimePrekeys: []wire.OneTimePrekey{},
	}
	for _, one := range k.OneTime {
		b.OneTimePrekeys = append(b.OneTimePrekeys, wire.OneTimePrekey{ID: one.ID, Key: text(one.Key[:])})
	}
	a, err := c.signed(ctx, key, post("registry", "prekeys"), func(s wire.Stamp) any {
		b.Stamp = s
		return b
	})
	if err != nil {
		return wire.PrekeysStored{}, err
	}
	return decode[wire.PrekeysStored](a)
}

// Prekeys fetches the prekeys of an agent with this signing key, at most one one-time key
// among them. It returns ErrNotFound, or ErrLie for a prekey that the agent did not sign.
// The identity key in the answer is compared with nothing and therefore left out.
func (c *Client) Prekeys(ctx context.Context, signer identity.PublicKey) (Prekeys, error) {
	got, err := get[wire.PrekeyBundle](ctx, c, request{path: []string{"v1", "registry", "prekeys", signer.AMID().String()}})
	if err != nil {
		return Prekeys{}, err
	}
	k := Prekeys{SignedID: got.SignedPrekeyID}
	if k.Signed, err = wire.ParseExchangeKey(got.SignedPrekey); err != nil {
		return k, fmt.Errorf("%w: signed prekey: %w", ErrLie, err)
	}
	if k.Signature, err = wire.DecodeBase64(got.SignedPrekeySignature); err != nil {
		return k, fmt.Errorf("%w: signature of the prekey: %w", ErrLie, err)
	}
	if signer.VerifyTimestamp(string(k.Signed[:]), k.Signature) != nil {
		return k, fmt.Errorf("%w: the agent did not sign its prekey", ErrLie)
	}
	if got.OneTimePrekey != nil {
		one := Prekey{ID: got.OneTimePrekey.ID}
		if one.Key, err = wire.ParseExchangeKey(got.OneTimePrekey.Key); err != nil {
			return k, fmt.Errorf("%w: one-time prekey: %w", ErrLie, err)
		}
		k.OneTime = []Prekey{one}
	}
	return k, nil
}

func text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
