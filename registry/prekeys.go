package registry

import (
	"net/http"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// prekeySubject keeps the keys with which strangers begin a session of 0.2.
func (s *Server) prekeySubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/registry/prekeys", change: s.putPrekeys, signer: signer{amid: "amid"}},
		route{method: http.MethodGet, path: "/v1/registry/prekeys/{amid}", read: s.prekeys},
	)
	s.sweeps = append(s.sweeps, func(tx *db.Tx, now time.Time) error {
		return tx.ForgetPrekeys(now.Add(-s.limits.PrekeyMemory))
	})
}

// putPrekeys stores what an agent uploads.
func (s *Server) putPrekeys(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.PrekeysRequest](r)
	if err != nil {
		return reply{}, err
	}
	signed, err := parseSignedPrekey(&body, r.by.key)
	if err != nil {
		return reply{}, err
	}
	oneTime, err := s.parseOneTime(body.OneTimePrekeys)
	if err != nil {
		return reply{}, err
	}
	// The JavaScript SDK uploads an empty signature whenever it connects again. What it
	// had signed before is worth more to its peers.
	if len(signed.Signature) > 0 {
		if err := tx.PutSignedPrekey(r.by.amid, signed, r.now); err != nil {
			return reply{}, err
		}
	}
	if err := tx.AddOneTimePrekeys(r.by.amid, oneTime, r.now); err != nil {
		return reply{}, err
	}
	free, err := tx.FreeOneTimePrekeys(r.by.amid)
	if err != nil {
		return reply{}, err
	}
	if free > s.limits.PrekeysStored {
		return reply{}, wire.Invalid("one_time_prekeys: there would be %d of them to hand out, at most %d are kept", free, s.limits.PrekeysStored)
	}
	return reply{body: wire.PrekeysStored{
		Success: true, SignedPrekeyID: body.SignedPrekeyID, OneTimePrekeysStored: len(oneTime), OneTimePrekeysPresent: free,
	}}, nil
}

// parseSignedPrekey checks the signed prekey of an upload under the key of its agent.
// The signature may be empty.
func parseSignedPrekey(body *wire.PrekeysRequest, signer identity.PublicKey) (k db.SignedPrekey, err error) {
	if k.Key, err = wire.ParseExchangeKey(body.SignedPrekey); err != nil {
		return k, wire.Errorf(http.StatusBadRequest, wire.CodeKeyInvalid, "signed_prekey: %s", err)
	}
	if k.ID = body.SignedPrekeyID; k.ID < 0 {
		return k, wire.Invalid("signed_prekey_id: want 0 to 2147483647")
	}
	if body.SignedPrekeySignature == "" {
		return k, nil
	}
	k.Signature, err = wire.DecodeBase64(body.SignedPrekeySignature)
	if err != nil || signer.VerifyPrekey(k.Key, k.Signature) != nil {
		return k, wire.Errorf(http.StatusBadRequest, wire.CodeKeyInvalid, "signed_prekey_signature does not verify")
	}
	return k, nil
}

func (s *Server) parseOneTime(list []wire.OneTimePrekey) ([]db.OneTimePrekey, error) {
	if len(list) > s.limits.PrekeysPerUpload {
		return nil, wire.Invalid("one_time_prekeys: %d of them, at most %d at a time", len(list), s.limits.PrekeysPerUpload)
	}
	seen := make(map[int32]bool, len(list))
	seenKeys := make(map[[identity.ExchangeKeySize]byte]bool, len(list))
	keys := make([]db.OneTimePrekey, 0, len(list))
	for _, k := range list {
		if k.ID < 0 || seen[k.ID] {
			return nil, wire.Invalid("one_time_prekeys: id %d is negative or there twice", k.ID)
		}
		seen[k.ID] = true
		key, err := wire.ParseExchangeKey(k.Key)
		if err != nil {
			return nil, wire.Errorf(http.StatusBadRequest, wire.CodeKeyInvalid, "one_time_prekeys: id %d: %s", k.ID, err)
		}
		if seenKeys[key] {
			return nil, wire.Errorf(http.StatusBadRequest, wire.CodeKeyInvalid, "one_time_prekeys: id %d: this key is there under another id", k.ID)
		}
		seenKeys[key] = true
		keys = append(keys, db.OneTimePrekey{ID: k.ID, Key: key})
	}
	return keys, nil
}

// prekeys hands out a bundle. A one-time key is in it once, and only for who may have
// one: whoever asks too often gets bundles without.
func (s *Server) prekeys(r *request) (reply, error) {
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return reply{}, wire.Invalid("amid: %s", err)
	}
	var b bundle
	err = r.db.View(r.Context(), func(tx *db.Tx) error { return b.read(tx, who) })
	if err != nil {
		return reply{}, err
	}
	if r.Method == http.MethodHead { // whoever asks so would not see the key
		return reply{body: b.wire(s.cfg.PrefixedKeys)}, nil
	}
	may, err := s.mayTake(r, who)
	if err != nil {
		return reply{}, err
	}
	if b.free && may {
		err := r.db.Write(r.Context(), func(tx *db.Tx) (err error) {
			// Read again, so that the keys belong together.
			if err := b.read(tx, who); err != nil {
				return err
			}
			b.oneTime, err = tx.TakeOneTimePrekey(who, r.now)
			return err
		})
		if err != nil {
			return reply{}, err
		}
	}
	return reply{body: b.wire(s.cfg.PrefixedKeys)}, nil
}

// bundle is what is handed out of one agent.
type bundle struct {
	agent   db.Agent
	signed  db.SignedPrekey
	free    bool // there are one-time keys
	oneTime *db.OneTimePrekey
}

func (b *bundle) read(tx *db.Tx, who identity.AMID) (err error) {
	if b.agent, err = tx.Agent(who); err != nil {
		return orNotFound(err, "Agent not found")
	}
	if b.signed, err = tx.SignedPrekey(who); err != nil {
		return orNotFound(err, "No prekeys available for this agent")
	}
	n, err := tx.FreeOneTimePrekeys(who)
	b.free, b.oneTime = n > 0, nil
	return err
}

func (b *bundle) wire(prefixed bool) wire.PrekeyBundle {
	out := wire.PrekeyBundle{
		IdentityKey: wire.ExchangeKeyText(b.agent.ExchangeKey, prefixed), SignedPrekey: wire.ExchangeKeyText(b.signed.Key, false),
		SignedPrekeySignature: wire.EncodeBase64(b.signed.Signature), SignedPrekeyID: b.signed.ID,
		OneTimePrekeys: []wire.OneTimePrekey{},
	}
	if b.oneTime != nil {
		out.OneTimePrekey = &wire.OneTimePrekey{ID: b.oneTime.ID, Key: wire.ExchangeKeyText(b.oneTime.Key, false)}
		out.OneTimePrekeys = append(out.OneTimePrekeys, *out.OneTimePrekey)
	}
	return out
}

// mayTake reports whether who asks may be given a one-time key of an agent now: by its
// address, by its name if it signs the request, and by how fast that agent's keys go.
func (s *Server) mayTake(r *request, from identity.AMID) (bool, error) {
	if r.Header.Get(wire.SignatureHeader) != "" {
		p, err := wire.VerifyRequest(r.Request, nil, s.names, r.now)
		if err != nil {
			return false, err
		}
		if !s.takers.TakeFor(p.AMID.String(), 1, r.now) {
			return false, nil
		}
	}
	if !s.unlimited(r) && !s.takers.Take(r.from, 1, r.now) {
		return false, nil
	}
	return s.drained.TakeFor(from.String(), 1, r.now), nil
}
