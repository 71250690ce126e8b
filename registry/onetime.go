package registry

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"amesh/identity"
	"amesh/internal/prefix"
	"amesh/internal/strictjson"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// oneTimeSubject hands out the one-time keys of agents that are away (session.md §2.5).
func (s *Server) oneTimeSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/amesh/one-time-keys/{amid}", raw: s.sealed("application/json", maxKeysBody, s.putOneTimeKeys)},
		route{method: http.MethodPost, path: "/v1/amesh/one-time-keys/{amid}/take", raw: s.takeOneTimeKeys},
	)
	s.sweeps = append(s.sweeps, sweepAll((*db.Tx).ForgetSessionKeys))
}

// maxKeysBody is room for a full batch of the longest keys in base64.
const maxKeysBody = 256 << 10

// maxTakeBody is room for what a client sends where it has nothing to say.
const maxTakeBody = 1 << 10

func (s *Server) putOneTimeKeys(tx *db.Tx, r *request) (reply, error) {
	who, err := r.ofPath()
	if err != nil {
		return reply{}, err
	}
	var body wire.OneTimeKeysRequest
	_, err = strictjson.Object(r.raw)
	if err == nil {
		err = json.Unmarshal(r.raw, &body)
	}
	if err != nil {
		return reply{}, wire.Errorf(http.StatusBadRequest, wire.CodeMalformed, "the body is not {\"keys\": [base64, …]}: %.200s", err)
	}
	keys, err := readKeys(body.Keys, r)
	if err != nil {
		return reply{}, err
	}
	var out wire.OneTimeKeysReply
	if len(keys) > 0 {
		out.Added, err = tx.AddSessionKeys(who, keys, r.now)
		if errors.Is(err, db.ErrNotFound) {
			return reply{}, wire.Errorf(http.StatusConflict, wire.CodeConflict, "no record of this agent holds now: leave one first")
		}
		if err != nil {
			return reply{}, stale(err)
		}
	}
	if out.X25519, err = tx.SessionKeysLeft(who, identity.KindOneTime, r.now); err != nil {
		return reply{}, err
	}
	out.KEM, err = tx.SessionKeysLeft(who, identity.KindOneTimeKEM, r.now)
	return reply{body: out}, err
}

// readKeys verifies the keys of a batch, each of which is signed by itself.
func readKeys(list [][]byte, r *request) ([]db.SessionKey, error) {
	if len(list) > wire.MaxKeyBatch {
		return nil, wire.Invalid("%d keys, at most %d at a time", len(list), wire.MaxKeyBatch)
	}
	keys := make([]db.SessionKey, len(list))
	for i, raw := range list {
		k, err := identity.ParseOneTimeKey(raw, r.by.key)
		if err == nil {
			err = k.Valid(r.now)
		}
		if err != nil {
			return nil, wire.Invalid("key %d of %d: %s", i+1, len(list), err)
		}
		keys[i] = db.SessionKey{OneTimeKey: k, Signed: raw}
	}
	return keys, nil
}

// takeOneTimeKeys hands out a key of each kind. Whoever asks too often gets none, like
// one who comes when there are none: a knock does without, so there is nothing to retry.
func (s *Server) takeOneTimeKeys(w http.ResponseWriter, hr *http.Request) {
	r, cancel := s.begin(hr)
	defer cancel()
	var out wire.TakenKeys
	var err error
	if r.raw, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxTakeBody)); err != nil {
		err = wire.Errorf(http.StatusBadRequest, wire.CodeMalformed, "want an empty body")
	} else {
		out, err = s.takenKeys(r)
	}
	s.write(w, reply{body: out}, s.refusal(r, err), nil)
}

func (s *Server) takenKeys(r *request) (wire.TakenKeys, error) {
	none := wire.TakenKeys{}
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return none, wire.Invalid("%s", err)
	}
	if err := s.mayAsk(r); err != nil {
		return none, err
	}
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		_, err := tx.Agent(who)
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return none, nil // and it is not counted: names cost nothing, and buckets are few
	}
	if err != nil {
		return none, err
	}
	asks := prefix.Of(r.from).String()
	if r.by.agent != nil {
		asks = r.by.amid.String()
	}
	if !s.finding.takes.TakeFor(asks+" of "+who.String(), 1, r.now) {
		return none, nil
	}
	var out wire.TakenKeys
	err = r.db.Write(r.Context(), func(tx *db.Tx) (err error) {
		out.X25519, out.KEM, err = tx.TakeSessionKeys(who, s.limits.KeysPerAgent, r.now)
		return err
	})
	if err != nil {
		return none, err
	}
	return out, nil
}
