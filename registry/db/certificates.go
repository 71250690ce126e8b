package db

import (
	"errors"
	"fmt"
	"time"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/wire"
)

// Certificate is a certificate as a registry keeps it.
type Certificate struct {
	Serial         string
	Issuer         string        // serial of the organisation's; empty under the root
	AMID           identity.AMID // zero for an organisation's
	OrganizationID string
	Owner          string // who it proves to be behind the agent, as one word
	Tier           wire.Tier
	Document       string
	Compact        []byte
	Issued         time.Time
	Expires        time.Time
	Revoked        time.Time // zero: it is not
	Reason         string
}

const certificateColumns = "serial, issuer, amid, organization_id, owner, tier, document, compact, issued_at, expires_at, revoked_at, reason"

func scanCertificate(scan func(...any) error) (Certificate, error) {
	var c Certificate
	var amid string
	var issued, expires int64
	var revoked *int64
	var reason *string
	err := scan(&c.Serial, &c.Issuer, &amid, &c.OrganizationID, &c.Owner, &c.Tier, &c.Document, &c.Compact, &issued, &expires, &revoked, &reason)
	if err != nil {
		return Certificate{}, one(err)
	}
	if amid != "" {
		if c.AMID, err = identity.ParseAMID(amid); err != nil {
			return Certificate{}, fmt.Errorf("row of certificate %s: %w", c.Serial, err)
		}
	}
	c.Issued, c.Expires = Time(issued), Time(expires)
	if revoked != nil {
		c.Revoked = Time(*revoked)
	}
	if reason != nil {
		c.Reason = *reason
	}
	return c, nil
}

