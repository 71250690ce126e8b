package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/organization"
	"amesh/registry/wire"

	"github.com/google/uuid"
)

// Resolvers find the records that prove domains; *organization.Resolvers does.
type Resolvers interface {
	// Find looks for a record of a domain that says exactly value. It returns soon
	// after ctx ends, at the latest.
	Find(ctx context.Context, domain, value string) organization.Result
}

// organizationSubject verifies organisations by their domains (registry-proof.md §3).
func (s *Server) organizationSubject() error {
	if s.cfg.Resolvers != nil && s.cfg.Issuer == nil {
		return errors.New("domains can be verified, but there is no key to sign certificates with")
	}
	for _, known := range s.cfg.KnownDomains {
		if _, err := organization.ParseDomain(known); err != nil {
			return fmt.Errorf("known domain %q: %w", known, err)
		}
	}
	admin := signer{amid: "admin_amid"}
	agent := signer{amid: "amid"}
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/org/register", change: s.registerOrganization, signer: admin,
			cost: 5, failure: organizationFailure},
		route{method: http.MethodPost, path: "/v1/org/verify", prepare: s.lookForRecord, change: s.verifyOrganization, signer: admin,
			cost: 10, failure: verifyFailure},
		route{method: http.MethodPost, path: "/v1/org/agents", change: s.addMember,
			signer: signer{amid: "admin_amid", signature: "admin_signature"}, failure: memberFailure},
		route{method: http.MethodPost, path: "/v1/amesh/org/remove", change: whole(s.removeMember), signer: admin},
		route{method: http.MethodPost, path: "/v1/amesh/org/consent", change: whole(s.consent), signer: agent},
		route{method: http.MethodPost, path: "/v1/amesh/org/leave", change: whole(s.leave), signer: agent},
		route{method: http.MethodGet, path: "/v1/org/lookup", read: s.lookupOrganization},
	)
	s.forget = append(s.forget, func(tx *db.Tx, who identity.AMID) error {
		return tx.RevokeCertificatesOf(who, reasonSuperseded, s.cfg.Clock())
	})
	s.describe = append(s.describe, describeMember)
	s.sweeps = append(s.sweeps, (*db.Tx).ForgetClaims)
	s.chores = append(s.chores, s.checkOrganizations, s.settleOrganizations)
	return nil
}

func organizationFailure(_ *request, e *wire.Error) any {
	return wire.OrganizationReply{Error: &e.Text, Code: e.Code}
}

func verifyFailure(_ *request, e *wire.Error) any {
	return wire.OrganizationVerifyReply{Error: &e.Text, Code: e.Code}
}

func memberFailure(_ *request, e *wire.Error) any {
	return wire.MemberReply{Error: &e.Text, Code: e.Code}
}

// nameRefusal is what a stranger is told of a name or a domain that does not do.
func nameRefusal(err error, otherwise wire.Code) error {
	code := otherwise
	if errors.Is(err, organization.ErrConfusable) {
		code = wire.CodeNameConfusable
	}
	return wire.Errorf(http.StatusBadRequest, code, "%s", err)
}

// describeMember adds what was proved of an agent's organisation, whose name is its own
// choice.
func describeMember(tx *db.Tx, found *wire.LookupReply, a db.Agent) error {
	if a.Organization == nil {
		return nil
	}
	o, err := tx.MemberOf(a.AMID)
	if err == nil && o.Health.State == organization.Verified {
		found.OrganizationDomain = o.Domain.Name
	}
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	return err
}

// registerOrganization gives an administrator a challenge for a domain. It takes
// nothing from anybody else who claims the same.
func (s *Server) registerOrganization(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.OrganizationRequest](r)
	if err != nil {
		return reply{}, err
	}
	name, err := organization.ParseName(body.Name)
	if err != nil {
		return reply{}, nameRefusal(err, wire.CodeNameInvalid)
	}
	domain, err := organization.ParseDomain(body.Domain)
	if err != nil {
		return reply{}, nameRefusal(err, wire.CodeDomainInvalid)
	}
	o, err := s.claim(tx, r, name, domain)
	if err != nil {
		return reply{}, err
	}
	if err := s.refuseLookalike(tx, o); err != nil {
		return reply{}, err
	}
	if err := tx.PutOrganization(o); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, body: wire.OrganizationReply{
		Success: true, OrganizationID: &o.ID,
		DNSChallenge: &wire.DNSChallenge{
			RecordType: "TXT", RecordName: organization.Record(o.Domain.Name), RecordValue: o.Challenge,
			ExpiresAt: wire.Time{Time: o.ChallengeExpires},
		},
	}}, nil
}

