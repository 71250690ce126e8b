package agent

import (
	"context"
	"net/http"
	"time"

	"amesh/identity"
	"amesh/internal/compare"
	"amesh/internal/store"
	"amesh/node/api"
)

// What the owner does to be sure whom he talks to (session.md §2.9).

// verifiedRow remembers that the owners compared the keys and found them the same.
type verifiedRow struct {
	Key identity.PublicKey `json:"key"`
	At  time.Time          `json:"at"`
}

// verifiedAt is when the owner said that the keys match, nil for never.
func (a *Agent) verifiedAt(r store.Reader, peer identity.AMID) (*time.Time, error) {
	row, found, err := getJSON[verifiedRow](r, a.key(rowVerified, peer[:]))
	if err != nil || !found {
		return nil, err
	}
	return &row.At, nil
}

// Compare returns what this agent's owner and the peer's must see alike.
func (a *Agent) Compare(ctx context.Context, peer string) (api.Comparison, error) {
	amid, err := a.other(peer)
	if err != nil {
		return api.Comparison{}, err
	}
	key, err := a.signingKey(ctx, amid)
	if err != nil {
		return api.Comparison{}, err
	}
	v := compare.Of(a.Key.Public(), key)
	c := api.Comparison{Agent: a.Name, Peer: amid, Words: v.Words(), Value: v.String(), QR: v.Payload()}
	err = a.Store.View(func(r store.Reader) (err error) {
		c.Verified, err = a.verifiedAt(r, amid)
		return err
	})
	return c, err
}

// Verify remembers what the owner found in comparing: that the keys match, or that
// they do not, which takes back what was said before.
func (a *Agent) Verify(ctx context.Context, peer string, req api.VerifyRequest) (api.Contact, error) {
	amid, err := a.other(peer)
	if err != nil {
		return api.Contact{}, err
	}
	row := verifiedRow{At: a.Clock().Truncate(time.Second).UTC()}
	if req.Matches {
		if err := a.checkParted(amid); err != nil {
			return api.Contact{}, err
		}
		if row.Key, err = a.signingKey(ctx, amid); err != nil {
			return api.Contact{}, err
		}
	}
	var c api.Contact
	err = a.Store.Update(ctx, func(tx store.Tx) error {
		key := a.key(rowVerified, amid[:])
		if req.Matches {
			err = setJSON(tx, key, row)
		} else {
			err = tx.Delete(key)
		}
		if err != nil {
			return err
		}
		c, err = a.contact(tx, amid)
		return err
	})
	return c, a.storageProblem(err)
}

// other reads the name of another agent.
func (a *Agent) other(peer string) (identity.AMID, error) {
	amid, err := a.Resolve(peer)
	if err == nil && amid == a.amid {
		err = errOwn()
	}
	return amid, err
}

// signingKey finds the key behind a name: here, or in the peer's record. An AMID is
// made of the key, so that any that fits is the one.
func (a *Agent) signingKey(ctx context.Context, peer identity.AMID) (identity.PublicKey, error) {
	key, err := a.knownKey(peer)
	if err != nil || key.AMID() == peer {
		return key, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.Limits.LookupTimeout)
	defer cancel()
	rec, err := a.Directory.Find(ctx, peer)
	if err != nil || rec.AMID != peer {
		a.Logger.Debug("no key of peer", "peer", peer.Short(), "err", err)
		return identity.PublicKey{}, api.Problemf(http.StatusNotFound, api.CodeNotFound,
			"the key of %s is not known here, and its record was not found", peer).
			WithHint("check the AMID; look with `amesh status` whether a DHT server is reached, or try again once a message of the peer came")
	}
	return rec.SigningKey, nil
}

// knownKey is a peer's key as it stands in our rows; zero when it does not.
func (a *Agent) knownKey(peer identity.AMID) (key identity.PublicKey, err error) {
	err = a.Store.View(func(r store.Reader) error {
		row, found, err := getJSON[verifiedRow](r, a.key(rowVerified, peer[:]))
		if err != nil || found {
			key = row.Key
			return err
		}
		sessions, err := a.loadSessions(r, peer)
		if err != nil {
			return err
		}
		for _, s := range sessions {
			if s.PeerKey.AMID() == peer {
				key = s.PeerKey
				return nil
			}
		}
		contact, found, err := getJSON[contactRow](r, a.key(rowContact, peer[:]))
		if err != nil || !found {
			return err
		}
		if rec, err := identity.ParseAgentRecord(contact.Record); err == nil {
			key = rec.SigningKey
		}
		return nil
	})
	return key, err
}
