package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// signer names the members of a body that say who signs it, as 0.2 has them. The AMID
// counts with both kinds of signatures; the others only with one over a timestamp.
type signer struct {
	amid      string // who signs
	signature string // empty is "signature"; the timestamp is always "timestamp"
	// key is the member with the signing key. Without one the agent must be registered,
	// and unknown is the status when it is not; 0 is 404.
	key     string
	unknown int
}

// caller is who has signed a request.
type caller struct {
	amid identity.AMID
	key  identity.PublicKey
	// strict: the signature covers the whole request.
	strict bool
	// agent is what the registry knows of the caller, read in the transaction; nil if
	// that is nothing, which only happens on routes whose signer has a key.
	agent *db.Agent

	use  [32]byte // names this signature at this route
	used bool     // and it is used up already
}

// account is what the caller's rate is counted under. Those who repeat a timestamp of
// the agent's, which they saw elsewhere, do not take from what the agent has left.
func (c *caller) account() string {
	if c.strict {
		return c.amid.String()
	}
	return c.amid.String() + " by timestamp"
}

// changed finds out who signed the request, and makes its change.
func (s *Server) changed(rt route, r *request) (reply, error) {
	if err := s.verify(r.Context(), rt, r); err != nil {
		return reply{}, err
	}
	if !s.agents.TakeFor(r.by.account(), max(rt.cost, 1), r.now) {
		return reply{}, tooMany()
	}
	if rt.prepare != nil {
		if err := s.prepare(rt, r); err != nil {
			return reply{}, s.usedUp(r, err)
		}
	}
	return s.apply(rt, r, rt.change)
}

// prepare runs what a change has to ask others. Nobody is asked for a signature that
// apply would refuse, nor twice for the same: it is used up before.
func (s *Server) prepare(rt route, r *request) error {
	err := r.db.Write(r.Context(), func(tx *db.Tx) error {
		if err := s.admits(tx, rt, r); err != nil {
			return err
		}
		return r.useUp(tx)
	})
	if err != nil {
		return err
	}
	r.by.used = true
	return rt.prepare(r)
}

// admits is what must hold of the caller for a change: it is known where it must be,
// its signature is of the kind to which it has committed itself, and no condition of a
// subject refuses it.
func (s *Server) admits(tx *db.Tx, rt route, r *request) error {
	if err := r.settle(tx, rt); err != nil {
		return err
	}
	for _, refuses := range s.conditions {
		if err := refuses(tx, r); err != nil {
			return err
		}
	}
	return nil
}

// apply runs a change of the caller, who is verified, in a transaction in which it is
// settled that the caller may make it.
func (s *Server) apply(rt route, r *request, change func(*db.Tx, *request) (reply, error)) (reply, error) {
	ctx := r.Context()
	var out reply
	err := r.db.Write(ctx, func(tx *db.Tx) error {
		if err := s.admits(tx, rt, r); err != nil {
			return err
		}
		if !r.by.used {
			if err := r.useUp(tx); err != nil {
				return err
			}
		}
		var err error
		out, err = change(tx, r)
		return err
	})
	if err != nil {
		return reply{}, s.usedUp(r, err)
	}
	s.storageResult(nil)
	return out, nil
}

// usedUp is the error of a change, whose signature is used up when that is a refusal.
// What was refused is undone, and might be accepted from somebody else a minute later.
func (s *Server) usedUp(r *request, err error) error {
	if _, ok := errors.AsType[*wire.Error](err); !ok {
		return err
	}
	if failed := r.db.Write(r.Context(), r.useUp); failed != nil && !wire.HasCode(failed, wire.CodeSignatureInvalid) {
		return failed
	}
	return err
}

