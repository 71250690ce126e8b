package db

import (
	"fmt"
	"time"

	"amesh/identity"
	"amesh/registry/organization"
)

// Organization is an organisation, or the claim to be one.
type Organization struct {
	ID     string
	Name   organization.Name
	Domain organization.Domain
	Admin  identity.AMID
	// Challenge is what the record must say; a claim must show it before it expires.
	Challenge        string
	ChallengeExpires time.Time
	Health           organization.Health
	// DNSSEC says that at the last proof the resolvers had checked the zone's signatures.
	DNSSEC bool
	// Certificate is empty unless the organisation is verified.
	Certificate string
	Created     time.Time
}

const organizationColumns = "id, name, name_key, name_skeleton, domain, domain_skeleton, admin_amid, challenge, " +
	"challenge_expires, state, failed_days, proved_at, next_check, dnssec, certificate, created_at"

func scanOrganization(scan func(...any) error) (Organization, error) {
	var o Organization
	var admin string
	var expires, created int64
	var proved, next *int64
	err := scan(&o.ID, &o.Name.Text, &o.Name.Key, &o.Name.Skeleton, &o.Domain.Name, &o.Domain.Skeleton, &admin, &o.Challenge,
		&expires, &o.Health.State, &o.Health.FailedDays, &proved, &next, &o.DNSSEC, &o.Certificate, &created)
	if err != nil {
		return Organization{}, one(err)
	}
	if o.Admin, err = identity.ParseAMID(admin); err != nil {
		return Organization{}, fmt.Errorf("row of organisation %s: %w", o.ID, err)
	}
	o.ChallengeExpires, o.Created = Time(expires), Time(created)
	o.Health.Proved, o.Health.Next = timeOrZero(proved), timeOrZero(next)
	return o, nil
}

func timeOrZero(micros *int64) time.Time {
	if micros == nil {
		return time.Time{}
	}
	return Time(*micros)
}

func orNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	micros := Micros(t)
	return &micros
}