// claim is the administrator's claim to a domain with a fresh challenge: the one that
// there was, with its id, or a new one.
func (s *Server) claim(tx *db.Tx, r *request, name organization.Name, domain organization.Domain) (db.Organization, error) {
	o, err := tx.OrganizationClaim(r.by.amid, domain.Name)
	switch {
	case errors.Is(err, db.ErrNotFound):
		n, err := tx.CountClaims(r.by.amid)
		if err != nil {
			return o, err
		}
		if n >= organization.OpenClaims {
			return o, wire.Errorf(http.StatusConflict, wire.CodeTooManyClaims,
				"%d of your claims are not verified: verify them, or wait until they expire", n)
		}
		o = db.Organization{ID: uuid.NewString(), Admin: r.by.amid, Created: r.now, Health: organization.Health{State: organization.Claimed}}
	case err != nil:
		return o, err
	case o.Health.State == organization.Verified:
		return o, wire.Errorf(http.StatusConflict, wire.CodeDomainTaken, "Domain already registered")
	default:
		if err := rename(tx, o, name); err != nil {
			return o, err
		}
	}
	o.Name, o.Domain = name, domain
	o.Challenge, o.ChallengeExpires = organization.NewChallenge(), r.now.Add(organization.ChallengeLife)
	return o, nil
}

// rename lets an organisation have another name as long as nobody carries the one that it
// has. Who only agreed to carry it has agreed to nothing any more.
func rename(tx *db.Tx, o db.Organization, to organization.Name) error {
	if o.Name.Text == to.Text {
		return nil
	}
	n, err := tx.CountMembers(o.ID)
	if err != nil {
		return err
	}
	if n > 0 {
		return wire.Errorf(http.StatusConflict, wire.CodeConflict,
			"%d agents agreed to join %q: keep that name, or remove them first with POST /v1/amesh/org/remove", n, o.Name.Text)
	}
	return tx.ForgetConsentsTo(o.ID)
}

// refuseLookalike keeps names and domains apart that are taken for each other (T78).
// Only verified organisations have any. Which of two is the real one only people know,
// so the operator can say it.
func (s *Server) refuseLookalike(tx *db.Tx, o db.Organization) error {
	other, err := tx.LookalikeOrganization(o)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return nil
	case err != nil:
		return err
	case other.Domain.Name == o.Domain.Name:
		return wire.Errorf(http.StatusConflict, wire.CodeDomainTaken, "Domain already registered")
	case slices.Contains(s.cfg.KnownDomains, o.Domain.Name):
		return nil
	case other.Name.Key == o.Name.Key:
		return wire.Errorf(http.StatusConflict, wire.CodeNameTaken, "the name %q belongs to %s", o.Name.Text, other.Domain.Name)
	case other.Domain.Skeleton == o.Domain.Skeleton:
		return wire.Errorf(http.StatusConflict, wire.CodeNameConfusable, "%s is taken for %s", o.Domain.Name, other.Domain.Name)
	}
	return wire.Errorf(http.StatusConflict, wire.CodeNameConfusable, "the name %q is taken for %q", o.Name.Text, other.Name.Text)
}

// administered is the organisation of a request, if the caller is its administrator.
func administered(tx *db.Tx, r *request) (db.Organization, error) {
	o, err := tx.Organization(printable(r.text("organization_id"), 64))
	if err != nil {
		return o, orNotFound(err, "Organization not found")
	}
	if o.Admin != r.by.amid {
		return o, wire.Errorf(http.StatusUnauthorized, wire.CodeNotAdmin, "Not the organization admin")
	}
	return o, nil
}

// look is what was found of a record, and of which.
type look struct {
	challenge string
	organization.Result
}