// AddCertificate keeps a new certificate, and gives its agent the tier that it proves.
func (t *Tx) AddCertificate(c Certificate, now time.Time) error {
	amid := ""
	if !c.AMID.IsZero() {
		amid = c.AMID.String()
	}
	_, err := t.Exec(`INSERT INTO certificates (serial, issuer, amid, organization_id, owner, tier, document, compact, issued_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		c.Serial, c.Issuer, amid, c.OrganizationID, c.Owner, string(c.Tier), c.Document, c.Compact, Micros(c.Issued), Micros(c.Expires))
	if err != nil {
		return fmt.Errorf("add certificate: %w", err)
	}
	if amid == "" {
		return nil
	}
	return t.RefreshTier(c.AMID, now)
}

// Certificate finds a certificate by its serial; it returns ErrNotFound.
func (t *Tx) Certificate(serial string) (Certificate, error) {
	return scanCertificate(t.QueryRow("SELECT "+certificateColumns+" FROM certificates WHERE serial = $1", serial).Scan)
}

// valid is what a certificate must be to prove anything at the time $2.
const valid = "expires_at > $2 AND revoked_at IS NULL"

// BestCertificate is the one that proves the highest tier of an agent, the newest of
// several; it returns ErrNotFound.
func (t *Tx) BestCertificate(who identity.AMID, now time.Time) (Certificate, error) {
	return scanCertificate(t.QueryRow("SELECT "+certificateColumns+" FROM certificates WHERE amid = $1 AND "+valid+
		" ORDER BY tier, issued_at DESC, serial LIMIT 1", who.String(), Micros(now)).Scan)
}

// OrganizationCertificate is the newest with which an organisation's agents can be
// signed; it returns ErrNotFound.
func (t *Tx) OrganizationCertificate(id string, now time.Time) (Certificate, error) {
	return scanCertificate(t.QueryRow("SELECT "+certificateColumns+" FROM certificates WHERE organization_id = $1 AND amid = '' AND "+valid+
		" ORDER BY issued_at DESC, serial LIMIT 1", id, Micros(now)).Scan)
}

// MemberCertificate is the newest of an agent as a member of an organisation that holds
// beyond now, and whose issuer does; it returns ErrNotFound.
func (t *Tx) MemberCertificate(organization string, who identity.AMID, now time.Time) (Certificate, error) {
	return scanCertificate(t.QueryRow("SELECT "+certificateColumns+" FROM certificates WHERE organization_id = $1 AND amid = $3 AND "+valid+`
		AND issuer IN (SELECT serial FROM certificates WHERE organization_id = $1 AND amid = '' AND `+valid+`)
		ORDER BY issued_at DESC, serial LIMIT 1`, organization, Micros(now), who.String()).Scan)
}

// IssuedSince is how many certificates an agent was given after a time, and how many the
// agents of an owner.
func (t *Tx) IssuedSince(who identity.AMID, owner string, after time.Time) (agent, all int, err error) {
	err = t.QueryRow(`SELECT (SELECT count(*) FROM certificates WHERE amid = $1 AND issued_at > $3),
		(SELECT count(*) FROM certificates WHERE owner = $2 AND amid <> '' AND issued_at > $3)`,
		who.String(), owner, Micros(after)).Scan(&agent, &all)
	if err != nil {
		return 0, 0, fmt.Errorf("count certificates: %w", err)
	}
	return agent, all, nil
}

// RefreshTier gives an agent the tier that its certificates prove, and the score that
// goes with it. It does nothing for an agent that is not registered.
func (t *Tx) RefreshTier(who identity.AMID, now time.Time) error {
	tier := wire.TierAnonymous
	best, err := t.BestCertificate(who, now)
	if err == nil {
		tier = best.Tier
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	n, err := t.Exec("UPDATE agents SET tier = $2 WHERE amid = $1 AND tier <> $2", who.String(), string(tier))
	if err != nil {
		return fmt.Errorf("refresh tier: %w", err)
	}
	if n == 0 {
		return nil
	}
	return t.RefreshReputation(who, now)
}

// RevokeCertificate takes back a certificate, and those that were signed with it. It
// returns ErrNotFound for one that was never issued, and ErrDuplicate for one that is
// revoked already.
func (t *Tx) RevokeCertificate(serial, reason string, now time.Time) error {
	c, err := t.Certificate(serial)
	if err != nil {
		return err
	}
	if !c.Revoked.IsZero() {
		return ErrDuplicate
	}
	return t.revokeWhere(reason, now, "(serial = $3 OR issuer = $3)", serial)
}

// RevokeCertificatesOf takes back all certificates of an agent.
func (t *Tx) RevokeCertificatesOf(who identity.AMID, reason string, now time.Time) error {
	return t.revokeWhere(reason, now, "amid = $3", who.String())
}

// RevokeMembership takes back the certificates of an agent as a member of an organisation.
func (t *Tx) RevokeMembership(organization string, who identity.AMID, reason string, now time.Time) error {
	return t.revokeWhere(reason, now, "organization_id = $3 AND amid = $4", organization, who.String())
}

// RevokeOrganization takes back an organisation's own certificates. Those of its agents
// prove nothing any more without them, but keep their tier until RevokeMembership.
func (t *Tx) RevokeOrganization(organization, reason string, now time.Time) error {
	return t.revokeWhere(reason, now, "organization_id = $3 AND amid = ''", organization)
}

// revokeWhere takes back what fits and is not taken back yet. Its agents lose the tier.
func (t *Tx) revokeWhere(reason string, now time.Time, where string, args ...any) error {
	var whose []string
	err := t.Query(func(scan func(...any) error) error {
		var amid string
		if err := scan(&amid); err != nil {
			return err
		}
		whose = append(whose, amid)
		return nil
	}, "UPDATE certificates SET revoked_at = $1, reason = $2 WHERE revoked_at IS NULL AND "+where+" RETURNING amid",
		append([]any{Micros(now), reason}, args...)...)
	if err != nil {
		return fmt.Errorf("revoke certificates: %w", err)
	}
	return t.refreshTiers(whose, now)
}

func (t *Tx) refreshTiers(amids []string, now time.Time) error {
	seen := map[string]bool{"": true} // an organisation's
	for _, amid := range amids {
		if seen[amid] {
			continue
		}
		seen[amid] = true
		who, err := identity.ParseAMID(amid)
		if err != nil {
			return fmt.Errorf("row of a certificate: %w", err)
		}
		if err := t.RefreshTier(who, now); err != nil {
			return err
		}
	}
	return nil
}

// ExpireTiers takes from agents the tier that no certificate proves any more.
func (t *Tx) ExpireTiers(now time.Time) error {
	var whose []string
	err := t.Query(func(scan func(...any) error) error {
		var amid string
		if err := scan(&amid); err != nil {
			return err
		}
		whose = append(whose, amid)
		return nil
	}, `SELECT DISTINCT agents.amid FROM certificates JOIN agents ON agents.amid = certificates.amid
		WHERE certificates.expires_at <= $1 AND agents.tier <> 'anonymous' AND NOT EXISTS (
			SELECT 1 FROM certificates AS good WHERE good.amid = agents.amid AND good.tier = agents.tier
				AND good.expires_at > $1 AND good.revoked_at IS NULL)`, Micros(now))
	if err != nil {
		return fmt.Errorf("expired certificates: %w", err)
	}
	return t.refreshTiers(whose, now)
}

// expiredLife is how long a certificate is kept that has expired by itself.
const expiredLife = 30 * 24 * time.Hour

// ForgetCertificates removes those that expired long ago. No revocation list has had them
// since; but as their number says whether the newest is up to date, a new one is due.
func (t *Tx) ForgetCertificates(now time.Time) error {
	before := Micros(now.Add(-expiredLife))
	n, err := t.Exec("DELETE FROM certificates WHERE expires_at < $1 AND revoked_at IS NOT NULL", before)
	if err == nil && n > 0 {
		_, err = t.Exec("UPDATE revocation_lists SET revoked = -1 WHERE name = $1", listName)
	}
	if err == nil {
		_, err = t.Exec("DELETE FROM certificates WHERE expires_at < $1", before)
	}
	if err != nil {
		return fmt.Errorf("forget certificates: %w", err)
	}
	return nil
}

const listName = "certificates"

// RevocationList is the newest list as it was published, with how many certificates
// were revoked then; it returns ErrNotFound before the first.
func (t *Tx) RevocationList() (document []byte, number uint64, revoked int64, issued time.Time, err error) {
	var n, at int64
	err = t.QueryRow("SELECT document, number, revoked, issued_at FROM revocation_lists WHERE name = $1", listName).Scan(&document, &n, &revoked, &at)
	return document, uint64(n), revoked, Time(at), one(err)
}

// PutRevocationList keeps a newer list.
func (t *Tx) PutRevocationList(document []byte, number uint64, revoked int64, issued time.Time) error {
	_, err := t.Exec(`INSERT INTO revocation_lists (name, number, revoked, document, issued_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (name) DO UPDATE SET number = excluded.number, revoked = excluded.revoked, document = excluded.document, issued_at = excluded.issued_at`,
		listName, int64(number), revoked, document, Micros(issued))
	if err != nil {
		return fmt.Errorf("keep revocation list: %w", err)
	}
	return nil
}

// CountRevoked is how many of the certificates that are kept are revoked.
func (t *Tx) CountRevoked() (n int64, err error) {
	err = t.QueryRow("SELECT COUNT(*) FROM certificates WHERE revoked_at IS NOT NULL").Scan(&n)
	return n, err
}

// RevokedCertificates are those that have not expired by themselves.
func (t *Tx) RevokedCertificates(now time.Time) ([]certificate.Revoked, error) {
	var list []certificate.Revoked
	err := t.Query(func(scan func(...any) error) error {
		var serial, reason string
		var at int64
		if err := scan(&serial, &at, &reason); err != nil {
			return err
		}
		s, err := certificate.ParseSerial(serial)
		if err != nil {
			return fmt.Errorf("row of a certificate: %w", err)
		}
		list = append(list, certificate.Revoked{Serial: s, At: Time(at), Reason: reason})
		return nil
	}, `SELECT serial, revoked_at, reason FROM certificates WHERE revoked_at IS NOT NULL AND expires_at > $1
		ORDER BY revoked_at, serial`, Micros(now))
	if err != nil {
		return nil, fmt.Errorf("revoked certificates: %w", err)
	}
	return list, nil
}