// PutOrganization writes all of an organisation, new or known.
func (t *Tx) PutOrganization(o Organization) error {
	_, err := t.Exec(`INSERT INTO organizations (`+organizationColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key,
			name_skeleton = excluded.name_skeleton, challenge = excluded.challenge,
			challenge_expires = excluded.challenge_expires, state = excluded.state, failed_days = excluded.failed_days,
			proved_at = excluded.proved_at, next_check = excluded.next_check, dnssec = excluded.dnssec,
			certificate = excluded.certificate`,
		o.ID, o.Name.Text, o.Name.Key, o.Name.Skeleton, o.Domain.Name, o.Domain.Skeleton, o.Admin.String(), o.Challenge,
		Micros(o.ChallengeExpires), string(o.Health.State), o.Health.FailedDays, orNull(o.Health.Proved), orNull(o.Health.Next),
		o.DNSSEC, o.Certificate, Micros(o.Created))
	if err != nil {
		return fmt.Errorf("write organisation: %w", err)
	}
	return nil
}

// Organization finds an organisation by its id; it returns ErrNotFound.
func (t *Tx) Organization(id string) (Organization, error) {
	return scanOrganization(t.QueryRow("SELECT "+organizationColumns+" FROM organizations WHERE id = $1", id).Scan)
}

// OrganizationOf finds the organisation that a domain belongs to: the verified one, or
// else the one that was so last. Claims are not found. It returns ErrNotFound.
func (t *Tx) OrganizationOf(domain string) (Organization, error) {
	return scanOrganization(t.QueryRow("SELECT "+organizationColumns+` FROM organizations
		WHERE domain = $1 AND state <> 'claimed' ORDER BY CASE state WHEN 'verified' THEN 0 ELSE 1 END, proved_at DESC LIMIT 1`, domain).Scan)
}

// OrganizationClaim finds the organisation or claim of an administrator to a domain; it
// returns ErrNotFound.
func (t *Tx) OrganizationClaim(admin identity.AMID, domain string) (Organization, error) {
	return scanOrganization(t.QueryRow("SELECT "+organizationColumns+` FROM organizations
		WHERE admin_amid = $1 AND domain = $2`, admin.String(), domain).Scan)
}

// CountClaims is how many claims an administrator has that were never proved.
func (t *Tx) CountClaims(admin identity.AMID) (int, error) {
	var n int
	err := t.QueryRow("SELECT count(*) FROM organizations WHERE admin_amid = $1 AND state = 'claimed'", admin.String()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count claims: %w", err)
	}
	return n, nil
}

// LookalikeOrganization finds a verified organisation of another id whose domain, name
// or their looks are those of o; it returns ErrNotFound.
func (t *Tx) LookalikeOrganization(o Organization) (Organization, error) {
	return scanOrganization(t.QueryRow("SELECT "+organizationColumns+` FROM organizations
		WHERE state = 'verified' AND id <> $1
			AND (domain = $2 OR domain_skeleton = $3 OR name_key = $4 OR name_skeleton = $5)
		ORDER BY CASE WHEN domain = $2 THEN 0 WHEN name_key = $4 THEN 1 ELSE 2 END LIMIT 1`,
		o.ID, o.Domain.Name, o.Domain.Skeleton, o.Name.Key, o.Name.Skeleton).Scan)
}

// DueOrganizations are up to limit organisations whose record is to be looked at, the
// longest due first.
func (t *Tx) DueOrganizations(now time.Time, limit int) ([]Organization, error) {
	var list []Organization
	err := t.Query(func(scan func(...any) error) error {
		o, err := scanOrganization(scan)
		list = append(list, o)
		return err
	}, "SELECT "+organizationColumns+" FROM organizations WHERE next_check <= $1 ORDER BY next_check LIMIT $2", Micros(now), limit)
	if err != nil {
		return nil, fmt.Errorf("due organisations: %w", err)
	}
	return list, nil
}

// ForgetClaims removes claims that expired unproved, and consents that were not taken up.
func (t *Tx) ForgetClaims(now time.Time) error {
	if _, err := t.Exec("DELETE FROM organizations WHERE state = 'claimed' AND challenge_expires <= $1", Micros(now)); err != nil {
		return fmt.Errorf("remove claims: %w", err)
	}
	if _, err := t.Exec("DELETE FROM organization_consents WHERE expires_at <= $1", Micros(now)); err != nil {
		return fmt.Errorf("remove consents: %w", err)
	}
	return nil
}

// Consent notes that an agent agrees to join an organisation.
func (t *Tx) Consent(who identity.AMID, organization string, expires time.Time) error {
	_, err := t.Exec(`INSERT INTO organization_consents (amid, organization_id, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (amid, organization_id) DO UPDATE SET expires_at = excluded.expires_at`,
		who.String(), organization, Micros(expires))
	if err != nil {
		return fmt.Errorf("write consent: %w", err)
	}
	return nil
}

// TakeConsent uses up an agent's consent and reports whether there was one.
func (t *Tx) TakeConsent(who identity.AMID, organization string, now time.Time) (bool, error) {
	n, err := t.Exec("DELETE FROM organization_consents WHERE amid = $1 AND organization_id = $2 AND expires_at > $3",
		who.String(), organization, Micros(now))
	if err != nil {
		return false, fmt.Errorf("take consent: %w", err)
	}
	return n > 0, nil
}

// ForgetConsents takes back what an agent agreed to.
func (t *Tx) ForgetConsents(who identity.AMID, organization string) error {
	_, err := t.Exec("DELETE FROM organization_consents WHERE amid = $1 AND organization_id = $2", who.String(), organization)
	if err != nil {
		return fmt.Errorf("remove consent: %w", err)
	}
	return nil
}

// ForgetConsentsTo takes back what anybody agreed to with an organisation.
func (t *Tx) ForgetConsentsTo(organization string) error {
	if _, err := t.Exec("DELETE FROM organization_consents WHERE organization_id = $1", organization); err != nil {
		return fmt.Errorf("remove consents: %w", err)
	}
	return nil
}

// Join makes an agent a member of an organisation, and of no other. It has felt all that
// befell the organisation.
func (t *Tx) Join(who identity.AMID, organization string, now time.Time) error {
	_, err := t.Exec(`INSERT INTO organization_members (amid, organization_id, joined_at, round)
		VALUES ($1, $2, $3, (SELECT round FROM organizations WHERE id = $2))
		ON CONFLICT (amid) DO UPDATE SET organization_id = excluded.organization_id, joined_at = excluded.joined_at, round = excluded.round`,
		who.String(), organization, Micros(now))
	if err != nil {
		return fmt.Errorf("write member: %w", err)
	}
	return nil
}

// Leave ends a membership, if there is one.
func (t *Tx) Leave(who identity.AMID) error {
	if _, err := t.Exec("DELETE FROM organization_members WHERE amid = $1", who.String()); err != nil {
		return fmt.Errorf("remove member: %w", err)
	}
	return nil
}

// NameOrganization writes the name of an agent's organisation beside the agent; nil
// removes it.
func (t *Tx) NameOrganization(who identity.AMID, name *string) error {
	if _, err := t.Exec("UPDATE agents SET organization = $1 WHERE amid = $2", name, who.String()); err != nil {
		return fmt.Errorf("name organisation: %w", err)
	}
	return nil
}

// MemberOf is the organisation whose member an agent is; it returns ErrNotFound.
func (t *Tx) MemberOf(who identity.AMID) (Organization, error) {
	var id string
	if err := one(t.QueryRow("SELECT organization_id FROM organization_members WHERE amid = $1", who.String()).Scan(&id)); err != nil {
		return Organization{}, err
	}
	return t.Organization(id)
}

// CountMembers is how many agents an organisation has.
func (t *Tx) CountMembers(organization string) (int, error) {
	var n int
	if err := t.QueryRow("SELECT count(*) FROM organization_members WHERE organization_id = $1", organization).Scan(&n); err != nil {
		return 0, fmt.Errorf("count members: %w", err)
	}
	return n, nil
}