// verify finds out who signed the request. It does all that costs time, and holds no
// transaction meanwhile that others would wait for.
func (s *Server) verify(ctx context.Context, rt route, r *request) error {
	who, err := wire.ParseAMID(r.text(rt.signer.amid))
	if err != nil {
		return wire.Invalid("%s: %s", rt.signer.amid, err)
	}
	if r.Header.Get(wire.SignatureHeader) != "" {
		p, err := wire.VerifyRequest(r.Request, r.raw, s.names, r.now)
		if err != nil {
			return err
		}
		if p.AMID != who {
			return wire.Unsigned("the header is of another AMID than " + rt.signer.amid)
		}
		r.by = caller{amid: who, key: p.Key, strict: true, use: useOf("request", who, "", p.Nonce[:])}
		return nil
	}
	key, err := s.keyOf(ctx, rt, r, who)
	if err != nil {
		return err
	}
	member := rt.signer.signature
	if member == "" {
		member = "signature"
	}
	sig, err := wire.VerifyTimestamp(key, r.text("timestamp"), r.text(member), r.now)
	if err != nil {
		return err
	}
	r.by = caller{amid: who, key: key, use: useOf("timestamp", who, rt.method+" "+rt.path, sig)}
	return nil
}

// useOf names a signature. One over a timestamp may be used once at each endpoint; one
// over a request is good for one request anyway.
func useOf(kind string, who identity.AMID, endpoint string, sig []byte) [32]byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(kind), who[:], []byte(endpoint), sig} {
		h.Write([]byte{byte(len(part))})
		h.Write(part)
	}
	return [32]byte(h.Sum(nil))
}

// keyOf is the key with which a signature over a timestamp must verify: the one in the
// body, or that of a registered agent.
func (s *Server) keyOf(ctx context.Context, rt route, r *request, who identity.AMID) (identity.PublicKey, error) {
	if rt.signer.key != "" {
		key, err := wire.ParseSigningKey(r.text(rt.signer.key))
		if err != nil {
			return key, wire.Errorf(http.StatusBadRequest, wire.CodeKeyInvalid, "%s: %s", rt.signer.key, err)
		}
		if key.AMID() != who {
			return key, wire.Unsigned("AMID mismatch")
		}
		return key, nil
	}
	var a db.Agent
	err := r.db.View(ctx, func(tx *db.Tx) (err error) {
		a, err = tx.Agent(who)
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		return identity.PublicKey{}, rt.notRegistered()
	}
	return a.SigningKey, err
}

func (rt *route) notRegistered() error {
	if rt.signer.unknown == 0 || rt.signer.unknown == http.StatusNotFound {
		return wire.NotFound("Agent not found")
	}
	return wire.Errorf(rt.signer.unknown, wire.CodeSignatureInvalid, "%sagent not registered", wire.SignatureFailed)
}

// settle finds what the registry knows of the caller, and refuses a signature of the kind
// that it makes no longer.
func (r *request) settle(tx *db.Tx, rt route) error {
	r.by.agent = nil
	switch a, err := tx.Agent(r.by.amid); {
	case err == nil:
		r.by.agent = &a
	case !errors.Is(err, db.ErrNotFound):
		return err
	case rt.signer.key == "":
		return rt.notRegistered()
	}
	if r.by.agent != nil && r.by.agent.Strict && !r.by.strict {
		return wire.Errorf(http.StatusUnauthorized, wire.CodeSignatureRequired,
			"%sthis AMID signs whole requests: sign with the header %s", wire.SignatureFailed, wire.SignatureHeader)
	}
	return nil
}

// signatureLife is how long a used signature is remembered: until it would be too old,
// and a little longer, for registries whose clocks differ.
const signatureLife = wire.MaxAge + 2*wire.MaxAhead + time.Minute

func errUsed() error { return wire.Unsigned("used before: sign a fresh timestamp") }

// useUp notes that the signature was used; it returns the refusal of one that was.
func (r *request) useUp(tx *db.Tx) error {
	first, err := tx.UseSignature(r.by.use, r.now.Add(signatureLife))
	if err == nil && !first {
		return errUsed()
	}
	return err
}

// whole makes a change only when its whole request is signed: a signature over a
// timestamp would agree to whatever somebody puts beside it.
func whole(change func(*db.Tx, *request) (reply, error)) func(*db.Tx, *request) (reply, error) {
	return func(tx *db.Tx, r *request) (reply, error) {
		if !r.by.strict {
			return reply{}, wire.Errorf(http.StatusUnauthorized, wire.CodeSignatureRequired,
				"%sthis takes a signature over the whole request: the header %s", wire.SignatureFailed, wire.SignatureHeader)
		}
		return change(tx, r)
	}
}
