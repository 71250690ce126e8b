package db

import (
	"fmt"

	"amesh/identity"
)

// BeginRound notes that something befell an organisation that each of its members is
// still to feel: all of them are unsettled.
func (t *Tx) BeginRound(organization string) error {
	if _, err := t.Exec("UPDATE organizations SET round = round + 1 WHERE id = $1", organization); err != nil {
		return fmt.Errorf("begin round: %w", err)
	}
	return nil
}

// EndRound notes that no member of an organisation is unsettled.
func (t *Tx) EndRound(organization string) error {
	if _, err := t.Exec("UPDATE organizations SET settled = round WHERE id = $1", organization); err != nil {
		return fmt.Errorf("end round: %w", err)
	}
	return nil
}

// UnsettledOrganization is one whose round has not ended; it returns ErrNotFound.
func (t *Tx) UnsettledOrganization() (Organization, error) {
	return scanOrganization(t.QueryRow("SELECT " + organizationColumns + " FROM organizations WHERE settled <> round ORDER BY id LIMIT 1").Scan)
}

// UnsettledMembers are up to limit agents of an organisation that have not felt its
// latest round.
func (t *Tx) UnsettledMembers(organization string, limit int) ([]Agent, error) {
	var list []Agent
	err := t.Query(func(scan func(...any) error) error {
		a, err := ScanAgent(scan)
		list = append(list, a)
		return err
	}, "SELECT "+AgentColumns+` FROM agents JOIN organization_members ON organization_members.amid = agents.amid
		WHERE organization_members.organization_id = $1
			AND organization_members.round < (SELECT round FROM organizations WHERE id = $1)
		ORDER BY agents.amid LIMIT $2`, organization, limit)
	if err != nil {
		return nil, fmt.Errorf("unsettled members: %w", err)
	}
	return list, nil
}

// SettleMember notes that an agent has felt the latest round of its organisation.
func (t *Tx) SettleMember(who identity.AMID) error {
	_, err := t.Exec(`UPDATE organization_members SET round =
		(SELECT round FROM organizations WHERE id = organization_members.organization_id) WHERE amid = $1`, who.String())
	if err != nil {
		return fmt.Errorf("settle member: %w", err)
	}
	return nil
}