// lookForRecord asks the resolvers, before the transaction.
func (s *Server) lookForRecord(r *request) error {
	if s.cfg.Resolvers == nil {
		return wire.Errorf(http.StatusServiceUnavailable, wire.CodeUnavailable,
			"this registry cannot verify domains: its operator gives it resolvers with --resolver")
	}
	var o db.Organization
	err := r.db.View(r.Context(), func(tx *db.Tx) (err error) {
		o, err = administered(tx, r)
		return err
	})
	if err != nil {
		return err
	}
	found := look{challenge: o.Challenge, Result: s.cfg.Resolvers.Find(r.Context(), o.Domain.Name, o.Challenge)}
	if found.Finding != organization.Present {
		s.log.Debug("organisation not verified", "domain", o.Domain.Name, "why", found.Detail)
	}
	r.prepared = found
	return nil
}

func (s *Server) verifyOrganization(tx *db.Tx, r *request) (reply, error) {
	o, err := administered(tx, r)
	if err != nil {
		return reply{}, err
	}
	found, _ := r.prepared.(look)
	switch {
	case o.Health.State != organization.Verified && !r.now.Before(o.ChallengeExpires):
		return notVerified("the challenge has expired: register the organisation again for a new one"), nil
	case found.challenge != o.Challenge:
		return notVerified("there is a newer challenge: try again"), nil
	case found.Finding != organization.Present:
		return notVerified("record " + organization.Record(o.Domain.Name) + " not found; " + found.Why), nil
	}
	if err := s.refuseLookalike(tx, o); err != nil {
		return reply{}, err
	}
	if o, err = s.proved(tx, o, found.Result, r.now); err != nil {
		return reply{}, err
	}
	return reply{body: wire.OrganizationVerifyReply{Success: true, Verified: true, RootCertificate: &o.Certificate, DNSSEC: o.DNSSEC}}, nil
}

func notVerified(why string) reply {
	return reply{body: wire.OrganizationVerifyReply{Success: true, Error: &why}}
}

// proved notes that an organisation's record is there. One that was not verified, or
// whose certificate ends soon, gets a new certificate, and its agents do, soon.
func (s *Server) proved(tx *db.Tx, o db.Organization, found organization.Result, now time.Time) (db.Organization, error) {
	before := o.Health.State
	o.Health, o.DNSSEC = o.Health.After(organization.Present, now), found.DNSSEC
	_, err := tx.OrganizationCertificate(o.ID, now.Add(organization.RenewBefore))
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return o, err
	}
	if before == organization.Verified && err == nil {
		return o, tx.PutOrganization(o)
	}
	issued, err := s.cfg.Issuer.IssueOrganization(certificate.OrganizationFacts{ID: o.ID, Name: o.Name.Text, Domain: o.Domain.Name})
	if err != nil {
		return o, err
	}
	o.Certificate = issued.Text
	owner, err := s.owner(o)
	if err != nil {
		return o, err
	}
	if err := tx.AddCertificate(kept(issued, o.ID, "", owner), now); err != nil {
		return o, err
	}
	if err := tx.PutOrganization(o); err != nil {
		return o, err
	}
	return o, s.beginRound(tx, o, now)
}

// owner is who is behind an organisation, as one word: whoever registered its domain, by
// whatever name below it, and whoever administers it.
func (s *Server) owner(o db.Organization) (string, error) {
	word, err := s.cfg.Issuer.Owner("domain " + o.Domain.Registrable())
	return "domain " + word, err
}

func (s *Server) lookupOrganization(r *request) (reply, error) {
	domain, err := organization.ParseDomain(r.URL.Query().Get("domain"))
	if err != nil {
		return reply{}, nameRefusal(err, wire.CodeDomainInvalid)
	}
	var info wire.OrganizationInfo
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		o, err := tx.OrganizationOf(domain.Name)
		if err != nil {
			return err
		}
		n, err := tx.CountMembers(o.ID)
		info = wire.OrganizationInfo{
			ID: o.ID, Name: o.Name.Text, Domain: o.Domain.Name, Verified: o.Health.State == organization.Verified,
			AgentCount: n, CreatedAt: wire.Time{Time: o.Created}, DNSSEC: o.DNSSEC,
		}
		return err
	})
	if err != nil {
		return reply{}, orNotFound(err, "Organization not found")
	}
	return reply{body: info}, nil
}
