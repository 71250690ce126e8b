package registry

import (
	"errors"
	"net/http"
	"time"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/organization"
	"amesh/registry/wire"
)

// certifyMember gives an agent the certificate and the name of its organisation. It
// gives none to one that was revoked, and returns "".
func (s *Server) certifyMember(tx *db.Tx, o db.Organization, a db.Agent, now time.Time) (string, error) {
	if revoked, err := tx.Revoked(a.AMID); err != nil || revoked {
		return "", err
	}
	issued, err := s.cfg.Issuer.IssueMember(o.Certificate, a.SigningKey)
	if err != nil {
		return "", err
	}
	chain, err := certificate.Parse(issued.Text)
	if err != nil {
		return "", err
	}
	owner, err := s.owner(o)
	if err != nil {
		return "", err
	}
	if err := tx.RevokeMembership(o.ID, a.AMID, reasonSuperseded, now); err != nil {
		return "", err
	}
	if err := tx.AddCertificate(kept(issued, o.ID, chain.Issuer.Serial.String(), owner), now); err != nil {
		return "", err
	}
	return issued.Text, tx.NameOrganization(a.AMID, &o.Name.Text)
}

// addMember takes an agent that has agreed to it into the caller's organisation.
func (s *Server) addMember(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.MemberRequest](r)
	if err != nil {
		return reply{}, err
	}
	o, err := administered(tx, r)
	if err != nil {
		return reply{}, err
	}
	if o.Health.State != organization.Verified {
		return reply{}, wire.Errorf(http.StatusBadRequest, wire.CodeNotVerified, "Organization not verified")
	}
	a, err := memberOf(tx, body)
	if err != nil {
		return reply{}, err
	}
	// Who is a member already keeps the certificate that holds: each that is replaced
	// would stand in the revocation list for a year.
	c, err := tx.MemberCertificate(o.ID, a.AMID, r.now.Add(organization.RenewBefore))
	if err == nil {
		return reply{status: http.StatusCreated, body: wire.MemberReply{Success: true, AgentCertificate: &c.Document}}, nil
	}
	if !errors.Is(err, db.ErrNotFound) {
		return reply{}, err
	}
	if err := agreed(tx, a.AMID, o, r.now); err != nil {
		return reply{}, err
	}
	owner, err := s.owner(o)
	if err != nil {
		return reply{}, err
	}
	if err := mayIssue(tx, a.AMID, owner, r.now); err != nil {
		return reply{}, err
	}
	if err := tx.Join(a.AMID, o.ID, r.now); err != nil {
		return reply{}, err
	}
	text, err := s.certifyMember(tx, o, a, r.now)
	if err != nil {
		return reply{}, err
	}
	if text == "" {
		return reply{}, wire.Errorf(http.StatusForbidden, wire.CodeForbidden, "this agent was revoked")
	}
	return reply{status: http.StatusCreated, body: wire.MemberReply{Success: true, AgentCertificate: &text}}, nil
}

// memberOf is the agent that a request names, under its own key.
func memberOf(tx *db.Tx, body wire.MemberRequest) (db.Agent, error) {
	who, err := wire.ParseAMID(body.AgentAMID)
	if err != nil {
		return db.Agent{}, wire.Invalid("agent_amid: %s", err)
	}
	key, err := wire.ParseSigningKey(body.AgentSigningPublicKey)
	if err != nil || key.AMID() != who {
		return db.Agent{}, wire.Errorf(http.StatusBadRequest, wire.CodeKeyInvalid, "agent_signing_public_key is not the key of agent_amid")
	}
	a, err := tx.Agent(who)
	return a, orNotFound(err, "Agent not found: it registers itself, and agrees with POST /v1/amesh/org/consent, before it can join")
}

// agreed uses up the agent's consent. Who is a member already needs none.
func agreed(tx *db.Tx, who identity.AMID, o db.Organization, now time.Time) error {
	current, err := tx.MemberOf(who)
	switch {
	case err == nil && current.ID == o.ID:
		return nil
	case err == nil:
		return wire.Errorf(http.StatusConflict, wire.CodeConflict, "the agent is a member of another organisation: it leaves with POST /v1/amesh/org/leave")
	case !errors.Is(err, db.ErrNotFound):
		return err
	}
	if n, err := tx.CountMembers(o.ID); err != nil {
		return err
	} else if n >= organization.MaxMembers {
		return wire.Errorf(http.StatusConflict, wire.CodeConflict, "the organisation has %d agents: more it cannot have", n)
	}
	ok, err := tx.TakeConsent(who, o.ID, now)
	if err == nil && !ok {
		return wire.Errorf(http.StatusForbidden, wire.CodeNoConsent, "the agent has not agreed to join: it does so itself, with POST /v1/amesh/org/consent")
	}
	return err
}

// removeMember ends a membership for the organisation.
func (s *Server) removeMember(tx *db.Tx, r *request) (reply, error) {
	o, err := administered(tx, r)
	if err != nil {
		return reply{}, err
	}
	who, err := wire.ParseAMID(r.text("agent_amid"))
	if err != nil {
		return reply{}, wire.Invalid("agent_amid: %s", err)
	}
	return s.endMembership(tx, who, o.ID, r.now)
}

// consent is an agent's agreement to join one organisation.
func (s *Server) consent(tx *db.Tx, r *request) (reply, error) {
	o, err := tx.Organization(printable(r.text("organization_id"), 64))
	if err != nil {
		return reply{}, orNotFound(err, "Organization not found")
	}
	if err := tx.Consent(r.by.amid, o.ID, r.now.Add(organization.ConsentLife)); err != nil {
		return reply{}, err
	}
	return reply{body: wire.Done{Success: true}}, nil
}

// leave ends a membership, and an agreement to one, for the agent.
func (s *Server) leave(tx *db.Tx, r *request) (reply, error) {
	id := printable(r.text("organization_id"), 64)
	if err := tx.ForgetConsents(r.by.amid, id); err != nil {
		return reply{}, err
	}
	return s.endMembership(tx, r.by.amid, id, r.now)
}

func (s *Server) endMembership(tx *db.Tx, who identity.AMID, id string, now time.Time) (reply, error) {
	done := reply{body: wire.Done{Success: true}}
	current, err := tx.MemberOf(who)
	if errors.Is(err, db.ErrNotFound) || err == nil && current.ID != id {
		return done, nil
	}
	if err != nil {
		return reply{}, err
	}
	if err := tx.Leave(who); err != nil {
		return reply{}, err
	}
	if err := tx.NameOrganization(who, nil); err != nil {
		return reply{}, err
	}
	return done, tx.RevokeMembership(id, who, reasonWithdrawn, now)
}
