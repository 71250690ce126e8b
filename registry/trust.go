package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// ErrRoot reports a root key that is not the one of the database: another instance of
// the registry began with another.
var ErrRoot = errors.New("not this database's root key")

// trust is what reputation, revocations and certificates share.
type trust struct {
	issuer *certificate.Issuer
	salt   []byte // of the networks; set before the first request
}

// trustSubjects say whom to believe.
func (s *Server) trustSubjects() error {
	s.trust.issuer = s.cfg.Issuer
	if s.trust.issuer == nil {
		key, err := identity.GenerateKey(rand.Reader)
		if err != nil {
			return fmt.Errorf("root key: %w", err)
		}
		s.trust.issuer = certificate.NewIssuer(key, rand.Reader, s.cfg.Clock)
	}
	s.reputationSubject()
	s.revocationSubject()
	s.certificateSubject()
	return nil
}

// openTrust reads what all instances share, or is the first to write it. It returns
// ErrRoot when the database belongs to another root key: two instances with two keys
// would sign certificates of which each calls the other's forged.
func (s *Server) openTrust(ctx context.Context, d *db.DB) error {
	offer := make([]byte, 32)
	_, _ = rand.Read(offer) // never fails
	return d.Write(ctx, func(tx *db.Tx) error {
		var err error
		if s.trust.salt, err = tx.Value("network_salt", offer); err != nil {
			return err
		}
		if s.cfg.Issuer == nil {
			return nil
		}
		mine := s.trust.issuer.Root()
		first, err := tx.Value("root_key", mine[:])
		if err != nil {
			return err
		}
		if !bytes.Equal(first, mine[:]) {
			return fmt.Errorf("%w: it has %s, this instance %s; give it the key file of the instance that was there first, with --key",
				ErrRoot, base64.StdEncoding.EncodeToString(first), mine.Text())
		}
		if s.cfg.KeepIssuer == nil {
			return nil
		}
		return s.cfg.KeepIssuer()
	})
}

// signedReply is what every signed answer says of itself.
func (s *Server) signedReply(r *request) wire.SignedReply {
	return wire.SignedReply{IssuerKey: s.trust.issuer.Root().Text(), IssuedAt: wire.Time{Time: r.now}}
}

// signed is an answer with the registry's signature as its last member.
func (s *Server) signed(body any) (reply, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return reply{}, err
	}
	return reply{body: json.RawMessage(s.trust.issuer.IssueStatement(b))}, nil
}
